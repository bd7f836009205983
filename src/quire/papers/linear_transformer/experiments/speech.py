"""Phonemes from frames by CTC (section 4.3), on made-up speech: there is no WSJ here."""

from typing import Literal, NamedTuple

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import ctc_loss

from quire.lab import Metrics, Run
from quire.lab.measure import now
from quire.papers.linear_transformer.experiments.learner import Learner, fit, kernel_of
from quire.papers.linear_transformer.models import SpeechModel, best_path, edit_distance

PHONEMES = 24
"""Kinds of phonemes."""

BANDS = 40
"""Width of a frame, as many as the paper's mel filterbanks."""


class Speech(Learner):
    """Utterances of a random speaker; frames are the spoken phonemes' spectra with noise."""

    model: Literal["transformer", "bilstm"] = "transformer"
    """bilstm: three bidirectional LSTM layers, the paper's baseline."""
    layers: PositiveInt = 3
    """Layers of either model."""
    norm: Literal["pre", "post"] = "pre"
    """Layer normalisation before each part, or after each sum as in the authors' code."""
    hidden: PositiveInt = 48
    """bilstm: width of each direction."""
    most: PositiveInt = 16
    """Phonemes of an utterance at most; at least a quarter as many."""
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
    """The paper's baseline, with the same head as `SpeechModel`.

    Args:
        bands: Width of a frame.
        hidden: Width of each direction.
        layers: Layers.
        labels: Without the blank.
    """

    def __init__(self, bands: int, *, hidden: int, layers: int, labels: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(bands, hidden, layers, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, labels + 1)

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
        model: nn.Module = BiLSTM(
            BANDS, hidden=config.hidden, layers=config.layers, labels=PHONEMES
        )
    else:
        model = SpeechModel(
            BANDS,
            PHONEMES,
            dim=config.dim,
            heads=config.heads,
            layers=config.layers,
            kernel=kernel_of(config, run),
            norm=config.norm,
        )
    model = run.place(model)
    # The language is the same for every seed: what differs is the utterances and the model.
    spectra = torch.randn(PHONEMES + 1, BANDS, generator=torch.Generator().manual_seed(0))

    def loss(batch: Utterances) -> Tensor:
        scores = model(batch.frames, batch.lengths).transpose(0, 1)
        return ctc_loss(scores, batch.phonemes, batch.lengths, batch.counts)

    def batch_at(step: int) -> Utterances:
        return speak(spectra, config.batch_size, config.most, run.rng("train", step))

    began = now(run.device)
    fit(config, run, model, batch_at=batch_at, loss=loss)
    spent = now(run.device) - began
    test = speak(spectra, config.test_utterances, config.most, run.rng("test"))
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
    # A resumed run has timed only a part of its steps.
    if config.clock and run.resumed_at is None:
        metrics["update_ms"] = 1000 * spent / config.steps
    return metrics


def speak(spectra: Tensor, count: int, most: int, generator: torch.Generator) -> Utterances:
    """Draw utterances.

    A phoneme lasts 4 to 10 frames and its spectrum fades into the next one's; the speaker adds a
    spectrum of their own and the rate of speech is theirs too, so that frames far away help. Noise
    on each band has a standard deviation of 1, as the spectra have.

    Args:
        spectra: Of the phonemes, which count from 1: (phonemes + 1, bands).
        count: Utterances B.
        most: Phonemes of an utterance at most; at least a quarter as many.
        generator: Draws them.
    """

    def uniform(low: int, high: int, *size: int) -> Tensor:
        return torch.randint(low, high + 1, size, generator=generator)

    phonemes, bands = len(spectra) - 1, spectra.shape[1]
    counts = uniform(max(1, most // 4), most, count)
    # Neighbours differ: each phoneme is 1 to phonemes - 1 steps from the one before it.
    steps = uniform(1, phonemes - 1, count, most)
    spoken = steps.cumsum(1) % phonemes + 1
    rate = uniform(0, 2, count, 1)
    duration = (uniform(4, 8, count, most) + rate) * (torch.arange(most) < counts[:, None])
    ends = duration.cumsum(1)
    lengths = ends[:, -1]
    frame = torch.arange(int(lengths.max()))
    # The phoneme of a frame is the first that has not ended.
    place = (frame[None, :, None] >= ends[:, None]).sum(-1).clamp(max=most - 1)
    sound = spectra[spoken.gather(1, place)]
    before = torch.cat((sound[:, :1], sound[:, :-1]), 1)
    speaker = torch.randn(count, 1, bands, generator=generator)
    noise = torch.randn(sound.shape, generator=generator)
    frames = (sound + before) / 2 + speaker + noise
    return Utterances(frames, lengths, spoken, counts)
