"""The two players and the step of algorithm 1.

B examples in a minibatch, Z the width of the noise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from quire.papers.gan.losses import OBJECTIVES, Objective

Penalty = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(discriminator, real, fake) -> a scalar that is added to the discriminator's loss."""
Augment = Callable[[Tensor], Tensor]
"""Examples (B, ...) -> as many, each changed in a random way that a gradient passes."""


class GAN(nn.Module):
    """A generator and a discriminator, with the loss of each on a minibatch.

    Calling it draws samples: noise (B, Z) gives what the generator gives.

    Args:
        generator: noise (B, Z) -> samples (B, ...).
        discriminator: examples (B, ...) -> logits (B,), before the sigmoid.
        loss: The generator's, "non-saturating" or "saturating", or an `Objective` for both players.
        penalty: What is added to the discriminator's loss, a function of (discriminator, real,
            fake).
        pack: Examples that the discriminator judges at once, side by side in their last dimension
            (PacGAN, Lin et al. 2018); it must be built for inputs as much wider.
        apart: Show data and samples to the discriminator one after the other. Together is faster;
            a discriminator with batch statistics needs them apart.
        augment: Changes data and samples alike before the discriminator sees them, in the steps of
            both players (Zhao et al. 2020), such as `diff_augment`.

    Players that take (x, labels) play a conditional game: see `given`. Raises ValueError for
    another loss or a pack below 1.

    Example:
        >>> gan = GAN(nn.Linear(4, 2), nn.Sequential(nn.Linear(2, 1), nn.Flatten(0)))
        >>> gan(torch.randn(3, 4)).shape
        torch.Size([3, 2])
        >>> gan.discriminator_loss(torch.randn(3, 2), torch.randn(3, 4)).shape
        torch.Size([])
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: Literal["non-saturating", "saturating"] | Objective = "non-saturating",
        *,
        penalty: Penalty | None = None,
        pack: int = 1,
        apart: bool = False,
        augment: Augment | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(loss, Objective) and loss not in OBJECTIVES:
            raise ValueError(
                f"loss must be one of {', '.join(OBJECTIVES)} or an Objective, got {loss!r}"
            )
        if pack < 1:
            raise ValueError(f"pack must be at least 1, got {pack}")
        self.generator, self.discriminator = generator, discriminator
        self.objective = loss if isinstance(loss, Objective) else OBJECTIVES[loss]
        self.penalty, self.pack, self.apart, self.augment = penalty, pack, apart, augment
        self.told: int | None = None
        """How many labels both players are told; None where the game has none."""

    def forward(self, noise: Tensor) -> Tensor:
        """Samples for noise (B, Z)."""
        return self.generator(noise)

    def given(self, labels: Tensor) -> "GAN":
        """The same game where both players are told the classes (Mirza and Osindero 2014).

        Its players are these ones, which must take (x, labels), with the labels filled in: every
        loss of it goes as without them, and trains these weights.

        labels: (B,), of a minibatch of B examples and as many noises. Raises ValueError where the
        discriminator judges several examples at once.
        """
        if self.pack > 1:
            raise ValueError(
                f"a conditional game judges one example at a time, got pack {self.pack}"
            )
        players = Told(self.generator, labels), Told(self.discriminator, labels)
        game = GAN(
            *players, self.objective, penalty=self.penalty, apart=self.apart, augment=self.augment
        )
        game.told = len(labels)
        return game

    def score(self, x: Tensor) -> Tensor:
        """Logits of examples (B, ...) as they are: (B / pack,).

        Raises ValueError where B does not divide.
        """
        return self.discriminator(pack_rows(x, self.pack))

    def show(self, x: Tensor) -> Tensor:
        """What the discriminator sees of examples (B, ...) in training: augmented, then packed."""
        return pack_rows(x if self.augment is None else self.augment(x), self.pack)

    def discriminator_loss(self, real: Tensor, noise: Tensor) -> Tensor:
        """What D goes down, a scalar; nothing of it reaches the generator.

        real: data (B, ...); noise (M, Z). Raises ValueError for data that are not of the samples'
        shape, and for an empty minibatch.
        """
        with torch.no_grad():
            fake = self.generator(noise)
        return self.compare(real, fake)

    def compare(self, real: Tensor, fake: Tensor) -> Tensor:
        """The discriminator's loss, with its penalty, on data and samples (B, ...)."""
        if real.shape[1:] != fake.shape[1:]:
            raise ValueError(
                "data must have the shape of the samples, "
                f"{tuple(fake.shape[1:])}, got {tuple(real.shape[1:])}"
            )
        if self.told is not None and not len(real) == len(fake) == self.told:
            raise ValueError(
                f"each of {self.told} labels is of one example and one sample, "
                f"got {len(real)} and {len(fake)}"
            )
        real, fake = self.show(real), self.show(fake)
        if self.apart:
            scores = self.discriminator(real), self.discriminator(fake)
        else:
            both = self.discriminator(torch.cat([real, fake]))
            scores = both[: len(real)], both[len(real) :]
        loss = self.objective.discriminator(*scores)
        if self.penalty is not None:
            loss = loss + self.penalty(self.discriminator, real, fake)
        return loss

    def generator_loss(self, noise: Tensor, real: Tensor | None = None) -> Tensor:
        """What G goes down, a scalar; the gradient passes through D with its dropout on.

        noise: (B, Z); real: data for an objective that pairs. Raises ValueError for an empty
        minibatch, and where an objective that pairs gets no data.
        """
        fake = self.discriminator(self.show(self.generator(noise)))
        if real is None or not self.objective.pairs:
            return self.objective.generator(fake, None)
        return self.objective.generator(fake, self.discriminator(self.show(real)))

    def unrolled_generator_loss(
        self, noise: Tensor, real: Tensor, *, steps: int, learning_rate: float
    ) -> Tensor:
        """The generator's loss against the discriminator as it will be (Metz et al. 2017), ().

        The discriminator takes `steps` plain gradient steps on this minibatch, through which the
        generator's gradient passes; its own weights stay as they are.

        Args:
            noise: (B, Z).
            real: Data, (B, ...).
            steps: Gradient steps of the discriminator; 0 is `generator_loss`.
            learning_rate: Of these steps.
        """
        fake, real = self.show(self.generator(noise)), self.show(real)
        weights: dict[str, Tensor] = dict(self.discriminator.named_parameters())

        def score(x: Tensor) -> Tensor:
            return functional_call(self.discriminator, weights, (x,))

        for _ in range(steps):
            loss = self.objective.discriminator(score(real), score(fake))
            slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            weights = {
                name: weight - learning_rate * slope
                for (name, weight), slope in zip(weights.items(), slopes, strict=True)
            }
        return self.objective.generator(score(fake), score(real) if self.objective.pairs else None)


class Told(nn.Module):
    """A player with the labels (B,) of a minibatch filled in.

    Rows that are a multiple of B are so many minibatches of the same labels: the data and the
    samples that a discriminator sees together.
    """

    def __init__(self, player: nn.Module, labels: Tensor) -> None:
        super().__init__()
        self.player, self.labels = player, labels

    def forward(self, x: Tensor) -> Tensor:
        """What the player gives for x and its labels. Raises ValueError for other numbers."""
        if not len(self.labels) or len(x) % len(self.labels):
            raise ValueError(f"{len(self.labels)} labels do not fit a minibatch of {len(x)}")
        return self.player(x, self.labels.repeat(len(x) // len(self.labels)))


def pack_rows(x: Tensor, pack: int) -> Tensor:
    """`pack` neighbours side by side: (B, ..., D) to (B / pack, ..., pack D).

    Raises ValueError where B is no multiple of `pack`.
    """
    if pack == 1:
        return x
    if len(x) % pack:
        raise ValueError(f"a minibatch must be a multiple of pack = {pack}, got {len(x)} examples")
    return torch.cat(x.unflatten(0, (-1, pack)).unbind(1), -1)


@dataclass(frozen=True)
class Players:
    """The optimiser of each player, over its own parameters."""

    discriminator: Optimizer
    generator: Optimizer


def train_discriminator(gan: GAN, players: Players, real: Tensor, noise: Tensor) -> Tensor:
    """One step of D up V; gives its loss before the step, ().

    Args:
        gan: Both players.
        players: Their optimisers.
        real: Data, (B, ...).
        noise: (B, Z).
    """
    loss = gan.discriminator_loss(real, noise)
    return descend(loss, gan.discriminator, players.discriminator)


def train_generator(
    gan: GAN, players: Players, noise: Tensor, real: Tensor | None = None
) -> Tensor:
    """One step of G; gives its loss before the step, (). D gets no gradient from it.

    Args:
        gan: Both players.
        players: Their optimisers.
        noise: (B, Z), not used before.
        real: Data, where the objective pairs.
    """
    return descend(gan.generator_loss(noise, real), gan.generator, players.generator)


def train_alternately(
    gan: GAN,
    players: Players,
    reals: Sequence[Tensor],
    noises: Sequence[Tensor],
    *,
    labels: Sequence[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """One iteration of algorithm 1: k steps of D, then one of G on fresh noise.

    Gives the last loss of D and that of G, scalars.

    Args:
        gan: Both players.
        players: Their optimisers.
        reals: k minibatches of data, (B, ...) each.
        noises: k + 1 of noise, (B, Z) each: one for each step of D, and one for G.
        labels: In a conditional game the classes of the data, k times (B,); G is asked for those
            of the last minibatch.

    Raises ValueError for another number of them.
    """
    if not reals or len(noises) != len(reals) + 1:
        raise ValueError(
            "algorithm 1 takes k >= 1 minibatches of data and k + 1 of noise, "
            f"got {len(reals)} and {len(noises)}"
        )
    if labels is not None and len(labels) != len(reals):
        raise ValueError(f"each of {len(reals)} minibatches has labels, got {len(labels)}")
    games = [gan] * len(reals) if labels is None else [gan.given(chosen) for chosen in labels]
    for game, real, noise in zip(games, reals, noises, strict=False):
        ours = train_discriminator(game, players, real, noise)
    theirs = train_generator(games[-1], players, noises[-1], reals[-1])
    return ours, theirs


def train_at_once(gan: GAN, players: Players, real: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Both players step from the same point, as in the authors' code; the same noise serves both.

    Gives both losses, scalars. Their code also halves D's loss: halve its learning rate for that.

    Args:
        gan: Both players.
        players: Their optimisers.
        real: Data, (B, ...).
        noise: (B, Z).
    """
    ours = gan.discriminator_loss(real, noise)
    theirs = gan.generator_loss(noise, real)
    players.generator.zero_grad()
    # Before D's step, which changes weights that this gradient needs.
    theirs.backward(inputs=list(gan.generator.parameters()))
    descend(ours, gan.discriminator, players.discriminator)
    players.generator.step()
    return ours.detach(), theirs.detach()


def descend(loss: Tensor, player: nn.Module, optimizer: Optimizer) -> Tensor:
    """One step of one player down a loss; the other player's gradients are not touched."""
    optimizer.zero_grad()
    loss.backward(inputs=[weight for weight in player.parameters() if weight.requires_grad])
    optimizer.step()
    return loss.detach()
