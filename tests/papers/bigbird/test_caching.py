"""What is kept of patterns: by value, the latest, and no more than fits."""

from concurrent.futures import ThreadPoolExecutor

from quire.papers.bigbird import BigBirdPattern
from quire.papers.bigbird.caching import bounded


def test_the_latest_results_are_kept_up_to_the_limit():
    made = []

    @bounded(lambda row: len(row), limit=10)
    def row(letter, times):
        made.append(letter)
        return letter * times

    assert [row("a", 4), row("b", 4), row("a", 4)] == ["aaaa", "bbbb", "aaaa"]
    assert (made, row.bytes) == (["a", "b"], 8)
    row("c", 4)  # b was asked for least lately
    row("a", 4)
    assert (made, row.bytes) == (["a", "b", "c"], 8)
    row("b", 4)
    assert made == ["a", "b", "c", "b"]
    assert row("d", 11) == row("d", 11) == "d" * 11  # larger than all that may be kept
    assert (made[-2:], row.bytes) == (["d", "d"], 8)
    row.clear()
    assert row.bytes == 0
    assert row.__name__ == "row"


def test_threads_share_it():
    @bounded(lambda number: 8, limit=64)
    def square(number):
        return number**2

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(square, [n % 20 for n in range(2000)]))
    assert found == [(n % 20) ** 2 for n in range(2000)]
    assert square.bytes <= 64


def test_equal_patterns_have_one_table():
    one, other = (BigBirdPattern(block=4, random=1, seed=7) for _ in range(2))
    assert one.table(200, 2) is other.table(200, 2)
