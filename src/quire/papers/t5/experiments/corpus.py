"""Text made ready: cleaned in C4's order, pieces learned, tokens stored (section 2.2)."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from quire.data import DataMissing
from quire.data.lines import read_json_lines
from quire.data.sets.ag_news import ag_news
from quire.data.sets.imdb import imdb
from quire.data.sets.wiki_en import wiki_en
from quire.lab import Config, Metrics, Run
from quire.papers.t5.cleaning import BY_LINE, BY_THREE_SENTENCES, Page, Rules, clean_pages
from quire.papers.t5.store import tokenise
from quire.papers.t5.vocabulary import Vocabulary


class Corpus(Config):
    """One text, cleaned or not, as tokens on disk."""

    dataset: Literal["wiki_en", "imdb", "ag_news", "files"] = "files"
    """Articles, reviews, news, or the user's own pages."""
    files: Path | None = None
    """A folder of JSON lines with text and url, such as C4's shards."""
    documents: NonNegativeInt = 0
    """Only so many from the beginning; 0 takes all."""
    cleaning: Literal["none", "lines", "three_sentences"] = "lines"
    """C4's rules with repeats taken out by line or by three sentences, or nothing."""
    pieces: PositiveInt = 32_000
    """Of the vocabulary, sentinels not counted."""
    sentinels: PositiveInt = 100
    """Of the vocabulary."""
    learn_from: PositiveInt = 100_000
    """Documents of which pieces are learned."""
    adopts: bool = False
    """Take the pieces of the run called `text` instead."""


def corpus(config: Corpus, run: Run) -> Metrics:
    """What cleaning left, and how many tokens it is."""
    pages = read_pages(config, run)
    characters = sum(len(text) for text in pages)
    kept, share = pages, {}
    if config.cleaning != "none":
        repeats = BY_LINE if config.cleaning == "lines" else BY_THREE_SENTENCES
        found = clean_pages((Page(text) for text in pages), Rules(), repeats=repeats)
        kept = [page.text for page in found.pages]
        write_counts(run, found.counts)
        lines = sum(n for rule, n in found.counts.items() if rule.startswith("line: "))
        share = {"lines_kept": 100 * found.counts["line: passed"] / max(1, lines)}
    folder = run.directory / "kept"
    if config.adopts:
        vocabulary = Vocabulary.load(run.before("text") / "kept" / "vocabulary.json")
    else:
        vocabulary = Vocabulary.train(
            kept[: config.learn_from], config.pieces, sentinels=config.sentinels
        )
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary.save(folder / "vocabulary.json")
    store = tokenise(kept, vocabulary, folder / "tokens")
    words = sum(len(text.split()) for text in kept)
    return share | {
        "pages_kept": 100 * len(kept) / len(pages),
        "characters_kept": 100 * sum(len(text) for text in kept) / characters,
        "tokens": store.tokens / 1e6,
        "tokens_a_word": store.tokens / words,
        "pieces": float(vocabulary.ids.size),
    }


def read_pages(config: Corpus, run: Run) -> list[str]:
    """Texts of the corpus. Raises DataMissing where the user's files are not there."""
    readers = {
        "wiki_en": lambda: wiki_en(run.data),
        "imdb": lambda: [r.text.replace("<br />", "\n") for r in imdb(run.data)["train"]],
        "ag_news": lambda: [f"{a.title}\n{a.description}" for a in ag_news(run.data)["test"]],
        "files": lambda: list(read_files(config.files)),
    }
    texts = readers[config.dataset]()
    return texts[: config.documents or None]


def read_files(folder: Path | None) -> Iterable[str]:
    """The field text of every JSON line under a folder, file by file."""
    paths = sorted(folder.expanduser().glob("**/*.json*")) if folder else []
    if not paths:
        raise DataMissing(f"no data: shards of C4 (JSON lines with text) are put there by hand and "
                          f"named with --files; {folder or 'no folder'} holds none")  # fmt: skip
    for path in paths:
        yield from (str(row["text"]) for row in read_json_lines(path, {"text": str}))


def write_counts(run: Run, counts: dict[str, int]) -> None:
    """What each rule did, in the log and as ``kept/cleaning.json``."""
    path = run.directory / "kept" / "cleaning.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(counts), indent=1, sort_keys=True))
    for rule, number in sorted(counts.items()):
        run.note(f"{rule}: {number}")
