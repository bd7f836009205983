"""What holds exactly, or up to chance that is known: trees, noise, subsampling, the optimum."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveInt
from scipy import stats

from quire.lab import Config, Metrics, Run
from quire.papers.word2vec.huffman import huffman
from quire.papers.word2vec.losses import HierarchicalSoftmax, NegativeSampling
from quire.papers.word2vec.training.kernel import compiled_draws
from quire.papers.word2vec.training.reference import Form
from quire.papers.word2vec.training.session import Training, build_tables
from quire.papers.word2vec.vocabulary import Vocabulary, keep_probability, noise_distribution

SAMPLE = 1e-3
"""t of subsampling."""


class Identities(Config):
    """What holds exactly, or up to chance that is known."""

    words: PositiveInt = 500
    """Words of a vocabulary by Zipf's law."""
    draws: PositiveInt = 1_000_000
    """Noise words drawn, and about as many words that subsampling keeps or drops."""
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
    paper, code = (keep_probability(counts, SAMPLE, variant) for variant in ("paper", "code"))
    # The formula as the authors' code has it, with counts.
    least = SAMPLE * counts.sum()
    written = np.minimum(1, (np.sqrt(counts / least) + 1) * least / counts)
    return {
        "sum_error": max(abs(float(s) - 1) for s in sums),
        "code_excess": float((share * tree.lengths).sum()) - entropy,
        "keep_error": float(
            np.abs(1 - paper - np.maximum(0, 1 - np.sqrt(SAMPLE / share))).max()
            + np.abs(code - written).max()
        ),
        **draw_p_values(counts, config.draws, run.seed),
        "optimum_error": optimum_error(config.corpus_words, run),
    }


def draw_p_values(counts: NDArray[np.int64], draws: int, seed: int) -> Metrics:
    """Chi-square tests of what the compiled loop itself draws: its noise, and what it keeps."""
    size = len(counts)
    form = Form(1, 1, 1, False, "negative", False)
    vocabulary, table = Vocabulary([str(w) for w in range(size)], counts), np.zeros((size, 1))
    tables = build_tables(
        vocabulary, table.astype(np.float32), table.astype(np.float32), form, SAMPLE, Training()
    )
    draw_noise, draw_kept = compiled_draws()
    seen = np.bincount(draw_noise(tables, np.uint64(seed), draws), minlength=size)
    tokens = np.tile(np.arange(size, dtype=np.int32), draws // size)
    kept = np.bincount(draw_kept(tables, tokens, np.uint64(seed + 1)), minlength=size)
    # Each word is kept binomially; words that always stay scatter not at all.
    keep, tries = keep_probability(counts, SAMPLE), draws // size
    some = keep < 1
    scatter = (kept - tries * keep)[some] ** 2 / (tries * keep * (1 - keep))[some]
    always = bool((kept[~some] == tries).all())
    return {
        "noise_p": float(stats.chisquare(seen, noise_distribution(counts) * draws).pvalue),
        "keep_p": float(stats.chi2.sf(scatter.sum(), some.sum())) if always else 0.0,
    }


def optimum_error(words: int, run: Run, negatives: int = 5) -> float:
    """Largest distance of the optimum of `NegativeSampling` from shifted PMI (Levy and Goldberg).

    With as many dimensions as words, the expected loss over all pairs has its minimum where
    v'_o.v_i = log(P(i, o) / (P(i) P_n(o))) - log k. The module leaves out noise that hits the
    context word, so that o is noise to i only where another word was drawn: P(i) - P(i, o) stands
    in place of P(i).
    """
    counts = torch.randint(1, 50, (words, words), generator=run.rng("pairs")).double()
    joint = (counts + counts.T) / (counts + counts.T).sum()
    unigram = joint.sum(1)
    noise = torch.from_numpy(noise_distribution(unigram.numpy()))
    others = unigram[:, None] - joint
    wanted = (joint / (others * noise)).log() - math.log(negatives)
    module = NegativeSampling([1] * words, words).double()
    with torch.no_grad():
        module.input.normal_(generator=run.rng("v"))
        module.output.normal_(generator=run.rng("o"))
    search = torch.optim.LBFGS(
        module.parameters(), max_iter=2000, tolerance_grad=1e-12, tolerance_change=1e-16,
        history_size=50, line_search_fn="strong_wolfe",
    )  # fmt: skip
    # All pairs. A word is noise to i in the same way whatever the context word, if it is another.
    i, o = (index.flatten() for index in torch.meshgrid([torch.arange(words)] * 2, indexing="ij"))
    other = (o + 1) % words

    def loss() -> torch.Tensor:
        search.zero_grad()
        # Noise that hits the context word is left out: what remains is the true pair's part.
        true = module(i, o, o[:, None])
        false = module(i, other, o[:, None]) - module(i, other, other[:, None])
        weight = negatives * (others * noise)[i, o]
        total = (joint[i, o] * true + weight * false).sum() * 1000
        total.backward()
        return total.detach()

    for _ in range(5):
        search.step(loss)
    return float((module.input @ module.output.T - wanted).detach().abs().max())
