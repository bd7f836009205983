"""A training session: a corpus as rows, the tables that training changes, and its schedule."""

import math
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quire.papers.word2vec.corpus import Tokens
from quire.papers.word2vec.huffman import HuffmanTree, huffman
from quire.papers.word2vec.training.reference import Form, Schedule, Tables, sigmoid_table
from quire.papers.word2vec.vocabulary import (
    Subsampling,
    Vocabulary,
    alias_table,
    keep_probability,
    noise_distribution,
)

if TYPE_CHECKING:
    from quire.papers.word2vec.training.batched import Batched


@dataclass(frozen=True)
class Training:
    """How to train; the defaults are the authors' but for `start` and `shared_negatives`.

    Raises ValueError where a value is out of range.
    """

    learning_rate: float | None = None
    """At the start; it falls linearly with the words read. None: 0.025, for CBOW 0.05."""
    floor: float = 1e-4
    """Least part of the learning rate that stays."""
    start: float = 1.0
    """Input vectors begin uniform in plus or minus this divided by D; for the authors it is 0.5. On
    little data, or in few epochs, longer ones learn sooner; gensim begins so, too."""
    noise_exponent: float = 0.75
    """Noise is proportional to count^this: 1 is unigram, 0 uniform; may be negative."""
    subsampling: Subsampling = "code"
    """Which published formula: see `keep_probability`."""
    shared_negatives: bool = True
    """Skip-gram: one draw of negatives for all context words of a centre word, which is faster and
    no worse; else one for each pair, as the authors' code."""
    dynamic_window: bool = True
    """Draw each window's half-width from 1..window; else it is always `window`."""
    cbow_mean: bool = True
    """CBOW: mean of the context's vectors, else their sum."""
    corrected: bool = False
    """CBOW: divide the error by the number of context words, as the mean's gradient asks; the
    authors' code does not."""
    device: str | None = None
    """None: the compiled loop on the CPU. A torch device ("cuda", "cpu"): batches in PyTorch."""

    def __post_init__(self) -> None:
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}")
        if not 0 < self.start < math.inf:
            raise ValueError(f"start must be above 0, got {self.start}")
        if not 0 <= self.floor <= 1:
            raise ValueError(f"floor must lie in [0, 1], got {self.floor}")
        if not math.isfinite(self.noise_exponent):
            raise ValueError(f"noise_exponent must be finite, got {self.noise_exponent}")
        if self.subsampling not in ("code", "paper"):
            raise ValueError(f"subsampling must be 'code' or 'paper', got {self.subsampling!r}")


@dataclass(frozen=True)
class Progress:
    """How far training is; as text it is one line for a person."""

    words: int
    """Words read, all epochs together."""
    total: int
    seconds: float

    @property
    def rate(self) -> float:
        """Words read a second."""
        return self.words / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta(self) -> float:
        """Seconds left."""
        return (self.total - self.words) / self.rate if self.rate else math.inf

    def __str__(self) -> str:
        minutes, seconds = divmod(round(min(self.eta, 1e9)), 60)
        return (
            f"{100 * self.words / self.total:.1f} %  {self.rate:,.0f} words/s  "
            f"ETA {minutes}:{seconds:02d}"
        )


def build_tables(
    vocabulary: Vocabulary,
    vectors: NDArray[np.float32],
    output: NDArray[np.float32],
    form: Form,
    sample: float,
    training: Training,
) -> Tables:
    """Everything that training needs beside the corpus.

    Args:
        vocabulary: Its counts decide noise, tree and subsampling.
        vectors: Input vectors (W, D), not copied.
        output: Output vectors (W or W - 1, D), not copied.
        form: Architecture and loss.
        sample: t of subsampling.
        training: Noise exponent and formula of subsampling.
    """
    counts = vocabulary.counts
    probability = noise_distribution(counts, training.noise_exponent)
    threshold, alias = alias_table(probability)
    if form.loss == "hierarchical":
        tree = huffman(counts)
    else:  # an empty one, so that the compiled loop gets the same types
        tree = HuffmanTree(
            np.zeros((1, 1), np.int32), np.zeros((1, 1), np.int8), np.zeros(1, np.int32)
        )
    keep = keep_probability(counts, sample, training.subsampling).astype(np.float32)
    shift = np.log(max(1, form.negative) * probability).astype(np.float32)
    return Tables(
        input=vectors,
        output=output,
        keep=keep,
        threshold=threshold,
        alias=alias,
        shift=shift,
        points=tree.points,
        codes=tree.codes,
        lengths=tree.lengths,
        sigmoid=sigmoid_table(4096),
    )


class Session:
    """Steps over the pieces of a corpus, epoch by epoch.

    `step(n)` trains on piece n; what it draws follows from (seed, n) alone. Its `state_dict` is
    all that training changes, so that a session can be stopped and taken up again.

    Args:
        tokens: The corpus as rows.
        tables: What training reads and changes.
        form: Architecture and loss.
        training: Learning rate and device.
        epochs: Passes over the corpus.
        seed: What is drawn follows from it.
    """

    def __init__(
        self,
        tokens: Tokens,
        tables: Tables,
        form: Form,
        training: Training,
        *,
        epochs: int,
        seed: int,
    ) -> None:
        self.tokens, self.tables, self.form, self.seed = tokens, tables, form, seed
        self.rate = training.learning_rate or (0.05 if form.cbow else 0.025)
        self.floor = training.floor
        self.batched: Batched | None = None
        device = training.device
        compiled = _compiled(form) if device is None else None
        if compiled is None:
            self.batched = _batched(tables, form, device or "cpu")
        self._compiled = compiled
        # A piece is a step: short enough to stop soon, long enough that a batch fills a GPU.
        self.pieces = tokens.pieces(20_000 if compiled else 500_000)
        # The rate falls with words read, so their number is needed before the first step.
        begin, end, before = self.pieces[-1]
        self.words = before + int((tokens.piece(begin, end) >= 0).sum())
        self.epochs = epochs
        self.done = self.pairs = 0
        self.loss = math.nan

    def __len__(self) -> int:
        return self.epochs * len(self.pieces)

    def step(self, step: int) -> float:
        """Train on a piece; gives its mean loss over pairs of words (nan without a pair)."""
        epoch, number = divmod(step, len(self.pieces))
        begin, end, before = self.pieces[number]
        read = epoch * self.words + before
        schedule = Schedule(
            self.rate, self.floor, float(read), float(self.epochs * self.words), every=1000
        )
        state = np.random.SeedSequence([self.seed, step]).generate_state(1, np.uint64)[0]
        rows = np.asarray(self.tokens.piece(begin, end))
        if self.batched is not None:
            loss, pairs = self.batched(rows, schedule, int(state))
        else:
            assert self._compiled is not None
            _, loss, pairs = self._compiled(rows, self.tables, schedule, state)
        # With several threads pieces end in any order: the count of words never goes back.
        last = number + 1 == len(self.pieces)
        after = self.words if last else self.pieces[number + 1][2]
        self.pairs += pairs
        self.done = max(self.done, epoch * self.words + after)
        self.loss = loss / pairs if pairs else math.nan
        return self.loss

    def pull(self) -> None:
        """Bring vectors from the device into the tables."""
        if self.batched is not None:
            self.batched.pull()

    def state_dict(self) -> dict[str, Any]:
        """Vectors, words read, pairs."""
        import torch  # a second and 200 MB that training on the CPU does without

        self.pull()
        tables = {"input": self.tables.input, "output": self.tables.output}
        return {k: torch.from_numpy(v.copy()) for k, v in tables.items()} | {
            "done": self.done, "pairs": self.pairs,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        if state["input"].shape != self.tables.input.shape:
            raise ValueError(
                f"saved vectors are {tuple(state['input'].shape)}, "
                f"the session's {self.tables.input.shape}"
            )
        self.tables.input[:] = state["input"].numpy()
        self.tables.output[:] = state["output"].numpy()
        self.done, self.pairs = state["done"], state["pairs"]
        if self.batched is not None:
            self.batched.push()

    def run(self, threads: int, progress: Callable[[Progress], object] | None = None) -> None:
        """All steps, in `threads` threads that write to the same tables without locks (HogWild).

        `progress` is called about once a second; training ends where it returns True. An exception
        (Ctrl-C among them) lets the pieces in work end, and goes on.
        """
        lock, stop = threading.Lock(), threading.Event()
        steps = iter(range(len(self)))
        began = time.perf_counter()

        def work() -> None:
            while not stop.is_set():
                with lock:
                    step = next(steps, None)  # an iterator is not safe between threads
                if step is None:
                    return
                self.step(step)

        with ThreadPoolExecutor(threads) as pool:
            try:
                waiting = {pool.submit(work) for _ in range(threads)}
                while waiting:
                    # Without an end to the wait a Ctrl-C would be seen only after the last step.
                    ended, waiting = wait(waiting, timeout=1.0)
                    for future in ended:
                        future.result()
                    spent = time.perf_counter() - began
                    said = Progress(self.done, self.epochs * self.words, spent)
                    if progress is not None and progress(said) is True:
                        stop.set()
            finally:
                stop.set()
        self.pull()


def _compiled(form: Form) -> Callable[..., Any] | None:
    """The compiled loop, or None (and a warning) without numba."""
    try:
        from quire.papers.word2vec.training.kernel import compiled
    except ModuleNotFoundError as error:
        if error.name != "numba":
            raise
        warnings.warn(
            "numba is missing (pip install 'quire-papers[fast]'): "
            "training with PyTorch, much slower",
            stacklevel=2,
        )
        return None
    return compiled(form)


def _batched(tables: Tables, form: Form, device: str) -> "Batched":
    """The loop in PyTorch, which is imported here and not before."""
    from quire.papers.word2vec.training.batched import Batched

    return Batched(tables, form, device)
