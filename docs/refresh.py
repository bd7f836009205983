"""Write the generated blocks of README.md and the papers' cards anew from claims and evidence.

Run it from the checkout after `paper.toml` or `evidence/` changed: ``python docs/refresh.py``.
"""

import re
from pathlib import Path

from quire.lab.evidence import all_evidence
from quire.lab.papers import find_paper, paper_names
from quire.report.tables import papers_markdown, results_markdown

ROOT = Path(__file__).resolve().parent.parent


def put(path: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name -->`` and ``<!-- /name -->`` in a file."""
    page = path.read_text(encoding="utf-8")
    pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    fresh, count = re.subn(pattern, lambda m: f"{m[1]}{text.strip()}\n{m[2]}", page, flags=re.S)
    if count != 1:
        raise SystemExit(f"{path} must hold exactly one block '{name}', it holds {count}")
    if fresh != page:
        path.write_text(fresh, encoding="utf-8")
        print(f"refreshed {path.relative_to(ROOT)}")


def main() -> None:
    """Refresh every generated block."""
    evidence = all_evidence(ROOT / "evidence")
    papers = [find_paper(name) for name in paper_names()]
    papers = [paper for paper in papers if ROOT in paper.folder.parents]
    put(ROOT / "README.md", "papers", papers_markdown(papers, evidence))
    for paper in papers:
        put(paper.folder / "README.md", "results", results_markdown(paper, evidence))


if __name__ == "__main__":
    main()
