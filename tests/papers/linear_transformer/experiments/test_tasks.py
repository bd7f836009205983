"""What the experiments add to the parts: tasks, counts, baselines."""

import numpy as np
import pytest
import torch

from quire.data import Images, Split
from quire.lab.errors import UserError
from quire.papers.linear_transformer.experiments.growth import Growth
from quire.papers.linear_transformer.experiments.images import Picturing, to_sequences
from quire.papers.linear_transformer.experiments.learner import Hashing
from quire.papers.linear_transformer.experiments.recall import Recalling, draw_pairs
from quire.papers.linear_transformer.experiments.speech import BiLSTM, speak
from quire.papers.linear_transformer.experiments.states import count_numbers
from quire.papers.linear_transformer.experiments.tables import measure_histogram, measure_table


def test_nested_numbers_are_counted():
    state = ((torch.zeros(2, 3), torch.zeros(4)), 5, (torch.zeros(2, dtype=torch.int64),))
    assert count_numbers(state) == 10


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
    split = Split(*(Images(image, np.zeros(2, np.int64)) for _ in range(2)))
    pictures = to_sequences(Picturing(), split, 256)
    assert pictures.shape == (4, 4, 3)
    assert pictures.train.level[0, :6].tolist() == [0, 16, 32, 1, 17, 33]
    small = to_sequences(Picturing(shrink=2, examples=1), split, 256)
    assert small.train.level.shape == (1, 12)
    assert small.train.level[0, 0] == round(np.mean([0, 1, 4, 5]))
    with pytest.raises(ValueError, match="shrink must divide 4, got 3"):
        to_sequences(Picturing(shrink=3), split, 256)


def test_utterances_are_whole():
    spectra = torch.randn(25, 40)
    made = speak(spectra, 50, 8, torch.Generator().manual_seed(0))
    assert made.frames.shape == (50, int(made.lengths.max()), 40)
    assert made.counts.min() >= 2
    assert made.counts.max() <= 8
    assert (made.lengths >= 4 * made.counts).all()
    assert (made.lengths <= 10 * made.counts).all()
    assert (made.phonemes[:, 1:] != made.phonemes[:, :-1]).all()
    assert made.phonemes.min() >= 1
    assert made.phonemes.max() <= 24


def test_the_lstm_does_not_hear_the_padding():
    model = BiLSTM(5, hidden=4, layers=3, labels=3).eval()
    frames = torch.randn(2, 9, 5)
    both = model(frames, torch.tensor([9, 4]))
    torch.testing.assert_close(both[1:, :4], model(frames[1:, :4], torch.tensor([4])))


def test_bad_input_is_named():
    with pytest.raises(UserError, match="attention"):
        Growth.build({"attention": "quadratic"})
    with pytest.raises(UserError, match=r"hashing.rounds"):
        Picturing.build({"hashing": {"rounds": 0}})


def test_hashing_is_merged_field_by_field():
    assert Picturing.build({"hashing": {"chunk": 8}}).hashing == Hashing(chunk=8)


def test_a_histogram_and_a_table_predict_what_they_counted():
    generator = np.random.default_rng(0)
    still = np.tile(generator.integers(0, 4, (1, 12), dtype=np.uint8), (400, 1))
    for bits in (measure_histogram(still, still, 4), measure_table(still, still, (3, 4, 1), 4)):
        assert bits == pytest.approx(-np.log2(401 / 404), rel=1e-6)
    noise = generator.integers(0, 4, (4000, 12), dtype=np.uint8)
    assert measure_histogram(noise, noise, 4) == pytest.approx(2, abs=0.01)
    # The first value is drawn and copied along the row: only the table knows it.
    rows = np.repeat(generator.integers(0, 2, (4000, 3, 1, 1), dtype=np.uint8) * 3, 4, 2)
    rows = rows.reshape(4000, 12)
    assert measure_histogram(rows, rows, 4) == pytest.approx(1, abs=0.01)
    assert measure_table(rows, rows, (3, 4, 1), 4) == pytest.approx(0.25, abs=0.02)
    # Channels of a pixel look at the same channel of its neighbours.
    colours = np.concatenate((rows, still[:1].repeat(4000, 0)), 1)
    colours = colours.reshape(4000, 2, 3, 4).transpose(0, 2, 3, 1).reshape(4000, 24)
    assert measure_table(colours, colours, (3, 4, 2), 4) == pytest.approx(0.125, abs=0.02)
