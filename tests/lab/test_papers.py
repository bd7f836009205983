import re

import pytest

import quire.papers
from quire.lab.errors import UserError
from quire.lab.papers import find_paper, paper_names, read_paper, readable_papers

TITLE = """
title = "T"
authors = ["A. Author"]
year = 2000
arxiv = "1234.56789"
family = "f"
summary = "s"
headline = ["c"]
"""
EXPERIMENT = """
summary = "s"
after = { base = "first:a" }
[metrics]
m = "a metric"
[arms]
a = {}
b = { depth = 3, net = { width = 2 } }
[presets.smoke]
set = { steps = 1, net = { width = 1, bias = true } }
only = ["a"]
[presets.laptop]
set = { steps = 9 }
seeds = 5
for.a = { depth = 7 }
[presets.gpu]
[presets.paper]
[pilots.laptop]
depth = { seeds = [10, 11], metric = "m", a = [[7, 0.1], [3, 0.4]] }
[claims.c]
trend = "A beats B."
source = "Table 1"
check = "a.m < b.m"
fails = { gpu = "It does not there." }
[claims.same]
identity = "All are small."
source = "Table 2"
check = "max(*.m) < 1"
origin = "beyond"
[claims.exactly]
number = "A is 3."
source = "Table 3"
check = "abs(a.m - 3) < 0.1"
paper = "3.0"
"""
FIRST = """
summary = "s"
[metrics]
m = "a metric"
[arms]
a = {}
[presets.smoke]
[presets.laptop]
[presets.gpu]
[presets.paper]
"""


@pytest.fixture
def write(tmp_path):
    def paper(title=TITLE, experiment=EXPERIMENT, **others):
        folder = tmp_path / "mine"
        (folder / "experiments").mkdir(parents=True, exist_ok=True)
        (folder / "paper.toml").write_text(title)
        for name, text in ({"e": experiment, "first": FIRST} | others).items():
            (folder / "experiments" / f"{name}.toml").write_text(text)
        return folder

    return paper


def test_a_paper_is_read(write):
    paper = read_paper(write())
    experiment = paper.experiments["e"]
    assert experiment.code == "e"
    assert experiment.arms_at("smoke") == ("a",)
    assert experiment.arms_at("laptop") == ("a", "b")
    assert experiment.settings("laptop", "b") == {"steps": 9, "depth": 3, "net": {"width": 2}}
    assert experiment.settings("laptop", "a") == {"steps": 9, "depth": 7}
    smoke = {"steps": 1, "depth": 3, "net": {"width": 2, "bias": True}}
    assert experiment.settings("smoke", "b") == smoke
    assert (experiment.seeds_at("smoke"), experiment.seeds_at("laptop")) == (1, 5)
    assert [c.id for c in paper.claims_at("e", "laptop")] == ["c", "same"]
    assert [c.id for c in paper.claims_at("e", "paper")] == ["c", "same", "exactly"]
    assert [c.id for c in paper.claims] == ["c", "exactly", "same"]
    trend, same, exactly = experiment.claims
    assert (trend.kind, trend.says, trend.origin) == ("trend", "A beats B.", "paper")
    assert (trend.expected("laptop"), trend.expected("gpu")) == ("holds", "fails")
    assert same.origin == "beyond"
    assert exactly.paper == "3.0"
    pilot = experiment.pilots["laptop"]["depth"]
    assert pilot.tried["a"] == ((7, 0.1), (3, 0.4))
    assert paper.bibtex.startswith("@article{author2000,")
    with pytest.raises(UserError, match="unknown claim of mine 'sane': did you mean 'same'"):
        paper.find_claim("sane")


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("title", "titel", "unknown key 'titel'|title"),
        ("year = 2000", 'year = "long ago"', "year: .*got 'long ago'"),
        ('headline = ["c"]', 'headline = ["d"]', "headline: unknown claim 'd'"),
        ('summary = "s"', 'summary = ""', "summary: .*at least 1 character"),
        ("title", "[[", "not valid TOML"),
    ],
)
def test_a_malformed_title_page_is_one_clear_line(write, old, new, fault):
    assert old in TITLE
    check_refused(write(title=TITLE.replace(old, new, 1)), "mine/paper.toml", fault)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("a.m < b.m", "a.m < x.m", "claim c: unknown arm 'x'"),
        ("a.m < b.m", "a.mm < b.m", "unknown metric 'mm': did you mean 'm'"),
        ("a.m < b.m", "a.m == b.m", "'==' is for identities"),
        ("a.m < b.m", "a.m", "must be one comparison"),
        ("max(*.m)", "max(*.q)", "claim same: unknown metric 'q'"),
        ("trend = ", "rumour = ", "claim c says one of identity, trend, number, jud"),
        ('trend = "A beats B."', 'trend = "A"\nnumber = "B"', "claim c says one of"),
        ('source = "Table 1"', 'source = "Table 1"\nat = ["desk"]', r"claims\.0\.at\.0"),
        ('fails = { gpu = "It does not there." }', 'at = ["smoke"]', "'b' does not run at preset"),
        ('source = "Table 1"', 'source = "Table 1"\nat = ["laptop"]', "not decided at gpu"),
        ("[presets.gpu]\n", "", "presets lack gpu"),
        ('only = ["a"]', 'only = ["q"]', "preset smoke: unknown arm 'q'"),
        ("for.a = { depth = 7 }", "for.q = { depth = 7 }", "preset laptop: unknown arm 'q'"),
        ("for.a = { depth = 7 }", "for.a = 7", r"presets\.laptop\.for\.a"),
        ("a = [[7, 0.1], [3, 0.4]]", "q = [[7, 0.1]]", "pilots: unknown arm 'q'"),
        ("first:a", "firs:a", "e: after: unknown experiment 'firs': did you mean 'first'"),
        ("first:a", "first:q", "e: after: unknown arm of first 'q'"),
        ("first:a", "e:a", "e: after: it would stand on itself"),
        ("[metrics]", "[metrics", "not valid TOML"),
    ],
)
def test_a_malformed_experiment_is_one_clear_line(write, old, new, fault):
    assert old in EXPERIMENT
    check_refused(write(experiment=EXPERIMENT.replace(old, new, 1)), "mine/", fault)


JUDGED = (
    EXPERIMENT
    + """
[exhibits]
faces = "a face"
[claims.seen]
judgement = "A looks better than B."
question = "Which is the face?"
source = "Figure 1"
check = "a.faces > b.faces"
"""
)


def test_a_judgement_is_read(write):
    paper = read_paper(write(experiment=JUDGED))
    claim = paper.find_claim("seen")
    assert (claim.kind, claim.question) == ("judgement", "Which is the face?")
    assert claim.at == ("laptop", "gpu", "paper")
    assert claim.exhibits == ("a.faces", "b.faces")
    assert "faces" in paper.experiments["e"].meanings


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("a.faces > b.faces", "a.face > b.faces", "seen: unknown exhibit 'face': .* 'faces'"),
        ("a.faces > b.faces", "a.m > b.m", "seen: unknown exhibit 'm'"),
        ("a.m < b.m", "a.faces < b.faces", "claim c: unknown metric 'faces'"),
        ("a.faces > b.faces", "a.faces > 0.5", "a judgement compares two exhibits: gan.samples"),
        ("a.faces > b.faces", "max(*.faces) > b.faces", "a judgement compares two exhibits"),
        ("a.faces > b.faces", "a.faces == b.faces", "'==' is for identities"),
        ('question = "Which is the face?"\n', "", "a judgement asks a question"),
        ('trend = "A beats B."', 'trend = "A."\nquestion = "Which?"', "no other claim does"),
        ('source = "Figure 1"', 'source = "Figure 1"\nat = ["smoke"]', "'b' does not run at"),
    ],
)
def test_a_malformed_judgement_is_one_clear_line(write, old, new, fault):
    assert old in JUDGED
    check_refused(write(experiment=JUDGED.replace(old, new, 1)), "mine/", fault)


def test_runs_may_not_stand_in_a_circle(write):
    first = FIRST.replace("[metrics]", 'after = { x = "e:a" }\n[metrics]')
    check_refused(write(first=first), "mine/paper.toml", "it would stand on itself")


def check_refused(folder, where, fault):
    with pytest.raises(UserError) as caught:
        read_paper(folder)
    message = str(caught.value)
    assert message.startswith(where)
    assert re.search(fault, message), message
    assert "\n" not in message


def test_a_claim_may_not_stand_twice(write):
    first = FIRST + '[claims.c]\nidentity = "A."\nsource = "t"\ncheck = "a.m < 1"\n'
    with pytest.raises(UserError, match="claim c stands twice"):
        read_paper(write(first=first))


def test_one_bad_paper_does_not_stop_the_others(write, monkeypatch):
    folder = write(title="title = 7")
    monkeypatch.setattr(quire.papers, "__path__", [*quire.papers.__path__, str(folder.parent)])
    papers, faults = readable_papers()
    assert "toy" in [paper.name for paper in papers]
    assert "mine" not in [paper.name for paper in papers]
    assert any("mine/paper.toml" in str(fault) for fault in faults)


def test_papers_are_found_by_folder():
    assert "toy" in paper_names()
    assert find_paper("toy").name == "toy"
    with pytest.raises(UserError, match="unknown paper 'toys': did you mean 'toy'"):
        find_paper("toys")
