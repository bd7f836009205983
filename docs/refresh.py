"""Write the generated blocks of README.md and the papers' cards anew from claims and evidence.

Run it from the checkout after a paper's TOML, its code or `evidence/` changed:
``python docs/refresh.py``. A paper whose files are broken is said and left out.
"""

import re
import sys
from pathlib import Path

from quire.lab.errors import UserError
from quire.lab.evidence import Evidence, all_evidence
from quire.lab.papers import readable_papers
from quire.report.tables import papers_markdown, results_markdown

ROOT = Path(__file__).resolve().parent.parent


def put(path: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name -->`` and ``<!-- /name -->`` in a file.

    Raises `UserError` where the file is missing or holds another number of such blocks than one.
    """
    if not path.is_file():
        raise UserError(f"{path.relative_to(ROOT)} is missing")
    page = path.read_text(encoding="utf-8")
    pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    fresh, count = re.subn(pattern, lambda m: f"{m[1]}{text.strip()}\n{m[2]}", page, flags=re.S)
    if count != 1:
        raise UserError(f"{path.relative_to(ROOT)} must hold one block '{name}', it holds {count}")
    if fresh != page:
        path.write_text(fresh, encoding="utf-8")
        print(f"refreshed {path.relative_to(ROOT)}")


def main() -> int:
    """Refresh every generated block; gives 1 where something had to be left out."""
    papers, faults = readable_papers()
    evidence: dict[str, list[Evidence]] = {}
    for paper in [paper for paper in papers if ROOT in paper.folder.parents]:
        try:
            found = all_evidence(ROOT / "evidence", paper.name)
            put(paper.folder / "README.md", "results", results_markdown(paper, found))
            evidence[paper.name] = found
        except UserError as error:
            faults.append(error)
    whole = [item for items in evidence.values() for item in items]
    sound = [paper for paper in papers if paper.name in evidence]
    put(ROOT / "README.md", "papers", papers_markdown(sound, whole))
    for fault in faults:
        print(f"left out: {fault}", file=sys.stderr)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
