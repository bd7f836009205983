import math

import numpy as np
import pytest

from quire.papers.arc import (
    Curriculum,
    Expression,
    Function,
    Language,
    ScopeTask,
    ToyTask,
    experience,
    generalisation_difficulty,
    intelligence,
    measure,
    priors,
)
from quire.papers.arc.experiments.quantities import DOUBLE, NUMBERS, SUCC, make_program
from quire.papers.arc.measure import Bits, Undefined

NODE = math.log2(3)
MIXED = Language(
    "text",
    (
        Function("twice", ("text",), "text", lambda s: s + s),
        Function("join", ("text", "text"), "text", lambda s, t: s + t),
        Function("take", ("number", "text"), "text", lambda n, s: s[:n]),
        Function("one", (), "number", lambda: 1),
        Function("two", (), "number", lambda: 2),
    ),
)


def test_bits_are_log2_of_the_choices_by_type():
    take = Expression("take", (Expression("two"), Expression("x")))
    assert MIXED.choices("text") == 4 and MIXED.choices("number") == 2
    assert MIXED.bits(take) == 2 + 1 + 2
    assert MIXED.run(take, "abc") == "ab"
    with pytest.raises(ValueError, match="no function 'three'"):
        MIXED.bits(Expression("three"))


def brute(language, kind, depth):
    """All expressions of a type of at most `depth` levels."""
    found = [Expression("x")] if kind == language.kind else []
    for function in language.functions if depth else ():
        if function.gives != kind:
            continue
        rows = [()]
        for taken in function.takes:
            rows = [(*row, e) for row in rows for e in brute(language, taken, depth - 1)]
        found += [Expression(function.name, row) for row in rows]
    return found


@pytest.mark.parametrize(("language", "most"), [(NUMBERS, 5 * NODE), (MIXED, 6.0)])
def test_every_program_is_enumerated_once_in_order(language, most):
    programs = language.programs(most)
    expected = {
        p
        for p in brute(language, language.kind, 4 if language is NUMBERS else 3)
        if language.bits(p) <= most + 1e-9
    }
    assert {p for _, p in programs} == expected
    assert len(programs) == len(expected)
    lengths = [bits for bits, _ in programs]
    assert np.allclose(lengths, sorted(lengths))
    assert sum(2.0**-b for b in lengths) <= 1


def test_numbers_in_two_nodes():
    assert [str(p) for _, p in NUMBERS.programs(2 * NODE)] == ["x", "double(x)", "succ(x)"]
    assert NUMBERS.programs(1.0) == []


def test_planted_programs_are_recovered():
    for planted in (
        make_program("succ", "double", "double"),
        make_program("double", "succ", "succ"),
    ):
        pairs = [(x, NUMBERS.run(planted, x)) for x in (2, 3, 10)]
        found = NUMBERS.shortest(
            lambda p, pairs=pairs: all(NUMBERS.run(p, x) == y for x, y in pairs), 8
        )
        assert found == planted
        assert NUMBERS.bits(found) == pytest.approx(4 * NODE)
    assert NUMBERS.shortest(lambda p: NUMBERS.run(p, 1) == 99, 8) is None


def test_known_programs_shorten_what_shares_their_parts():
    sol, part = make_program("succ", "double"), make_program("double")
    assert NUMBERS.bits_given(sol, []) == pytest.approx(3 * NODE)
    assert NUMBERS.bits_given(sol, [sol]) == 0
    assert NUMBERS.bits_given(sol, [sol, part]) == 1  # one of two
    assert NUMBERS.bits_given(sol, [part]) == pytest.approx(2 * 2)
    assert NUMBERS.bits_given(sol, [make_program("succ")]) == pytest.approx(3 * NODE)
    assert NUMBERS.bits_given(sol, [make_program("double", "succ")]) <= NUMBERS.bits(sol)


def test_difficulty_priors_and_experience_by_hand():
    evaluation = ((3, 7), (5, 11))
    honest = measure(NUMBERS, ToyTask(((3, 7), (4, 9)), evaluation), most=8)
    assert str(honest.solution) == str(honest.training_solution) == "succ(double(x))"
    assert honest.difficulty == 0 and honest.priors == 0
    shortcut = measure(NUMBERS, ToyTask(((2, 3),), evaluation), most=8)
    assert str(shortcut.training_solution) == "succ(x)"
    assert shortcut.difficulty == 1
    told = measure(
        NUMBERS, ToyTask(((2, 3),), evaluation), most=8, system=[make_program("succ", "double")]
    )
    assert (told.priors, told.experience) == (1, 0)
    assert told.developer_aware_difficulty < told.difficulty == 1
    pinned = measure(NUMBERS, ToyTask(((3, 4),), ((3, 4), (5, 6))), most=2 * NODE)
    assert pinned.experience == pytest.approx(math.log2(5) / (2 * NODE))


def test_useless_data_bring_nothing():
    same_at_zero = Language("number", (DOUBLE, Function("triple", ("number",), "number",
                                                        lambda n: 3 * n)))  # fmt: skip
    task = ToyTask(((0, 0), (0, 0)), ((1, 2), (2, 4)))
    assert measure(same_at_zero, task, most=6).experience == 0
    misleading = ToyTask(((3, 99),), ((3, 7), (5, 11)))
    assert measure(NUMBERS, misleading, most=8).experience == 0


def test_priors_and_experience_never_exceed_the_solution():
    rng = np.random.default_rng(0)
    programs = [p for _, p in NUMBERS.programs(8)]
    for _ in range(30):
        sol = programs[rng.integers(1, len(programs))]
        xs = rng.integers(0, 9, 4).tolist()
        system = [programs[k] for k in rng.integers(1, len(programs), rng.integers(0, 3))]
        pairs = tuple((x, NUMBERS.run(sol, x)) for x in xs)
        got = measure(NUMBERS, ToyTask(pairs[:2], pairs), most=8, system=system)
        assert got.h_solution <= NUMBERS.bits(sol)
        assert -1e-12 <= got.priors <= 1 and got.experience >= -1e-12
        assert got.priors + got.experience <= 1 + 1e-12
        assert got.developer_aware_difficulty >= 0


def test_intelligence_over_a_scope():
    way = Curriculum(probability=1.0, difficulty=0.5, priors=0.25, experience=0.25)
    split = (Curriculum(0.5, 0.5, 0.5, 0.0), Curriculum(0.5, 1.0, 0.25, 0.25))
    assert intelligence([ScopeTask(1.0, 1.0, (way,))]) == 1
    assert intelligence([ScopeTask(2.0, 0.5, split)]) == pytest.approx(0.5 * 1 + 0.5 * 2)
    harder = Curriculum(1.0, 0.8, 0.25, 0.25)
    assert intelligence([ScopeTask(1.0, 1.0, (harder,))]) > 1  # more difficulty for as much
    with pytest.raises(ValueError, match="at least one task"):
        intelligence([])
    with pytest.raises(ValueError, match="P \\+ E must be positive"):
        intelligence([ScopeTask(1.0, 1.0, (Curriculum(1.0, 0.5, 0.0, 0.0),))])


def test_the_formulas_take_lengths_of_any_language():
    assert generalisation_difficulty(10.0, 4.0) == 0.4
    assert priors(10.0, 4.0) == 0.6
    assert experience(10.0, [(4.0, 3.0), (3.0, 3.0), (3.0, 1.0)]) == pytest.approx(0.3)
    with pytest.raises(ValueError, match=r"H\(Sol\) must be positive, got 0"):
        priors(0.0, 0.0)
    with pytest.raises(ValueError, match="no program of at most 2 bits solves"):
        measure(NUMBERS, ToyTask((), ((1, 50),)), most=2)


def test_every_printed_value_says_what_it_is():
    values = [Bits(3.0), priors(10.0, 4.0), intelligence(
        [ScopeTask(1.0, 1.0, (Curriculum(1.0, 0.5, 0.5, 0.0),))]
    )]  # fmt: skip
    for value in values:
        for text in (str(value), repr(value), f"{value!s}"):
            assert "upper bound" in text and "language-dependent" in text
    assert SUCC.call(1) == 2


def test_a_program_that_raises_is_a_wrong_one():
    parts = (
        Function("succ", ("number",), "number", lambda n: n + 1),
        Function("inverse", ("number",), "number", lambda n: 1 / n),
        Function("lookup", ("number",), "number", lambda n: [7, 8][n]),
        Function("wrong_call", ("number",), "number", lambda: 0),
    )
    language = Language("number", parts)
    task = ToyTask(curriculum=((0, 1), (1, 2)), evaluation=((0, 1), (2, 3)))
    got = measure(language, task, most=6)
    assert str(got.solution) == str(got.training_solution) == "succ(x)"
    found = language.shortest(lambda p: language.run(p, 0) == 2, 8)
    assert str(found) == "succ(succ(x))"
    assert language.solves(Expression("inverse", (Expression("x"),)), 4, 0.25)
    for name, x in (("inverse", 0), ("lookup", 5), ("wrong_call", 1)):
        program = Expression(name, (Expression("x"),))
        assert not language.solves(program, x, x)
        with pytest.raises(Undefined, match=f"^{name} has no value here: [A-Z][a-zA-Z]+Error: "):
            language.run(program, x)
    with pytest.raises(KeyError):  # a mistake of whoever asks is no program's
        language.shortest(lambda p: {}["typo"], 4)


def test_values_may_be_arrays():
    language = Language(
        "grid", (Function("turn", ("grid",), "grid", np.rot90), Function("flat", ("grid",), "grid",
                                                                        np.ravel))
    )  # fmt: skip
    grid = np.arange(6).reshape(2, 3)
    got = measure(language, ToyTask(((grid, np.rot90(grid)),), ((grid, np.rot90(grid)),)), most=6)
    assert str(got.solution) == "turn(x)"
    assert not language.solves(Expression("flat", (Expression("x"),)), grid, grid)


def test_what_is_no_program_or_no_number_is_named():
    take, x = Expression("take", (Expression("x"), Expression("two"))), Expression("x")
    for ask in (MIXED.bits, lambda p: MIXED.run(p, "ab")):
        with pytest.raises(ValueError, match=r"take takes \(number, text\), not \(text, number\)"):
            ask(take)
        with pytest.raises(ValueError, match=r"twice takes \(text\), not \(\)"):
            ask(Expression("join", (x, Expression("twice"))))
        with pytest.raises(ValueError, match=r"no function 'twise'; is 'twice' meant\?"):
            ask(Expression("twise", (x,)))
    for twice in ((SUCC, SUCC), (Function("x", (), "number", lambda: 1),)):
        with pytest.raises(ValueError, match="words need names of their own"):
            Language("number", twice)
    for most in (math.nan, math.inf):
        with pytest.raises(ValueError, match="most must be a finite number of bits"):
            measure(NUMBERS, ToyTask((), ((1, 2),)), most=most)
    for bad in (math.nan, math.inf, -1.0):
        for ask in (
            lambda b: generalisation_difficulty(b, 1.0), lambda b: priors(2.0, b),
            lambda b: generalisation_difficulty(2.0, b), lambda b: experience(2.0, [(b, 1.0)]),
        ):  # fmt: skip
            with pytest.raises(ValueError, match="H"):
                ask(bad)
    with pytest.raises(ValueError, match="finite numbers and a probability"):
        intelligence([ScopeTask(1.0, 1.0, (Curriculum(1.0, 0.5, math.nan, 0.5),))])
    with pytest.raises(ValueError, match="finite numbers and a probability"):
        intelligence([ScopeTask(1.0, 1.0, (Curriculum(1.5, 0.5, 0.5, 0.5),))])


def test_types_without_a_finite_program_are_left_out():
    endless = Function("again", ("loop",), "loop", lambda n: n)
    use = Function("use", ("loop",), "number", lambda n: n)
    language = Language("number", (SUCC, endless, use))
    assert [str(p) for _, p in language.programs(2 * NODE)] == ["x", "succ(x)"]
