"""bAbI: the arrays of a small text by hand, damaged files, and the real tasks if here."""

import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.samples import STORY, babi_texts
from quire import data
from quire.data import Babi


def write(root: Path, texts: dict[str, str], *, qa3: str = "en-valid-10k") -> None:
    for file, text in texts.items():
        folder = root / "babi" / (qa3 if file == "qa3_train.txt" else "en-valid-10k")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / (file + ".xz")).write_bytes(lzma.compress(text.encode()))


def read(babi: Babi, part: str, row: int) -> tuple[list[str], str, str, int]:
    """A question back in words."""
    stories = getattr(babi, part)

    def text(indices: np.ndarray) -> str:
        return " ".join(babi.vocabulary[word] for word in indices if word)

    facts = [text(fact) for fact in stories.story[row] if fact.any()]
    answer = babi.vocabulary[stories.answer[row]]
    return facts, text(stories.question[row]), answer, int(stories.task[row])


def test_arrays(tmp_path: Path) -> None:
    write(tmp_path, babi_texts())
    babi = data.babi(tmp_path, tasks=[2, 5])
    train, valid, test, vocabulary = babi
    assert train.story.shape == (6, 3, 7)
    assert train.question.shape == (6, 10)
    assert all(array.dtype == np.int64 for part in (train, valid, test) for array in part)
    assert vocabulary[0] == "<pad>"
    assert list(vocabulary[1:]) == sorted(set(vocabulary[1:]))
    assert "n,n" in vocabulary
    assert not any(mark in "".join(vocabulary) for mark in ".?\t")
    first = ["mary moved to the bathroom", "john went to the hallway"]
    assert read(babi, "train", 0) == (first, "where is mary", "bathroom", 2)
    second = [*first, "daniel went back to the hallway"]
    assert read(babi, "test", 4) == (second, "where is daniel", "hallway", 5)
    third = ["the office is north of the den"]
    asked = "how do you go from the den to the office"
    assert read(babi, "valid", 2) == (third, asked, "n,n", 2)
    for field in babi.train._fields:
        np.testing.assert_array_equal(getattr(train, field), getattr(test, field))


def test_the_most_recent_facts_are_kept(tmp_path: Path) -> None:
    write(tmp_path, babi_texts())
    babi = data.babi(tmp_path, tasks=[1], max_facts=1)
    assert babi.train.story.shape == (3, 1, 7)
    assert read(babi, "train", 1)[0] == ["daniel went back to the hallway"]


def test_task_3_falls_back_to_its_short_version_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, babi_texts(), qa3="en-valid")
    data.babi(tmp_path, tasks=[1, 2])
    assert caplog.messages == []
    assert len(data.babi(tmp_path, tasks=[3]).train.answer) == 3
    assert "task 3 is trained on its 1k version" in caplog.text


def test_no_supporting_facts_in_the_file(tmp_path: Path) -> None:
    lines = [line.rsplit("\t", 1)[0] if "\t" in line else line for line in STORY.splitlines()]
    write(tmp_path / "with", babi_texts())
    write(tmp_path / "without", babi_texts("\n".join(lines)))
    one, other = (data.babi(tmp_path / name, tasks=[1]) for name in ("with", "without"))
    assert one.vocabulary == other.vocabulary
    np.testing.assert_array_equal(one.train.answer, other.train.answer)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Mary moved.\n1 Where?\tden\t1\n", "line 1: expected a number, a sentence"),
        ("1 \n2 Where?\tden\t1\n", "line 1: expected a number, a sentence"),
        ("1 Where?\t \t1\n", "line 1: expected a number, a sentence"),
        ("1 Mary moved.\n", "holds no question"),
        ("", "holds no question"),
    ],
)
def test_malformed_text(text: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, {**babi_texts(), "qa7_valid.txt": text})
    assert len(data.babi(tmp_path, tasks=[1]).train.answer) == 3
    with pytest.raises(ValueError, match=message) as caught:
        data.babi(tmp_path, tasks=[7])
    assert "qa7_valid.txt.xz" in str(caught.value)


def test_truncated_file(tmp_path: Path) -> None:
    write(tmp_path, babi_texts())
    path = tmp_path / "babi" / "en-valid-10k" / "qa1_test.txt.xz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="is not a whole text file"):
        data.babi(tmp_path, tasks=[1])


def test_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"numbers in 1\.\.20, got \[0, 3\]"):
        data.babi(tmp_path, tasks=[3, 0])
    with pytest.raises(ValueError, match=r"numbers in 1\.\.20, got \[\]"):
        data.babi(tmp_path, tasks=[])
    with pytest.raises(ValueError, match="max_facts must be at least 1, got 0"):
        data.babi(tmp_path, max_facts=0)


def test_real_tasks(real: Callable[[str], None]) -> None:
    real("babi")
    babi = data.babi(tasks=[1, 8, 19])
    assert [len(part.answer) for part in babi[:3]] == [27000, 3000, 3000]
    assert np.bincount(babi.train.task)[[1, 8, 19]].tolist() == [9000] * 3
    words = set(babi.vocabulary)
    assert {"s,s", "football,milk", "nothing", "bathroom"} <= words
    for part in babi[:3]:
        assert part.story.min() == 0
        assert part.story.max() < len(babi.vocabulary)
        assert (part.answer > 0).all()
        assert part.question[:, 0].all()
        told = part.story.any(-1)
        assert (told[:, :-1] >= told[:, 1:]).all()  # facts first, then padding
