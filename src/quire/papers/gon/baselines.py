"""What a GON is compared with: autoencoders, tied autoencoders, and latents learned one by one.

Legend: B examples, K latent dimensions, N training examples.
"""

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quire.papers.gon.decoders import ConvDecoder, DenseDecoder, NormMaker
from quire.papers.gon.gon import GONOutput
from quire.papers.gon.origin import Loss, sum_squares


class Autoencoder(nn.Module):
    """Encoder, then decoder; gives what a `GON` gives.

    `encoder` gives the latents (B, K) that `decoder` takes. loss: one number an example.

    Example:
        >>> import torch
        >>> from quire.papers.gon import Autoencoder, DenseDecoder, DenseEncoder
        >>> net = Autoencoder(DenseEncoder(16, (1, 8, 8)), DenseDecoder(16, (1, 8, 8)))
        >>> net(torch.rand(5, 1, 8, 8)).latent.shape
        torch.Size([5, 16])
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, *, loss: Loss = sum_squares) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.loss = loss

    def forward(self, x: Tensor) -> GONOutput:
        """Data (B, ...) -> reconstructions and latents."""
        z = self.encoder(x)
        return GONOutput(self.decoder(z), z)

    def encode(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, K)."""
        out: Tensor = self.encoder(x)
        return out

    def decode(self, z: Tensor) -> Tensor:
        """(B, K) -> (B, ...)."""
        out: Tensor = self.decoder(z)
        return out

    def measure_loss(self, x: Tensor) -> Tensor:
        """The reconstruction loss of each example, (B,)."""
        return self.loss(self(x).reconstruction, x)


class TiedEncoder(nn.Module):
    """The decoder's own weights, transposed and last first, with biases of its own.

    What a GON's encoder is up to a Jacobian, without the second derivative: images (B, ...) ->
    (B, K).

    Args:
        decoder: Its weights are shared and not copied.
        norm: Made before each activation, beside a `ConvDecoder` that normalises.

    Example:
        >>> import torch
        >>> from quire.papers.gon import DenseDecoder, TiedEncoder
        >>> TiedEncoder(DenseDecoder(16, (1, 8, 8)))(torch.rand(5, 1, 8, 8)).shape
        torch.Size([5, 16])
    """

    def __init__(
        self, decoder: DenseDecoder | ConvDecoder, *, norm: NormMaker | None = None
    ) -> None:
        super().__init__()
        self.decoder = decoder
        widths = [
            m.in_features if isinstance(m, nn.Linear) else m.in_channels for m in self._weighted()
        ]
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(width)) for width in widths)
        self.norms = nn.ModuleList(norm(width) for width in widths[:-1] if norm is not None)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, K)."""
        weighted, between = self._weighted(), self._activations()
        h = x.flatten(1) if isinstance(weighted[0], nn.Linear) else x
        for place, (layer, bias) in enumerate(zip(weighted, self.biases, strict=True)):
            if isinstance(layer, nn.Linear):
                h = F.linear(h, layer.weight.T, bias)
            else:
                h = F.conv2d(h, layer.weight, bias, layer.stride, layer.padding)
            if place < len(between):
                if self.norms:
                    h = self.norms[place](h)
                h = between[place](h)
        return h.flatten(1)

    def _weighted(self) -> list[nn.Linear | nn.ConvTranspose2d]:
        """The decoder's layers with weights, last first."""
        layers = list(self.decoder.layers)[::-1]
        return [m for m in layers if isinstance(m, nn.Linear | nn.ConvTranspose2d)]

    def _activations(self) -> list[nn.Module]:
        """The decoder's activations, each of which stands right before such a layer, last first."""
        pairs = pairwise(list(self.decoder.layers)[::-1])
        return [b for a, b in pairs if isinstance(a, nn.Linear | nn.ConvTranspose2d)]


class LearnedLatents(nn.Module):
    """Generative latent optimisation (GLO; Bojanowski et al. 2018): a latent for each example.

    Latents of training examples are learned beside the decoder; those of new ones by descent with
    the decoder fixed (`infer`).

    Args:
        decoder: Latents (B, K) to reconstructions (B, ...); it has an attribute `latent`.
        examples: N, the size of the training set.
        loss: One number an example.

    Example:
        >>> import torch
        >>> from quire.papers.gon import DenseDecoder, LearnedLatents
        >>> net = LearnedLatents(DenseDecoder(16, (1, 8, 8)), 100)
        >>> net(torch.tensor([[3], [7]])).reconstruction.shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(self, decoder: nn.Module, examples: int, *, loss: Loss = sum_squares) -> None:
        super().__init__()
        latent = cast("int", decoder.latent)
        self.decoder = decoder
        self.loss = loss
        self.latents = nn.Embedding(examples, latent)
        nn.init.normal_(self.latents.weight, std=latent**-0.5)

    def forward(self, index: Tensor) -> GONOutput:
        """Places (B, ) or (B, 1) in the training set -> reconstructions and latents."""
        z = self.latents(index.flatten())
        return GONOutput(self.decoder(z), z)

    def measure_loss(self, index: Tensor, x: Tensor) -> Tensor:
        """The reconstruction loss of each example, (B,); index (B,) says which ones they are."""
        return self.loss(self(index).reconstruction, x)

    def infer(self, x: Tensor, *, steps: int = 500, learning_rate: float = 0.05) -> Tensor:
        """Latents (B, K) of new data (B, ...), by Adam from zero; steps: how many."""
        with torch.enable_grad():
            z = x.new_zeros(len(x), self.latents.embedding_dim, requires_grad=True)
            optimizer = torch.optim.Adam([z], lr=learning_rate)
            for _ in range(steps):
                # Of the latents alone: the decoder's parameters keep their gradients and flags.
                (z.grad,) = torch.autograd.grad(self.loss(self.decoder(z), x).sum(), z)
                optimizer.step()
        return z.detach()
