"""The compiled training loop (numba, the extra `fast`); `reference.py` is its readable twin.

One call walks over a piece of the corpus: it subsamples, draws a window for each centre word and
descends. All constants (dimension, architecture, loss) are compiled in, so inner loops are SIMD
code without remainder. It releases the GIL: several threads may run it on the same tables
(HogWild), and with one thread it gives the same numbers every time.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit

from quire.papers.word2vec.training.reference import MAX_LOGIT, MAX_SENTENCE, NO_DRAW, Form

MULTIPLIER, INCREMENT = np.uint64(25214903917), np.uint64(11)
"""The linear congruential generator of the authors' code."""

ONE, ZERO, LIMIT = np.float32(1), np.float32(0), np.float32(MAX_LOGIT)
HIGH = np.uint64(32)
OPTIONS: Any = {
    "nogil": True, "fastmath": True, "boundscheck": False, "error_model": "numpy",
}  # fmt: skip
F = TypeVar("F", bound=Callable[..., Any])


def inlined(function: F) -> F:
    """`function` as a part of the compiled loop."""
    compiled_part: F = njit(inline="always", **OPTIONS)(function)
    return compiled_part


@inlined
def advance(state: Any) -> Any:
    """The generator's next state."""
    return state * MULTIPLIER + INCREMENT


@inlined
def uniform(state: Any) -> Any:
    """The state's upper 24 bits as a number in [0, 1)."""
    return np.float32(state >> np.uint64(40)) * np.float32(2.0**-24)


@inlined
def noise(tables: Any, replay: Any, state: Any) -> Any:
    """A word of the noise distribution."""
    words = np.uint64(len(tables.keep))
    state = advance(state)
    if replay:
        word = tables.alias[np.int64((state >> np.uint64(16)) % np.uint64(len(tables.alias)))]
        if word == 0:
            word = np.int32(state % (words - np.uint64(1)) + np.uint64(1))
    else:
        column = np.int64(((state >> HIGH) * words) >> HIGH)
        state = advance(state)
        word = tables.alias[column]
        if uniform(state) < tables.threshold[column]:
            word = np.int32(column)
    return state, word


@inlined
def path(word: Any, rows: Any, labels: Any, tables: Any) -> Any:
    """Hierarchical softmax: the inner nodes that a word is trained against; how many."""
    count = np.int64(tables.lengths[word])
    for q in range(count):
        rows[q] = tables.points[word, q]
        labels[q] = np.float32(1 - tables.codes[word, q])
    return count


@inlined
def draw(word: Any, targets: Any, tables: Any, negative: Any, options: Any, state: Any) -> Any:
    """A word and `negative` draws of noise; those that hit the word itself count in NCE alone."""
    replay, nce = options
    rows, labels = targets
    rows[0], labels[0], count = word, ONE, 1
    for _ in range(negative):
        state, other = noise(tables, replay, state)
        if nce or other != word:
            rows[count], labels[count] = other, ZERO
            count += 1
    return state, count


@inlined
def logistic(f: Any, label: Any, sigmoid: Any, skips: Any, replay: Any) -> Any:
    """(label - sigmoid(f), loss) from the table; `skips`: no update beyond it (hierarchical)."""
    # The authors' code divides integers: 1000 / 6 / 2 = 83 bins a unit.
    scale = np.float32(83) if replay else np.float32(sigmoid.shape[1] / (2 * MAX_LOGIT))
    if f >= LIMIT:
        g, loss = (ZERO if skips else label - ONE), (ONE - label) * f
    elif f <= -LIMIT:
        g, loss = (ZERO if skips else label), -label * f
    else:
        place = min(np.int64((f + LIMIT) * scale), sigmoid.shape[1] - 1)
        g, loss = label - sigmoid[0, place], sigmoid[1, place] + (ONE - label) * f
    return g, loss


@inlined
def descend(h: Any, targets: Any, count: Any, tables: Any, rate: Any, error: Any, form: Any) -> Any:
    """Update output rows for the input h; its own error goes into `error`. Gives the loss."""
    dim, skips, nce, replay = form
    rows, labels = targets
    output, total = tables.output, ZERO
    for d in range(dim):
        error[d] = ZERO
    for q in range(count):
        row = rows[q]
        f = ZERO
        for d in range(dim):
            f += h[d] * output[row, d]
        if nce:
            f -= tables.shift[row]
        g, loss = logistic(f, labels[q], tables.sigmoid, skips, replay)
        total += loss
        g *= rate
        for d in range(dim):
            error[d] += g * output[row, d]
            output[row, d] += g * h[d]
    return total


@inlined
def descend_full(
    h: Any, word: Any, logits: Any, tables: Any, rate: Any, error: Any, dim: Any
) -> Any:
    """The same for the full softmax over all words."""
    output, largest, total = tables.output, np.float32(-np.inf), ZERO
    for w in range(len(logits)):
        f = ZERO
        for d in range(dim):
            f += h[d] * output[w, d]
        logits[w] = f
        largest = max(largest, f)
    for w in range(len(logits)):
        total += np.exp(logits[w] - largest)
    for d in range(dim):
        error[d] = ZERO
    loss = np.log(total) + largest - logits[word]
    for w in range(len(logits)):
        g = ((ONE if w == word else ZERO) - np.exp(logits[w] - largest) / total) * rate
        for d in range(dim):
            error[d] += g * output[w, d]
            output[w, d] += g * h[d]
    return loss


@inlined
def subsample(tokens: Any, place: Any, keep: Any, sentence: Any, replay: Any, state: Any) -> Any:
    """The next sentence, without the occurrences that subsampling drops."""
    length, read = 0, np.int64(0)
    while place < len(tokens) and length < MAX_SENTENCE:
        word = tokens[place]
        place += 1
        if word < 0:
            read += np.int64(replay)
            break
        read += 1
        kept = True
        if keep[word] < (NO_DRAW if replay else ONE):
            state = advance(state)
            u = np.float32(state & np.uint64(0xFFFF)) / np.float32(65536)
            kept = keep[word] >= (u if replay else uniform(state))
        if kept:
            sentence[length] = word
            length += 1
    return state, place, length, read


@functools.cache
def compiled(form: Form) -> Callable[..., Any]:
    """The function `train(tokens, tables, schedule, state) -> (state, loss, pairs)` of a form.

    tokens: int32, words as rows, -1 at the end of a sentence. The first call compiles it (seconds;
    numba keeps the result on disk). `loss` is the sum over pairs.
    """
    # Constants for the compiler: branches over them vanish, loops over `dim` have a known length.
    dim, window, negative, cbow, loss_name, shared, mean, corrected, fixed, replay = form
    hierarchical, full, nce = (loss_name == name for name in ("hierarchical", "full", "nce"))

    def train(tokens: Any, tables: Any, schedule: Any, state: Any) -> Any:
        # Room for a sentence, a word's targets and one error: nothing is allocated in the loop.
        sentence = np.empty(MAX_SENTENCE, np.int32)
        most = max(negative + 1, tables.points.shape[1])
        rows, labels = np.empty(most, np.int32), np.empty(most, np.float32)
        targets = rows, labels
        h, error = np.zeros(dim, np.float32), np.zeros(dim, np.float32)
        logits = np.empty(len(tables.output) if full else 1, np.float32)
        vectors = tables.input
        place, read, changed, loss, pairs, count = 0, 0, 0, 0.0, 0, 0
        rate = np.float32(0)
        constants = (dim, hierarchical, nce, replay)
        while place < len(tokens):
            # At sentences only, as the rate hardly changes within one.
            if place == 0 or read - changed > schedule.every:
                changed = read
                left = 1 - (schedule.before + read) / schedule.total
                rate = np.float32(schedule.rate * max(schedule.floor, left))
            # Dropped words are gone before windows are formed, so windows reach over them.
            state, place, length, words = subsample(
                tokens, place, tables.keep, sentence, replay, state
            )
            read += words
            # The authors' loop draws a window for an empty sentence, too.
            if replay and length == 0:
                state = advance(state)
            for i in range(length):
                word = sentence[i]
                # A half-width from 1..window: near words take part in more pairs.
                reach: Any = window
                if not fixed:
                    state = advance(state)
                    number = state if replay else state >> HIGH
                    reach = window - np.int64(number % np.uint64(window))
                lo, hi = max(0, i - reach), min(length, i + reach + 1)
                if hi - lo < 2:
                    continue
                # Targets that all context words share: the path, or one draw of noise.
                if hierarchical:
                    count = path(word, rows, labels, tables)
                elif (cbow or shared) and not full:
                    state, count = draw(word, targets, tables, negative, (replay, nce), state)
                # CBOW makes one input of the context, skip-gram takes its words in turn.
                if cbow:
                    size = np.float32(hi - lo - 1)
                    for d in range(dim):
                        h[d] = ZERO
                    for j in range(lo, hi):
                        if j != i:
                            for d in range(dim):
                                h[d] += vectors[sentence[j], d]
                    if mean:
                        for d in range(dim):
                            h[d] /= size
                for j in range(lo, lo + 1 if cbow else hi):
                    if j == i and not cbow:
                        continue
                    x = h if cbow else vectors[sentence[j]]
                    if full:
                        loss += descend_full(x, word, logits, tables, rate, error, dim)
                    else:
                        # As in the paper: noise of its own for each pair.
                        if not (cbow or shared or hierarchical):
                            state, count = draw(
                                word, targets, tables, negative, (replay, nce), state
                            )
                        loss += descend(x, targets, count, tables, rate, error, constants)
                    pairs += 1
                    if not cbow:
                        for d in range(dim):
                            x[d] += error[d]
                # The authors give every context word the whole error, not its part of the mean.
                if cbow:
                    scale = ONE / size if mean and corrected else ONE
                    for j in range(lo, hi):
                        if j != i:
                            for d in range(dim):
                                vectors[sentence[j], d] += scale * error[d]
        return state, loss, pairs

    # `train` takes only numbers from around it, and no function: so numba's cache knows it again.
    return _cached(train)


def _cached(function: Callable[..., Any]) -> Callable[..., Any]:
    """The compiled function, kept on disk where there is a folder that can be written to."""
    try:
        found: Callable[..., Any] = njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # neither the package's folder nor the user's: compiled for this process
        found = njit(**OPTIONS)(function)
    return found


@functools.cache
def compiled_draws() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The loop's own draws, for tests of their distributions: two functions.

    `draw_noise(tables, state, count)` gives so many words of noise, int32;
    `draw_kept(tables, tokens, state)` the tokens (int32, -1 at ends of sentences) that subsampling
    keeps.
    """

    def draw_noise(tables: Any, state: Any, count: Any) -> Any:
        drawn = np.empty(count, np.int32)
        for i in range(count):
            state, drawn[i] = noise(tables, False, state)
        return drawn

    def draw_kept(tables: Any, tokens: Any, state: Any) -> Any:
        kept, total = np.empty(len(tokens), np.int32), 0
        sentence, place = np.empty(MAX_SENTENCE, np.int32), 0
        while place < len(tokens):
            state, place, length, _ = subsample(tokens, place, tables.keep, sentence, False, state)
            kept[total : total + length] = sentence[:length]
            total += length
        return kept[:total]

    return njit(**OPTIONS)(draw_noise), njit(**OPTIONS)(draw_kept)
