"""A trial run as JSON: what carrying evidence compares between two states of the code.

``python -m quire.lab.probe`` reads ``{"data": ROOT, "jobs": [{"paper", "experiment", "arm",
"preset", "seed", "steps"}]}`` from standard input and writes one line of JSON a job. It is run in
both checkouts, so what it reads and writes must stay as it is.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from quire.lab.checkpoint import Checkpoints
from quire.lab.digest import code_digest
from quire.lab.errors import Interrupted, UserError
from quire.lab.execute import execute
from quire.lab.job import Job, Options
from quire.lab.journal import read_journal
from quire.lab.papers import find_experiment, find_paper


def probe(wanted: dict[str, Any], data: Path | None) -> dict[str, Any]:
    """Run one job, whole or for its first `steps` steps, in one thread on the CPU.

    Gives metrics and series (of a run that ended, without those that are timings) or why it failed,
    the logged values, a hash of each picture that it left for people and, for each loop, one of all
    tensors of its checkpoint.
    """
    steps = wanted.pop("steps")
    with tempfile.TemporaryDirectory() as folder:
        options = Options(
            runs=Path(folder), data=data, device="cpu", threads=1, stop_after=steps,
        )  # fmt: skip
        job = Job(**wanted, overrides={}, options=options)
        found: dict[str, Any] = {"digest": code_digest(job.paper, job.experiment)}
        try:
            outcome = execute(job)
            result: dict[str, Any] = {"failed": outcome.reason}
            directory = outcome.directory
            if outcome.status == "done":
                result = json.loads((directory / "result.json").read_text(encoding="utf-8"))
        except Interrupted:
            directory, result = job.directory, {}
        except (UserError, OSError, KeyError) as error:
            return found | {"error": str(error)}
        timings = find_experiment(find_paper(job.paper), job.experiment).timings
        found["failed"] = result.get("failed", "")
        for part in ("metrics", "series"):
            kept = result.get(part, {})
            found[part] = {key: value for key, value in kept.items() if key not in timings}
        rows = read_journal(directory / "metrics.jsonl")
        found["log"] = [{k: v for k, v in row.items() if k not in timings} for row in rows]
        found["state"] = {
            loop.name: _hash(Checkpoints(loop, print).load())
            for loop in sorted((directory / "checkpoint").glob("*"))
        }
        pictures = sorted(directory.glob("exhibits/*/*"))
        found["exhibits"] = {str(p.relative_to(directory)): _digest(p) for p in pictures}
        return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _hash(content: Any) -> str:
    digest = hashlib.sha256()

    def visit(value: Any) -> None:
        if isinstance(value, Tensor):
            digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(value, dict):
            for item in value.values():
                visit(item)
        elif isinstance(value, list | tuple):
            for item in value:
                visit(item)

    visit((content or {}).get("state"))
    return digest.hexdigest()[:16]


def main() -> None:
    """Read the jobs, print a line for each."""
    wanted = json.load(sys.stdin)
    data = Path(wanted["data"]) if wanted["data"] else None
    for job in wanted["jobs"]:
        name = {key: job[key] for key in ("paper", "experiment", "arm", "preset", "seed")}
        print("probe: " + json.dumps({"job": name} | probe(dict(job), data)), flush=True)


if __name__ == "__main__":
    main()
