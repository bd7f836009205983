"""Vocabulary, token store, packing and mixing."""

import json
import math
import random

import numpy as np
import pytest
import torch

from quire.papers.t5.lengths import raw_length
from quire.papers.t5.mixing import Mixture, mixing_rates
from quire.papers.t5.objectives import Ids, merge, random_spans
from quire.papers.t5.packing import encode, pack, pad
from quire.papers.t5.store import Chunks, TokenStore, tokenise, write_tokens
from quire.papers.t5.vocabulary import Vocabulary

WORDS = ["the", "a", "cat", "dog", "house", "river", "green", "old", "sees", "likes", "under",
         "near", "and", "or", "never"]  # fmt: skip


def texts(count=200, seed=0):
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=12)) + " ." for _ in range(count)]


@pytest.fixture(scope="module")
def vocabulary():
    for library in ("tokenizers", "sentencepiece"):
        pytest.importorskip(library, reason="needs the extra text")
    return Vocabulary.train(texts(), 60, sentinels=20)


# Vocabulary


def test_ids_are_in_the_published_order(vocabulary):
    ids, known = vocabulary.ids, vocabulary.tokenizer
    assert [known.token_to_id(name) for name in ("<pad>", "</s>", "<unk>")] == [0, 1, 2]
    assert [known.token_to_id(f"<extra_id_{n}>") for n in (0, 1, 19)] == [
        ids.size - 1, ids.size - 2, ids.size - 20]  # fmt: skip
    assert ids.sentinels == 20 and vocabulary.rows % 128 == 0 and vocabulary.rows >= ids.size


def test_text_comes_back(vocabulary, tmp_path):
    given = texts(20, seed=5)
    assert vocabulary.decode(vocabulary.encode(given)) == given
    assert vocabulary.decode([[*vocabulary.encode(["the cat"])[0], 1, 0, 0]]) == ["the cat"]
    assert vocabulary.encode(["the   cat\n"]) == vocabulary.encode(["the cat"])
    assert 2 in vocabulary.encode(["the Ж"])[0]
    assert vocabulary.decode([[vocabulary.rows - 1]]) == [""], "a row that pads the embedding"
    vocabulary.save(tmp_path / "v.json")
    again = Vocabulary.load(tmp_path / "v.json")
    assert again.encode(given) == vocabulary.encode(given) and again.ids == vocabulary.ids


def test_training_repeats_itself(vocabulary):
    again = Vocabulary.train(iter(texts()), 60, sentinels=20)
    assert again.tokenizer.to_str() == vocabulary.tokenizer.to_str()


def test_letters_that_stand_once_keep_their_places(vocabulary):
    """What is in no piece of its own gets a score at the end, which no hash may decide."""
    rare = [*texts(), "".join(chr(0x400 + n) for n in range(64))]
    one, *others = (Vocabulary.train(rare, 130, sentinels=2).tokenizer.to_str() for _ in range(3))
    assert others == [one, one]


def test_an_error_within_the_texts_is_what_is_raised():
    pytest.importorskip("sentencepiece", reason="needs the extra text")

    def broken():
        yield "the cat"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        Vocabulary.train(broken(), 40)


def test_sentinels_show_in_text(vocabulary):
    tokens = torch.tensor(vocabulary.encode([texts()[0]])[0])
    inputs, targets = random_spans(ids=vocabulary.ids)(
        tokens, generator=torch.Generator().manual_seed(0)
    )
    shown, written = vocabulary.decode([inputs.tolist(), targets.tolist()])
    assert "<extra_id_0>" in shown and written.startswith("<extra_id_0>")
    merged = merge(inputs.tolist(), targets.tolist(), ids=vocabulary.ids)
    assert vocabulary.decode([merged]) == [texts()[0]]


def test_what_is_no_vocabulary_is_refused(vocabulary, tmp_path):
    with pytest.raises(ValueError, match="needs text"):
        Vocabulary.train([" "], 60)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match="no vocabulary"):
        Vocabulary.load(tmp_path / "other.json")
    other = json.loads(vocabulary.tokenizer.to_str())
    other["added_tokens"] = [t for t in other["added_tokens"] if "extra" not in t["content"]]
    (tmp_path / "other.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match="0 sentinels"):
        Vocabulary.load(tmp_path / "other.json")


# Token store


@pytest.mark.parametrize(("size", "dtype"), [(2_000, np.uint16), (70_000, np.int32)])
def test_a_store_gives_back_what_was_written(tmp_path, size, dtype):
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, size, rng.integers(0, 30)).tolist() for _ in range(50)]
    write_tokens(iter(documents), tmp_path, size=size)
    store = TokenStore(tmp_path)
    assert isinstance(store.stream, np.memmap) and store.stream.dtype == dtype
    assert [store.document(n).tolist() for n in range(len(store))] == documents
    assert store.stream.tolist() == [id for document in documents for id in document]
    parts = store.split(0.9, 0.06, 0.04)
    assert [len(part) for part in parts] == [45, 3, 2]
    assert parts[1].document(2).tolist() == documents[47]
    assert sum(part.tokens for part in parts) == store.tokens
    assert [len(part) for part in parts[0].split(0.5, 0.5)] == [22, 23]


def test_a_store_that_is_not_whole_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no token store"):
        TokenStore(tmp_path)
    with pytest.raises(ValueError, match=r"ids must lie in 0\.\.9"):
        write_tokens([[1, 10]], tmp_path, size=10)
    with pytest.raises(ValueError, match="no token store"):
        TokenStore(tmp_path)
    write_tokens([[1, 2, 3]], tmp_path, size=10)
    (tmp_path / "tokens.bin").write_bytes(b"12")
    with pytest.raises(ValueError, match="cut short"):
        TokenStore(tmp_path)
    assert write_tokens([], tmp_path, size=10).tokens == 0
    with pytest.raises(ValueError, match="shares"):
        write_tokens([[1]], tmp_path, size=10).split(0.9, 0.2)


def test_an_epoch_shows_every_chunk_once_and_a_step_its_own():
    stream = np.arange(1003, dtype=np.uint16)
    chunks = Chunks(stream, 10, seed=3)
    shown = torch.cat([chunks.batch(step, 8) for step in range(25)])  # two epochs of 100
    assert shown.dtype == torch.int64
    for epoch in (shown[:100], shown[100:]):
        assert torch.equal(epoch[:, 0].sort().values, torch.arange(0, 1000, 10))
    assert not torch.equal(shown[:100], shown[100:])
    later = Chunks(stream, 10, seed=3)
    assert torch.equal(later.batch(17, 8), shown[136:144]), "a resumed run sees the same"
    assert set(Chunks(stream, 10, tokens=47).batch(0, 9)[:, 0].tolist()) == {0, 10, 20, 30}
    for wrong in ({"length": 2000}, {"length": 5, "tokens": 4}, {"length": 5, "tokens": 5000}):
        with pytest.raises(ValueError, match="tokens"):
            Chunks(stream, **wrong)


def test_from_text_to_a_batch_of_the_objective(vocabulary, tmp_path):
    store = tokenise(texts(), vocabulary, tmp_path)
    assert vocabulary.decode([store.document(7).tolist()]) == [texts()[7]]
    raw, inputs, targets = raw_length(64)
    batch = random_spans(ids=vocabulary.ids)(Chunks(store.stream, raw).batch(0, 4))
    assert batch.inputs.shape == (4, inputs) and batch.targets.shape == (4, targets)


# Packing


def pairs(count=60, seed=0):
    draw = random.Random(seed)
    return [
        ([draw.randrange(3, 99) for _ in range(draw.randrange(0, 15))],
         [draw.randrange(3, 99) for _ in range(draw.randrange(0, 7))])
        for _ in range(count)
    ]  # fmt: skip


def test_packed_examples_are_all_there_in_order():
    given = pairs()
    batch = pack(given, 20, 9, open_rows=3)
    found = []
    for row in range(len(batch.inputs)):
        last = int(batch.input_segments[row].max())
        assert int(batch.target_segments[row].max()) == last
        for number in range(1, last + 1):
            a = batch.inputs[row][batch.input_segments[row] == number].tolist()
            b = batch.targets[row][batch.target_segments[row] == number].tolist()
            assert a.pop() == b.pop() == 1
            found.append((a, b))
        for tokens, segments in ((batch.inputs, batch.input_segments),
                                 (batch.targets, batch.target_segments)):  # fmt: skip
            held = segments[row] > 0
            assert (tokens[row][~held] == 0).all()
            assert (held.int().diff() <= 0).all(), "padding stands at the end"
    assert sorted(found) == sorted(given)
    assert len(batch.inputs) < len(given) / 1.5
    alone = pack(given, 20, 9, open_rows=1)
    rows = [tuple(a) for a, _ in given]
    flat = [tuple(alone.inputs[r][alone.input_segments[r] == n].tolist()[:-1])
            for r in range(len(alone.inputs))
            for n in range(1, int(alone.input_segments[r].max()) + 1)]  # fmt: skip
    assert flat == rows, "with one open row the order stays"


def test_padding_and_cutting():
    batch = pad([([3] * 9, [4] * 9), ([], [5])], 5, 4)
    assert batch.inputs.tolist() == [[3, 3, 3, 3, 1], [1, 0, 0, 0, 0]]
    assert batch.targets.tolist() == [[4, 4, 4, 1], [5, 1, 0, 0]]
    assert batch.input_segments is None
    assert pack([([3] * 9, [4])], 5, 4).inputs.tolist() == [[3, 3, 3, 3, 1]]
    assert pack([], 5, 4).inputs.shape == (0, 5)
    with pytest.raises(ValueError, match="open_rows"):
        pack([], 5, 4, open_rows=0)


def test_tasks_become_batches(vocabulary):
    examples = [("the cat sees the dog .", "the cat", 1), ("never", "a", 0)]
    batch = pad(encode(examples, vocabulary), 32, 16)
    assert vocabulary.decode(batch.inputs.tolist()) == [text for text, _, _ in examples]
    assert vocabulary.decode(batch.targets.tolist()) == ["the cat", "a"]
    assert encode([], vocabulary) == []


# Mixing

SIZES = {"a": 8_551, "b": 67_349, "c": 3_668, "d": 392_702}


def test_identities_of_the_rates():
    total = sum(SIZES.values())
    rates = mixing_rates(SIZES)
    assert rates == pytest.approx({name: size / total for name, size in SIZES.items()})
    assert mixing_rates(SIZES, temperature=1.0) == rates
    assert mixing_rates(SIZES, limit=1) == pytest.approx(dict.fromkeys(SIZES, 0.25))
    assert mixing_rates(SIZES, limit=10**9) == pytest.approx(rates)
    limited = mixing_rates(SIZES, limit=2**14)
    assert limited["b"] == limited["d"] == pytest.approx(16384 / (2 * 16384 + 8551 + 3668))
    # Temperature after the limit: r_m^(1/T), made to sum to 1.
    hot = mixing_rates(SIZES, limit=2**14, temperature=4.0)
    roots = {name: rate**0.25 for name, rate in limited.items()}
    assert hot == pytest.approx({n: r / sum(roots.values()) for n, r in roots.items()})
    assert mixing_rates(SIZES, temperature=1e9) == pytest.approx(dict.fromkeys(SIZES, 0.25))
    assert mixing_rates(SIZES, temperature=1e-3)["d"] == pytest.approx(1.0), "no overflow"


@pytest.mark.parametrize(
    ("options", "named"),
    [({"limit": 0}, "limit"), ({"limit": -1}, "limit"), ({"temperature": 0}, "temperature"),
     ({"temperature": math.nan}, "temperature"), ({"sizes": {}}, "at least one"),
     ({"sizes": {"a": 0}}, "the size of a")],
)  # fmt: skip
def test_bad_rates_say_what_is_wrong(options, named):
    with pytest.raises(ValueError, match=named):
        mixing_rates(**{"sizes": SIZES} | options)


def test_examples_are_mixed_and_shown_once_an_epoch():
    mixture = Mixture({"a": 30, "b": 10}, {"a": 0.75, "b": 0.25}, seed=1)
    steps = [mixture.batch(step, 16) for step in range(60)]
    flat = [place for step in steps for place in step]
    for name, size in (("a", 30), ("b", 10)):
        numbers = [number for task, number in flat if task == name]
        for begin in range(0, len(numbers) - size, size):
            assert sorted(numbers[begin : begin + size]) == list(range(size))
    assert abs(sum(task == "a" for task, _ in flat) / len(flat) - 0.75) < 0.05
    assert all(len({task for task, _ in step}) == 2 for step in steps), "within each batch"
    again = Mixture({"a": 30, "b": 10}, {"a": 0.75, "b": 0.25}, seed=1)
    assert again.batch(41, 16) == steps[41], "a resumed run sees the same"
    assert mixture.batch(3, 16) == steps[3]
    with pytest.raises(ValueError, match="same tasks"):
        Mixture({"a": 3}, {"b": 1.0})
    with pytest.raises(ValueError, match="sum to 1"):
        Mixture({"a": 3}, {"a": 0.9})


def test_the_default_ids_are_the_published_ones():
    assert Ids().mask == 32_099 and Ids().first_sentinel == 32_000
