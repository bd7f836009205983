"""Watching a game for its two known ends: a discriminator that has won, a generator that collapsed.

An accuracy of one half says neither that it converged: a discriminator that ignores its input has
it too.
"""

from typing import Any

import torch
from torch import Tensor

from quire.papers.gan.quality import measure_spread


class Watch:
    """Says in one line, once each, that D is saturated or that the samples have collapsed.

    D is saturated where its mean probability of "data" is nearly 1 on data and nearly 0 on
    samples: then the saturating loss has no gradient left. Samples have collapsed where their
    spread (root of the mean squared distance to their mean) is a small part of the data's: that
    finds all samples alike, and not a few lost modes of many (`cover_modes` counts these). It is
    training state: `state_dict` and `load_state_dict` keep what was seen.

    Args:
        saturation: How near to 0 and 1 these probabilities must be.
        collapse: Largest part of the data's spread that counts as collapsed.
        patience: Looks in a row that must agree.
        begin: Step before which samples may be all alike, as a new generator's are.

    Raises ValueError for numbers outside (0, 1), a patience below 1 and a negative step.

    Example:
        >>> watch = Watch(patience=1)
        >>> logits, data = torch.full((8,), 9.0), torch.randn(8, 2)
        >>> watch.look(500, logits, -logits, data, data)
        'D is saturated at step 500: it gives data 1.000 and samples 0.000'
    """

    def __init__(
        self,
        *,
        saturation: float = 0.01,
        collapse: float = 0.2,
        patience: int = 3,
        begin: int = 0,
    ) -> None:
        if not (0 < saturation < 1 and 0 < collapse < 1 and patience >= 1 and begin >= 0):
            raise ValueError(
                "saturation and collapse must be between 0 and 1, patience at least 1 and begin "
                f"at least 0, got {saturation}, {collapse}, {patience} and {begin}"
            )
        self.saturation, self.collapse, self.patience = saturation, collapse, patience
        self.begin = begin
        self.rows = {"saturated": 0, "collapsed": 0}
        self.since: dict[str, int] = {}
        """Step at which each was first said."""

    @torch.no_grad()
    def look(
        self, step: int, real_logits: Tensor, fake_logits: Tensor, real: Tensor, fake: Tensor
    ) -> str | None:
        """One look, which waits for the device; a line where something is newly found.

        Args:
            step: The training step, for the line.
            real_logits: D's on data, (B,).
            fake_logits: D's on samples, (B,).
            real: Data, (B, ...).
            fake: Samples, (B, ...).
        """
        on_data, on_samples, spread, own = torch.stack(
            [
                real_logits.sigmoid().mean(),
                fake_logits.sigmoid().mean(),
                measure_spread(real),
                measure_spread(fake),
            ]
        ).tolist()
        part = own / max(spread, 1e-12)
        found = {
            "saturated": on_samples < self.saturation and on_data > 1 - self.saturation,
            "collapsed": part < self.collapse and step >= self.begin,
        }
        lines = {
            "saturated": f"D is saturated at step {step}: "
            f"it gives data {on_data:.3f} and samples {on_samples:.3f}",
            "collapsed": f"samples have collapsed at step {step}: "
            f"their spread is {part:.3f} of the data's",
        }
        said = []
        for name, is_so in found.items():
            self.rows[name] = self.rows[name] + 1 if is_so else 0
            if self.rows[name] >= self.patience and name not in self.since:
                self.since[name] = step
                said.append(lines[name])
        return "; ".join(said) or None

    def state_dict(self) -> dict[str, Any]:
        """What was seen."""
        return {"rows": dict(self.rows), "since": dict(self.since)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        self.rows, self.since = dict(state["rows"]), dict(state["since"])
