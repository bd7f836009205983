"""Training in PyTorch, for GPUs and where numba is missing: many centre words at a time.

Legend: B centre words of a batch, M = 2 * window context places, Q outputs of a centre word
(itself and its negatives, or the nodes of its path), D dimensions, W words. One draw of negatives
serves all context words of a centre word. Updates of a batch are computed from the vectors as they
stood before it; those that meet in one row are added.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quire.papers.word2vec.training.reference import Form, Schedule, Tables

CAP = 32
"""Updates of one row that a batch adds in full. Of n > CAP it adds CAP times their mean: the sum of
hundreds of updates from the same old vectors would overshoot."""


class Windows(NamedTuple):
    """Centre words (B), their context (B, M), and which places of it count, (B, M)."""

    centre: Tensor
    context: Tensor
    valid: Tensor


class Targets(NamedTuple):
    """Output rows of the centre words (B, Q), their labels and which of them count, (B, Q)."""

    rows: Tensor
    labels: Tensor
    valid: Tensor


class Batched:
    """`Tables` on a device, and the loop over pieces of a corpus that trains them.

    Called with (rows, schedule, seed) it trains on a piece and gives (summed loss, pairs). `pull`
    brings the vectors back into the arrays that it was made from; `push` takes them from there.
    On the CPU it works on those arrays themselves.
    """

    def __init__(self, tables: Tables, form: Form, device: torch.device | str) -> None:
        self.tables, self.form, self.device = tables, form, torch.device(device)
        words = len(tables.keep)
        # Small against the vocabulary: a word should not meet itself often.
        self.batch = min(8192, max(32, words // 8))
        self.input, self.output = torch.empty(0), torch.empty(0)
        self.push()
        self.keep = self._tensor(tables.keep)
        self.threshold, self.alias = self._tensor(tables.threshold), self._tensor(tables.alias)
        self.shift = self._tensor(tables.shift)
        self.points = self._tensor(tables.points).long()
        self.labels = 1 - self._tensor(tables.codes).float()
        depth = torch.arange(tables.points.shape[1], device=self.device)
        self.on_path = depth < self._tensor(tables.lengths)[:, None]

    def push(self) -> None:
        """Vectors to the device."""
        self.input, self.output = (
            self._tensor(table) for table in (self.tables.input, self.tables.output)
        )

    def pull(self) -> None:
        """Vectors from the device."""
        self.tables.input[:] = self.input.cpu().numpy()
        self.tables.output[:] = self.output.cpu().numpy()

    def _tensor(self, array: NDArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    @torch.no_grad()
    def __call__(self, rows: NDArray[np.int32], schedule: Schedule, seed: int) -> tuple[float, int]:
        generator = torch.Generator(self.device).manual_seed(seed % 2**63)
        tokens = torch.from_numpy(np.array(rows)).to(self.device).long()
        # Each token knows its sentence, since ends of sentences drop out with the words that
        # subsampling drops: all at once, where the loop goes word by word.
        sentence = (tokens < 0).cumsum(0)
        kept = tokens >= 0
        words = len(rows)
        draw = torch.rand(len(tokens), generator=generator, device=self.device)
        kept &= draw <= self.keep[tokens.clamp(min=0)]
        tokens, sentence = tokens[kept], sentence[kept]
        loss = torch.zeros((), device=self.device, dtype=torch.float64)
        pairs = torch.zeros((), device=self.device, dtype=torch.int64)
        for begin in range(0, len(tokens), self.batch):
            end = min(begin + self.batch, len(tokens))
            windows = self._windows(tokens, sentence, slice(begin, end), generator)
            # Words read so far, about: kept tokens stand evenly among all.
            rate = float(schedule.at(words * begin // len(tokens)))
            more, count = self._descend(windows, rate, generator)
            loss += more
            pairs += count
        return float(loss), int(pairs)

    def _windows(
        self, tokens: Tensor, sentence: Tensor, part: slice, generator: torch.Generator
    ) -> Windows:
        form, device = self.form, self.device
        place = torch.arange(part.start, part.stop, device=device)
        shape = (len(place), 1)
        reach = torch.full(shape, form.window, device=device)
        if not form.fixed_window:
            reach = torch.randint(1, form.window + 1, shape, generator=generator, device=device)
        offset = torch.arange(-form.window, form.window + 1, device=device)
        offset = offset[offset != 0]
        other = place[:, None] + offset
        valid = (other >= 0) & (other < len(tokens)) & (offset.abs() <= reach)
        other = other.clamp(0, len(tokens) - 1)
        # Neighbours in the array may belong to another sentence.
        valid &= sentence[other] == sentence[place, None]
        return Windows(tokens[place], tokens[other], valid)

    def _descend(
        self, windows: Windows, rate: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        form = self.form
        x, valid = self.input[windows.context], windows.valid
        x = x * valid[:, :, None]  # a context place that does not count adds zero everywhere
        size = valid.sum(1).clamp(min=1)[:, None, None]
        if form.cbow:
            x = x.sum(1, keepdim=True)
            x = x / size if form.cbow_mean else x
            inputs = valid.any(1, keepdim=True)
        else:
            inputs = valid
        if form.loss == "full":
            loss, error = self._full(x, inputs, windows.centre, rate)
        else:
            loss, error = self._logistic(x, inputs, self._targets(windows.centre, generator), rate)
        # CBOW: the one error of the mean goes to every context word.
        if form.cbow:
            if form.cbow_mean and form.corrected:
                error = error / size
            error = error.expand(-1, valid.shape[1], -1)
        self._add(self.input, windows.context[valid], error[valid], rate)
        return loss.double(), inputs.sum()

    def _targets(self, centre: Tensor, generator: torch.Generator) -> Targets:
        if self.form.loss == "hierarchical":
            return Targets(self.points[centre], self.labels[centre], self.on_path[centre])
        shape, device = (len(centre), self.form.negative), self.device
        column = torch.randint(len(self.keep), shape, generator=generator, device=device)
        u = torch.rand(shape, generator=generator, device=device)
        noise = torch.where(u < self.threshold[column], column, self.alias[column].long())
        rows = torch.cat([centre[:, None], noise], 1)
        labels = torch.zeros(rows.shape, device=device)
        labels[:, 0] = 1
        # Negative sampling leaves out noise that hits the word itself, which is part of NCE.
        valid = (rows != centre[:, None]) | (self.form.loss == "nce")
        valid[:, 0] = True
        return Targets(rows, labels, valid)

    def _logistic(
        self, x: Tensor, inputs: Tensor, targets: Targets, rate: float
    ) -> tuple[Tensor, Tensor]:
        """Negative sampling, NCE, hierarchical softmax: x (B, M, D) against targets."""
        rows, labels, valid = targets
        output = self.output[rows]
        logits = x @ output.mT
        if self.form.loss == "nce":
            logits = logits - self.shift[rows][:, None]
        counts = inputs[:, :, None] & valid[:, None]
        # -d loss / d logit; zero where a context place or an output does not count.
        g = (labels[:, None] - logits.sigmoid()) * counts
        sign = 2 * labels[:, None] - 1
        loss = (torch.nn.functional.softplus(-sign * logits) * counts).sum()
        # Output rows change now: `output` above is a copy, so the error is still the old rows'.
        self._add(self.output, rows[valid], (g.mT @ x)[valid], rate)
        return loss, g @ output

    def _full(
        self, x: Tensor, inputs: Tensor, centre: Tensor, rate: float
    ) -> tuple[Tensor, Tensor]:
        """The full softmax over all words."""
        logits = x @ self.output.T
        log_p = logits.log_softmax(-1)
        chosen = centre[:, None, None].expand(-1, x.shape[1], 1)
        g = -log_p.exp()
        g.scatter_add_(2, chosen, torch.ones_like(chosen, dtype=g.dtype))
        g *= inputs[:, :, None]
        error = g @ self.output
        self.output += rate * g.flatten(0, 1).T @ x.flatten(0, 1)
        return -(log_p.gather(2, chosen)[..., 0] * inputs).sum(), error

    def _add(self, table: Tensor, rows: Tensor, updates: Tensor, rate: float) -> None:
        """Add updates to rows of a table; rows may repeat (see CAP)."""
        often = torch.bincount(rows, minlength=len(table)).clamp(min=CAP).to(table.dtype)
        table.index_add_(0, rows, updates * (rate * CAP / often[rows])[:, None])
