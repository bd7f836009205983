"""The paper's quantities (section II.2) as code lengths in a small language.

Algorithmic information H(x) is not computable. In its place stands the length of the shortest
program that was found in a language with a prefix code: a node costs log2 of the number of choices
for its type. So a length is an upper bound up to a constant, it depends on the language, and every
value here says so when it is printed. On a language cut at a number of bits the search is
exhaustive and the values are exact for that language.

Symbols: Sol, the shortest program that reaches the threshold at evaluation; TrainSol, the shortest
one with the highest skill on the curriculum; IS, the system, here a library of programs it has.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import numpy as np


class Bits(float):
    """A code length, bits."""

    def __str__(self) -> str:
        return f"{float(self):.4g} bits (upper bound, language-dependent)"

    __repr__ = __str__


class Share(float):
    """A ratio of code lengths, or what is computed from such ratios."""

    def __str__(self) -> str:
        return f"{float(self):.4g} (from upper bounds on code lengths: an upper bound, " \
               "language-dependent, not the quantity itself)"  # fmt: skip

    __repr__ = __str__


class Undefined(ArithmeticError):  # noqa: N818 (a state, as in "value undefined")
    """A program has no value for an input, as one of its functions raised."""


@dataclass(frozen=True)
class Function:
    """A word of the language.

    Args:
        name: How programs write it.
        takes: The types of its arguments.
        gives: The type of its value.
        call: What it does, without changing its arguments. Where it raises, the program has no
            value for that input, and counts as wrong there.
    """

    name: str
    takes: tuple[str, ...]
    gives: str
    call: Callable[..., Any]


@dataclass(frozen=True)
class Expression:
    """A program: a function applied to expressions, or the input `x`."""

    head: str
    arguments: tuple["Expression", ...] = ()

    def __str__(self) -> str:
        inside = ", ".join(map(str, self.arguments))
        return f"{self.head}({inside})" if self.arguments else self.head

    def parts(self) -> Iterator["Expression"]:
        """The expression and all expressions inside it."""
        yield self
        for argument in self.arguments:
            yield from argument.parts()


INPUT = Expression("x")


@dataclass(frozen=True)
class Language:
    """Typed expressions over one input `x` of the type `kind`, which programs also give.

    A node of a type costs log2 of the number of choices for it: the functions that give the type,
    and `x` where it is the input's (section II.2 asks for a fixed universal language; any such code
    is prefix-free, so the sum of 2^-bits over all programs is at most 1).

    Raises ValueError where two functions have one name, or one has that of the input.

    Example:
        >>> from quire.papers.arc import Function, Language
        >>> language = Language("text", (Function("twice", ("text",), "text", lambda s: s + s),))
        >>> program = language.shortest(lambda p: language.run(p, "ab") == "abab", 8)
        >>> str(program), language.bits(program)
        ('twice(x)', 2 bits (upper bound, language-dependent))
    """

    kind: str
    functions: tuple[Function, ...]

    def __post_init__(self) -> None:
        names = [INPUT.head, *(function.name for function in self.functions)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"words need names of their own ('x' is the input): {twice!r} occurs "
                             "twice")  # fmt: skip

    def function(self, name: str) -> Function:
        """The function called so. Raises ValueError where there is none."""
        for function in self.functions:
            if function.name == name:
                return function
        near = get_close_matches(name, [function.name for function in self.functions], 1)
        hint = f"; is {near[0]!r} meant?" if near else ""
        raise ValueError(f"the language has no function {name!r}{hint}")

    def type_of(self, program: Expression) -> str:
        """The type that an expression gives."""
        return self.kind if program == INPUT else self.function(program.head).gives

    def run(self, program: Expression, x: Any) -> Any:
        """The program's output for an input.

        Raises `Undefined` where one of its functions raises, ValueError for an unknown function or
        one with other arguments than it takes.
        """
        self._check(program)
        return self._run(program, x)

    def solves(self, program: Expression, x: Any, y: Any) -> bool:
        """Whether the program's output for `x` is `y`; no value is a wrong one."""
        try:
            return _equal(self._run(program, x), y)
        except Undefined:
            return False

    def _run(self, program: Expression, x: Any) -> Any:
        if program == INPUT:
            return x
        values = [self._run(argument, x) for argument in program.arguments]
        try:
            return self.function(program.head).call(*values)
        except Exception as error:
            name = type(error).__name__
            raise Undefined(f"{program.head} has no value here: {name}: {error}") from error

    def _check(self, program: Expression) -> None:
        if program == INPUT:
            return
        function = self.function(program.head)
        given = tuple(self.type_of(argument) for argument in program.arguments)
        if given != function.takes:
            raise ValueError(f"{program.head} takes ({', '.join(function.takes)}), "
                             f"not ({', '.join(given)})")  # fmt: skip
        for argument in program.arguments:
            self._check(argument)

    def choices(self, kind: str) -> int:
        """How many words may stand where a value of this type is needed."""
        return (kind == self.kind) + sum(f.gives == kind for f in self.functions)

    def bits(self, program: Expression) -> Bits:
        """H: the length of a program under the prefix code.

        Raises ValueError as `run` does for what is no program.
        """
        self._check(program)
        return self._bits(program)

    def _bits(self, program: Expression) -> Bits:
        own = math.log2(self.choices(self.type_of(program)))
        return Bits(own + sum(self._bits(argument) for argument in program.arguments))

    def bits_given(self, program: Expression, known: Iterable[Expression]) -> Bits:
        """H(program | known): its length where the programs in `known` can be used.

        The shortest of three: one of `known` as it is, at log2 of their number; the program written
        with expressions inside `known` as further words; the program without them. (Which of the
        three is left out: a constant.)
        """
        library = set(known)
        ways = [self.bits(program)]
        if program in library:
            ways.append(Bits(math.log2(len(library))))
        words = {part for one in library for part in one.parts()} - {INPUT}
        if words:
            ways.append(self._with_words(program, words))
        return min(ways)

    def programs(self, most: float) -> list[tuple[Bits, Expression]]:
        """All programs of at most `most` bits, shortest first (ties: by their text).

        Raises ValueError where `most` is no finite number.
        """
        if not math.isfinite(most):
            raise ValueError(f"most must be a finite number of bits, got {most}")
        found = [(self._bits(p), p) for p in self._enumerate(self.kind, most + 1e-9)]
        return sorted(found, key=lambda pair: (round(pair[0], 9), str(pair[1])))

    def shortest(self, wanted: Callable[[Expression], bool], most: float) -> Expression | None:
        """The shortest program of at most `most` bits that is `wanted`, or None.

        A program that `run` finds `Undefined` on the way is not wanted.
        """
        for _, program in self.programs(most):
            with suppress(Undefined):
                if wanted(program):
                    return program
        return None

    @cached_property
    def _finite(self) -> frozenset[str]:
        """The types that have a finite program: without the others enumeration ends."""
        found = {self.kind}
        while more := {f.gives for f in self.functions if found.issuperset(f.takes)} - found:
            found |= more
        return frozenset(found)

    def _with_words(self, program: Expression, words: set[Expression]) -> Bits:
        kind = self.type_of(program)
        own = math.log2(self.choices(kind) + sum(self.type_of(word) == kind for word in words))
        if program in words:
            return Bits(own)
        return Bits(own + sum(self._with_words(part, words) for part in program.arguments))

    def _enumerate(self, kind: str, most: float) -> Iterator[Expression]:
        left = most - math.log2(max(1, self.choices(kind)))
        if left < 0:
            return
        if kind == self.kind:
            yield INPUT
        for function in self.functions:
            if function.gives == kind and self._finite.issuperset(function.takes):
                for arguments in self._enumerate_all(function.takes, left):
                    yield Expression(function.name, arguments)

    def _enumerate_all(self, kinds: Sequence[str], most: float) -> Iterator[tuple[Expression, ...]]:
        if not kinds:
            yield ()
            return
        for first in self._enumerate(kinds[0], most):
            for rest in self._enumerate_all(kinds[1:], most - self._bits(first)):
                yield (first, *rest)


def generalisation_difficulty(h_solution: float, h_given_training: float) -> Share:
    """GD = H(Sol | TrainSol) / H(Sol): the share of the solution that training does not give.

    For the developer-aware form condition on the system at its start as well. Raises ValueError
    where H(Sol) is not positive, or a length negative or no finite number.
    """
    return Share(_length("H(Sol | TrainSol)", h_given_training) / _positive(h_solution))


def priors(h_solution: float, h_given_system: float) -> Share:
    """P = (H(Sol) - H(Sol | IS_0)) / H(Sol): the share that the system begins with.

    Raises ValueError as `generalisation_difficulty` does.
    """
    whole = _positive(h_solution)
    return Share((whole - _length("H(Sol | IS)", h_given_system)) / whole)


def experience(h_solution: float, steps: Iterable[tuple[float, float]]) -> Share:
    """E = sum over t of (H(Sol | IS_t) - H(Sol | IS_t, data_t)), over H(Sol).

    steps: the two lengths at each step of the curriculum. Raises ValueError as
    `generalisation_difficulty` does.
    """
    gained = sum(
        _length("H(Sol | IS_t)", before) - _length("H(Sol | IS_t, data_t)", after)
        for before, after in steps
    )
    return Share(gained / _positive(h_solution))


@dataclass(frozen=True)
class Curriculum:
    """A way through a task, and what it showed.

    Args:
        probability: P of the curriculum.
        difficulty: GD, the generalisation difficulty.
        priors: P of the system.
        experience: E along the way.
    """

    probability: float
    difficulty: float
    priors: float
    experience: float


@dataclass(frozen=True)
class ScopeTask:
    """A task of a scope: weight omega, threshold theta, and the curricula that reach it."""

    weight: float
    threshold: float
    curricula: tuple[Curriculum, ...]


def intelligence(scope: Sequence[ScopeTask]) -> Share:
    """I = mean over tasks of omega theta sum over curricula of p GD / (P + E).

    For the optimal-skill variant give the system's best skill as threshold and the curricula that
    reach it. Raises ValueError for an empty scope, for a value that is no finite number, for a
    probability outside 0..1, and where neither priors nor experience went into a solution (the
    quotient is not defined).
    """
    if not scope:
        raise ValueError("a scope needs at least one task")
    total = 0.0
    for task in scope:
        for way in task.curricula:
            values = (task.weight, task.threshold, way.difficulty, way.priors, way.experience)
            if not all(map(math.isfinite, values)) or not 0 <= way.probability <= 1:
                raise ValueError(f"finite numbers and a probability from 0 to 1 expected: {way}")
            if way.priors + way.experience <= 0:
                raise ValueError("a solution without priors and experience: P + E must be positive")
            efficiency = way.difficulty / (way.priors + way.experience)
            total += task.weight * task.threshold * way.probability * efficiency
    return Share(total / len(scope))


Example = tuple[Any, Any]


@dataclass(frozen=True)
class ToyTask:
    """A curriculum of examples in order, and the examples of the evaluation."""

    curriculum: tuple[Example, ...]
    evaluation: tuple[Example, ...]


@dataclass(frozen=True)
class Measured:
    """Sol and TrainSol of a toy task with the quantities that follow, exact below `most` bits."""

    solution: Expression
    training_solution: Expression
    h_solution: Bits
    difficulty: Share
    developer_aware_difficulty: Share
    priors: Share
    experience: Share


def measure(
    language: Language, task: ToyTask, *, most: float, system: Iterable[Expression] = ()
) -> Measured:
    """All quantities of a task, looking at every program of at most `most` bits.

    Skill is the share of examples whose output is right; Sol must get every one of the evaluation.
    At each step of the curriculum the system knows the examples so far; H(Sol | system, examples)
    is Sol's length among the programs that agree with them, -log2 of its share of their weights
    2^-bits (or H(Sol | system), if less), so that an example that excludes no program is worth
    nothing.

    Args:
        language: What programs are written in.
        task: Curriculum and evaluation.
        most: The longest program looked at, bits.
        system: The programs that the system has at t = 0.

    Raises ValueError where no program solves the evaluation.
    """
    library = tuple(system)
    programs = language.programs(most)
    solution = _best(language, programs, task.evaluation, whole=True)
    if solution is None:
        raise ValueError(f"no program of at most {most:g} bits solves the evaluation")
    training = _best(language, programs, task.curriculum, whole=False)
    assert training is not None  # the program x is always there
    h = language.bits(solution)
    weighted = [(language.bits_given(program, library), program) for _, program in programs]
    steps, seen = [], math.log2(_weight(weighted))
    own = language.bits_given(solution, library)
    for x, y in task.curriculum:
        now = seen
        if language.solves(solution, x, y):  # an example against Sol cannot shorten it: left aside
            weighted = [(b, p) for b, p in weighted if language.solves(p, x, y)]
            now = math.log2(_weight(weighted))
        steps.append((own + seen, own + now))
        seen = now
    return Measured(
        solution=solution,
        training_solution=training,
        h_solution=h,
        difficulty=generalisation_difficulty(h, language.bits_given(solution, [training])),
        developer_aware_difficulty=generalisation_difficulty(
            h, language.bits_given(solution, [training, *library])
        ),
        priors=priors(h, own),
        experience=experience(h, steps),
    )


def _best(
    language: Language,
    programs: list[tuple[Bits, Expression]],
    examples: Sequence[Example],
    *,
    whole: bool,
) -> Expression | None:
    """The first, so shortest, of the most skilled; None where `whole` and none gets all right."""
    best, skill = None, -1
    for _, program in programs:
        right = sum(language.solves(program, x, y) for x, y in examples)
        if right > skill:
            best, skill = program, right
    return None if whole and skill < len(examples) else best


def _weight(weighted: Iterable[tuple[float, Expression]]) -> float:
    return min(1.0, sum(2.0**-bits for bits, _ in weighted))


def _equal(value: Any, wanted: Any) -> bool:
    """Whether two values are equal; arrays are where their shapes and all their numbers are."""
    if isinstance(value, np.ndarray) or isinstance(wanted, np.ndarray):
        return type(value) is type(wanted) and np.array_equal(value, wanted)
    return bool(value == wanted)


def _positive(h_solution: float) -> float:
    if not h_solution > 0 or h_solution == math.inf:
        must = "finite" if h_solution == math.inf else "positive"
        raise ValueError(f"H(Sol) must be {must}, got {h_solution:g}")
    return float(h_solution)


def _length(name: str, bits: float) -> float:
    if not -1e-9 <= bits < math.inf:  # 0 may come out of a sum a little below
        raise ValueError(f"{name} is a code length, 0 bits or more, not {float(bits):g}")
    return float(bits)
