"""Claims that people judge: pairs of pictures from finished runs, what was chosen, the verdict.

A page shows pairs blind and saves evidence with one rating in it; `add` puts it beside those of
other people who rated the same page. "Can't tell" counts as a half for both sides.
"""

import hashlib
import random
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from quire.lab.claims import Check, Decision, decide_judgement
from quire.lab.digest import code_digest
from quire.lab.errors import MissingError, UserError
from quire.lab.evidence import (
    Evidence,
    Rated,
    Rating,
    RunRecord,
    evidence_folder,
    read_evidence,
)
from quire.lab.execute import Outcome, finished
from quire.lab.freshness import plain, standings
from quire.lab.job import Job, Options
from quire.lab.papers import Claim, Paper, Preset, find_paper, readable_papers
from quire.lab.verify import claim_record, common_environment

PAIRS = 40
"""Pairs of a page, a few minutes' work: 27 of them on one side decide against chance."""
Pictures = list[tuple[bytes, bytes]]
"""The PNG files of each pair, left and right."""


def find_judged(text: str) -> tuple[Paper, Claim]:
    """The claim ``paper/claim`` that people judge; a paper alone will do where it has only one.

    Raises `UserError` with the nearest name, that no person judges it, or the names to choose from.
    """
    name, _, wanted = text.partition("/")
    papers = [find_paper(name)] if name else readable_papers()[0]
    if wanted:
        claim = papers[0].find_claim(wanted)
        if claim.kind != "judgement":
            raise UserError(f"{text} is decided by runs, not by people: "
                            f"quire verify {name}/{claim.experiment}")  # fmt: skip
        return papers[0], claim
    known = [(paper, claim) for paper in papers for claim in paper.claims
             if claim.kind == "judgement"]  # fmt: skip
    if name and not known:
        raise UserError(f"no claim of {name} is judged by people")
    if name and len(known) == 1:
        return known[0]
    names = ", ".join(f"{paper.name}/{claim.id}" for paper, claim in known)
    raise UserError(f"name a claim that people judge: {names or 'there is none'}")


def make_page(
    paper: Paper, claim: Claim, preset: Preset, *, options: Options, seed: int = 0
) -> tuple[Evidence, Pictures]:
    """Pairs of finished runs' pictures, as evidence without ratings.

    A pair is the same picture number of the same seed, so that what a seed does to both arms
    cancels; which pairs, in which order and which side follow from `seed`. Raises `MissingError`
    with the command that makes the runs.
    """
    if preset not in claim.at:
        raise UserError(f"{paper.name}/{claim.id} is judged at {', '.join(claim.at)}")
    again = f"quire verify {paper.name}/{claim.experiment} --preset {preset}"
    runs = _finished_runs(paper, claim, preset, options)
    if not runs:
        raise MissingError(f"no seed of {' and '.join(_arms(claim))} has finished at {preset}: "
                           f"{again}")  # fmt: skip
    files = {
        (name, number, index): path
        for name in claim.exhibits
        for number, outcomes in runs.items()
        for index, path in enumerate(_pictures(outcomes, name))
    }
    first, second = claim.exhibits
    found = [key for key in files if key[0] == first and (second, key[1], key[2]) in files]
    if not found:
        raise MissingError(f"the runs left no pictures of {first} and {second} that make pairs: "
                           f"{again} --fresh")  # fmt: skip
    drawn = random.Random(seed)
    drawn.shuffle(found)
    sides = [drawn.sample(claim.exhibits, 2) for _ in found[:PAIRS]]
    pairs = [
        (number, index, left, right)
        for (_, number, index), (left, right) in zip(found, sides, strict=False)
    ]
    pictures = [
        (files[left, number, index].read_bytes(), files[right, number, index].read_bytes())
        for number, index, left, right in pairs
    ]
    experiment = paper.experiments[claim.experiment]
    page = Evidence(
        paper=paper.name, experiment=claim.experiment, preset=preset, machine="people",
        created=time.strftime("%Y-%m-%d"), code=code_digest(paper.name, claim.experiment),
        settings={arm: plain(experiment.settings(preset, arm)) for arm in _arms(claim)},
        environment=common_environment([o.directory for each in runs.values() for o in each]),
        runs=(), claims=(),
        rated=Rated(
            claim=claim.id, question=str(claim.question), pairs=tuple(pairs),
            pictures=hashlib.sha256(b"".join(b"".join(pair) for pair in pictures)).hexdigest(),
        ),
    )  # fmt: skip
    return page.model_copy(update={"machine": f"people-{page.page}"}), pictures


def _arms(claim: Claim) -> list[str]:
    return sorted(Check.parse(claim.check).arms)


def _finished_runs(
    paper: Paper, claim: Claim, preset: Preset, options: Options
) -> dict[int, list[Outcome]]:
    """For each seed of the preset that all arms of the claim have finished, their runs."""
    found = {}
    for seed in range(paper.experiments[claim.experiment].seeds_at(preset)):
        jobs = [
            Job(paper.name, claim.experiment, arm, preset, seed, options=options)
            for arm in _arms(claim)
        ]
        outcomes = [finished(job, job.directory) for job in jobs]
        if all(outcome is not None and outcome.status == "cached" for outcome in outcomes):
            found[seed] = [outcome for outcome in outcomes if outcome is not None]
    return found


def _pictures(outcomes: Iterable[Outcome], exhibit: str) -> list[Path]:
    arm, _, name = exhibit.partition(".")
    folder = next(o.directory for o in outcomes if o.job.arm == arm) / "exhibits" / name
    return sorted(folder.glob("*.png"))


def add(path: Path, folder: Path) -> Evidence:
    """The evidence in `folder` (else the committed one) with the ratings that a page saved.

    It is not written. Raises `UserError` with one line for a file that no page of today saved, or
    for ratings that are there already.
    """
    saved = read_evidence(path)
    where = path.name
    if saved.rated is None or not saved.rated.ratings:
        raise UserError(f"{where} holds no ratings: a page that `quire rate` wrote saves them")
    _check(saved, saved.rated, where)
    for root in (folder, evidence_folder()):
        if (root / saved.file_name).is_file():
            known = read_evidence(root / saved.file_name)
            break
    else:
        known = saved.model_copy(update={"rated": saved.rated.model_copy(update={"ratings": ()})})
    ratings = known.rated.ratings if known.rated else ()
    for rating in saved.rated.ratings:
        ratings = _with(ratings, rating, where)
    rated = saved.rated.model_copy(update={"ratings": ratings})
    created = max(rating.date for rating in ratings)
    whole = counted(known.model_copy(update={"rated": rated, "created": created}))
    now = standings([whole])[whole.file_name]
    if now.state == "stale":
        raise UserError(f"{where} was rated on an older page ({now.reason}): quire rate "
                        f"{saved.paper}/{saved.rated.claim} writes one of today")  # fmt: skip
    return whole


def _check(saved: Evidence, rated: Rated, where: str) -> None:
    """What is rated is a page's own pairs, and a claim's that people judge."""
    if saved.machine != f"people-{saved.page}":
        raise UserError(f"{where} was changed after a page saved it: its pairs are not the page's")
    _, claim = find_judged(f"{saved.paper}/{rated.claim}")
    if claim.experiment != saved.experiment:
        raise UserError(f"{where}: {claim.id} is a claim of {claim.experiment}, "
                        f"not of {saved.experiment}")  # fmt: skip
    for *_, left, right in rated.pairs:
        if {left, right} != set(claim.exhibits):
            raise UserError(f"{where} pairs {left} with {right}; {claim.id} compares "
                            f"{' with '.join(claim.exhibits)}")  # fmt: skip
    for rating in rated.ratings:
        if len(rating.choices) > len(rated.pairs):
            raise UserError(f"{where} has {len(rating.choices)} choices for {len(rated.pairs)} "
                            "pairs")  # fmt: skip
        for (chosen, _), (*_, left, right) in zip(rating.choices, rated.pairs, strict=False):
            if chosen not in (left, right, None):
                raise UserError(f"{where}: '{chosen}' was chosen of {left} and {right}")


def _with(ratings: Sequence[Rating], rating: Rating, where: str) -> tuple[Rating, ...]:
    """`ratings` and one more; where a person went on, or took one back, in place of the former."""
    others = tuple(each for each in ratings if each.id != rating.id)
    for before in ratings:
        known = before.choices == rating.choices or len(before.choices) > len(rating.choices)
        if before.id == rating.id and known:
            raise UserError(f"{where} was added already")
    if rating.rater and rating.rater in [each.rater for each in others]:
        raise UserError(f"{where}: '{rating.rater}' has rated this page already: a rater counted "
                        "twice is no evidence")  # fmt: skip
    return (*others, rating)


def counted(evidence: Evidence) -> Evidence:
    """The evidence with runs and verdict as they follow from its ratings, by the check of today."""
    rated = evidence.rated
    assert rated is not None
    claims = [c for c in find_paper(evidence.paper).claims if evidence.decides(c)]
    names = sorted(rated.pairs[0][2:])
    runs = [
        RunRecord(
            arm=arm, seed=number, status="done",
            metrics={name.partition(".")[2]: _wins(rating, name) / len(rating.choices)
                     for name in names if name.partition(".")[0] == arm},
            wall_seconds=round(sum(seconds for _, seconds in rating.choices), 1),
        )
        for number, rating in enumerate(rated.ratings)
        for arm in sorted({name.partition(".")[0] for name in names})
    ]  # fmt: skip
    records = []
    for claim in claims:
        if claim.kind != "judgement" or list(claim.exhibits) != names:
            decision = Decision("not run", reason=f"{' and '.join(names)} were rated")
        elif evidence.preset not in claim.at:
            decision = Decision("not run", reason=f"decided at {', '.join(claim.at)}")
        else:
            scores = [(_wins(rating, names[0]), len(rating.choices)) for rating in rated.ratings]
            decision = decide_judgement(Check.parse(claim.check), scores)
        records.append(claim_record(claim, decision))
    return evidence.model_copy(update={"runs": tuple(runs), "claims": tuple(records)})


def _wins(rating: Rating, name: str) -> float:
    return sum(0.5 if chosen is None else float(chosen == name) for chosen, _ in rating.choices)
