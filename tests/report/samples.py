"""Made-up papers and evidence that hold everything a report can meet."""

import json
import math
from pathlib import Path
from typing import Any

from quire.lab.claims import Check, decide
from quire.lab.evidence import ClaimRecord, Evidence, RunCurves, RunRecord, Series
from quire.lab.freshness import Standing
from quire.lab.papers import Paper
from quire.report.model import OwnEvidence, Standings, judge
from quire.report.overview import row_of
from quire.report.page import Sheet
from quire.report.site import write

STALE = Standing("stale", "the code behind it changed")
PRESETS: dict[str, Any] = {
    "smoke": {"set": {"steps": 20}},
    "laptop": {"set": {"steps": 2000}},
    "gpu": {"set": {"steps": 9000}},
    "paper": {},
}
LONG = "an_arm_whose_name_is_longer_than_most_screens_are_wide_and_then_some_more"
NASTY = "<script>alert('no')</script> & \"quotes\""


def _claims() -> list[dict[str, Any]]:
    trend = {"experiment": "digits", "kind": "trend", "source": "Figure 6", "at": ["laptop", "gpu"]}
    claims = [
        {
            "id": "degradation",
            "says": "A deeper plain net has a higher training error.",
            "check": "net11.error > net0.error",
            **trend,
        },
        {
            "id": "backwards",
            "says": f"Depth {NASTY} helps by itself | always.",
            "check": "net11.error < net0.error",
            "fails": dict.fromkeys(
                ("laptop", "gpu"), "the digits are too easy for `depth` to matter"
            ),
            **trend,
        },
        {
            "id": "surprise",
            "says": "More is less, the paper says.",
            "check": "net5.error < net4.error",
            **trend,
        },
        {
            "id": "open",
            "says": "Nets four and one differ.",
            "check": "net4.noise > net1.noise",
            **trend,
        },
        {
            "id": "one-seed",
            "says": "Only one seed has seen this.",
            "check": "net9.error > net0.error",
            **trend,
        },
        {
            "id": "not-finite",
            "says": "A loss that overflows is compared all the same.",
            "check": "net2.perplexity < net3.perplexity",
            **trend,
        },
        {
            "id": "number",
            "says": "Net 3 reaches 3.3 % error.",
            "check": "abs(net3.error - 3.3) <= 0.4",
            "paper": "3.3 %",
            **trend,
            "kind": "number",
        },
        {
            "id": "count",
            "says": "Net 0 has 272 474 parameters.",
            "check": "net0.parameters == 272474",
            "paper": "0.27 M",
            **trend,
            "kind": "identity",
            "at": ["smoke", "laptop"],
        },
        {
            "id": "never",
            "says": "The full table, at the paper's own preset.",
            "check": "net8.error <= 6.97",
            "paper": "6.97",
            **trend,
            "kind": "number",
            "at": ["paper"],
        },
    ]
    claims += [
        {
            "id": f"ladder-{n}",
            "says": f"Net {n} errs more than net {n - 1}, step {n} of a ladder "
            "that makes a rather long sentence so that lines have to break.",
            "check": f"net{n}.error > net{n - 1}.error",
            **trend,
        }
        for n in (6, 7, 8, 11)
    ]
    crossed = {"id": "crossed", "says": "The second experiment agrees.", **trend}
    claims.append(crossed | {"experiment": "responses", "check": "net1.size <= net0.size"})
    return claims


def _paper(name: str, folder: Path, *, claims: list[dict[str, Any]], **table: Any) -> Paper:
    """A paper whose claims are put into the experiments that they name, as TOML would say them."""
    common = {"authors": ["Ada Lovelace", "Charles Babbage"], "year": 2015, "family": "vision"}
    for claim in claims:
        claim = dict(claim)
        home = table["experiments"][claim.pop("experiment")]
        says = {claim.pop("kind"): claim.pop("says")}
        home.setdefault("claims", {})[claim.pop("id")] = claim | says
    for key, experiment in table["experiments"].items():
        experiment["name"] = key
    return Paper.model_validate(common | table | {"name": name, "folder": folder / name})


def make_papers(folder: Path) -> list[Paper]:
    """Four papers: a large one, a small one, one with long names, one without evidence."""
    metrics = {
        "error": "test error, %",
        "noise": f"a number of {NASTY}",
        "perplexity": "exp of the loss",
        "parameters": "trained parameters",
        "never_reported": "a metric that no run gives",
    }
    large = _paper(
        "large",
        folder,
        title="Deep Residual Learning for Image Recognition",
        arxiv="1512.03385",
        summary=f"Layers that learn residuals of their input; {NASTY}.",
        venue="CVPR",
        code={"repository": "owner/deep-residual-networks", "licence": "MIT"},
        url="javascript:alert(1)",
        experiments={
            "digits": {
                "summary": "Plain and residual nets on digits (section 4.2)",
                "metrics": metrics,
                "arms": {f"net{n}": {"depth": 2 + 6 * n} for n in range(12)},
                "presets": PRESETS,
                "data": ["cifar10"],
                "needs": ["vision"],
            },
            "responses": {
                "summary": "Response of each layer",
                "metrics": {"size": "mean response"},
                "arms": {"net0": {}, "net1": {"depth": 9}},
                "presets": PRESETS,
            },
            "unseen": {
                "summary": "An experiment that nobody ran",
                "metrics": {"size": "mean response"},
                "arms": {"net0": {}},
                "presets": PRESETS,
            },
        },
        claims=_claims(),
    )
    one_claim = {"id": "it", "kind": "trend", "says": "Ponder beats ACT.", "source": "Table 1"}
    small = _paper(
        "small",
        folder,
        title="PonderNet: Learning to Ponder",
        year=2021,
        family="computation",
        summary="A net that decides how long to think.",
        experiments={
            "parity": {
                "summary": "Parity of a vector",
                "metrics": {"accuracy": "%"},
                "arms": {"act": {}, "ponder": {"beta": 0.01}},
                "presets": PRESETS,
            }
        },
        claims=[
            one_claim
            | {"experiment": "parity", "check": "ponder.accuracy > act.accuracy", "at": ["laptop"]}
        ],
    )
    long_names = _paper(
        "long_names",
        folder,
        year=1999,
        family="a-family-with-an-unbroken-name-of-many-letters",
        title="Pneumonoultramicroscopicsilicovolcanoconiosis" * 2 + ": On Titles That Never Break",
        authors=[f"Author Number {n}" for n in range(30)],
        summary="Long. " * 60,
        experiments={
            "an_experiment_with_a_very_long_name_that_goes_on_and_on_and_on": {
                "summary": "s" * 300,
                "metrics": {f"a_metric_of_long_name_{n}": "m" for n in range(9)},
                "arms": {LONG: {}, LONG + "_2": {"key": ["long"] * 40}},
                "presets": PRESETS,
            }
        },
        claims=[
            one_claim
            | {
                "experiment": "an_experiment_with_a_very_long_name_that_goes_on_and_on_and_on",
                "check": f"{LONG}.a_metric_of_long_name_0 > {LONG}_2.a_metric_of_long_name_0",
                "at": ["laptop"],
            }
        ],
    )
    silent = _paper(
        "silent",
        folder,
        title="A Paper That Nobody Has Run",
        year=2001,
        family="sequences",
        summary="It stands here all the same.",
        experiments={
            "only": {
                "summary": "The only experiment",
                "metrics": {"x": "x"},
                "arms": {"a": {}, "b": {}},
                "presets": PRESETS,
            }
        },
        claims=[
            one_claim | {"experiment": "only", "check": "a.x > b.x", "at": ["gpu"]},
            one_claim | {"id": "two", "experiment": "only", "check": "a.x < b.x", "at": ["gpu"]},
        ],
    )
    return [large, small, long_names, silent]


def _wave(*numbers: float) -> float:
    """A number that looks random in [-1, 1] and is the same everywhere."""
    return math.sin(sum((place + 1) * 12.9898 * number for place, number in enumerate(numbers, 1)))


def _run(arm: str, place: int, seed: int, *, preset: str) -> RunRecord:
    error = 2.4 + 0.3 * place + 0.05 * _wave(place, seed)
    return RunRecord(
        arm=arm,
        seed=seed,
        status="done",
        metrics={
            "error": error,
            "noise": _wave(seed, place, 7),
            "parameters": 272474.0,
            "perplexity": None if place == 2 or (place == 3 and seed == 1) else 1e7 * (place + 1),
        },
        cpu_seconds=31.0 * (place + 1) + seed,
        wall_seconds=28.0 * (place + 1),
        reason="",
        peak_memory_mb=310.5 + (900 if preset == "gpu" else 0),
    )


def _curves(arm: str, place: int, seed: int) -> RunCurves:
    steps = range(0, 2000, 100 if seed else 80)
    return RunCurves(
        arm=arm,
        seed=seed,
        curves={
            "loss": tuple(
                (s, 2.5 * math.exp(-s / (300 + 60 * place)) + 0.004 * (2 + _wave(s, seed)))
                for s in steps
            ),
            "probe/accuracy": tuple(
                (s, 97 - place - 80 * math.exp(-s / (200 + 50 * seed))) for s in steps
            ),
        },
        series={
            "response <by> $layer": Series(
                x=tuple(range(8)),
                y=(None, *(place + layer * (1 + 0.1 * seed) for layer in range(7))),
                x_label="layer & depth $",
                y_label="mean |response|",
            )
        },
    )


def make_curves(evidence: Evidence) -> list[RunCurves]:
    """What is drawn of the finished runs of some evidence; nothing of the long names'."""
    if evidence.paper == "small":
        return [
            RunCurves(
                arm=run.arm,
                seed=run.seed,
                curves={"loss": ((0, 1e3), (50, 1.0), (100, 1e-3 * (run.seed + 1)))},
            )
            for run in evidence.runs
        ]
    if evidence.paper != "large":
        return []
    return [
        _curves(run.arm, int(run.arm.removeprefix("net")), run.seed)
        for run in evidence.runs
        if run.status == "done"
    ]


def _evidence(
    paper: Paper, experiment: str, preset: str, runs: list[RunRecord], **other: Any
) -> Evidence:
    results: dict[str, dict[int, dict[str, float]]] = {}
    for run in runs:
        if run.status == "done":
            values = {k: math.nan if v is None else v for k, v in run.metrics.items()}
            results.setdefault(run.arm, {})[run.seed] = values
    claims = []
    for claim in paper.claims_at(experiment, preset):  # type: ignore[arg-type]
        decision = decide(Check.parse(claim.check), claim.kind, results)
        finite = {
            side: value
            for side in ("left", "right")
            if (value := getattr(decision, side)) is not None and math.isfinite(value)
        }
        claims.append(
            ClaimRecord(
                id=claim.id,
                check=claim.check,
                verdict=decision.verdict,
                interval=decision.interval,
                seeds=decision.seeds,
                reason=decision.reason,
                **finite,
            )
        )
    table = {
        "machine": "linux-x86-64-2cpu",
        "created": "2026-11-20T10:11:12+00:00",
        "code": "fresh",
        "environment": {
            "python": "3.11.2",
            "torch": "2.13.0",
            "threads": 1,
            "device": {"name": "CPU", "cores": 2},
        },
    } | other
    arms = dict.fromkeys(run.arm for run in runs)
    entry = paper.experiments[experiment]
    return OwnEvidence(
        paper=paper.name,
        experiment=experiment,
        settings={arm: entry.settings(preset, arm) for arm in arms},  # type: ignore[arg-type]
        preset=preset,
        runs=tuple(runs),  # type: ignore[arg-type]
        claims=tuple(claims),
        **table,
    )


def make_evidence(papers: list[Paper]) -> list[Evidence]:
    """Evidence with every verdict, failed runs, values that are not finite, and an old digest."""
    large, small, long_names, _ = papers
    runs = [
        _run(f"net{place}", place, seed, preset="laptop")
        for place in range(12)
        for seed in range(1 if place == 9 else 3)
        if (place, seed) != (10, 2)
    ]
    runs.append(
        RunRecord(
            arm="net10",
            seed=2,
            status="failed",
            reason=f"loss is not finite at step 120 {NASTY}",
        )
    )
    gpu = [_run(f"net{place}", place, seed, preset="gpu") for place in (0, 11) for seed in range(2)]
    sizes = [
        run.model_copy(update={"metrics": {"size": 0.00123 + 0.0001 * run.seed}})
        for run in runs
        if run.arm in ("net0", "net1")
    ]
    parity = [
        RunRecord(
            arm=arm,
            seed=seed,
            status="done",
            metrics={"accuracy": 99.1 - 20 * (arm == "act") + seed / 7},
            cpu_seconds=0.31,
            wall_seconds=0.4,
            peak_memory_mb=200,
        )
        for arm in ("act", "ponder")
        for seed in range(3)
    ]
    name = next(iter(long_names.experiments))
    lengthy = [
        RunRecord(
            arm=arm,
            seed=seed,
            status="done",
            metrics={f"a_metric_of_long_name_{n}": 1e-7 * (n + seed) for n in range(9)},
            cpu_seconds=12345,
            wall_seconds=2345,
            peak_memory_mb=98765,
        )
        for arm in (LONG, LONG + "_2")
        for seed in range(2)
    ]
    return [
        _evidence(large, "digits", "laptop", runs),
        _evidence(large, "digits", "gpu", gpu, machine="linux-x86-64-16cpu-h200", code="old"),
        _evidence(large, "responses", "laptop", sizes, code="old"),
        _evidence(small, "parity", "laptop", parity),
        _evidence(
            long_names, name, "laptop", lengthy, machine="m" * 90, environment={"k" * 90: "v" * 300}
        ),
    ]


def make_runs(folder: Path) -> Path:
    """A runs directory: a finished run with figures, and one that has not ended."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3))
    figure.add_subplot().plot([0, 1], [1, 0])
    for arm, seed, ended in (("net0", 0, True), ("net1", 0, True), ("net1", 1, False)):
        run = folder / "large" / "digits" / "laptop" / arm / f"seed{seed}-0a1b2c"
        (run / "figures").mkdir(parents=True)
        figure.savefig(run / "figures" / "filters.svg")
        figure.savefig(run / "figures" / "filters.png")
        if ended:
            (run / "result.json").write_text(json.dumps({"metrics": {}}))
    return folder


def make_standings(evidence: list[Evidence]) -> Standings:
    """Evidence whose digest is `old` is stale."""
    return {item.file_name: STALE for item in evidence if item.code == "old"}


def make_site(folder: Path) -> Path:
    """The site of all of the above; returns its folder."""
    papers = make_papers(folder / "papers")
    card = papers[0].folder / "README.md"
    card.parent.mkdir(parents=True)
    card.write_text(CARD, encoding="utf-8")
    evidence = make_evidence(papers)
    for item in evidence:
        item.write(folder / "evidence", make_curves(item))
    standings, runs = make_standings(evidence), make_runs(folder / "runs")
    sheets = [
        Sheet(
            paper,
            [item for item in evidence if item.paper == paper.name],
            standings,
            own=folder / "evidence",
            runs=runs,
        )
        for paper in papers
    ]
    rows = [row_of(sheet.paper, judge(sheet.paper, sheet.evidence, standings)) for sheet in sheets]
    write(folder / "site", rows, sheets)
    return folder / "site"


CARD = f"""# Large

It learns **residuals**, {NASTY}.

## Results

<!-- results -->
made here
<!-- /results -->

## Differences from the paper

- The rate is `0.1`, *not* 0.2
  from the start; see [the text](https://arxiv.org/abs/1512.03385) and [a file](src/x.py).
- {NASTY}

| what | here |
|---|---|
| steps | 2,000 |
"""
