"""What all experiments share: settings of halting; PonderNet and its baselines behind one face."""

from typing import Any, Literal, NamedTuple

import scipy.stats
import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from quire.lab import Config, Run
from quire.papers.pondernet.act import ACT
from quire.papers.pondernet.ponder import Ponder, Tree, map_tensors
from quire.papers.pondernet.rules import Answer, StopRule, sample
from quire.papers.pondernet.stopping import (
    GeometricPrior,
    Regulariser,
    entropy_bonus,
    expected_steps,
    kl_empirical,
    kl_to_prior,
    log_stopping_distribution,
    ponder_loss,
)


class Halting(Config):
    """How long to think: PonderNet or one of its baselines, around the same step."""

    method: Literal["ponder", "act", "fixed", "deep"] = "ponder"
    """ponder; act (Graves 2016); fixed (always max_steps, loss at the last); deep (Schwarzschild
    and Bansal's deep thinking: fixed with the progressive loss, twice as long at test)."""
    max_steps: PositiveInt = 20
    """N, steps at most."""
    min_steps: PositiveInt = 1
    """ponder: steps at least."""
    beta: NonNegativeFloat = 0.01
    """ponder: weight of the regulariser."""
    lambda_p: PositiveFloat = 0.2
    """ponder: hazard of the geometric prior; its mean is 1 / lambda_p steps."""
    regulariser: Literal[
        "kl_geometric", "kl_uniform", "kl_empirical", "expected_steps", "entropy_bonus", "none"
    ] = "kl_geometric"
    """ponder: penalty on the stopping distribution."""
    truncation: Literal["remainder", "renormalise"] = "remainder"
    """ponder: what becomes of the mass beyond N."""
    eps: NonNegativeFloat = 0.05
    """ponder: stop the training unroll when all have halted with probability 1 - eps; 0 never
    stops it."""
    tau: NonNegativeFloat = 1e-3
    """act: weight of the ponder cost."""


class Trained(NamedTuple):
    """What one training pass gives."""

    loss: Tensor
    accuracy: Tensor
    """Expected accuracy in [0, 1] (ponder: over the stopping distribution)."""
    steps: Tensor
    """Expected number of steps."""
    unrolled: int
    """Step evaluations that the pass took."""


class Learner(nn.Module):
    """A step with a halting method: `forward` gives the training loss, `answer` deploys it."""

    def __init__(self, step: nn.Module, config: Halting, **ponder_options: Any) -> None:
        super().__init__()
        self.config = config
        self.regulariser = make_regulariser(config)
        if config.method == "act":
            self.net: nn.Module = ACT(step, config.max_steps)
        else:
            pondering = config.method == "ponder"
            self.net = Ponder(
                step,
                config.max_steps,
                eps=(config.eps or None) if pondering else None,
                min_steps=config.min_steps,
                **ponder_options,
            )

    def forward(self, x: Tree, target: Tensor) -> Trained:
        """Loss, accuracy and steps of a batch; target `(B,)` or `(B, T)`."""
        if self.config.method == "ponder":
            return self._ponder(x, target)
        if self.config.method == "deep":
            return self._deep(x, target)
        if self.config.method == "act":
            out = self.net(x)
            task = example_loss(out.prediction, target, out.steps.dim())
            loss = task.mean() + self.config.tau * out.ponder_cost.mean()
            steps = out.steps.float()
            return Trained(
                loss, right(out.prediction, target).mean(), steps.mean(), int(steps.max())
            )
        prediction = self.net(x).predictions[-1]
        return self._last(prediction, target, example_loss(prediction, target, 1).mean())

    def _ponder(self, x: Tree, target: Tensor) -> Trained:
        predictions, halt_logits, _ = self.net(x)
        losses = example_loss(predictions, target, halt_logits.dim())
        loss = ponder_loss(
            losses,
            halt_logits,
            regulariser=self.regulariser,
            beta=self.config.beta,
            truncation=self.config.truncation,
        )
        with torch.no_grad():
            log_stop = log_stopping_distribution(halt_logits, self.config.truncation)
            good = right(predictions, target, halt_logits.dim())
            accuracy = (log_stop.exp() * good).sum(0).mean()
            return Trained(loss, accuracy, expected_steps(log_stop).mean(), len(losses))

    def _deep(self, x: Tree, target: Tensor) -> Trained:
        """Half the loss after N steps, half after 1..N-n steps from a state n steps on (no
        gradient)."""
        prediction, _, _ = self.net(x)
        whole = example_loss(prediction[-1], target, 1).mean()
        before = int(torch.randint(0, self.config.max_steps, ()))
        after = int(torch.randint(1, self.config.max_steps - before + 1, ()))
        state = None
        if before:
            with torch.no_grad():
                state = map_tensors(Tensor.detach, self.net(x, max_steps=before).state)
        part = self.net(x, state, max_steps=after).predictions[-1]
        loss = 0.5 * (whole + example_loss(part, target, 1).mean())
        return self._last(prediction[-1], target, loss, before + after)

    def _last(self, prediction: Tensor, target: Tensor, loss: Tensor, extra: int = 0) -> Trained:
        steps = torch.tensor(float(self.config.max_steps), device=loss.device)
        return Trained(loss, right(prediction, target).mean(), steps, self.config.max_steps + extra)

    @torch.no_grad()
    def answer(
        self, x: Tree, rule: StopRule | None = None, *, max_steps: int | None = None
    ) -> Answer:
        """Deploy: ponder follows `rule` (default: the paper's sampling), the others have none."""
        if self.config.method == "ponder":
            assert isinstance(self.net, Ponder)
            return self.net.infer(x, rule=rule or sample(), max_steps=max_steps)
        if self.config.method == "act":
            out = self.net(x, max_steps=max_steps)
            return Answer(out.prediction, out.steps)
        steps = max_steps or self.config.max_steps * (2 if self.config.method == "deep" else 1)
        prediction = self.net(x, max_steps=steps).predictions[-1]
        return Answer(prediction, torch.full((len(prediction),), steps, device=prediction.device))


def make_regulariser(config: Halting) -> Regulariser | None:
    """The penalty that a config names."""
    prior = GeometricPrior(config.lambda_p, horizon=config.max_steps)
    return {
        "kl_geometric": kl_to_prior(prior),
        "kl_uniform": kl_to_prior(torch.ones(config.max_steps)),
        "kl_empirical": kl_empirical(prior),
        "expected_steps": expected_steps,
        "entropy_bonus": entropy_bonus,
        "none": None,
    }[config.regulariser]


def example_loss(predictions: Tensor, target: Tensor, dims: int) -> Tensor:
    """Cross-entropy of predictions `(..., C)`; dimensions beyond `dims` are averaged.

    C = 1 is one logistic output for a target of 0 or 1. `target` is broadcast over leading
    dimensions.
    """
    target = target.expand(predictions.shape[:-1])
    if predictions.shape[-1] == 1:
        logits = predictions.squeeze(-1)
        loss = binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
    else:
        flat = predictions.flatten(0, -2)
        loss = cross_entropy(flat, target.flatten(), reduction="none").view(target.shape)
    return loss.flatten(dims).mean(dims) if loss.dim() > dims else loss


def right(predictions: Tensor, target: Tensor, dims: int | None = None) -> Tensor:
    """1 where an answer is right, else 0; beyond `dims` dimensions (default: batch) all must be."""
    dims = dims or predictions.dim() - target.dim()
    if predictions.shape[-1] == 1:
        chosen = (predictions.squeeze(-1) > 0).to(target.dtype)
    else:
        chosen = predictions.argmax(-1)
    good = (chosen == target).float()
    return good.flatten(dims).amin(dims) if good.dim() > dims else good


class Curriculum:
    """A level that rises when the running accuracy passes a bar; also counts the work done.

    It is training state: it goes into `run.steps(state=...)`.
    """

    def __init__(self, first: int, last: int, *, bar: float = 0.98, decay: float = 0.97) -> None:
        self.level, self.last, self.bar, self.decay = min(first, last), last, bar, decay
        self.running = 0.0
        self.evaluations = 0
        self.reached = 0

    def update(self, trained: Trained, step: int) -> None:
        """Take in a training pass."""
        self.evaluations += trained.unrolled
        self.running = self.decay * self.running + (1 - self.decay) * float(trained.accuracy)
        if self.level == self.last and self.running > 0.95 and not self.reached:
            self.reached = step + 1
        if self.level < self.last and self.running > self.bar:
            self.level, self.running = self.level + 1, 0.0

    def state_dict(self) -> dict[str, Any]:
        """The changing part."""
        names = ("level", "running", "evaluations", "reached")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        for name, value in state.items():
            setattr(self, name, value)


def descend(
    loss: Tensor, model: nn.Module, optimizer: torch.optim.Optimizer, clip: float = 1.0
) -> None:
    """One optimiser step with the gradient's norm clipped."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's; 0 where one side is constant (constant pondering is not success)."""
    if len(a.unique()) < 2 or len(b.unique()) < 2:
        return 0.0
    return float(scipy.stats.spearmanr(a.cpu(), b.cpu()).statistic)


def draw_steps(run: Run, name: str, difficulty: Tensor, steps: Tensor, label: str) -> None:
    """Keep mean steps against difficulty as a series of the run."""
    levels = difficulty.unique()
    means = [steps[difficulty == level].float().mean() for level in levels]
    run.series(name, levels, torch.stack(means), x_label=label, y_label="mean steps")
