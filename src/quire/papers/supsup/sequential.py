"""Baselines that train one net on task after task and hold its weights back: online EWC and SI.

Both add a quadratic penalty around the weights of the last task, sum_w importance (w - w*)^2.
`OnlineEWC` measures importance by squared gradients after a task (Kirkpatrick et al. 2017; online:
Schwarz et al. 2018); `SynapticIntelligence` adds up how much each weight lowered the loss on its
way (Zenke et al. 2017).
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class OnlineEWC:
    """Elastic weight consolidation with one running Fisher information.

    Args:
        model: What is trained.
        strength: Weight of the penalty.
        decay: What remains of the earlier information after each task.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from quire.papers.supsup import OnlineEWC
        >>> model = nn.Linear(3, 2)
        >>> ewc = OnlineEWC(model, strength=10.0)
        >>> ewc.finish([torch.randn(8, 3)])
        >>> float(ewc.penalty().detach())
        0.0
    """

    def __init__(self, model: nn.Module, *, strength: float = 100.0, decay: float = 1.0) -> None:
        self.model = model
        self.strength = strength
        self.decay = decay
        self.anchor = [p.detach().clone() for p in model.parameters()]
        self.information = [torch.zeros_like(p) for p in model.parameters()]

    def penalty(self) -> Tensor:
        """strength / 2 sum F (w - w*)^2, (): added to the loss of every step."""
        rows = zip(self.model.parameters(), self.anchor, self.information, strict=True)
        parts = [(f * (p - a).square()).sum() for p, a, f in rows]
        return self.strength / 2 * torch.stack(parts).sum()

    def finish(self, batches: Iterable[Tensor], *, outputs: int | None = None) -> None:
        """The task is learned: take the Fisher information of its x (B, ...), and anchor there.

        Labels are the likeliest of the model itself, as in online EWC, among its first `outputs`
        (None: all). The gradient is of each example by itself.
        """
        parameters = dict(self.model.named_parameters())

        def measure(weights: dict[str, Tensor], one: Tensor, label: Tensor) -> Tensor:
            logits = torch.func.functional_call(self.model, weights, (one[None],))[:, :outputs]
            return F.cross_entropy(logits, label[None])

        each = torch.func.vmap(torch.func.grad(measure), in_dims=(None, 0, 0), randomness="same")
        held = {name: p.detach() for name, p in parameters.items()}
        sums = [torch.zeros_like(p) for p in held.values()]
        seen = 0
        for x in batches:
            with torch.no_grad():
                label = self.model(x)[:, :outputs].argmax(1)
            found = each(held, x, label)
            for total, name in zip(sums, held, strict=True):
                total += found[name].square().sum(0)
            seen += len(x)
        for old, new in zip(self.information, sums, strict=True):
            old.mul_(self.decay).add_(new / max(1, seen))
        self.anchor = [p.detach().clone() for p in self.model.parameters()]

    def state_dict(self) -> dict[str, list[Tensor]]:
        """What it knows of earlier tasks, a tensor a parameter."""
        return {"anchor": self.anchor, "information": self.information}

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        """Put it back."""
        self.anchor = _like(state["anchor"], self.anchor)
        self.information = _like(state["information"], self.information)


class SynapticIntelligence:
    """Importance of a weight: what it lowered the loss by, over the square of how far it went.

    Args:
        model: What is trained.
        strength: Weight of the penalty, c.
        damping: xi, which keeps weights that did not move finite.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from quire.papers.supsup import SynapticIntelligence
        >>> model = nn.Linear(3, 2)
        >>> si = SynapticIntelligence(model)
        >>> model(torch.randn(4, 3)).square().sum().backward()
        >>> before = si.remember()
        >>> torch.optim.SGD(model.parameters(), lr=0.1).step()
        >>> si.watch(before)
        >>> si.finish()
        >>> float(si.penalty().detach())
        0.0
    """

    def __init__(self, model: nn.Module, *, strength: float = 0.1, damping: float = 0.1) -> None:
        self.model = model
        self.strength = strength
        self.damping = damping
        self.anchor = [p.detach().clone() for p in model.parameters()]
        self.importance = [torch.zeros_like(p) for p in model.parameters()]
        self.path = [torch.zeros_like(p) for p in model.parameters()]

    def remember(self) -> list[tuple[Tensor, Tensor]]:
        """Weights and gradients just before an update; give them to `watch` after it.

        The gradients are to be those of the task's loss, so that penalties are added after.
        """
        return [
            (p.detach().clone(), torch.zeros_like(p) if p.grad is None else p.grad.detach().clone())
            for p in self.model.parameters()
        ]

    def watch(self, before: list[tuple[Tensor, Tensor]]) -> None:
        """Add - gradient * step of the update to each weight's path integral."""
        for path, p, (old, gradient) in zip(
            self.path, self.model.parameters(), before, strict=True
        ):
            path.sub_(gradient * (p.detach() - old))

    def penalty(self) -> Tensor:
        """strength sum Omega (w - w*)^2, ()."""
        rows = zip(self.model.parameters(), self.anchor, self.importance, strict=True)
        parts = [(o * (p - a).square()).sum() for p, a, o in rows]
        return self.strength * torch.stack(parts).sum()

    def finish(self) -> None:
        """The task is learned: its paths become importance, and the anchor moves here."""
        now = [p.detach().clone() for p in self.model.parameters()]
        for importance, path, new, old in zip(
            self.importance, self.path, now, self.anchor, strict=True
        ):
            # A weight that raised the loss on its way is not to be pushed away from its anchor.
            importance.add_((path / ((new - old).square() + self.damping)).clamp(min=0))
            path.zero_()
        self.anchor = now

    def state_dict(self) -> dict[str, list[Tensor]]:
        """What it knows of earlier tasks and of this one, a tensor a parameter."""
        return {"anchor": self.anchor, "importance": self.importance, "path": self.path}

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        """Put it back."""
        self.anchor = _like(state["anchor"], self.anchor)
        self.importance = _like(state["importance"], self.importance)
        self.path = _like(state["path"], self.path)


def _like(saved: list[Tensor], own: list[Tensor]) -> list[Tensor]:
    return [new.to(old) for new, old in zip(saved, own, strict=True)]
