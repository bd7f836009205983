"""Fine-tuning: questions, summaries, documents, sentences, chromatin (tables 2-4, 7, 15, 16, 20).

B examples, N tokens, T tokens of a summary, C classes or labels.
"""

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveInt
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from quire import data
from quire.lab import Metrics, Run
from quire.nn import Padding
from quire.papers.bigbird.experiments.learner import descend
from quire.papers.bigbird.experiments.settings import Training
from quire.papers.bigbird.heads import ClassHead, SpanHead
from quire.papers.bigbird.model import BigBird, from_transformers
from quire.papers.bigbird.seq2seq import BigBirdSeq2Seq

PAD, BEGIN, END = 0, 2, 1
"""Words of transformers' vocabulary: padding, the first word of a summary and its end."""

GROUPS = ("tf", "hm", "dhs")
"""Transcription factors, histone marks and DNase I sites, by the number in `group`."""


class Finetune(Training):
    """An encoder and a head, on a file of tokens: `bigbird/<dataset>.npz` in the data folder.

    It holds `train_words` and `test_words` (B, N), 0 for padding, and `train_target` and
    `test_target`: classes (B,), labels (B, C) of 0 and 1 with `group` (C,), spans (B, 2), or
    summaries (B, T), which end with the word 1 and are filled up with 0.
    """

    task: Literal["classes", "labels", "span", "summary"] = "classes"
    """What the head gives."""
    source: Literal["file", "procedural"] = "file"
    """The file, or random words, whose first one is the answer, that prove the path."""
    dataset: str = ""
    """Name of the file."""
    checkpoint: Path | None = None
    """Folder with config.json and model.safetensors of transformers' BigBird to begin with; where
    None `bigbird/checkpoint` in the data folder (procedural: random weights)."""
    longest: PositiveInt = 30
    """span: most tokens of an answer."""
    beams: PositiveInt = 5
    """summary: targets that are kept at a time."""
    penalty: float = Field(default=0.8, ge=0)
    """summary: exponent of the length penalty."""
    positive: float = Field(default=1.0, gt=0)
    """labels: weight of a label that is 1."""
    batch_size: PositiveInt = 32
    """Examples a step."""


class Part(NamedTuple):
    """words: (B, N) int64. target: as in the file. group: of labels, (C,), else of no size."""

    words: NDArray[np.int64]
    target: NDArray[np.int64]
    group: NDArray[np.int64]


class Pairs(NamedTuple):
    """What is trained on: words (B, N) and their target."""

    words: NDArray[np.int64]
    target: NDArray[np.int64]


def finetune(config: Finetune, run: Run) -> Metrics:
    """Accuracy, area under curve, F1 of spans, or ROUGE-1 of summaries, on the test part."""
    train, test = _make() if config.source == "procedural" else _read(config, run.data)
    net = run.place(Answerer(config, _load(config, run), train))
    pairs = Pairs(train.words, train.target)
    batch_at = data.batches(pairs, config.batch_size, seed=run.seed)

    def sum_part(words: Tensor, target: Tensor) -> Tensor:
        with run.precision():
            return net(words, target)

    descend(config, run, net, batch_at, sum_part)
    model = getattr(net, "module", net).eval()  # under torchrun it is wrapped
    rows = torch.from_numpy(test.words).split(32)
    with torch.no_grad():
        found = torch.cat([model.answer(words.to(run.device)).cpu() for words in rows])
    return _measure(config, found.numpy(), test)


class Answerer(nn.Module):
    """An encoder with a task's head: `forward` sums the loss, `answer` gives what is judged."""

    def __init__(self, config: Finetune, encoder: BigBird, train: Part) -> None:
        super().__init__()
        self.config, dim = config, encoder.word.embedding_dim
        self.encoder = encoder
        self.head: nn.Module
        if config.task == "summary":
            self.head = BigBirdSeq2Seq(encoder, length=train.target.shape[1])
        elif config.task == "span":
            self.head = SpanHead(dim)
        else:
            labels = config.task == "labels"
            classes = train.target.shape[1] if labels else int(train.target.max()) + 1
            self.head = ClassHead(dim, classes)

    def forward(self, words: Tensor, target: Tensor) -> Tensor:
        """words (B, N), target as in the file -> the sum of the examples' losses, nats."""
        mask = Padding(words != PAD)
        if isinstance(self.head, BigBirdSeq2Seq):
            given = torch.cat((torch.full_like(target[:, :1], BEGIN), target[:, :-1]), 1)
            scores = self.head(words, given, mask).flatten(0, 1).float()
            # The mean over a summary's words, so that long ones do not count for more.
            each = cross_entropy(scores, target.flatten(), reduction="none", ignore_index=PAD)
            return (each.view_as(target).sum(1) / (target != PAD).sum(1)).sum()
        scores = self.head(self.encoder(words, mask)).float()
        if self.config.task == "span":
            scores = scores.masked_fill((words == PAD)[..., None], -torch.inf)
            return cross_entropy(scores, target, reduction="sum") / 2
        if self.config.task == "labels":
            weight = torch.full_like(scores[0], self.config.positive)
            total = binary_cross_entropy_with_logits(
                scores, target.float(), pos_weight=weight, reduction="sum"
            )
            return total / target.shape[1]
        return cross_entropy(scores, target, reduction="sum")

    def answer(self, words: Tensor) -> Tensor:
        """The likeliest classes (B,), scores of labels (B, C), spans (B, 2), summaries (B, T)."""
        mask, config = Padding(words != PAD), self.config
        if isinstance(self.head, BigBirdSeq2Seq):
            return self.head.search(
                words,
                BEGIN,
                steps=self.head.length,
                end=END,
                beams=config.beams,
                penalty=config.penalty,
                mask=mask,
            )
        scores = self.head(self.encoder(words, mask)).float()
        if config.task == "span":
            return SpanHead.best(scores, config.longest, mask)
        return scores if config.task == "labels" else scores.argmax(1)


def _measure(config: Finetune, found: NDArray[Any], test: Part) -> Metrics:
    """The figures of a task, %."""
    if config.task == "classes":
        return {"accuracy": 100 * float((found == test.target).mean())}
    if config.task == "labels":
        areas = [_area(score, truth) for score, truth in zip(found.T, test.target.T, strict=True)]
        groups = {name: np.array(areas)[test.group == n] for n, name in enumerate(GROUPS)}
        return {f"auc_{name}": 100 * float(np.nanmean(part)) for name, part in groups.items()}
    if config.task == "span":
        pairs = [
            ([*range(a, b + 1)], [*range(c, d + 1)])
            for (a, b), (c, d) in zip(found.tolist(), test.target.tolist(), strict=True)
        ]
    else:
        pairs = [(_body(a), _body(b)) for a, b in zip(found, test.target, strict=True)]
    name = "f1" if config.task == "span" else "rouge1"
    return {name: 100 * float(np.mean([_overlap(a, b) for a, b in pairs]))}


def _body(words: NDArray[np.int64]) -> list[int]:
    return [word for word in words.tolist() if word not in (PAD, END)]


def _overlap(found: list[int], right: list[int]) -> float:
    """F1 of two bags of words or places."""
    both = sum(min(found.count(word), right.count(word)) for word in set(right))
    return 2 * both / max(1, len(found) + len(right))


def _area(score: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """Area under the receiver operating curve; NaN where all are of one kind."""
    positive = truth > 0
    many, few = int(positive.sum()), int((~positive).sum())
    if not many or not few:
        return float("nan")
    ranks = rankdata(score)[positive].sum() - many * (many + 1) / 2
    return float(ranks / (many * few))


def _load(config: Finetune, run: Run) -> BigBird:
    """The encoder of the checkpoint, or a new one of the config's size."""
    if config.source == "procedural" and config.checkpoint is None:
        sizes = config.encoder
        sparse = config.attention == "sparse"
        return BigBird(
            40,
            sizes.dim,
            layers=sizes.layers,
            heads=sizes.heads,
            length=64,
            pattern=config.pattern.build(run.seed) if sparse else None,
        )
    folder = config.checkpoint or (run.data or Path()) / "bigbird" / "checkpoint"
    weights = folder / "model.safetensors"
    if not weights.is_file() or not (folder / "config.json").is_file():
        raise data.DataMissing(
            f"no checkpoint {folder}: put config.json and model.safetensors of "
            "https://huggingface.co/google/bigbird-roberta-base there, or give --checkpoint"
        )
    from safetensors.torch import load_file

    settings = json.loads((folder / "config.json").read_text("utf-8"))
    settings["attention_type"] = {"sparse": "block_sparse"}.get(config.attention, "original_full")
    return from_transformers(settings, load_file(weights))


def _read(config: Finetune, root: Path | None) -> tuple[Part, Part]:
    path = (root or Path()) / "bigbird" / f"{config.dataset}.npz"
    if not path.is_file():
        raise data.DataMissing(
            f"no file {path}: it holds train_words, train_target, test_words and test_target, "
            "in tokens of the checkpoint"
        )
    with np.load(path) as file:
        group = file["group"].astype(np.int64) if "group" in file else np.zeros(0, np.int64)
        train, test = (
            Part(
                file[f"{part}_words"].astype(np.int64),
                file[f"{part}_target"].astype(np.int64),
                group,
            )
            for part in ("train", "test")
        )
    return train, test


def _make() -> tuple[Part, Part]:
    """Random words, of which the first is the class, of 60 texts."""
    words = np.random.default_rng(0).integers(3, 13, size=(60, 64))
    group = np.zeros(0, np.int64)
    return Part(words[:40], words[:40, 0], group), Part(words[40:], words[40:, 0], group)
