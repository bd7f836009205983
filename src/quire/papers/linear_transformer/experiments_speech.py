"""Phonemes from frames by CTC (section 4.3), on made-up speech: there is no WSJ here."""

from typing import Literal, NamedTuple

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import ctc_loss

from quire.lab import Metrics, Run
from quire.papers.linear_transformer.experiments_common import (
    Attention,
    Training,
    fit,
    kernels,
    now,
)
from quire.papers.linear_transformer.models import SpeechModel, best_path, edit_distance


class Speech(Training):
    """Utterances of a random speaker; frames are the spoken phonemes' spectra with noise."""

    model: Literal["transformer", "bilstm"] = "transformer"
    """bilstm: three bidirectional LSTM layers, the paper's baseline."""
    attention: Attention = "linear"
    """Attention, the same in every layer."""
    layers: PositiveInt = 3
    """Layers of either model."""
    hidden: PositiveInt = 48
    """bilstm: width of each direction."""
    phonemes: PositiveInt = 24
    """Kinds of phonemes."""
    most: PositiveInt = 16
    """Phonemes of an utterance at most; at least a quarter as many."""
    bands: PositiveInt = 40
    """Width of a frame, as many as the paper's mel filterbanks."""
    noise: PositiveFloat = 1.0
    """Standard deviation of the noise on each band; a phoneme's spectrum has 1."""
    batch_size: PositiveInt = 16
    """Utterances a minibatch."""
    test_utterances: PositiveInt = 128
    """Fresh utterances to test on."""
    clock: bool = True
    """Whether the time of an update is reported, which no two runs agree on."""


class Utterances(NamedTuple):
    """frames (B, T, bands), lengths (B,), phonemes (B, most) from 1 on, counts (B,)."""

    frames: Tensor
    lengths: Tensor
    phonemes: Tensor
    counts: Tensor


class BiLSTM(nn.Module):
    """The paper's baseline, with the same head as `SpeechModel`."""

    def __init__(self, config: Speech) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            config.bands, config.hidden, config.layers, batch_first=True, bidirectional=True
        )
        self.head = nn.Linear(2 * config.hidden, config.phonemes + 1)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """As in `SpeechModel`."""
        packed = nn.utils.rnn.pack_padded_sequence(
            frames, lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        x, _ = nn.utils.rnn.pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=frames.shape[1]
        )
        return self.head(x).float().log_softmax(-1)


def speech(config: Speech, run: Run) -> Metrics:
    """Phoneme error rate of the best path on fresh utterances."""
    if config.model == "bilstm":
        model: nn.Module = BiLSTM(config)
    else:
        model = SpeechModel(
            config.bands,
            config.phonemes,
            dim=config.dim,
            heads=config.heads,
            layers=config.layers,
            kernel=kernels(config, run),
        )
    model = run.place(model)
    # The language is the same for every seed: what differs is the utterances and the model.
    spectra = torch.randn(
        config.phonemes + 1, config.bands, generator=torch.Generator().manual_seed(0)
    )

    def loss(batch: Utterances) -> Tensor:
        scores = model(batch.frames, batch.lengths).transpose(0, 1)
        return ctc_loss(scores, batch.phonemes, batch.lengths, batch.counts)

    began = now(run.device)
    fit(
        config,
        run,
        model,
        batch_at=lambda step: speak(config, spectra, config.batch_size, run.rng("train", step)),
        loss=loss,
    )
    spent = now(run.device) - began
    test = speak(config, spectra, config.test_utterances, run.rng("test"))
    with torch.no_grad():
        scores = model(test.frames.to(run.device), test.lengths.to(run.device)).cpu()
    paths = best_path(scores, test.lengths)
    wrong = sum(
        edit_distance(path, spoken[:count])
        for path, spoken, count in zip(
            paths, test.phonemes.tolist(), test.counts.tolist(), strict=True
        )
    )
    metrics = {"per": 100 * wrong / int(test.counts.sum())}
    if config.clock and run.resumed_at is None:
        metrics["update_ms"] = 1000 * spent / config.steps
    return metrics


def speak(config: Speech, spectra: Tensor, count: int, generator: torch.Generator) -> Utterances:
    """Draw utterances.

    A phoneme lasts 4 to 10 frames and its spectrum fades into the next one's; the speaker adds a
    spectrum of their own and the rate of speech is theirs too, so that frames far away help.
    """

    def uniform(low: int, high: int, *size: int) -> Tensor:
        return torch.randint(low, high + 1, size, generator=generator)

    counts = uniform(max(1, config.most // 4), config.most, count)
    # Neighbours differ: each phoneme is 1 to phonemes - 1 steps from the one before it.
    phonemes = uniform(1, config.phonemes - 1, count, config.most).cumsum(1) % config.phonemes + 1
    rate = uniform(0, 2, count, 1)
    duration = (uniform(4, 8, count, config.most) + rate) * (
        torch.arange(config.most) < counts[:, None]
    )
    ends = duration.cumsum(1)
    lengths = ends[:, -1]
    frame = torch.arange(int(lengths.max()))
    place = (frame[None, :, None] >= ends[:, None]).sum(-1).clamp(max=config.most - 1)
    spoken = spectra[phonemes.gather(1, place)]
    before = torch.cat((spoken[:, :1], spoken[:, :-1]), 1)
    speaker = torch.randn(count, 1, config.bands, generator=generator)
    noise = torch.randn(spoken.shape, generator=generator)
    frames = (spoken + before) / 2 + speaker + config.noise * noise
    return Utterances(frames, lengths, phonemes, counts)
