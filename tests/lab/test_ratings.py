"""Pairs of finished runs, ratings as evidence, and every way in which a file can be wrong."""

import json
import re
import shutil

import numpy as np
import pytest
from scipy.stats import binomtest

from quire.lab.claims import Check, clopper_pearson, decide_judgement
from quire.lab.errors import MissingError, UserError
from quire.lab.evidence import Evidence, Rating, read_evidence
from quire.lab.freshness import judged, standing, standings
from quire.lab.job import Options
from quire.lab.papers import find_paper
from quire.lab.ratings import PAIRS, add, counted, find_judged, make_page
from quire.lab.testing import try_run
from quire.lab.verify import judge

CHECK = Check.parse("bright.squares > black.squares")  # black is the first of the sorted names


@pytest.mark.parametrize(("wins", "pairs"), [(0, 7), (7, 7), (3, 10), (27, 40), (26, 40), (1, 1)])
def test_the_interval_is_scipys(wins, pairs):
    interval = binomtest(wins, pairs).proportion_ci(method="exact")
    assert clopper_pearson(wins, pairs) == pytest.approx(tuple(interval))


@pytest.mark.parametrize("chosen", [0.02, 0.2, 0.45])
@pytest.mark.parametrize("open_", [0.05, 0.3, 0.5])
def test_halves_keep_the_interval_honest(chosen, open_):
    """Every outcome of ten pairs: 95 % of the time or more the true mean score is inside."""
    pairs, truth = 10, chosen + open_ / 2
    inside = 0.0
    for wins in range(pairs + 1):
        for ties in range(pairs + 1 - wins):
            low, high = clopper_pearson(wins + ties / 2, pairs)
            losses = pairs - wins - ties
            ways = np.prod(range(1, pairs + 1)) / np.prod(
                [float(np.prod(range(1, k + 1))) for k in (wins, ties, losses)]
            )
            share = ways * chosen**wins * open_**ties * (1 - chosen - open_) ** losses
            inside += share * (low <= truth <= high)
    assert inside >= 0.95


@pytest.mark.parametrize(
    ("scores", "verdict"),
    [
        ([(13, 40)], "holds"),
        ([(14, 40)], "undecided"),
        ([(27, 40)], "fails"),
        ([(20, 40)], "undecided"),
        ([(0.5, 40), (39.5, 40)], "undecided"),
        ([(15, 40), (14, 40)], "holds"),  # neither alone would do
        ([(0, 40), (40, 40), (0, 40)], "undecided"),  # raters disagree: pairs alone would decide
        ([(3, 8), (3, 8), (3, 8)], "undecided"),  # raters agree by chance: 24 pairs are too few
        ([(10, 40), (12, 40), (11, 40)], "holds"),
        ([], "not run"),
    ],
)
def test_verdicts(scores, verdict):
    found = decide_judgement(CHECK, scores)
    assert found.verdict == verdict
    assert found.seeds == len(scores)
    if scores:
        assert found.left + found.right == pytest.approx(1)
        assert found.interval[0] <= found.left - found.right <= found.interval[1]


@pytest.mark.parametrize(
    ("check", "scores", "verdict"),
    [
        ("a.x >= b.x / 2", [(20, 40)], "holds"),
        ("a.x >= b.x / 2", [(1, 40)], "fails"),
        ("abs(a.x - b.x) < 0.5", [(100, 200)], "holds"),
        ("abs(a.x - b.x) < 0.5", [(20, 40), (21, 40)], "holds"),
        ("abs(a.x - b.x) < 0.5", [(5, 10)], "undecided"),
        ("a.x > a.y", [(39, 40)], "holds"),
        ("a.x / b.x > 1", [(40, 40)], "undecided"),  # the other share is zero
    ],
)
def test_checks_of_every_form(check, scores, verdict):
    assert decide_judgement(Check.parse(check), scores).verdict == verdict


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of the toy, two seeds of each arm at laptop; tests change copies."""
    import quire.papers
    from lab.conftest import TOYS

    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quire.papers, "__path__", [*quire.papers.__path__, str(TOYS)])
        for arm in ("bright", "grey", "black"):
            for seed in range(2):
                try_run("seen", "squares", arm=arm, preset="laptop", seed=seed, directory=folder)
    return folder


@pytest.fixture(autouse=True)
def _apart(monkeypatch, tmp_path):
    monkeypatch.setenv("QUIRE_EVIDENCE", str(tmp_path / "committed"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def page(runs):
    return make_page(*find_judged("seen/people-see-light"), "laptop", options=Options(runs=runs))


def rating(page, choose, *, rater="", name="r1", date="2026-12-01"):
    """What somebody would have saved: `choose(left, right)` for each pair."""
    pairs = page.rated.pairs
    choices = tuple((choose(left, right), 1.5) for *_, left, right in pairs)
    return Rating(id=name, rater=rater, date=date, choices=choices)


def save(path, page, *ratings):
    rated = page.rated.model_copy(update={"ratings": ratings})
    path.write_text(page.model_copy(update={"rated": rated}).text())
    return path


def brighter(left, right):
    return "bright.squares"


def unsure(left, right):
    return None


def test_pairs_are_of_one_seed_and_picture(page, runs):
    evidence, pictures = page
    rated = evidence.rated
    assert len(pictures) == len(rated.pairs) == 12  # two seeds, six pictures each
    assert sorted(pair[:2] for pair in rated.pairs) == [(s, k) for s in (0, 1) for k in range(6)]
    lefts = [left for *_, left, _ in rated.pairs]
    assert {len(set(pair[2:])) for pair in rated.pairs} == {2}
    assert set(lefts) == {"bright.squares", "black.squares"}
    for (seed, number, *names), files in zip(rated.pairs, pictures, strict=True):
        for name, png in zip(names, files, strict=True):
            folder = runs / "seen/squares/laptop" / name.partition(".")[0]
            (path,) = folder.glob(f"seed{seed}-*/exhibits/squares/{number:02}.png")
            assert path.read_bytes() == png
    assert evidence.machine == f"people-{evidence.page}"
    assert evidence.settings == {"black": {"level": 0.0}, "bright": {}}
    assert evidence.rated.question == "Which of the two is brighter?"


def test_a_page_follows_from_its_seed(page, runs):
    evidence, _ = page
    found = find_judged("seen/people-see-light")
    again = make_page(*found, "laptop", options=Options(runs=runs))
    assert again == page
    other, _ = make_page(*found, "laptop", options=Options(runs=runs), seed=1)
    assert other.rated.pairs != evidence.rated.pairs
    assert other.page != evidence.page


def test_a_long_page_is_cut(runs, monkeypatch):
    assert PAIRS == 40
    monkeypatch.setattr("quire.lab.ratings.PAIRS", 5)
    found = find_judged("seen/people-see-light")
    evidence, pictures = make_page(*found, "laptop", options=Options(runs=runs))
    assert len(evidence.rated.pairs) == len(pictures) == 5


def test_ratings_become_evidence(page, tmp_path):
    evidence, _ = page
    folder = tmp_path / "evidence"
    path = save(tmp_path / "saved.json", evidence, rating(evidence, brighter, rater="A."))
    whole = add(path, folder)
    written = whole.write(folder)
    assert written.name == f"squares--laptop--people-{evidence.page}.json"
    assert read_evidence(written) == whole == judged(whole)
    (record,) = whole.claims
    assert (record.id, record.verdict, record.seeds) == ("people-see-light", "holds", 1)
    assert (record.left, record.right) == (1, 0)
    assert record.check == "bright.squares > black.squares"
    assert {run.arm: run.metrics for run in whole.runs} == {
        "black": {"squares": 0}, "bright": {"squares": 1},
    }  # fmt: skip
    assert whole.rated.counted == 12
    assert standings([whole])[whole.file_name].state == "fresh"
    assert Evidence(**whole.model_dump()) == whole
    more = save(tmp_path / "more.json", evidence, rating(evidence, unsure, name="r2", rater="B."))
    both = add(more, folder)
    assert (both.claims[0].seeds, both.rated.counted) == (2, 24)
    assert both.claims[0].left == 0.75
    assert both.created == "2026-12-01"


def test_what_was_committed_is_gone_on_with(page, tmp_path):
    evidence, _ = page
    first = save(tmp_path / "first.json", evidence, rating(evidence, brighter))
    add(first, tmp_path / "own").write(tmp_path / "committed")
    second = save(tmp_path / "second.json", evidence, rating(evidence, unsure, name="r2"))
    assert add(second, tmp_path / "own").claims[0].seeds == 2


def test_the_same_person_goes_on(page, tmp_path):
    evidence, _ = page
    complete = rating(evidence, brighter, rater="A.")
    short = complete.model_copy(update={"choices": complete.choices[:4]})
    add(save(tmp_path / "a.json", evidence, short), tmp_path).write(tmp_path)
    whole = add(save(tmp_path / "b.json", evidence, complete), tmp_path)
    assert (whole.claims[0].seeds, whole.rated.counted) == (1, 12)
    whole.write(tmp_path)
    for path in ("a.json", "b.json"):
        with pytest.raises(UserError, match=f"^{path} was added already$"):
            add(tmp_path / path, tmp_path)
    turned = complete.model_copy(update={"choices": (*complete.choices[:-1], (None, 2.0))})
    whole = add(save(tmp_path / "d.json", evidence, turned), tmp_path)
    assert [each.choices for each in whole.rated.ratings] == [turned.choices]
    twice = rating(evidence, unsure, name="r2", rater="A.")
    with pytest.raises(
        UserError, match=r"'A\.' has rated this page already: a rater counted twice"
    ):
        add(save(tmp_path / "c.json", evidence, twice), tmp_path)


def test_no_run_decides_what_people_judge(runs):
    paper = find_paper("seen")
    assert [record.id for record in judge(paper, "squares", "laptop", ())] == ["brighter"]
    assert paper.find_claim("people-see-light").at == ("laptop", "gpu", "paper")


def set_in(*keys, value):
    def change(table):
        for key in keys[:-1]:
            table = table[key]
        table[keys[-1]] = value

    return change


CHOICES = "rated", "ratings", 0, "choices"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (set_in("rated", value=None), "holds no ratings: a page that `quire rate` wrote"),
        (set_in("rated", "ratings", value=[]), "holds no ratings"),
        (set_in(*CHOICES, value=[]), "is not evidence: rated.ratings.0.choices: .*at least 1"),
        (set_in(*CHOICES, 0, value=["grey.squares", 1]), "'grey.squares' was chosen of b"),
        (set_in(*CHOICES, 0, value=["bright.squares", -1]), "choices.0.1: .*greater than"),
        (set_in(*CHOICES, value=[[None, 1]] * 13), "has 13 choices for 12 pairs"),
        (set_in("rated", "ratings", 0, "id", value="../x"), "ratings.0.id"),
        (set_in("rated", "pairs", 0, value=[0, 0, "a.x", "b.x"]), "was changed after a page saved"),
        (set_in("paper", value="sean"), "was changed after a page saved it"),
        (set_in("settings", "black", value={}), "was changed after a page saved it"),
        (set_in("machine", value="people-../../x"), "was changed after a page saved it"),
        (set_in("rated", "surprise", value=1), "unknown key 'rated.surprise'"),
    ],
)
def test_a_file_that_was_changed_is_one_clear_line(page, tmp_path, change, fault):
    evidence, _ = page
    path = save(tmp_path / "saved.json", evidence, rating(evidence, brighter))
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))
    check_refused(path, tmp_path, fault)


def check_refused(path, folder, fault):
    with pytest.raises(UserError) as caught:
        add(path, folder / "evidence")
    assert re.search(fault, str(caught.value)), caught.value
    assert "\n" not in str(caught.value)
    assert not (folder / "evidence").exists()


def test_a_damaged_file_is_one_clear_line(page, tmp_path):
    evidence, _ = page
    path = save(tmp_path / "saved.json", evidence, rating(evidence, brighter))
    path.write_text(path.read_text()[:300])
    check_refused(path, tmp_path, "saved.json is not evidence: Invalid JSON")
    path.write_bytes(b"\x00\xff")
    check_refused(path, tmp_path, "saved.json is not evidence: Invalid JSON")
    check_refused(tmp_path / "none.json", tmp_path, "none.json is not evidence: No such file")


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        ({"code": "0ld0ld0ld0ld"}, "the code behind it changed"),
        ({"settings": {"black": {"level": 0.1}, "bright": {}}}, "the settings of black changed"),
        ({"question": "Which is darker?"}, "the question of people-see-light changed"),
    ],
)
def test_ratings_of_an_older_page_are_refused(page, tmp_path, update, reason):
    evidence, _ = page
    if "question" in update:
        update = {"rated": evidence.rated.model_copy(update=update)}
    older = evidence.model_copy(update=update)
    older = older.model_copy(update={"machine": f"people-{older.page}"})
    path = save(tmp_path / "saved.json", older, rating(older, brighter))
    fault = rf"saved.json was rated on an older page \({reason}\): quire rate seen/people-see-light"
    check_refused(path, tmp_path, fault)


def test_a_file_of_another_claim_or_pair_is_refused(page, tmp_path):
    evidence, _ = page

    def other(**update):
        rated = evidence.rated.model_copy(update=update)
        whole = evidence.model_copy(update={"rated": rated})
        whole = whole.model_copy(update={"machine": f"people-{whole.page}"})
        return save(tmp_path / "saved.json", whole, rating(whole, lambda left, right: left))

    check_refused(other(claim="people-see-lite"), tmp_path, "did you mean 'people-see-light'")
    check_refused(other(claim="brighter"), tmp_path, "seen/brighter is decided by runs")
    fault = "pairs .* people-confuse-grey compares bright.squares with grey.squares"
    check_refused(other(claim="people-confuse-grey"), tmp_path, fault)


def test_a_check_that_changed_is_decided_again_and_is_stale_before(page, monkeypatch):
    evidence, _ = page
    with_rating = evidence.rated.model_copy(update={"ratings": (rating(evidence, unsure),)})
    whole = counted(evidence.model_copy(update={"rated": with_rating}))
    assert whole.claims[0].verdict == "undecided"
    paper = find_paper("seen")
    squares = paper.experiments["squares"]

    def changed(**update):
        claims = tuple(
            claim.model_copy(update=update) if claim.id == "people-see-light" else claim
            for claim in squares.claims
        )
        table = {"squares": squares.model_copy(update={"claims": claims})}
        return paper.model_copy(update={"experiments": table})

    easier = changed(check="bright.squares > black.squares - 0.9")
    assert standing(whole, easier, whole.code).reason == "the check of people-see-light changed"
    monkeypatch.setattr("quire.lab.ratings.find_paper", lambda name: easier)
    assert counted(whole).claims[0].verdict == "holds"
    other = changed(check="bright.squares > grey.squares")
    monkeypatch.setattr("quire.lab.ratings.find_paper", lambda name: other)
    assert counted(whole).claims[0].verdict == "not run"
    gone = changed(id="another")
    assert standing(whole, gone, whole.code).reason == "the claim people-see-light is gone"
    monkeypatch.setattr("quire.lab.ratings.find_paper", lambda name: gone)
    assert counted(whole).claims == ()


def test_runs_that_are_missing_are_named_with_their_command(runs, tmp_path):
    found = find_judged("seen/people-see-light")
    again = "quire verify seen/squares --preset"
    with pytest.raises(MissingError, match=f"no seed of black and bright has .* laptop: {again}"):
        make_page(*found, "laptop", options=Options(runs=tmp_path))
    with pytest.raises(MissingError, match=f"finished at gpu: {again} gpu"):
        make_page(*found, "gpu", options=Options(runs=runs))
    with pytest.raises(UserError, match="seen/people-see-light is judged at laptop, gpu, paper"):
        make_page(*found, "smoke", options=Options(runs=runs))
    copy = shutil.copytree(runs, tmp_path / "copy")
    for path in copy.glob("seen/squares/laptop/black/*/exhibits"):
        shutil.rmtree(path)
    with pytest.raises(MissingError, match=r"left no pictures of black.* and bright"):
        make_page(*found, "laptop", options=Options(runs=copy))


def test_only_seeds_that_every_arm_has_finished_are_shown(runs, tmp_path):
    copy = shutil.copytree(runs, tmp_path / "copy")
    (gone,) = copy.glob("seen/squares/laptop/black/seed0-*/result.json")
    gone.unlink()
    found = find_judged("seen/people-see-light")
    evidence, _ = make_page(*found, "laptop", options=Options(runs=copy))
    assert {seed for seed, *_ in evidence.rated.pairs} == {1}


def test_claims_are_found_by_name():
    paper, claim = find_judged("seen/people-see-light")
    assert (paper.name, claim.id) == ("seen", "people-see-light")
    for text, fault in (
        ("sean", "unknown paper 'sean': did you mean 'seen'"),
        ("seen", "name a claim that people judge: seen/people-see-light, seen/people-confuse-grey"),
        ("seen/people-see-lite", "did you mean 'people-see-light'"),
        ("seen/brighter", "decided by runs, not by people: quire verify seen/squares"),
        ("toy", "no claim of toy is judged by people"),
        ("", "name a claim that people judge: .*seen/people-see-light"),
    ):
        with pytest.raises(UserError, match=fault):
            find_judged(text)
