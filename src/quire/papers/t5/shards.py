"""Cleaning a corpus that no memory holds: file by file, on as many processes as there are.

Files are JSON lines with "text" and, where there is one, "url", plain, .gz or .xz: the form of C4.
Three passes over files or over parts of the digests; each is a `map`, so that it runs on a pool of
processes or, with `ray.util.multiprocessing.Pool().map`, on a cluster with a common folder. What is
in memory at a time is a file a process and 8 bytes a page.
"""

import gzip
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quire.data.lines import read_json_lines, write_gzip
from quire.papers.t5.cleaning import (
    BY_LINE,
    Page,
    Repeats,
    Rules,
    clean_block,
    digest,
    first_ones,
    judge_block,
    normal_url,
)


def clean_files(
    files: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    rules: Rules | None = None,
    repeats: Repeats = BY_LINE,
    within: bool = True,
    map: Callable[..., Iterable] = map,
    parts: int = 16,
) -> Counter[str]:
    """Clean files into `folder`, one for each, and give what each rule did.

    The result is that of `clean_pages` over the pages of all files in their order, whatever the
    number of processes.

    Args:
        files: JSON lines with "text" and perhaps "url".
        folder: Is made; gets `00000.jsonl.gz` and on, and a folder `work` meanwhile.
        rules: None takes C4's without bad words and language. For processes its functions must be
            importable.
        repeats: What must not repeat.
        within: Whether a unit that repeats within its page goes, too.
        map: map(function, items) -> results in order, such as `ProcessPoolExecutor().map`.
        parts: Digests are compared in so many parts.

    Raises ValueError for no file or a damaged one.
    """
    if not files:
        raise ValueError("clean_files needs at least one file, got none")
    rules, work = rules or Rules(), Path(folder) / "work"
    work.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    numbered = list(enumerate(Path(file) for file in files))
    for done in map(partial(_first, work=work, rules=rules, repeats=repeats), numbered):
        counts += done
    counts["page: repeated url"] = _drop_urls(work, len(files))
    compare = partial(_compare, work=work, files=len(files), parts=parts, within=within)
    list(map(compare, range(parts)))
    last = partial(_last, folder=Path(folder), rules=rules, repeats=repeats, parts=parts)
    passed = 0
    for done, kept in map(last, range(len(files))):
        counts += done
        passed += kept
    for file in work.iterdir():
        file.unlink()
    work.rmdir()
    counts["page: passed"] = passed
    return +counts


def _first(
    numbered: tuple[int, Path], *, work: Path, rules: Rules, repeats: Repeats
) -> Counter[str]:
    """The pages of a file that pass alone, their digests and those of their URLs."""
    number, path = numbered
    rows = read_json_lines(path, {"text": str})
    pages, marks, counts = clean_block(
        [Page(row["text"], row.get("url", "")) for row in rows], rules=rules, repeats=repeats
    )
    _write(work / f"{number:05d}.jsonl.gz", pages)
    urls = [normal_url(page.url) for page in pages]
    np.savez(
        work / f"{number:05d}.npz",
        units=np.concatenate([np.empty(0, np.uint64), *marks]),
        sizes=np.array([len(units) for units in marks], np.int64),
        # 0 is no URL; a digest is 0 once in 2^64.
        urls=np.array([digest(url) if url else 0 for url in urls], np.uint64),
    )
    return counts


def _drop_urls(work: Path, files: int) -> int:
    """Writes which pages are the first of their URL; gives how many are not."""
    found = [np.load(work / f"{n:05d}.npz")["urls"] for n in range(files)]
    flat = np.concatenate(found)
    _, first = np.unique(flat, return_index=True)
    keep = flat == 0
    keep[first] = True
    parts = np.split(keep, np.cumsum([len(urls) for urls in found])[:-1])
    for number, part in enumerate(parts):
        np.save(work / f"{number:05d}.pages.npy", part)
    return int((~keep).sum())


def _compare(part: int, *, work: Path, files: int, parts: int, within: bool) -> None:
    """Of the digests of one part, those that are not first: their places by file."""
    digests, pages, places, owners = [], [], [], []
    page = 0
    for number in range(files):
        stored = np.load(work / f"{number:05d}.npz")
        shown = np.load(work / f"{number:05d}.pages.npy")
        owner = np.repeat(np.arange(len(shown)), stored["sizes"])
        units = stored["units"]
        mine = np.flatnonzero((units % np.uint64(parts) == part) & shown[owner])
        digests.append(units[mine])
        pages.append(page + owner[mine])
        places.append(mine)
        owners.append(np.full(len(mine), number))
        page += len(shown)
    keep = first_ones(np.concatenate(digests), np.concatenate(pages), within=within)
    owner, place = np.concatenate(owners)[~keep], np.concatenate(places)[~keep]
    gone = {f"f{number}": place[owner == number] for number in range(files)}
    np.savez(work / f"part{part}.npz", **gone)  # type: ignore[arg-type]


def _last(
    number: int, *, folder: Path, rules: Rules, repeats: Repeats, parts: int
) -> tuple[Counter[str], int]:
    """The pages of a file without what repeats; the counts and how many pages stay."""
    work = folder / "work"
    rows = _read(work / f"{number:05d}.jsonl.gz")
    stored, shown = np.load(work / f"{number:05d}.npz"), np.load(work / f"{number:05d}.pages.npy")
    keep = np.ones(len(stored["units"]), bool)
    for part in range(parts):
        keep[np.load(work / f"part{part}.npz")[f"f{number}"]] = False
    split = np.split(keep, np.cumsum(stored["sizes"])[:-1]) if len(rows) else []
    block: list[tuple[Page, NDArray[np.bool_] | None]] = [
        (page, units) for page, units, stays in zip(rows, split, shown, strict=True) if stays
    ]
    kept, counts = judge_block(block, rules=rules, repeats=repeats)
    _write(folder / f"{number:05d}.jsonl.gz", kept)
    return counts, len(kept)


def _write(path: Path, pages: Sequence[Page]) -> None:
    write_gzip(path, "".join(json.dumps(p._asdict(), ensure_ascii=False) + "\n" for p in pages))


def _read(path: Path) -> list[Page]:
    """Pages that `_write` wrote; none in an empty file."""
    text = gzip.decompress(path.read_bytes()).decode()
    return [Page(**json.loads(line)) for line in text.split("\n") if line]
