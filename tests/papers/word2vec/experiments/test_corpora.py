"""Real text as lists of words."""

import gzip

import pytest

from quire.lab.errors import UserError
from quire.papers.word2vec.experiments.corpora import Lines, Source
from quire.papers.word2vec.experiments.text import Text

TEXT = "It's 3 o'clock, Anna!\n\nNever_mind: GRÜN\n"


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_of_ones_own_is_read_line_by_line(tmp_path, packed):
    path = tmp_path / ("mine.txt.gz" if packed else "mine.txt")
    path.write_bytes(gzip.compress(TEXT.encode(), mtime=0) if packed else TEXT.encode())
    expected = [["it's", "3", "o'clock", "anna"], ["never", "mind", "grün"]]
    lines = Lines(Source(file=path), None)
    assert list(lines) == list(lines) == expected
    assert list(Lines(Source(file=path, words=5), None)) == [expected[0], ["never"]]
    plain = Lines(Source(file=path, tokenise=False), None)
    assert list(plain) == [line.split() for line in TEXT.splitlines() if line]


def test_a_source_is_merged_field_by_field_and_checked(tmp_path):
    config = Text.build({"corpus": {"words": 10}})
    assert config.corpus == Source(words=10)
    with pytest.raises(UserError, match=r"corpus.name"):
        Text.build({"corpus": {"name": "text9"}})
    with pytest.raises(ValueError, match="cannot read the corpus"):
        list(Lines(Source(file=tmp_path / "missing.txt"), None))
