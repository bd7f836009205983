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


def train(
    run: Run,
    net: nn.Module,
    loss_at: Callable[[int], Tensor],
    *,
    steps: int,
    learning_rate: float,
    look: Callable[[], Tensor] | None = None,
) -> list[tuple[int, float]]:
    """Adam on `loss_at(step)`; gives (updates done, what `look` gave) at ten moments.

    Args:
        run: Its steps.
        net: What is trained.
        loss_at: The loss of one step, a scalar.
        steps: Updates.
        learning_rate: Adam's, after a short rise.
        look: Measured at a tenth, two tenths ... of the steps.
    """
    optimizer = torch.optim.Adam(net.parameters(), lr=learning_rate)
    kept = Kept()
    every = max(1, steps // LOOKS)
    for step in run.steps(steps, state=(net, optimizer, kept)):
        set_rate(optimizer, learning_rate * warm_up(step, WARM_UP))
        loss = loss_at(step)
        update(loss, net, optimizer)
        run.log(loss=loss)
        if look is not None and (step + 1) % every == 0:
            kept.add("step", step + 1)
            kept.add("look", look())
    return list(zip(kept.series.get("step", []), kept.series.get("look", []), strict=True))


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
