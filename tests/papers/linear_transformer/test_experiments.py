"""What the experiments add to the parts: tasks, counts, claims that can be checked in seconds."""

import numpy as np
import pytest
import torch

from quire import data
from quire.papers.linear_transformer.experiments import Growth, kept
from quire.papers.linear_transformer.experiments_capacity import crossing
from quire.papers.linear_transformer.experiments_common import Mean, exponent
from quire.papers.linear_transformer.experiments_images import Picturing, sequences
from quire.papers.linear_transformer.experiments_sequences import Recalling, draw_pairs
from quire.papers.linear_transformer.experiments_speech import BiLSTM, Speech, speak


def test_exponent_of_a_power():
    lengths = [1, 2, 4, 8]
    assert exponent(lengths, [3 * n**1.7 for n in lengths]) == pytest.approx(1.7)


def test_crossing_is_between_numbers():
    assert crossing([1, 2, 4], [100.0, 95.0, 85.0], 90.0) == pytest.approx(2 * 2**0.5)
    assert crossing([1, 2, 4], [100.0, 100.0, 95.0], 90.0) == 4
    assert crossing([1, 2, 4], [50.0, 20.0, 5.0], 90.0) == 1


def test_kept_counts_nested_numbers():
    state = ((torch.zeros(2, 3), torch.zeros(4)), 5, (torch.zeros(2, dtype=torch.int64),))
    assert kept(state) == 10


def test_a_mean_is_saved():
    mean = Mean()
    for value in (1.0, 2.0, 6.0):
        mean.add(torch.tensor(value))
    other = Mean()
    other.load_state_dict(mean.state_dict())
    other.add(torch.tensor(7.0))
    assert mean.value == pytest.approx(3)
    assert other.value == pytest.approx(4)


def test_asked_keys_were_stored_with_their_answers():
    config = Recalling(kinds=16, pairs=8, asked=5)
    pairs = draw_pairs(config, 20, 8, torch.Generator().manual_seed(0))
    assert pairs.key.shape == pairs.value.shape == (20, 13)
    for key, value, answer in zip(*pairs, strict=True):
        table = dict(zip(key[:8].tolist(), value[:8].tolist(), strict=True))
        assert len(table) == 8
        assert [table[k] for k in key[8:].tolist()] == answer.tolist()
        assert (value[8:] == 0).all()
        assert value[:8].min() >= 1


def test_pixels_are_read_row_by_row_with_channels_innermost():
    image = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    split = data.Split(*(data.Images(image, np.zeros(2, np.int64)) for _ in range(2)))
    pictures = sequences(Picturing(), split, 256)
    assert pictures.shape == (4, 4, 3)
    assert pictures.train.level[0, :6].tolist() == [0, 16, 32, 1, 17, 33]
    small = sequences(Picturing(shrink=2, examples=1), split, 256)
    assert small.train.level.shape == (1, 12)
    assert small.train.level[0, 0] == round(np.mean([0, 1, 4, 5]))
    with pytest.raises(ValueError, match="shrink must divide 4, got 3"):
        sequences(Picturing(shrink=3), split, 256)


def test_utterances_are_whole():
    config = Speech(most=8)
    spectra = torch.randn(config.phonemes + 1, config.bands)
    made = speak(config, spectra, 50, torch.Generator().manual_seed(0))
    assert made.frames.shape == (50, int(made.lengths.max()), config.bands)
    assert made.counts.min() >= 2
    assert made.counts.max() <= 8
    assert (made.lengths >= 4 * made.counts).all()
    assert (made.lengths <= 10 * made.counts).all()
    assert (made.phonemes[:, 1:] != made.phonemes[:, :-1]).all()
    assert made.phonemes.min() >= 1
    assert made.phonemes.max() <= config.phonemes


def test_the_lstm_does_not_hear_the_padding():
    model = BiLSTM(Speech(bands=5, hidden=4, phonemes=3)).eval()
    frames = torch.randn(2, 9, 5)
    both = model(frames, torch.tensor([9, 4]))
    torch.testing.assert_close(both[1:, :4], model(frames[1:, :4], torch.tensor([4])))


def test_bad_input_is_named():
    from quire.lab.errors import UserError

    with pytest.raises(UserError, match="attention"):
        Growth.build({"attention": "quadratic"})
