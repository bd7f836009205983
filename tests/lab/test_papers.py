import re

import pytest

from quire.lab.errors import UserError
from quire.lab.papers import find_paper, paper_names, read_paper

TOML = """
title = "T"
authors = ["A. Author"]
year = 2000
arxiv = "1234.56789"
family = "f"
summary = "s"
[experiments.e]
summary = "s"
metrics = { m = "a metric" }
arms = { a = {}, b = { depth = 3 } }
[experiments.e.presets]
smoke = { steps = 1, arms = ["a"] }
laptop = { steps = 9, seeds = 5, a = { depth = 7 } }
gpu = {}
paper = {}
[[claims]]
id = "c"
experiment = "e"
kind = "trend"
says = "A beats B."
source = "Table 1"
check = "a.m < b.m"
at = ["laptop"]
"""


@pytest.fixture
def write(tmp_path):
    def paper(text):
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        (folder / "paper.toml").write_text(text)
        return folder

    return paper


def test_a_paper_is_read(write):
    paper = read_paper(write(TOML))
    experiment = paper.experiments["e"]
    assert experiment.arms_at("smoke") == ("a",)
    assert experiment.arms_at("laptop") == ("a", "b")
    assert experiment.settings("laptop", "b") == {"steps": 9, "depth": 3}
    assert experiment.settings("laptop", "a") == {"steps": 9, "depth": 7}
    assert (experiment.seeds_at("smoke"), experiment.seeds_at("laptop")) == (1, 5)
    assert [c.id for c in paper.claims_at("e", "laptop")] == ["c"]
    assert paper.claims_at("e", "gpu") == []
    assert paper.bibtex.startswith("@article{author2000,")


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("title", "titel", "unknown key 'titel'|title"),
        ("year = 2000", 'year = "long ago"', "year: .*got 'long ago'"),
        ("a.m < b.m", "a.m < x.m", "claim c: unknown arm 'x'"),
        ("a.m < b.m", "a.mm < b.m", "unknown metric 'mm': did you mean 'm'"),
        ("a.m < b.m", "a.m == b.m", "'==' is for identities"),
        ("a.m < b.m", "a.m", "must be one comparison"),
        ('experiment = "e"', 'experiment = "ee"', "unknown experiment 'ee': did you mean 'e'"),
        ('at = ["laptop"]', 'at = ["desk"]', "at.0"),
        ('at = ["laptop"]', 'at = ["smoke"]', "arm 'b' does not run at preset 'smoke'"),
        ('at = ["laptop"]', 'at = ["laptop"]\nexpected = "fails"', "needs a reason"),
        ("gpu = {}\n", "", "presets lack gpu"),
        ('arms = ["a"]', 'arms = ["q"]', "unknown arm 'q'"),
        ("a = { depth = 7 }", "a = 7", "preset laptop: 'a' is an arm and takes a table"),
        ('kind = "trend"', 'kind = "rumour"', "kind"),
        ('summary = "s"\n[exp', 'summary = ""\n[exp', "summary: .*at least 1 character"),
        ("[[claims]]", "[[claims]", "not valid TOML"),
    ],
)
def test_a_malformed_paper_is_one_clear_line(write, old, new, fault):
    assert old in TOML
    with pytest.raises(UserError) as caught:
        read_paper(write(TOML.replace(old, new, 1)))
    message = str(caught.value)
    assert message.startswith("mine/paper.toml")
    assert re.search(fault, message)
    assert "\n" not in message


def test_a_claim_may_not_stand_twice(write):
    claim = TOML[TOML.index("[[claims]]") :]
    with pytest.raises(UserError, match="claim c stands twice"):
        read_paper(write(TOML + claim))


def test_papers_are_found_by_folder():
    assert "toy" in paper_names()
    assert find_paper("toy").name == "toy"
    with pytest.raises(UserError, match="unknown paper 'toys': did you mean 'toy'"):
        find_paper("toys")
