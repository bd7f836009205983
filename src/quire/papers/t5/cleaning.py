"""Cleaning web pages as C4 was made (section 2.2): rules in the order of the published code.

A page passes or is dropped by its text alone (`clean_page`); then repeated lines or sentences are
taken out over all pages, and what is left is judged again (`clean_pages`). Every rule counts what
it did. Pages are cleaned in blocks by whatever `map` is given: Python's own, that of a process
pool, or that of `ray.util.multiprocessing.Pool` where one machine is not enough.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
END_MARKS = (".", "?", "!", '"')
POLICY = (
    "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies",
    "use cookies",
)  # fmt: skip
_SENTENCE_END = re.compile(r"[.?!]+[\"')\]]*(?=\s+[\"'(\[]?[A-Z0-9])")


def sentences(text: str) -> list[str]:
    """The sentences of a text, by marks before a capital letter or digit.

    The published code asks NLTK's Punkt, which knows abbreviations; pass that as `Rules.sentences`
    for its very counts.

    Example:
        >>> sentences('It rained. "Why?" she asked. 7 p.m. came.')
        ['It rained.', '"Why?" she asked.', '7 p.m. came.']
    """
    found, begin = [], 0
    for match in _SENTENCE_END.finditer(text):
        found.append(text[begin : match.end()].strip())
        begin = match.end()
    found.append(text[begin:].strip())
    return [sentence for sentence in found if sentence]


@dataclass(frozen=True)
class Rules:
    """What a page must be. The defaults are C4's; "bad words" are a list that the user brings.

    Args:
        longest_page: Characters of a page, at most.
        longest_word: Characters of a word, at most; a line with a longer one goes.
        words: Of a line, at least.
        sentence_count: Of a page, at least.
        bad_words: Lower case; a page with one of them goes, where it stands between two characters
            that are no letters (so never at a line's ends, as in the published code).
        sentences: Text -> its sentences.
        english: Text -> probability that it is English, such as `langdetect_english`; None asks
            nobody.
        least_english: The least probability.
    """

    longest_page: int = 190_000
    longest_word: int = 1_000
    words: int = 5
    sentence_count: int = 3
    bad_words: frozenset[str] = frozenset()
    sentences: Callable[[str], list[str]] = sentences
    english: Callable[[str], float] | None = None
    least_english: float = 0.99


class Page(NamedTuple):
    """A page of the web. url: "" where there is none, which is never a duplicate."""

    text: str
    url: str = ""


class Cleaned(NamedTuple):
    """What became of a page.

    Args:
        text: Of the lines that stay, None for a dropped page.
        counts: What each rule did: pages "page: ..." and lines "line: ...".
    """

    text: str | None
    counts: Counter[str]


def clean_page(text: str, rules: Rules | None = None) -> Cleaned:
    """The lines of a page that pass, or None, by all rules that look at one page alone.

    A brace kills a page only on a line that has come so far: not on one that an earlier rule or
    "javascript" has taken out.

    Example:
        >>> page = '''Menu
        ... It rained on all of the days. We stayed at home and read.
        ... Then the sun came out again [2].'''
        >>> cleaned = clean_page(page)
        >>> cleaned.text.splitlines()[-1], cleaned.counts["line: no end mark"]
        ('Then the sun came out again .', 1)

    Args:
        text: One paragraph or other piece of the page a line.
        rules: None takes C4's without bad words and language.
    """
    rules = rules or Rules()
    counts: Counter[str] = Counter()
    lines, reason = _kept_lines(text, rules, counts)
    kept = "\n".join(lines)
    if not reason:
        reason = _judged(kept, rules)
    counts[f"page: {reason or 'passed'}"] += 1
    return Cleaned(None if reason else kept, counts)


def _kept_lines(text: str, rules: Rules, counts: Counter[str]) -> tuple[list[str], str]:
    """The lines that pass and, where a line or the length drops the page, the reason."""
    if len(text) > rules.longest_page:
        return [], "too long"
    lines, bad = [], _bad(rules.bad_words)
    for raw in text.splitlines():
        line, verdict, drops = _line(raw.strip(), rules, bad)
        if drops:
            return [], verdict
        counts[f"line: {verdict}"] += 1
        if verdict == "passed":
            lines.append(line)
    return lines, ""


@lru_cache
def _bad(words: frozenset[str]) -> re.Pattern[str] | None:
    """The pattern of a line with one of the words between two characters that are no letters."""
    if not words:
        return None
    return re.compile(rf"(?:\W|\d|_)({'|'.join(map(re.escape, sorted(words)))})(?:\W|\d|_)")


def _line(line: str, rules: Rules, bad: re.Pattern[str] | None) -> tuple[str, str, bool]:
    """The line, the rule that decides it, and whether that drops the whole page."""
    if any(len(word) > rules.longest_word for word in line.split()):
        return line, "too long a word", False
    line = CITATION.sub("", line)
    if not line.endswith(END_MARKS) or line.endswith("..."):
        return line, "no end mark", False
    if len(line.split()) < rules.words:
        return line, "too few words", False
    lower = line.lower()
    if "lorem ipsum" in lower:
        return line, "lorem ipsum", True
    if "javascript" in lower:
        return line, "javascript", False
    if "{" in line:
        return line, "brace", True
    if any(phrase in lower for phrase in POLICY):
        return line, "policy", False
    if bad is not None and bad.search(lower):
        return line, "bad word", True
    return line, "passed", False


def _judged(text: str, rules: Rules) -> str:
    """Why what is left of a page does not do, or nothing."""
    lines = text.split("\n") if text else []
    if sum(len(rules.sentences(line)) for line in lines) < rules.sentence_count:
        return "too few sentences"
    return ""


def langdetect_english(text: str) -> float:
    """The probability that a text is English, by langdetect with seed 0.

    Raises ImportError naming the package where it is missing.
    """
    try:
        from langdetect import DetectorFactory, detect_langs
        from langdetect.lang_detect_exception import LangDetectException
    except ImportError as error:
        raise ImportError("language needs langdetect: pip install 'quire-papers[text]'") from error
    DetectorFactory.seed = 0
    try:
        found = detect_langs(text)
    except LangDetectException:  # a text without letters
        return 0.0
    return float(next((each.prob for each in found if each.lang == "en"), 0.0))


# What repeats over pages.

Split = Callable[[str, Rules], list[tuple[int, str]]]
"""text -> its pieces in order, each with the number of its line."""


def lines(text: str, rules: Rules) -> list[tuple[int, str]]:
    """Each line as one piece."""
    return list(enumerate(text.split("\n")))


def sentences_of_lines(text: str, rules: Rules) -> list[tuple[int, str]]:
    """Each sentence as a piece."""
    return [(n, s) for n, line in enumerate(text.split("\n")) for s in rules.sentences(line)]


@dataclass(frozen=True)
class Repeats:
    """What must not repeat: so many pieces in a row, in lower case.

    Args:
        split: Text -> pieces.
        span: Pieces in a row.
    """

    split: Split
    span: int

    def digests(self, text: str, rules: Rules) -> NDArray[np.uint64]:
        """64 bits for each span of the text."""
        pieces = [piece.lower() for _, piece in self.split(text, rules)]
        spans = range(len(pieces) - self.span + 1)
        return np.array([digest("\n".join(pieces[n : n + self.span])) for n in spans], np.uint64)

    def without(self, text: str, keep: NDArray[np.bool_], rules: Rules) -> str:
        """The text without the pieces of all spans that are not kept."""
        gone = {int(n) + k for n in np.flatnonzero(~keep) for k in range(self.span)}
        rest: dict[int, list[str]] = {}
        for n, (line, piece) in enumerate(self.split(text, rules)):
            if n not in gone:
                rest.setdefault(line, []).append(piece)
        return "\n".join(" ".join(found) for found in rest.values())


BY_LINE = Repeats(lines, 1)
"""Whole lines, as the published code takes out repeats."""

BY_THREE_SENTENCES = Repeats(sentences_of_lines, 3)
"""Three sentences in a row, as the paper says."""


def digest(text: str) -> int:
    """64 bits that tell texts apart."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


class Corpus(NamedTuple):
    """A cleaned corpus.

    Args:
        pages: Those that passed, in their order.
        counts: What each rule did, over all pages.
    """

    pages: list[Page]
    counts: Counter[str]


def clean_pages(
    pages: Iterable[Page],
    rules: Rules | None = None,
    *,
    repeats: Repeats | None = BY_LINE,
    within: bool = True,
    map: Callable[..., Iterable] = map,
    block: int = 500,
) -> Corpus:
    """All of C4's cleaning: pages, one page a URL, repeats, pages again, language.

    The first page or unit in the given order stays, whatever the number of processes.

    Example:
        >>> text = "It rained all day long. We stayed at home. Nobody came to see us."
        >>> corpus = clean_pages([Page(text, "a.org"), Page("Hello."), Page(text, "b.org")])
        >>> len(corpus.pages), corpus.counts["page: too few sentences"]
        (1, 1)

    Args:
        pages: Are read once.
        rules: None takes C4's without bad words and language. For processes its functions must be
            importable.
        repeats: `BY_LINE`, `BY_THREE_SENTENCES` or None, which leaves repeats.
        within: Whether a unit that repeats within its page goes, too (the code's since 2.3.0).
        map: map(function, blocks) -> results in order, such as `ProcessPoolExecutor().map`.
        block: Pages that are sent together.
    """
    rules = rules or Rules()
    counts: Counter[str] = Counter()
    first = partial(clean_block, rules=rules, repeats=repeats)
    texts: list[Page] = []
    digests: list[NDArray[np.uint64]] = []
    urls: set[str] = set()
    for found, marks, done in map(first, _blocks(pages, block)):
        counts += done
        for page, units in zip(found, marks, strict=True):
            url = normal_url(page.url)
            if url and url in urls:
                counts["page: repeated url"] += 1
                continue
            urls.add(url)
            texts.append(page)
            digests.append(units)
    keep = _first_ones(digests, within=within) if repeats else [None] * len(texts)
    second = partial(judge_block, rules=rules, repeats=repeats)
    kept: list[Page] = []
    for found, done in map(second, _blocks(zip(texts, keep, strict=True), block)):
        counts += done
        kept += found
    counts["page: passed"] = len(kept)
    return Corpus(kept, +counts)


def normal_url(url: str) -> str:
    """A URL as pages are told apart: without scheme, "www.", port 80, fragment and last slash.

    Example:
        >>> normal_url("HTTP://www.Example.org:80/a/#top")
        'example.org/a'
    """
    parts = urlsplit(url if "//" in url else f"//{url}")
    host = parts.netloc.lower().removesuffix(":80").removeprefix("www.")
    query = f"?{parts.query}" if parts.query else ""
    return host + parts.path.rstrip("/") + query


def _blocks(items: Iterable, size: int) -> Iterator[list]:
    rest = iter(items)
    while block := list(islice(rest, size)):
        yield block


def clean_block(
    pages: Sequence[Page], *, rules: Rules, repeats: Repeats | None
) -> tuple[list[Page], list[NDArray[np.uint64]], Counter[str]]:
    """The pages that pass alone, the digests of their units, and the counts."""
    counts: Counter[str] = Counter()
    found, marks = [], []
    for page in pages:
        cleaned = clean_page(page.text, rules)
        counts += cleaned.counts
        if cleaned.text is not None:
            found.append(Page(cleaned.text, page.url))
            none = np.empty(0, np.uint64)
            marks.append(repeats.digests(cleaned.text, rules) if repeats else none)
    return found, marks, counts


def _first_ones(digests: list[NDArray[np.uint64]], *, within: bool) -> list[NDArray[np.bool_]]:
    """For each page which of its units stand there first of all."""
    if not digests:
        return []
    sizes = [len(page) for page in digests]
    page = np.repeat(np.arange(len(sizes)), sizes)
    keep = first_ones(np.concatenate(digests), page, within=within)
    return np.split(keep, np.cumsum(sizes)[:-1])


def first_ones(
    digests: NDArray[np.uint64], page: NDArray[np.int64], *, within: bool
) -> NDArray[np.bool_]:
    """Which units are the first of their digest, or on the page that has the first one.

    Args:
        digests: Of units, in order.
        page: The page of each.
        within: Whether later ones on that same page go.
    """
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    if within:
        kept: NDArray[np.bool_] = first[inverse] == np.arange(len(digests))
    else:
        kept = page[first[inverse]] == page
    return kept


def judge_block(
    block: Sequence[tuple[Page, NDArray[np.bool_] | None]], *, rules: Rules, repeats: Repeats | None
) -> tuple[list[Page], Counter[str]]:
    """Pages without repeats that still pass, and the language last."""
    counts: Counter[str] = Counter()
    kept = []
    for page, keep in block:
        text = page.text
        if repeats and keep is not None and not keep.all():
            counts["repeated units"] += int((~keep).sum())
            text = repeats.without(text, keep, rules)
        reason = _judged(text, rules) and "too few sentences after repeats"
        if not reason and rules.english is not None:
            reason = "not English" if rules.english(text) < rules.least_english else ""
        if reason:
            counts[f"page: {reason}"] += 1
        else:
            kept.append(Page(text, page.url))
    return kept, counts
