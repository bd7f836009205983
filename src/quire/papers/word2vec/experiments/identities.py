"""What holds exactly, or up to chance that is known: trees, noise, subsampling, the optimum."""

import math

import numpy as np
import torch
from pydantic import Field, PositiveInt
from scipy import stats

from quire.lab import Config, Metrics, Run
from quire.papers.word2vec.huffman import huffman
from quire.papers.word2vec.losses import HierarchicalSoftmax, NegativeSampling
from quire.papers.word2vec.vocabulary import keep_probability, noise_distribution


class Identities(Config):
    """What holds exactly, or up to chance that is known."""

    words: PositiveInt = 500
    """Words of a vocabulary by Zipf's law."""
    draws: PositiveInt = 1_000_000
    """Noise words drawn."""
    corpus_words: int = Field(20, ge=3)
    """Words of the corpus on which the optimum of negative sampling is computed."""


def identities(config: Identities, run: Run) -> Metrics:
    """Trees, noise, subsampling and the optimum of negative sampling against closed forms."""
    counts = np.maximum(1, (1e6 / np.arange(1, config.words + 1)).astype(np.int64))
    share = counts / counts.sum()
    tree = huffman(counts)
    entropy = -float((share * np.log2(share)).sum())
    loss = HierarchicalSoftmax(counts, 16).double()
    with torch.no_grad():
        loss.input.normal_(generator=run.rng("input"))
        loss.output.normal_(generator=run.rng("output"))
        every = torch.arange(config.words)
        sums = [(-loss(torch.full_like(every, word), every)).exp().sum() for word in range(20)]
    sampler = NegativeSampling(counts, 2)
    drawn = sampler.draw(config.draws // 100, 100, run.rng("noise")).flatten()
    seen = torch.bincount(drawn, minlength=config.words).numpy()
    expected = noise_distribution(counts) * seen.sum()
    chi = float(stats.chisquare(seen, expected).pvalue)
    paper, code = (keep_probability(counts, 1e-3, variant) for variant in ("paper", "code"))
    return {
        "sum_error": max(abs(float(s) - 1) for s in sums),
        "code_excess": float((share * tree.lengths).sum()) - entropy,
        "noise_p": chi,
        "keep_error": float(
            np.abs(paper - np.minimum(1, np.sqrt(1e-3 / share))).max()
            + np.abs(code - np.minimum(1, np.sqrt(1e-3 / share) + 1e-3 / share)).max()
        ),
        "optimum_error": optimum_error(config.corpus_words, run),
    }


def optimum_error(words: int, run: Run, negatives: int = 5) -> float:
    """Largest distance of the optimum of negative sampling from shifted PMI (Levy and Goldberg).

    With as many dimensions as words, the expected loss over all pairs has its minimum where
    v'_o.v_i = log(P(i, o) / (P(i) P_n(o))) - log k.
    """
    counts = torch.randint(1, 50, (words, words), generator=run.rng("pairs")).double()
    joint = (counts + counts.T) / (counts + counts.T).sum()
    unigram = joint.sum(1)
    noise = torch.from_numpy(noise_distribution(unigram.numpy()))
    wanted = (joint / (unigram[:, None] * noise)).log() - math.log(negatives)
    v, o = (
        torch.randn(words, words, generator=run.rng(side)).double().requires_grad_()
        for side in ("v", "o")
    )
    search = torch.optim.LBFGS(
        [v, o], max_iter=2000, tolerance_grad=1e-12, tolerance_change=1e-16, history_size=50,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def loss() -> torch.Tensor:
        search.zero_grad()
        x = v @ o.T
        positive = joint * torch.nn.functional.logsigmoid(x)
        negative = unigram[:, None] * noise * torch.nn.functional.logsigmoid(-x)
        total = -(positive + negatives * negative).sum() * 1000
        total.backward()
        return total.detach()

    for _ in range(5):
        search.step(loss)
    return float((v @ o.T - wanted).detach().abs().max())
