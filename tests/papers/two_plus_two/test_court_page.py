"""The court's page, from evidence to a real browser: the slider shows what was measured.

The numbers are made up here and stay in a temporary folder.
"""

import json
from pathlib import Path

import pytest

from quire.lab.evidence import Evidence, RunRecord
from quire.lab.papers import find_paper
from quire.report.facts import facts_of
from quire.report.model import judge
from quire.report.overview import row_of
from quire.report.page import Sheet
from quire.report.site import write

PAPER = find_paper("two_plus_two")
FAULTS = ("Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed")
SEEDS = 3


def number(arm, seed, metric):
    """A made-up measurement, another one for each arm, seed and metric."""
    place = list(PAPER.experiments["decay"].arms).index(arm) if arm[0] in "eo" else 0
    percents = ("seen", "unseen", "unseen_ever", "says_four", "says_five", "says_four_ever")
    value = {"seen": 100, "says_four": 10 * place, "says_five": 30, "four": 0.01 * place + 0.001,
             "five": 0.2, "outside": 0.799 - 0.01 * place}.get(metric, 50.0)  # fmt: skip
    return float(value + seed) if metric in percents[3:5] else float(value)


def evidence_of(experiment, metrics):
    entry = PAPER.experiments[experiment]
    runs = [
        RunRecord(arm=arm, seed=seed, status="done", metrics=metrics(arm, seed))
        for seed in range(SEEDS)
        for arm in entry.arms_at("laptop")
    ]
    return Evidence(
        paper=PAPER.name, experiment=experiment, preset="laptop", machine="made-up",
        created="2026-01-02", code="none", settings={}, environment={}, runs=tuple(runs), claims=(),
    )  # fmt: skip


def decayed(arm, seed):
    names = ("seen", "unseen") if arm.startswith("modular") else (
        "seen", "says_four", "says_five", "four", "five", "outside")  # fmt: skip
    return {name: number(arm, seed, name) for name in names}


def hear(arm, seed):
    panel = {"linear": 4.0, "lookup": 0.0, "mlp_onehot": 5.0 if seed == 0 else 0.0}.get(arm, 4.0)
    return {"answer": 4.25, "says_four": 90.0, "says_five": 10.0, "four": 0.875,
            "five": 0.0625, "outside": 0.0625, "panel": panel,
            "seen": 40.0 if arm == "nalu" else 100.0}  # fmt: skip


def write_site(folder, evidence):
    sheet = Sheet(PAPER, evidence, {})
    return write(folder, [row_of(PAPER, judge(PAPER, evidence, {}))], [sheet])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("court")
    evidence = [evidence_of("decay", decayed), evidence_of("jury", hear)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("QUIRE_EVIDENCE", str(folder / "none"))
        write_site(folder / "site", evidence)
    return folder / "site" / "papers" / "two_plus_two-court.html"


def test_the_papers_page_leads_to_the_court(page: Path) -> None:
    text = (page.parent / "two_plus_two.html").read_text(encoding="utf-8")
    assert f'<a href="{page.name}">' in text


def test_without_evidence_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_site(tmp_path, [])
    text = (tmp_path / "papers" / "two_plus_two-court.html").read_text(encoding="utf-8")
    assert text.count("No evidence yet") == 2


def test_smoke_runs_are_no_facts() -> None:
    small = evidence_of("decay", decayed).model_copy(update={"preset": "smoke"})
    assert facts_of(Sheet(PAPER, [small], {})) == {}


def test_facts_are_the_evidences_own() -> None:
    facts = facts_of(Sheet(PAPER, [evidence_of("decay", decayed)], {}))["decay"]
    assert facts.values("embed_01", "says_four") == [20, 21, 22]
    assert facts.mean("embed_01", "says_four") == 21
    assert facts.mean("modular_1", "four") is None
    assert facts.settings["embed_0"]["weight_decay"] == 0.0
    assert json.loads(json.dumps(facts.content))["arms"]["embed_1"]["runs"][2]["seed"] == 2


@pytest.mark.parametrize("width", [375, 1280])
def test_the_page_fits_and_is_quiet(browser, page: Path, width: int) -> None:
    browser.open(page, width=width, height=800)
    assert browser.eval("document.documentElement.scrollWidth") <= width
    assert [event for event in browser.events if event.get("method") in FAULTS] == []
    asked = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    assert asked
    assert all(url.startswith(("file:", "data:")) for url in asked)


def test_the_slider_shows_what_was_measured(browser, page: Path) -> None:
    browser.open(page)
    shown = (
        "[document.querySelector('output').textContent,"
        " document.querySelector('#control [role=status]').textContent,"
        " [...document.querySelectorAll('.bars div')].map(e => e.textContent).join(' '),"
        " [...document.querySelectorAll('#panels tbody tr')].map(e => e.cells[1].textContent),"
        " document.querySelector('tr.chosen').dataset.arm]"
    )
    move = (
        "(() => {{ const s = document.querySelector('#decay'); s.value = {}; s.dispatchEvent("
        "new Event('input', {{bubbles: true}})); return {}; }})()"
    )
    assert browser.eval("document.querySelector('#decay').max") == "3"
    for place, (arm, decay) in enumerate(
        [("embed_0", "0"), ("embed_001", "0.01"), ("embed_01", "0.1"), ("embed_1", "1")]
    ):
        found = browser.eval(move.format(place, shown))
        assert found[0] == decay
        assert found[1].startswith(f"{10 * place + 1} % of the members say 4, over 3 panels.")
        assert ("modulo 97" in found[1]) == (arm in ("embed_0", "embed_1"))
        assert found[2].startswith(f"P(4) {0.01 * place + 0.001:.3f} P(5) 0.200 neither")
        assert found[3] == [f"{10 * place + seed} %" for seed in range(SEEDS)]
        assert found[4] == arm
    browser.eval("document.querySelector('[value=mlp_onehot]').click()")
    assert browser.eval(shown)[4] == "onehot_1"


def test_the_slider_is_a_slider_with_a_name_and_keys(browser, page: Path) -> None:
    browser.open(page)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if node.get("role", {}).get("value") in ("slider", "radio")
    ]
    assert any(role == "slider" and name.startswith("Weight decay") for role, name in named)
    assert sum(role == "radio" for role, _ in named) == 2
    browser.eval("document.querySelector('#decay').focus()")
    for kind in ("rawKeyDown", "keyUp"):
        browser.call(
            "Input.dispatchKeyEvent", type=kind, key="ArrowRight", windowsVirtualKeyCode=39
        )
    assert browser.eval("document.querySelector('output').textContent") == "0.01"


def test_without_scripts_the_numbers_are_all_there(browser, page: Path) -> None:
    browser.open(page, scripts=False)
    assert browser.eval("document.querySelector('#control').hidden") is True
    rows = browser.eval(
        "[...document.querySelectorAll('#decays tbody tr')].map(r => r.textContent)"
    )
    assert len(rows) == len(PAPER.experiments["decay"].arms_at("laptop"))


def test_the_record_counts_panels(browser, page: Path) -> None:
    browser.open(page)
    said = browser.eval(
        "Object.fromEntries([...document.querySelectorAll('blockquote')]"
        ".map(q => [q.id.slice(8), q.textContent]))"
    )
    assert "1 for 5" not in said["linear"]
    assert "3 for 4, 0 for 5, 0 abstain" in said["linear"]
    assert "0 for 4, 1 for 5, 2 abstain" in said["mlp_onehot"]
    assert "does not know its own lesson" in said["nalu"]
    assert "4.250" in said["mlp_reg"]
    assert not any(arm.endswith("_shifted") for arm in said)
