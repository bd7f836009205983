"""`Program.bits` is a code, and what has no code is no program."""

import json
import math

import pytest

pytest.importorskip("numba")

from quire.papers.arc.solver.coding import ChainCode
from quire.papers.arc.solver.primitives import PRIMITIVES, Kind, Primitive
from quire.papers.arc.solver.program import Program
from quire.papers.arc.solver.variants import View

NAMES = ("rigid", "crop", "components", "overlay", "crop_all", "keep_colour", "feature", "swap")
SMALL = tuple(p for p in PRIMITIVES if p.name in NAMES)
SAME = {"linear": ["1", "0", "1", "0", False], "placed": True}


def instances(primitives):
    return [(p.name, arg) for p in primitives for arg in p.values(range(1, 10), range(1, 10))]


def chains(primitives, steps):
    """All chains that have a code, with it, by their number of steps."""
    code, rows = ChainCode(primitives), [[()]]
    for _ in range(steps):
        row = []
        for chain in rows[-1]:
            for instance in instances(primitives):
                try:
                    code.length((*chain, instance))
                except ValueError:
                    continue
                row.append((*chain, instance))
        rows.append(row)
    return [chain for row in rows for chain in row]


@pytest.mark.parametrize(
    ("before", "what"), [((), 0), ((("rigid", 1),), 1), ((("components", 1),), 2)]
)
def test_the_choices_at_a_node_share_one(before, what):
    """To end there, and every step that may follow: their weights add up to exactly one."""
    code = ChainCode(PRIMITIVES)
    own = code.length(before) - code.shared[what]
    shares = [2.0 ** -code.shared[what]]
    for name, arg in instances(PRIMITIVES):
        try:
            whole = code.length((*before, (name, arg)))
        except ValueError:
            continue
        kind = code.primitives[name].kind
        listed = kind in (Kind.SPLIT, Kind.LIST) or (what == 2 and kind is not Kind.JOIN)
        shares.append(2.0 ** -(whole - code.shared[2 if listed else 1] - own))
    assert len(shares) > 200
    assert math.fsum(shares) == pytest.approx(1.0, abs=1e-12)


def test_all_programs_of_a_small_language_share_one():
    views = [View(colours, flipped) for colours in ("", "background", "ranks")
             for flipped in (False, True)]  # fmt: skip
    total, few = 0.0, chains(SMALL, 1)[:6]
    for view in views:
        for chain in chains(SMALL, 2):
            total += 2.0 ** -Program("chain", (chain,), view, primitives=SMALL).bits
        for chain in few:
            frames = [SAME, {"chain": [("crop", 0)]}, {**SAME, "placed": False}]
            for frame in frames:
                one = (chain,)
                for paint in range(10):
                    program = Program("stack", one, view, frame, (paint,), primitives=SMALL)
                    total += 2.0**-program.bits
                for table in ({}, *({str(k): c} for k in range(10) for c in range(10))):
                    program = Program("rule", one, view, frame, (), table, primitives=SMALL)
                    total += 2.0**-program.bits
    assert 0.1 < total <= 1.0
    assert len(set(chains(SMALL, 2))) > 900


def test_longer_programs_cost_more_and_text_keeps_the_length():
    short, long = Program("chain", ((),)), Program("chain", ((("rigid", 1), ("crop", 0)),))
    rule = Program("rule", ((), (("rigid", 1),)), View("ranks", True), SAME, (), {"12": 3}, 7)
    stack = Program("stack", ((),), View(), {"chain": [("crop", 0)]}, (4,))
    assert short.bits < Program("chain", ((("rigid", 1),),)).bits < long.bits
    for program in (short, long, rule, stack):
        again = Program.from_text(program.to_text())
        assert again == program and again.bits == program.bits
    old = json.dumps(json.loads(long.to_text()) | {"bits": 0.5})  # a length of its own is not read
    assert Program.from_text(old).bits == long.bits


CHAIN = {"kind": "chain", "chains": [[["rigid", 1]]], "view": ["", False], "frame": {},
         "paints": [], "table": {}, "default": 0}  # fmt: skip
STACK = CHAIN | {"kind": "stack", "frame": SAME, "paints": [0]}
RULE = CHAIN | {"kind": "rule", "frame": SAME}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CHAIN | {"kind": "banana"}, "kind must be chain, stack or rule, not 'banana'"),
        (CHAIN | {"kind": ["chain"]}, "kind must be"),
        (CHAIN | {"chains": []}, "a chain has 1 to 1 chains, not 0"),
        (CHAIN | {"chains": [[], []]}, "a chain has 1 to 1 chains, not 2"),
        (CHAIN | {"chains": None}, "not a program"),
        (CHAIN | {"chains": [[["rigid"]]]}, "not a program"),
        (CHAIN | {"chains": [[["rigd", 1]]]}, "'rigd', which this solver lacks; .*'rigid'"),
        (CHAIN | {"chains": [[["rigid", 99]]]}, "rigid takes 1, 2, 3, 4, 5, 6, 7, not 99"),
        (CHAIN | {"chains": [[["rigid", 1.0]]]}, r"not 1\.0"),
        (CHAIN | {"chains": [[["pick_by_size", 7]]]}, "pick_by_size takes"),
        (CHAIN | {"chains": [[["overlay", 1]]]}, "overlay cannot follow the input"),
        (CHAIN | {"chains": [[["rigid", 1], ["feature", 0]]]}, "feature cannot follow an image"),
        (CHAIN | {"frame": SAME}, "a chain has no frame"),
        (CHAIN | {"view": ["all", False]}, "colours must be"),
        (CHAIN | {"view": ["", 2]}, "a view is flipped or not"),
        (CHAIN | {"paints": [1]}, "cannot have 1 paints"),
        (CHAIN | {"table": {"1": 1}}, "a chain has no table"),
        (STACK | {"frame": {}}, "a frame is a chain, or linear and placed"),
        (STACK | {"frame": {"linear": SAME["linear"]}}, "a frame is a chain"),
        (STACK | {"frame": SAME | {"linear": ["1/0", "0", "1", "0", False]}}, "four fractions"),
        (STACK | {"frame": SAME | {"linear": ["1", "0"]}}, "four fractions"),
        (STACK | {"frame": SAME | {"linear": ["7", "0", "1", "0", False]}}, "no rule gives"),
        (STACK | {"frame": {"chain": [["gone", 0]]}}, "needs the primitive 'gone'"),
        (STACK | {"paints": []}, "cannot have 0 paints"),
        (STACK | {"paints": [10]}, "paints are colours 0 to 9"),
        (STACK | {"chains": [[]] * 11, "paints": [0] * 11}, "a stack has 1 to 10 chains"),
        (RULE | {"default": 3}, "default must be 0 to 0 for 1 chains, not 3"),
        (RULE | {"table": {"12": 3}}, "an entry of 1 chains' colours cannot be '12'"),
        (RULE | {"table": {"1": 10}}, "an entry of 1 chains' colours"),
        (RULE | {"table": [1]}, "not a program"),
        ({}, "'frame' is missing"),
        ([], "not a program"),
        (None, "not a program"),
    ],
)  # fmt: skip
def test_text_that_is_no_program_is_one_line(content, message):
    with pytest.raises(ValueError, match=f"^not a program of the ARC solver: .*{message}"
                       if not message.startswith("not a") else message) as caught:  # fmt: skip
        Program.from_text(json.dumps(content))
    assert "\n" not in str(caught.value)


def test_neither_is_deep_or_broken_text():
    for text in ("[" * 100_000, "{", "", "\x00"):
        with pytest.raises(ValueError, match=r"^not a program of the ARC solver") as caught:
            Program.from_text(text)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="kind must be"):
        Program("banana", ((("rigid", 1),),))
    for bits in (math.nan, math.inf, -1.0):
        with pytest.raises(ValueError, match="bits must be at least 0"):
            Primitive(len, "own", bits)
