"""Races of GAN: the Parzen protocol against scikit-learn, maxout against a product for each piece.

Every race begins with a parity test; where it fails, no time is reported. Run it with `quire bench
gan`, or alone: `python benchmarks/gan.py`.
"""

import copy
import importlib
import json
from typing import Any

import torch
from torch import Tensor, nn

from quire.lab.bench import compare
from quire.lab.measure import largest_difference
from quire.papers.gan import SIGMAS, Maxout, parzen_log_likelihood

SAMPLES, TEST, DIM = 2000, 1000, 784
BATCH, UNITS, PIECES = 200, 240, 5
"""MNIST's discriminator sees 100 images and 100 samples."""


def main() -> dict[str, Any]:
    """Both races, in one thread: scikit-learn's has no more."""
    torch.set_num_threads(1)
    return {"races": [parzen_race(), maxout_race()]}


def parzen_race() -> dict[str, Any]:
    """Log-likelihoods of 1,000 images under 2,000 samples at the ten widths of the protocol.

    Both start from the samples and end with ten times 1,000 numbers. The peer's tree is one leaf,
    in which every pair counts: with its default of 40 rows a leaf it subtracts bounds that are far
    larger than what is left, and is thousands of nats off at 784 dimensions.
    """
    neighbours = importlib.import_module("sklearn.neighbors")
    generator = torch.Generator().manual_seed(0)
    samples = torch.rand(SAMPLES, DIM, generator=generator)
    test = torch.rand(TEST, DIM, generator=generator)
    widths = torch.tensor(SIGMAS, dtype=torch.float64)
    rows, asked = samples.double().numpy(), test.double().numpy()

    def ours() -> Tensor:
        return parzen_log_likelihood(samples, test, widths)

    def peer() -> Tensor:
        # One tree serves every width, which is all that it can share.
        scores = []
        model = neighbours.KernelDensity(leaf_size=len(rows)).fit(rows)
        for sigma in SIGMAS:
            model.bandwidth = model.bandwidth_ = sigma
            scores.append(torch.from_numpy(model.score_samples(asked)))
        return torch.stack(scores)

    difference = largest_difference(ours(), peer())
    result = {
        "name": "Parzen log-likelihood, 1,000 images of 784 under 2,000 samples, ten widths",
        "unit": "images/s",
        "goal": 10.0,
        "parity": difference <= 1e-5,
        "parity_test": f"log-likelihoods differ by {difference:.1e} nats at most",
    }
    if not result["parity"]:
        return result
    return result | compare({"ours": ours, "peer": peer}, TEST, repeats=5)


def maxout_race() -> dict[str, Any]:
    """Forward and backward of MNIST's first maxout layer, against one product for each piece."""
    torch.manual_seed(0)
    layer, x = Maxout(DIM, UNITS, pieces=PIECES), torch.rand(BATCH, DIM)

    def by_pieces(linear: nn.Linear, x: Tensor) -> Tensor:
        weight, bias = linear.weight, linear.bias
        pieces = (x @ weight[j::PIECES].T + bias[j::PIECES] for j in range(PIECES))
        return torch.stack(list(pieces)).amax(0)

    # In double precision, where rounding does not decide which of two pieces is the larger one.
    exact, inputs = copy.deepcopy(layer).double(), x.double()
    both = exact(inputs), by_pieces(exact.linear, inputs)
    slopes = [torch.autograd.grad(out.sin().sum(), exact.parameters()) for out in both]
    difference, apart = largest_difference(*both), largest_difference(*slopes)
    result = {
        "name": "maxout 784 to 240 with 5 pieces, batch 200, against one product for each piece",
        "unit": "forward and backward passes/s",
        "goal": 1.0,
        "parity": max(difference, apart) <= 1e-10,
        "parity_test": f"outputs differ by {difference:.1e} at most, gradients by {apart:.1e}",
    }
    if not result["parity"]:
        return result
    contestants = {
        "ours": lambda: layer(x).sum().backward(),
        "peer": lambda: by_pieces(layer.linear, x).sum().backward(),
    }
    return result | compare(contestants, 1, repeats=15)


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
