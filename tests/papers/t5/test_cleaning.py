"""C4's rules on hand-made pages in the published order, repeats, and many processes."""

import gzip
import json
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from quire.papers.t5.cleaning import (
    BY_LINE,
    BY_THREE_SENTENCES,
    Page,
    Rules,
    clean_page,
    clean_pages,
    langdetect_english,
    normal_url,
    sentences,
)
from quire.papers.t5.shards import clean_files

GOOD = "It rained on all of the days. We stayed at home and read. Nobody came to see us."
LINE = "This is one more good line."


def after(*lines, rules=None):
    """Page text of good lines and these; what passes, without the good lines, and its counts."""
    cleaned = clean_page("\n".join([GOOD, *lines]), rules)
    kept = None if cleaned.text is None else cleaned.text.split("\n")[1:]
    return kept, {k for k, n in cleaned.counts.items() if n and k not in ("line: passed",)}


BAD = Rules(bad_words=frozenset({"darn", "heck"}))


@pytest.mark.parametrize(
    ("line", "kept", "rule"),
    [
        ("  This line has spaces around it.  ", ["This line has spaces around it."], None),
        (f"Here is a word {'x' * 1001} too long.", [], "line: too long a word"),
        (f"Here is a word {'x' * 1000} just right.", None, "line: passed"),
        ("This line was cited.[12] twice[edit] here[citation needed].",
         ["This line was cited. twice here."], None),
        ("Menu of our lovely new site", [], "line: no end mark"),
        ("This goes on and on ...", [], "line: no end mark"),
        ("This goes on and on....", [], "line: no end mark"),
        ('He said "We all go home now"', ['He said "We all go home now"'], None),
        ("Is this line a question then?", ["Is this line a question then?"], None),
        ("What a good line this is!", ["What a good line this is!"], None),
        ("This is too short.", [], "line: too few words"),
        ("These are just five words.", ["These are just five words."], None),
        # Words are counted, and ends looked at, without citations.
        ("Four words are here [1].", ["Four words are here ."], None),
        ("Only three words [1][2].", [], "line: too few words"),
        ("The line ends in a citation. [1]", [], "line: no end mark"),
        ("Here is Lorem Ipsum dolor sit amet.", "dropped", "page: lorem ipsum"),
        ("You must turn on JavaScript to go on.", [], "line: javascript"),
        ("A function is f {x} of course.", "dropped", "page: brace"),
        ("By using it you accept our Terms of Use.", [], "line: policy"),
        ("This site uses cookies to be nice.", [], "line: policy"),
        ("They said darn to all of us.", "dropped", "page: bad word"),
        ("They said Darn, to all of us.", "dropped", "page: bad word"),
        # Never at a line's ends, and not inside a word.
        ("Darn is what they said to us.", ["Darn is what they said to us."], None),
        ("They are darning socks all day long.", ["They are darning socks all day long."], None),
    ],
)  # fmt: skip
def test_each_rule(line, kept, rule):
    found, rules = after(line, rules=BAD)
    if kept == "dropped":
        assert found is None and rule in rules
        return
    if kept is not None:
        assert found == kept
    if rule is None or rule == "line: passed":
        assert rules == {"page: passed"}
    else:
        assert rules == {"page: passed", rule}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # An earlier rule takes the line out before a later one could drop the page.
        ("function() { return 1; }", {"line: no end mark"}),
        ("Turn on JavaScript { please } to go on.", {"line: javascript"}),
        ("Lorem ipsum dolor sit", {"line: no end mark"}),
        ("Oh darn {it}.", {"line: too few words"}),
        ("Lorem ipsum needs javascript { to } run.", {"page: lorem ipsum"}),
        ("Our privacy policy { is } said here.", {"page: brace"}),
        ("Our privacy policy is darn good here.", {"line: policy"}),
    ],
)
def test_the_published_order(line, expected):
    _, rules = after(line, rules=BAD)
    assert rules - {"page: passed"} == expected


def test_rules_of_whole_pages():
    assert clean_page("It rained all day long. We stayed at home.").text is None
    assert clean_page(GOOD).counts == {"line: passed": 1, "page: passed": 1}
    long = "\n".join([GOOD] * 3)
    for most, kept in ((len(long) - 1, False), (len(long), True)):
        cleaned = clean_page(long, Rules(longest_page=most))
        assert (cleaned.text is not None) == kept
    assert clean_page("x" * 190_001).counts == {"page: too long": 1}
    assert clean_page("").counts == {"page: too few sentences": 1}


def test_sentences():
    assert len(sentences(GOOD)) == 3 and sentences("") == []
    assert len(sentences("It cost 3.50 in all. OK?")) == 2
    assert len(sentences('"Go!" he said. "Now."')) == 2


def pages(*texts):
    return [Page(text, f"http://{n}.org") for n, text in enumerate(texts)]


def other(n):
    return f"Page {n} has this line alone. It says {n} times no. And {n} times yes it says."


def test_repeated_lines_stay_once_in_lower_case():
    texts = [f"{GOOD}\n{other(1)}", f"{GOOD.upper()}\n{other(2)}\n{other(2)}"]
    corpus = clean_pages(pages(*texts))
    assert [page.text for page in corpus.pages] == [texts[0], other(2)]
    assert corpus.counts["repeated units"] == 2
    kept = clean_pages(pages(*texts), within=False).pages[1].text
    assert kept == f"{other(2)}\n{other(2)}", "before 2.3.0 a page might repeat itself"
    assert clean_pages(pages(*texts), repeats=None).pages[1].text == texts[1]
    # Fewer than three sentences are left.
    gone = clean_pages(pages(GOOD, f"{GOOD}\n{LINE}"))
    assert len(gone.pages) == 1 and gone.counts["page: too few sentences after repeats"] == 1


def test_repeated_spans_of_three_sentences():
    a, b, c, d = (f"Here {name} is a sentence." for name in ("A", "B", "C", "D"))
    texts = [f"{other(1)} {a} {b} {c}", f"{a} {b} {d}\n{other(2)}", f"{other(3)} {a}\n{b} {c} {d}"]
    found = [p.text for p in clean_pages(pages(*texts), repeats=BY_THREE_SENTENCES).pages]
    assert found == [texts[0], texts[1], f"{other(3)}\n{d}"], "two in a row may repeat"
    assert len(clean_pages(pages(*texts), repeats=BY_LINE).pages) == 3


def test_one_page_a_url():
    given = [Page(other(1), "http://www.a.org/x/"), Page(other(2), "https://A.org:80/x#y"),
             Page(other(3)), Page(other(4))]  # fmt: skip
    corpus = clean_pages(given)
    assert [page.text for page in corpus.pages] == [other(1), other(3), other(4)]
    assert corpus.counts["page: repeated url"] == 1 and corpus.counts["page: passed"] == 3
    assert normal_url("") == "" and normal_url("a.org/?q=1") == "a.org?q=1"


def test_language_is_asked_last():
    asked = []

    def english(text):
        asked.append(text)
        return 0.5 if "Page 2" in text else 0.99

    corpus = clean_pages(pages(other(1), other(2), "Hello.", other(1)), Rules(english=english))
    assert asked == [other(1), other(2)]
    assert corpus.counts["page: not English"] == 1 and len(corpus.pages) == 1


def test_langdetect():
    pytest.importorskip("langdetect", reason="needs the extra text")
    assert langdetect_english(GOOD) > 0.99
    assert langdetect_english("Es regnete an allen Tagen und wir lasen zu Hause.") < 0.5
    assert langdetect_english("123") == 0.0


def crowd():
    """60 pages: every third repeats a line, every fifth a URL."""
    return [
        Page(f"{GOOD}\n{other(n)}\nMenu" if n % 3 else other(n % 7), f"x.org/{n if n % 5 else 0}")
        for n in range(60)
    ]


@pytest.fixture(scope="module")
def pool():
    context = get_context("forkserver")
    context.set_forkserver_preload(["quire.papers.t5.shards"])  # imported once for both
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        yield executor


def test_processes_change_nothing(pool):
    alone = clean_pages(crowd(), BAD)
    assert 0 < len(alone.pages) < 60 and alone.counts["repeated units"] > 10
    assert clean_pages(iter(crowd()), BAD, map=pool.map, block=7) == alone
    assert pickle.loads(pickle.dumps(BY_THREE_SENTENCES)) == BY_THREE_SENTENCES


def write_files(folder, pages):
    """Pages as compressed JSON lines, 15 a file."""
    files = []
    for n in range(0, len(pages), 15):
        path = folder / f"raw-{n}.jsonl.gz"
        lines = [json.dumps(page._asdict()) for page in pages[n : n + 15]]
        path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
        files.append(path)
    return files


def read_files(folder):
    return [
        Page(**json.loads(line))
        for path in sorted(folder.glob("*.jsonl.gz"))
        for line in gzip.decompress(path.read_bytes()).decode().splitlines()
    ]


@pytest.mark.parametrize("repeats", [BY_LINE, BY_THREE_SENTENCES])
@pytest.mark.parametrize("within", [True, False])
def test_files_are_cleaned_as_pages_are(tmp_path, pool, repeats, within):
    given = [*crowd(), Page("Hello.")]
    files = write_files(tmp_path, given)
    alone = clean_pages(given, BAD, repeats=repeats, within=within)
    counts = clean_files(
        files, tmp_path / "out", rules=BAD, repeats=repeats, within=within, map=pool.map, parts=3
    )
    assert read_files(tmp_path / "out") == alone.pages and counts == alone.counts
    assert not (tmp_path / "out" / "work").exists()
    with pytest.raises(ValueError, match="at least one file"):
        clean_files([], tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_files_are_cleaned_on_a_ray_cluster(tmp_path):
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    from ray.util.multiprocessing import Pool

    files, alone = write_files(tmp_path, crowd()), clean_pages(crowd(), BAD)
    # A cluster of its own, not one that another test has started on this machine.
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        cluster = Pool(2)
        counts = clean_files(files, tmp_path / "out", rules=BAD, map=cluster.map, parts=3)
        cluster.terminate()
    finally:
        ray.shutdown()
    assert read_files(tmp_path / "out") == alone.pages and counts == alone.counts
