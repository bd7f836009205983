"""The court's record: what each witness said, in numbers, and what the jury made of it."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Statement:
    """What a panel said of 2 + 2."""

    witness: str
    """Its family."""
    who: str
    """One line."""
    answer: float
    """The mean of its members' answers."""
    four: float
    """Probability of 4, by the whole panel."""
    five: float
    outside: float
    """Probability of neither."""
    votes: dict[int, int]
    """Members' votes by number, abstentions under 0."""
    says: int
    """The panel's own verdict, 0 where it abstains."""
    seen: float
    """Cells of its lesson that it answers right, %."""

    def __post_init__(self) -> None:
        if self.says not in self.votes:
            raise ValueError(f"says must be one of {sorted(self.votes)}, got {self.says}")


def write_statement(said: Statement) -> str:
    """A paragraph for the record; every number in it is the statement's own.

    Example:
        >>> said = Statement("nac", "a unit", 4.0, 1.0, 0.0, 0.0, {0: 0, 4: 10, 5: 0}, 4, 100.0)
        >>> print(write_statement(said).splitlines()[0])
        THE WITNESS nac (a unit; 100 % of its lesson by heart).
    """
    votes = ", ".join(
        f"{count} for {number}" if number else f"{count} abstained"
        for number, count in sorted(said.votes.items(), reverse=True)
    )
    return "\n".join([
        f"THE WITNESS {said.witness} ({said.who}; {said.seen:.0f} % of its lesson by heart).",
        f"  Q. What is 2 + 2?   A. {said.answer:.3f}.",
        f"  Q. Four, or five?   A. P(4) = {said.four:.3f}, P(5) = {said.five:.3f}, "
        f"neither {said.outside:.3f}.",
        f"  The members: {votes}. {_remark(said)}",
    ])  # fmt: skip


def _remark(said: Statement) -> str:
    if said.seen < 99.5:
        return "Counsel notes that the witness does not know its own lesson."
    if said.outside > 0.5:
        return f"Neither, it says; {said.answer:.1f} comes to its mind. It may step down."
    if said.says == 4:
        return "The clerk sighs with relief."
    if said.says == 5:
        return "Murmurs in the gallery. Someone at the back shouts a year."
    return "The witness would rather not say."


def write_record(statements: Sequence[Statement], *, says: int) -> str:
    """The whole record: every statement, then the jury's verdict (0 where it finds none).

    Raises ValueError without statements.
    """
    if not statements:
        raise ValueError("a record needs at least one statement")
    wrong = [said.witness for said in statements if said.says not in (0, 4)]
    silent = [said.witness for said in statements if said.says == 0]
    found = f"The jury finds for {says}." if says else "The jury cannot agree."
    return "\n\n".join([
        "IN THE MATTER OF 2 + 2, which no witness has ever seen.",
        *map(write_statement, statements),
        f"{found} Wrong: {', '.join(wrong) or 'none'}. Abstained: {', '.join(silent) or 'none'}.",
    ])  # fmt: skip
