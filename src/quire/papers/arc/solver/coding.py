"""The code that programs are written in: what `Program.bits` counts, and what is a program at all.

It is a prefix code. Whatever has to be chosen on the way costs -log2 of the choice's share, and the
shares of one choice add up to at most 1, so the sum of 2^-bits over all programs is at most 1. At
each step of a chain the choices are the instances of the primitives that may follow (a colour is
one of nine) with the weights 2^-bits of their primitives, and to end there with the weight 1.

The search itself orders and ranks by costs, sums of the primitives' bits without the shares: that
is quicker, and no code.
"""

import functools
import math
import re
from collections.abc import Sequence
from difflib import get_close_matches
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from quire.papers.arc.solver.primitives import Kind, Primitive
from quire.papers.arc.solver.sizes import RATIOS, SizeRule
from quire.papers.arc.solver.stacking import ENTRIES, PIECES
from quire.papers.arc.solver.variants import View

if TYPE_CHECKING:
    from quire.papers.arc.solver.program import Program

KINDS = ("chain", "stack", "rule")
COLUMNS = 3
"""The most chains of a pixel rule."""
INPUT, IMAGE, LIST = range(3)
FOLLOWS = (
    (Kind.EACH, Kind.WHOLE, Kind.SPLIT, Kind.FIRST),
    (Kind.EACH, Kind.WHOLE, Kind.SPLIT),
    (Kind.EACH, Kind.LIST, Kind.JOIN),
)
"""Kinds of primitives that may follow the input, an image, a list of images."""
VIEWS = math.log2(
    sum(2.0 ** -View(colours, flipped).bits for colours in ("", "background", "ranks")
        for flipped in (False, True))
)  # fmt: skip
"""log2 of the sum of the weights of all views."""
PAINTED = 3.0
"""What a stack's layer pays for a colour of its own, beside the shares."""


class ChainCode:
    """The code of chains in a language."""

    def __init__(self, primitives: Sequence[Primitive]) -> None:
        colours = range(1, 10)
        self.primitives = {primitive.name: primitive for primitive in primitives}
        self.arguments = {p.name: frozenset(p.values(colours, colours)) for p in primitives}
        weights = [(p.kind, 2.0**-p.bits * len(self.arguments[p.name])) for p in primitives]
        self.shared = [
            math.log2(1.0 + sum(weight for kind, weight in weights if kind in follows))
            for follows in FOLLOWS
        ]
        """log2 of the sum of weights at the input, an image and a list."""

    def length(self, chain: Sequence[tuple[str, int]]) -> float:
        """Bits of a chain with its end. Raises ValueError for what no search can build."""
        here, bits = INPUT, 0.0
        for name, arg in chain:
            kind = self._check(name, arg, here)
            bits += self.primitives[name].bits + self.shared[here]
            listed = kind in (Kind.SPLIT, Kind.LIST) or (here == LIST and kind is not Kind.JOIN)
            here = LIST if listed else IMAGE
        return bits + self.shared[here]

    def _check(self, name: str, arg: int, here: int) -> Kind:
        if name not in self.primitives:
            near = get_close_matches(str(name), self.primitives, 1)
            hint = f"; the nearest is {near[0]!r}" if near else ""
            raise ValueError(f"program needs the primitive {name!r}, which this solver lacks{hint}")
        if type(arg) is not int or arg not in self.arguments[name]:
            known = ", ".join(map(str, sorted(self.arguments[name])))
            raise ValueError(f"primitive {name} takes {known}, not {arg!r}")
        kind = self.primitives[name].kind
        if kind not in FOLLOWS[here]:
            what = ("the input", "an image", "a list")[here]
            raise ValueError(f"primitive {name} cannot follow {what}")
        return kind


@functools.lru_cache(maxsize=16)
def chain_code(primitives: tuple[Primitive, ...]) -> ChainCode:
    """The code of a language, worked out once."""
    return ChainCode(primitives)


def code_length(program: "Program") -> float:
    """Bits of a program: its kind, view, chains, frame, and what its kind needs beside them.

    Raises ValueError with one line for what is no program of the language.
    """
    code, chains = chain_code(program.primitives), program.chains
    if program.kind not in KINDS:
        raise ValueError(f"kind must be chain, stack or rule, not {program.kind!r}")
    if not isinstance(program.view.flipped, bool):
        raise ValueError(f"a view is flipped or not, not {program.view.flipped!r}")
    bits = math.log2(len(KINDS)) + program.view.bits + VIEWS
    most = {"chain": 1, "stack": PIECES, "rule": COLUMNS}[program.kind]
    if not 1 <= len(chains) <= most:
        raise ValueError(f"a {program.kind} has 1 to {most} chains, not {len(chains)}")
    bits += math.log2(most) + sum(code.length(chain) for chain in chains)
    if program.kind == "chain":
        if program.frame:
            raise ValueError("a chain has no frame: its image is the answer")
    else:
        bits += _frame_length(program.frame, code)
    return bits + _paints_length(program) + _table_length(program)


def _paints_length(program: "Program") -> float:
    """A layer keeps its colours, or takes one of nine."""
    paints = program.paints
    if len(paints) != (len(program.chains) if program.kind == "stack" else 0):
        raise ValueError(f"a {program.kind} of {len(program.chains)} chains cannot have "
                         f"{len(paints)} paints")  # fmt: skip
    if any(type(paint) is not int or not 0 <= paint <= 9 for paint in paints):
        raise ValueError(f"paints are colours 0 to 9, not {list(paints)}")
    return sum(PAINTED * (paint != 0) + math.log2(1 + 9 * 2.0**-PAINTED) for paint in paints)


def _table_length(program: "Program") -> float:
    """How many entries, which keys, and a colour each; the default, where there is a choice."""
    width, table, default = len(program.chains), program.table, program.default
    if program.kind != "rule":
        if table or default:
            raise ValueError(f"a {program.kind} has no table and no default")
        return 0.0
    defaults = 8 if width == 2 else 1
    if type(default) is not int or not 0 <= default < defaults:
        raise ValueError(f"default must be 0 to {defaults - 1} for {width} chains, not {default!r}")
    if len(table) > ENTRIES:
        raise ValueError(f"a table has at most {ENTRIES} entries, not {len(table)}")
    for key, colour in table.items():
        if not re.fullmatch(f"[0-9]{{{width}}}", str(key)) or type(colour) is not int \
                or not 0 <= colour <= 9:  # fmt: skip
            raise ValueError(f"an entry of {width} chains' colours cannot be {key!r}: {colour!r}")
    keys = math.log2(math.comb(10**width, len(table)))
    count = min(ENTRIES, 10**width) + 1
    return math.log2(defaults) + math.log2(count) + keys + len(table) * math.log2(10)


def _frame_length(frame: dict[str, Any], code: ChainCode) -> float:
    """One bit for which of the two it is, then a chain, or a rule for the size."""
    if set(frame) == {"chain"}:
        return 1.0 + code.length(frame["chain"])
    if set(frame) != {"linear", "placed"} or not isinstance(frame["placed"], bool):
        raise ValueError(f"a frame is a chain, or linear and placed, not {frame!r:.60}")
    rule = read_rule(frame["linear"])
    return 1.0 + 2.0 + sum(_line_length(*line) for line in (rule.rows, rule.columns))


def _line_length(slope: Fraction, shift: Fraction) -> float:
    """Slope and shift of one side's rule: no shift, or one that leads from 1..30 to 1..30."""
    up, down = slope.numerator, slope.denominator
    steps = shift * down
    if slope not in RATIOS or steps.denominator != 1 or not down - 30 * up <= steps <= 30 * down:
        raise ValueError(f"no rule gives a side as {slope} times another and {shift}")
    return math.log2(len(RATIOS)) + 1.0 + (math.log2(29 * (up + down) + 1 + up) if shift else 0.0)


def read_rule(content: Any) -> SizeRule:
    """A size rule from what a program keeps: four fractions as text, and whether sides change
    places. Raises ValueError for anything else."""
    if isinstance(content, list | tuple) and len(content) == 5 and isinstance(content[4], bool):
        texts = [str(text) for text in content[:4]]
        if all(re.fullmatch(r"-?\d{1,4}(/[1-9]\d{0,3})?", text) for text in texts):
            down, below, across, beside = map(Fraction, texts)
            return SizeRule((down, below), (across, beside), content[4])
    raise ValueError(f"a size rule is four fractions and true or false, not {content!r:.60}")
