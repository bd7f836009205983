"""Reconstruction as every experiment trains and measures it, the linear floor, and the figures."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from quire.lab import Run
from quire.lab.training import Kept, set_rate, update, warm_up
from quire.papers.gon.baselines import Autoencoder, LearnedLatents, TiedEncoder
from quire.papers.gon.decoders import ActivationMaker, DenseDecoder, DenseEncoder
from quire.papers.gon.experiments.pictures import take_batch
from quire.papers.gon.gon import GON
from quire.papers.gon.latents import LatentGaussian

Net = GON | Autoencoder | LearnedLatents
Method = Literal["gon", "autoencoder", "tied", "affine", "learned"]
ActivationName = Literal["elu", "silu", "softplus", "tanh", "relu", "leaky_relu"]
ACTIVATIONS: dict[ActivationName, ActivationMaker] = {
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
}
WARM_UP = 50
"""Steps in which the rate rises, for every arm alike."""
LOOKS = 10
"""Times in a run that the test error is looked at."""
AT_ONCE = 256
"""Pictures encoded at once at test."""


class Objective(nn.Module):
    """What a run places and updates: its forward is the mean of `measure` over a batch.

    A replica averages gradients only where its own forward gave the loss, so `net.measure_loss`
    must not be called on it. The net itself stays as it is, to be measured afterwards.

    Args:
        net: What is trained.
        measure: The loss of each example, (B,), from the tensors of a batch; it uses `net`.
    """

    def __init__(self, net: nn.Module, measure: Callable[..., Tensor]) -> None:
        super().__init__()
        self.net = net
        self.measure = measure

    def forward(self, *batch: Tensor) -> Tensor:
        """Tensors (B, ...) -> (): the loss of a step."""
        return self.measure(*batch).mean()


def train(
    run: Run,
    objective: Objective,
    batch_at: Callable[[int], tuple[Tensor, ...]],
    *,
    steps: int,
    learning_rate: float,
    look: Callable[[], Tensor] | None = None,
) -> list[tuple[int, float]]:
    """Adam on the objective; gives (updates done, what `look` gave) at ten moments.

    Args:
        run: Its steps, and where the net goes.
        objective: What is trained and its loss.
        batch_at: The minibatch of a step, tensors (B, ...), of which each process takes its share.
        steps: Updates.
        learning_rate: Adam's, after a short rise.
        look: Measured at a tenth, two tenths ... of the steps.
    """
    model = run.place(objective)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    kept = Kept()
    every = max(1, steps // LOOKS)
    for batch in run.steps(steps, batch_at, state=(model, optimizer, kept)):
        set_rate(optimizer, learning_rate * warm_up(run.step, WARM_UP))
        with run.precision():
            loss = model(*batch)
        update(loss, model, optimizer)
        run.log(loss=loss)
        if look is not None and (run.step + 1) % every == 0:
            kept.add("step", run.step + 1)
            kept.add("look", look())
    return list(zip(kept.series.get("step", []), kept.series.get("look", []), strict=True))


def train_reconstruction(
    run: Run,
    net: Net,
    pictures: Tensor,
    *,
    batch_size: int,
    steps: int,
    learning_rate: float,
    watched: Tensor | None = None,
    at_once: int = AT_ONCE,
) -> list[tuple[int, float]]:
    """Train `net` on minibatches of pictures; gives, and keeps as a curve, (updates, test error).

    Args:
        run: Its steps, and where the net goes.
        net: The GON or a baseline.
        pictures: (N, ...), on the device.
        batch_size: Pictures a step.
        steps: Updates.
        learning_rate: Adam's.
        watched: Held-out pictures whose error is looked at; None for no curve. There is none for
            latents that are learned one by one: to search them would cost more than the training.
        at_once: Of `watched`, encoded at once.
    """

    def batch_at(step: int) -> tuple[Tensor, ...]:
        chosen = take_batch(pictures, batch_size, run)
        x = pictures[chosen]
        return (chosen, x) if isinstance(net, LearnedLatents) else (x,)

    def look() -> Tensor:
        assert watched is not None
        return measure_error(net, watched, batch_size=at_once)

    is_watched = watched is not None and not isinstance(net, LearnedLatents)
    curve = train(
        run,
        Objective(net, net.measure_loss),
        batch_at,
        steps=steps,
        learning_rate=learning_rate,
        look=look if is_watched else None,
    )
    if curve:
        run.series(
            "test_error",
            [step for step, _ in curve],
            [error for _, error in curve],
            x_label="minibatches",
            y_label="summed squared error of a held-out picture",
        )
    return curve


def measure_error(net: Net, pictures: Tensor, *, batch_size: int = AT_ONCE) -> Tensor:
    """Mean loss of a picture, (): what is left of it after encoding and decoding.

    net: in evaluation mode afterwards as before. pictures: (N, ...). batch_size: encoded at once,
    which matters to a net that normalises over its batch.
    """
    was_training = net.training
    net.eval()
    total = pictures.new_zeros(())
    for batch in pictures.split(batch_size):
        # Latents that are learned one by one are searched for in new pictures.
        z = net.infer(batch) if isinstance(net, LearnedLatents) else net.encode(batch)
        with torch.no_grad():
            total = total + net.loss(net.decoder(z), batch).sum()
    net.train(was_training)
    return (total / len(pictures)).detach()


def make_dense(
    method: Method,
    *,
    latent: int,
    shape: Sequence[int],
    hidden: Sequence[int],
    activation: ActivationMaker,
    examples: int,
) -> Autoencoder | LearnedLatents:
    """A baseline around the dense decoder that a GON has.

    Args:
        method: Which one; not "gon".
        latent: K.
        shape: Of a picture.
        hidden: Widths of the decoder, and mirrored of the encoder.
        activation: Between its layers.
        examples: Size of the training set, for latents learned one by one.
    """
    decoder = DenseDecoder(latent, shape, hidden=hidden, activation=activation)
    if method == "learned":
        return LearnedLatents(decoder, examples)
    if method == "tied":
        return Autoencoder(TiedEncoder(decoder), decoder)
    widths = () if method == "affine" else hidden
    encoder = DenseEncoder(latent, shape, hidden=widths, activation=activation)
    return Autoencoder(encoder, decoder)


class LinearFloor:
    """Principal components of training pictures (N, ...), as many as a net has latents.

    train: what the mean and the components come from. components: at most so many as pixels.
    """

    def __init__(self, train: Tensor, components: int) -> None:
        rows = train.flatten(1).cpu()
        self.shape = train.shape[1:]
        mean = rows.mean(0)
        # Randomised, because an exact decomposition of 3,072 pixels takes longer than the training.
        asked = min(components + 10, *rows.shape)
        _, _, directions = torch.svd_lowrank(rows - mean, q=asked, niter=4)
        self.mean, self.directions = mean.double(), directions[:, :components].double()
        self.codes = (rows.double() - self.mean) @ self.directions

    def measure_error(self, test: Tensor) -> float:
        """Summed squared error of a picture of `test` (N, ...) outside the components' span."""
        centred = test.flatten(1).cpu().double() - self.mean
        rest = centred - centred @ self.directions @ self.directions.T
        return float(rest.square().sum(1).mean())

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Pictures (count, ...) from a Gaussian over the components. generator: on the CPU."""
        codes = LatentGaussian.fit(self.codes).sample(count, generator=generator)
        rows = self.mean + codes @ self.directions.T
        return rows.float().reshape(count, *self.shape).clamp(0, 1)


def measure_separation(real: Tensor, made: Tensor) -> float:
    """Accuracy (%) of telling made pictures from real ones by the nearest other picture.

    50 is what pictures of one distribution give (Lopez-Paz and Oquab 2017); above it they are
    apart, below it made ones are copies. real and made: (N, ...) each, as many of both.
    """
    both = torch.cat([real.flatten(1), made.flatten(1)])
    distance = torch.cdist(both, both)
    distance.fill_diagonal_(torch.inf)
    is_made = torch.arange(len(both), device=both.device) >= len(real)
    return 100 * float((is_made[distance.argmin(1)] == is_made).float().mean())


def measure_psnr(error: Tensor) -> float:
    """Peak signal to noise (dB) from squared errors of pictures in [0, 1], their mean over all."""
    return float(-10 * error.mean().clamp(min=1e-12).log10())


def draw_rows(rows: dict[str, Tensor]) -> Figure:
    """A line of pictures (N, C, H, W) for each name, every line with N of its own size."""
    longest = max(len(pictures) for pictures in rows.values())
    figure = Figure(figsize=(0.8 * longest + 1.2, 0.85 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), longest, squeeze=False)
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        for ax in line:
            ax.set_axis_off()
        for ax, picture in zip(line, pictures.detach().cpu().clamp(0, 1), strict=False):
            ax.imshow(picture.permute(1, 2, 0).numpy(), cmap="gray", vmin=0, vmax=1)
        line[0].text(-0.1, 0.5, name, transform=line[0].transAxes, ha="right", va="center")
    return figure
