"""PonderNet and its baselines behind one face: settings, training, answering, scoring.

B examples, T tokens, N steps, C classes.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import scipy.stats
import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from quire.lab import Group, Run
from quire.lab.training import set_rate, update, warm_up
from quire.papers.pondernet.act import ACT
from quire.papers.pondernet.experiments.tasks import Examples
from quire.papers.pondernet.ponder import Ponder, Tree, map_tensors
from quire.papers.pondernet.rules import Answer, StopRule, sample
from quire.papers.pondernet.steps import HaltingNetwork
from quire.papers.pondernet.stopping import (
    GeometricPrior,
    Regulariser,
    Truncation,
    entropy_bonus,
    expected_steps,
    kl_empirical,
    kl_to_prior,
    log_stopping_distribution,
    ponder_loss,
)

LARGEST_NORM = 1.0
"""The gradient's norm is clipped here, in every experiment."""


class Halting(Group):
    """How long to think: PonderNet or one of its baselines, around the same step."""

    method: Literal["ponder", "act", "fixed", "deep"] = "ponder"
    """ponder; act (Graves 2016); fixed (always max_steps, loss at the last); deep (Schwarzschild
    and Bansal's deep thinking: fixed with the progressive loss, twice as long at test)."""
    max_steps: PositiveInt = 20
    """N, steps at most."""
    beta: NonNegativeFloat = 0.01
    """ponder: weight of the regulariser."""
    lambda_p: float = Field(default=0.2, gt=0, lt=1)
    """ponder: hazard of the geometric prior; its mean is 1 / lambda_p steps."""
    regulariser: Literal[
        "kl_geometric", "kl_uniform", "kl_empirical", "expected_steps", "entropy_bonus", "none"
    ] = "kl_geometric"
    """ponder: penalty on the stopping distribution."""
    truncation: Truncation = "remainder"
    """ponder: what becomes of the mass beyond N."""
    eps: float = Field(default=0.05, ge=0, lt=1)
    """ponder: stop the training unroll when all have halted with probability 1 - eps; 0 never
    stops it."""
    check_every: PositiveInt = 1
    """ponder: steps between two looks at that; each look waits for a GPU."""
    tau: NonNegativeFloat = 1e-3
    """act: weight of the ponder cost."""


class TrainingPass(NamedTuple):
    """What one pass over a minibatch gives in training."""

    loss: Tensor
    accuracy: Tensor
    """Expected accuracy in [0, 1] (ponder: over the stopping distribution)."""
    steps: Tensor
    """Expected number of steps."""
    unrolled: int
    """Step evaluations that the pass took."""


class Learner(nn.Module):
    """A step with a halting method: `forward` gives the training loss, `answer` deploys it.

    Args:
        step: What is repeated.
        halting: The method and its settings.
        network: As `halting` of `Ponder`; ACT has none.
        detach: As `detach_halting` of `Ponder`.
    """

    def __init__(
        self,
        step: nn.Module,
        halting: Halting,
        *,
        network: HaltingNetwork | None = None,
        detach: bool = False,
    ) -> None:
        super().__init__()
        self.halting = halting
        self.regulariser = make_regulariser(halting)
        if halting.method == "act":
            self.net: nn.Module = ACT(step, halting.max_steps)
        else:
            # The baselines of fixed depth must not be cut short by hazards that they never train.
            eps = (halting.eps or None) if halting.method == "ponder" else None
            self.net = Ponder(
                step,
                halting.max_steps,
                eps=eps,
                check_every=halting.check_every,
                halting=network,
                detach_halting=detach,
            )

    def forward(self, x: Tree, target: Tensor) -> TrainingPass:
        """Loss, accuracy and steps of a minibatch; target (B,) or (B, T)."""
        if self.halting.method == "ponder":
            return self._ponder(x, target)
        if self.halting.method == "deep":
            return self._think_deeply(x, target)
        if self.halting.method == "act":
            return self._act(x, target)
        prediction = self.net(x).predictions[-1]
        return self._last(prediction, target, example_loss(prediction, target, 1).mean())

    def _ponder(self, x: Tree, target: Tensor) -> TrainingPass:
        predictions, halt_logits, _ = self.net(x)
        losses = example_loss(predictions, target, halt_logits.dim())
        loss = ponder_loss(
            losses,
            halt_logits,
            regulariser=self.regulariser,
            beta=self.halting.beta,
            truncation=self.halting.truncation,
        )
        with torch.no_grad():
            log_stop = log_stopping_distribution(halt_logits, self.halting.truncation)
            good = score(predictions, target, halt_logits.dim())
            accuracy = (log_stop.exp() * good).sum(0).mean()
            return TrainingPass(loss, accuracy, expected_steps(log_stop).mean(), len(losses))

    def _act(self, x: Tree, target: Tensor) -> TrainingPass:
        out = self.net(x)
        task = example_loss(out.prediction, target, out.steps.dim())
        loss = task.mean() + self.halting.tau * out.ponder_cost.mean()
        accuracy = score(out.prediction, target).mean()
        return TrainingPass(loss, accuracy, out.steps.float().mean(), int(out.steps.max()))

    def _think_deeply(self, x: Tree, target: Tensor) -> TrainingPass:
        """Half the loss after N steps; half after 1..N-n steps from a state n steps on."""
        prediction, _, _ = self.net(x)
        whole = example_loss(prediction[-1], target, 1).mean()
        before = int(torch.randint(0, self.halting.max_steps, ()))
        after = int(torch.randint(1, self.halting.max_steps - before + 1, ()))
        state = None
        if before:
            # No gradient flows into the first n steps: the net must make progress from any state,
            # and not count its steps.
            with torch.no_grad():
                state = map_tensors(Tensor.detach, self.net(x, max_steps=before).state)
        part = self.net(x, state, max_steps=after).predictions[-1]
        loss = 0.5 * (whole + example_loss(part, target, 1).mean())
        return self._last(prediction[-1], target, loss, before + after)

    def _last(
        self, prediction: Tensor, target: Tensor, loss: Tensor, extra: int = 0
    ) -> TrainingPass:
        steps = torch.tensor(float(self.halting.max_steps), device=loss.device)
        unrolled = self.halting.max_steps + extra
        return TrainingPass(loss, score(prediction, target).mean(), steps, unrolled)

    @torch.no_grad()
    def answer(self, x: Tree, rule: StopRule | None = None) -> Answer:
        """Deploy: ponder follows `rule` (default: the paper's sampling), the others have none."""
        if self.halting.method == "ponder":
            assert isinstance(self.net, Ponder)
            return self.net.infer(x, rule=rule or sample(truncation=self.halting.truncation))
        if self.halting.method == "act":
            out = self.net(x)
            return Answer(out.prediction, out.steps)
        # Deep thinking is made to run longer than it was trained.
        steps = self.halting.max_steps * (2 if self.halting.method == "deep" else 1)
        prediction = self.net(x, max_steps=steps).predictions[-1]
        return Answer(prediction, torch.full((len(prediction),), steps, device=prediction.device))


def make_regulariser(halting: Halting) -> Regulariser | None:
    """The penalty that the settings name."""
    # With a horizon, so that stopping at once is not free where the eps rule cuts the unroll.
    prior = GeometricPrior(halting.lambda_p, horizon=halting.max_steps)
    return {
        "kl_geometric": kl_to_prior(prior),
        "kl_uniform": kl_to_prior(torch.ones(halting.max_steps)),
        "kl_empirical": kl_empirical(prior),
        "expected_steps": expected_steps,
        "entropy_bonus": entropy_bonus,
        "none": None,
    }[halting.regulariser]


def train(
    learner: Learner,
    run: Run,
    *,
    batch_at: Callable[[int], Examples],
    steps: int,
    learning_rate: float,
    rising: int = 1,
) -> None:
    """Train with Adam, then set the learner to evaluate.

    Args:
        learner: What is trained, on the run's device.
        run: Where it is logged.
        batch_at: Gives the minibatch of a step.
        steps: Minibatches.
        learning_rate: Adam's.
        rising: Minibatches over which the learning rate rises to its full height.
    """
    optimizer = torch.optim.Adam(learner.parameters(), lr=learning_rate)
    learner.train()
    for batch in run.steps(steps, batch_at, state=(learner, optimizer)):
        set_rate(optimizer, learning_rate * warm_up(run.step, rising))
        with run.precision():
            trained = learner(batch.x, batch.target)
        update(trained.loss, learner, optimizer, clip=LARGEST_NORM)
        run.log(loss=trained.loss, accuracy=trained.accuracy, steps=trained.steps)
    learner.eval()


def example_loss(predictions: Tensor, target: Tensor, dims: int) -> Tensor:
    """Cross-entropy of predictions (..., C); dimensions beyond `dims` are averaged.

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


def score(predictions: Tensor, target: Tensor, dims: int | None = None) -> Tensor:
    """1 where an answer is right, else 0; beyond `dims` dimensions (default: B) all must be.

    Predictions (..., C) as for `example_loss`.
    """
    dims = dims or predictions.dim() - target.dim()
    if predictions.shape[-1] == 1:
        chosen = (predictions.squeeze(-1) > 0).to(target.dtype)
    else:
        chosen = predictions.argmax(-1)
    good = (chosen == target).float()
    return good.flatten(dims).amin(dims) if good.dim() > dims else good


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's; 0 where one side is constant (constant pondering is not success)."""
    if len(a.unique()) < 2 or len(b.unique()) < 2:
        return 0.0
    return float(scipy.stats.spearmanr(a.cpu(), b.cpu()).statistic)


def keep_means(
    run: Run,
    name: str,
    difficulty: Tensor,
    values: Tensor,
    *,
    label: str,
    of: str = "mean steps",
) -> None:
    """Keep the mean of some values at each level of difficulty as a series.

    Args:
        run: Where it is kept.
        name: The series' name.
        difficulty: Levels, (B,).
        values: What is averaged, (B,).
        label: What the levels count.
        of: What the means are, with their unit.
    """
    levels = difficulty.unique()
    means = [values[difficulty == level].float().mean() for level in levels]
    run.series(name, levels, torch.stack(means), x_label=label, y_label=of)
