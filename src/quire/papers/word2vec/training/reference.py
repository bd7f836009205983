"""The training loop in plain NumPy: what the compiled one (`kernel.py`) is tested against.

It follows the authors' program word2vec.c step by step, in Python's speed: for reading and for
tests. Shapes: W words, D dimensions.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MULTIPLIER, INCREMENT, MODULUS = 25214903917, 11, 2**64
"""The linear congruential generator of the authors' code."""

MAX_SENTENCE = 1000
"""Kept words of a sentence; longer ones are cut."""

MAX_LOGIT = 6.0
"""The sigmoid counts as 0 or 1 beyond."""

NO_DRAW = 2.0
"""A `keep` from here on means that a replay draws nothing: the authors do not where sample is 0."""


class Tables(NamedTuple):
    """Arrays that training reads and writes. W words."""

    input: NDArray[np.float32]
    """(W, D) vectors of words as input: the ones that are kept."""
    output: NDArray[np.float32]
    """(W or W - 1, D) vectors of words, or of inner nodes, as output."""
    keep: NDArray[np.float32]
    """(W) probability that subsampling keeps a word."""
    threshold: NDArray[np.float32]
    """(W) alias tables of the noise; empty in a replay."""
    alias: NDArray[np.int32]
    """(W) as above; in a replay the authors' noise table."""
    shift: NDArray[np.float32]
    """(W) log(k P_n(w)) that NCE takes from a logit."""
    points: NDArray[np.int32]
    """(W, depth) inner nodes on the way to a word."""
    codes: NDArray[np.int8]
    """(W, depth) branches taken there."""
    lengths: NDArray[np.int32]
    """(W) how many."""
    sigmoid: NDArray[np.float32]
    """(2, bins) sigmoid, and softplus of minus x, over -6..6."""


class Schedule(NamedTuple):
    """Learning rate of a piece: rate * max(floor, 1 - (before + words read) / total)."""

    rate: float
    floor: float
    before: float
    total: float
    every: int
    """Words between two changes of the rate."""

    def at(self, read: int) -> np.float32:
        """The rate after `read` words of the piece."""
        left = 1 - (self.before + read) / self.total
        return np.float32(self.rate * max(self.floor, left))


class Form(NamedTuple):
    """What is compiled in."""

    dim: int
    """D."""
    window: int
    negative: int
    cbow: bool
    loss: str
    shared: bool
    """Skip-gram: one draw of negatives for all context words of a centre word."""
    cbow_mean: bool = True
    corrected: bool = False
    """CBOW: divide the error by the number of context words, as the mean's gradient asks."""
    fixed_window: bool = False
    replay: bool = False
    """The authors' random stream, noise table, sigmoid table and end-of-sentence word (row 0)."""


def sigmoid_table(bins: int) -> NDArray[np.float32]:
    """(2, bins): the sigmoid, and softplus(-x), at the left edges of bins over -6..6."""
    x = (np.arange(bins) / bins * 2 - 1) * MAX_LOGIT
    return np.stack([1 / (1 + np.exp(-x)), np.log1p(np.exp(-x))]).astype(np.float32)


def train(
    tokens: NDArray[np.int32], tables: Tables, schedule: Schedule, state: int, form: Form
) -> tuple[int, float, int]:
    """Train on a piece of the corpus; gives the generator's state, the summed loss and the pairs.

    Args:
        tokens: Words as rows, int32, -1 at the end of a sentence.
        tables: What is read, and `input` and `output`, which are changed in place.
        schedule: The learning rate.
        state: The generator's state before the first draw.
        form: Architecture and loss.
    """
    stream = Stream(int(state), tables, form)
    place = read = changed = pairs = 0
    loss = 0.0
    rate = schedule.at(0)
    while place < len(tokens):
        if read - changed > schedule.every:
            rate, changed = schedule.at(read), read
        # Dropped words are gone before windows are formed, so windows reach over them.
        sentence, place, words = stream.sentence(tokens, place)
        read += words
        if form.replay and not sentence:
            stream.advance()  # the authors' loop draws a window for an empty sentence, too
        for i, word in enumerate(sentence):
            reach = form.window if form.fixed_window else form.window - stream.below(form.window)
            # Each context word predicts the centre word: the paper's pairs the other way round.
            context = [*sentence[max(0, i - reach) : i], *sentence[i + 1 : i + reach + 1]]
            if not context:
                continue
            if form.cbow:
                loss += bag_of_words(word, context, stream, tables, rate, form)
                pairs += 1
                continue
            targets = None
            for other in context:
                # The centre word and its noise are drawn anew for each pair, unless shared.
                if targets is None or not form.shared:
                    targets = stream.targets(word)
                more, error = descend(tables.input[other], targets, tables, rate, form)
                tables.input[other] += error
                loss, pairs = loss + more, pairs + 1
    return stream.state, loss, pairs


def bag_of_words(
    word: int, context: list[int], stream: "Stream", tables: Tables, rate: np.float32, form: Form
) -> float:
    """CBOW: the context's mean (or sum) predicts the word; the error goes to every context word.

    The authors' code gives each the whole error; `corrected` divides it as the gradient asks.
    """
    h = tables.input[context].sum(0)
    if form.cbow_mean:
        h = h / np.float32(len(context))
    loss, error = descend(h, stream.targets(word), tables, rate, form)
    if form.cbow_mean and form.corrected:
        error = error / np.float32(len(context))
    np.add.at(tables.input, context, error)  # a word may stand twice in the context
    return loss


def descend(
    h: NDArray[np.float32],
    targets: list[tuple[int, int]],
    tables: Tables,
    rate: np.float32,
    form: Form,
) -> tuple[float, NDArray[np.float32]]:
    """Update the output rows for the input h (D); gives the loss and h's own update.

    Args:
        h: A word's input vector, or the context's mean (D).
        targets: Rows of `tables.output` with their labels.
        tables: `output` is changed in place.
        rate: The learning rate.
        form: Architecture and loss.
    """
    output, error, total = tables.output, np.zeros_like(h), 0.0
    if form.loss == "full":
        logits = output @ h
        p = np.exp(logits - logits.max())
        p /= p.sum()
        word = targets[0][0]
        total = -float(np.log(p[word]))
        g = -p * rate
        g[word] += rate
        error = g @ output
        output += np.outer(g, h)
        return total, error
    for row, label in targets:
        f = float(h @ output[row])
        if form.loss == "nce":
            f -= float(tables.shift[row])
        g, loss = logistic(f, label, tables.sigmoid, form)
        total += loss
        g *= rate
        # First what h gets from the row as it was, then the row itself.
        error += g * output[row]
        output[row] += g * h
    return total, error


def logistic(
    f: float, label: int, sigmoid: NDArray[np.float32], form: Form
) -> tuple[np.float32, float]:
    """(label - sigmoid(f), loss). Beyond +-6 the sigmoid is 0 or 1; hierarchical softmax then
    leaves the node as it is."""
    bins = sigmoid.shape[1]
    if abs(f) >= MAX_LOGIT:
        g = 0 if form.loss == "hierarchical" else label - (f > 0)
        return np.float32(g), max(0.0, -f if label else f)
    # The authors' code divides integers: 1000 / 6 / 2 = 83 bins a unit.
    place = int((f + MAX_LOGIT) * (83 if form.replay else bins / (2 * MAX_LOGIT)))
    place = min(place, bins - 1)
    return np.float32(label) - sigmoid[0, place], float(sigmoid[1, place]) + (1 - label) * f


class Stream:
    """All that is drawn at random, from one generator: x <- 25214903917 x + 11 modulo 2^64."""

    def __init__(self, state: int, tables: Tables, form: Form) -> None:
        self.state, self.tables, self.form = state, tables, form

    def advance(self) -> int:
        """The next state."""
        self.state = (self.state * MULTIPLIER + INCREMENT) % MODULUS
        return self.state

    def uniform(self) -> float:
        """The upper 24 bits of the next state, in [0, 1)."""
        return (self.advance() >> 40) / 2**24

    def below(self, limit: int) -> int:
        """A number in 0..limit - 1, for the window."""
        state = self.advance()
        return (state if self.form.replay else state >> 32) % limit

    def sentence(self, tokens: NDArray[np.int32], place: int) -> tuple[list[int], int, int]:
        """The next sentence without the words that subsampling drops, where it ends, words read."""
        kept: list[int] = []
        read = 0
        while place < len(tokens) and len(kept) < MAX_SENTENCE:
            word = int(tokens[place])
            place += 1
            if word < 0:
                # The authors count the end of a line as a word.
                return kept, place, read + self.form.replay
            read += 1
            if self.keeps(float(self.tables.keep[word])):
                kept.append(word)
        return kept, place, read

    def keeps(self, probability: float) -> bool:
        """Whether an occurrence stays."""
        if self.form.replay and probability < NO_DRAW:
            return probability >= (self.advance() & 0xFFFF) / 65536
        return probability >= 1 or probability >= self.uniform()

    def targets(self, word: int) -> list[tuple[int, int]]:
        """Output rows that a word is trained against, with labels."""
        tables, form = self.tables, self.form
        if form.loss == "hierarchical":
            length = tables.lengths[word]
            codes = tables.codes[word, :length]
            return [(int(p), 1 - int(c)) for p, c in zip(tables.points[word], codes, strict=False)]
        if form.loss == "full":
            return [(word, 1)]
        noise = [self.noise() for _ in range(form.negative)]
        # Noise that hits the word itself is part of NCE; negative sampling leaves it out.
        hits = form.loss == "nce"
        return [(word, 1), *((other, 0) for other in noise if hits or other != word)]

    def noise(self) -> int:
        """A word of the noise distribution; a replay looks it up in the authors' table, where
        the end of a line (0) is replaced by any other word."""
        tables, state = self.tables, self.advance()
        words = len(tables.keep)
        if self.form.replay:
            word = int(tables.alias[(state >> 16) % len(tables.alias)])
            return word or state % (words - 1) + 1
        column = (state >> 32) * words >> 32
        if self.uniform() < float(tables.threshold[column]):
            return column
        return int(tables.alias[column])
