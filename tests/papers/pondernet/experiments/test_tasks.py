"""Tasks against arithmetic on Python integers and against brute force."""

import pytest
import torch

from quire.papers.pondernet.experiments.tasks import (
    HopMap,
    corrupt,
    draw_image_pool,
    draw_parity,
    make_arithmetic,
    make_paired_associates,
    make_parity,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("prefix", [None, 7])
def test_parity(prefix: int | None) -> None:
    x, target, k = make_parity(draw_parity(2000, 10, generator()), 2, 6, prefix=prefix)
    assert torch.equal((x != 0).sum(1), k)
    assert k.unique().tolist() == [2, 3, 4, 5, 6]
    assert target.tolist() == [sum(v == 1 for v in row) % 2 for row in x.tolist()]
    assert (x[:, 7:] == 0).all() == (prefix == 7)
    assert 0.4 < target.float().mean() < 0.6
    with pytest.raises(ValueError, match="least <= most <= 10"):
        make_parity(draw_parity(2, 10, generator()), 1, 11)


@pytest.mark.parametrize("prefix", [0, 8, -1])
def test_a_prefix_is_a_part_of_the_vector(prefix: int) -> None:
    with pytest.raises(ValueError, match=rf"prefix must lie in 1\.\.6 or be None, got {prefix}"):
        make_parity(draw_parity(2, 6, generator()), 0, 0, prefix=prefix)


def test_hops() -> None:
    hop_map = HopMap.draw(8, generator())
    leads_to = {int(hop_map.order[i]): int(hop_map.order[max(i - 1, 0)]) for i in range(8)}
    assert dict(enumerate(hop_map.leads_to().tolist())) == leads_to
    x, target, k = hop_map.make(torch.rand(200, 2, generator=generator()), 5)
    assert x.shape == (200, 13) and k.unique().tolist() == [1, 2, 3, 4, 5]
    for row, answer, count in zip(x, target.tolist(), k.tolist(), strict=True):
        place = int(row[:8].argmax())
        assert int(row[8:].argmax()) == count - 1
        for _ in range(count):
            place = leads_to[place]
        assert place == answer


def number(digits: torch.Tensor) -> int:
    return int("".join(str(d) for d in reversed(digits.tolist())))


def longest_chain(operation: str, a: list[int], b: list[int]) -> int:
    """A carry travels one place where the place below decides whether this place carries."""

    def carries(low: int, high: int) -> bool:
        """Whether place `high` carries when only the places from `low` on are worked off."""
        carry = 0
        for t in range(low, high + 1):
            total = {"add": a[t] + b[t] + carry, "subtract": a[t] - b[t] - carry}[operation]
            carry = int(total > 9 or total < 0)
        return bool(carry)

    longest = 0
    for high in range(len(a)):
        for low in range(high + 1):
            if carries(low, high) and not carries(low + 1, high):
                longest = max(longest, high - low + 1)
    return longest


@pytest.mark.parametrize("operation", ["add", "subtract", "multiply", "modulo"])
def test_arithmetic(operation: str) -> None:
    x, target, chain = make_arithmetic(operation, 300, 5, generator=generator())  # type: ignore[arg-type]
    assert x.shape == (300, 20, 6)
    a, b = x[:, :10].argmax(1), x[:, 10:].argmax(1)
    for i in range(300):
        left, right, answer = number(a[i]), number(b[i]), number(target[i])
        if operation == "add":
            assert answer == left + right
        elif operation == "subtract":
            assert answer == left - right >= 0
        elif operation == "multiply":
            assert answer == left * int(b[i, 0])
        else:
            assert answer == left % int(b[i, 0])
        if operation in ("add", "subtract"):
            assert chain[i] == longest_chain(operation, a[i].tolist(), b[i].tolist())
    assert chain.unique().numel() >= 3


@pytest.mark.parametrize("operation", ["add", "subtract", "multiply", "modulo"])
def test_arithmetic_beyond_what_an_integer_holds(operation: str) -> None:
    x, target, _ = make_arithmetic(operation, 200, 25, generator=generator(), fewest=19)  # type: ignore[arg-type]
    a, b = x[:, :10].argmax(1), x[:, 10:].argmax(1)
    for i in range(200):
        left, right = number(a[i]), number(b[i])
        low = int(b[i, 0])
        answers = {
            "add": left + right,
            "subtract": left - right,
            "multiply": left * low,
            "modulo": left % low if operation == "modulo" else 0,
        }
        assert number(target[i]) == answers[operation] >= 0


@pytest.mark.parametrize(
    ("operation", "digits", "fewest", "message"),
    [("divide", 3, 1, "operation must be one of"), ("add", 3, 4, "fewest <= digits is needed")],
)
def test_arithmetic_errors(operation: str, digits: int, fewest: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_arithmetic(operation, 2, digits, generator=generator(), fewest=fewest)  # type: ignore[arg-type]


def test_arithmetic_lengths() -> None:
    x, _, size = make_arithmetic("modulo", 200, 8, generator=generator(), fewest=5)
    assert size.min() == 5 and size.max() == 8 and x.shape[2] == 9


@pytest.mark.parametrize("link", ["AB", "BC", "AC"])
def test_paired_associates(link: str) -> None:
    pool = draw_image_pool(40, 6, generator())
    (memory, query), target, difficulty = make_paired_associates(
        pool,
        30,
        pairs=4,
        generator=generator(1),
        link=link,  # type: ignore[arg-type]
    )
    assert memory.shape == (30, 8, 2, 6) and query.shape == (30, 3, 6)
    assert difficulty.unique().tolist() == [2 if link == "AC" else 1]
    for rows, (cue, *options), place in zip(memory, query, target.tolist(), strict=True):

        def partners(image: torch.Tensor, rows: torch.Tensor = rows) -> list[torch.Tensor]:
            return [r[1 - i] for r in rows for i in (0, 1) if torch.equal(r[i], image)]

        reached = partners(cue)
        if link == "AC":
            reached = [image for middle in reached for image in partners(middle)]
        found = [any(torch.equal(option, image) for image in reached) for option in options]
        assert found == [place == 0, place == 1]
    with pytest.raises(ValueError, match="3 images a chain"):
        make_paired_associates(pool[:5], 2, pairs=4, generator=generator())
    with pytest.raises(ValueError, match="link must be one of"):
        make_paired_associates(pool, 2, pairs=4, generator=generator(), link="CA")  # type: ignore[arg-type]


def test_corruption_grows_with_the_level() -> None:
    images = torch.rand(50, 1, 12, 12, generator=generator())
    change = [
        (corrupt(images, torch.full((50,), level), generator()) - images).abs().mean().item()
        for level in (0.0, 0.3, 0.6, 1.0)
    ]
    assert change[0] == 0 and change == sorted(change) and change[-1] > 0.3
