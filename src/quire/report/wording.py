"""Verdicts and comparisons in words: the scale always said, both sides named."""

import ast
import re
from collections.abc import Iterable, Mapping
from itertools import groupby

from quire.lab.claims import RATERS, Check
from quire.lab.papers import Claim, Preset
from quire.report.model import Answer, Counts, Found, Group, Judged, Spread, sample
from quire.report.numbers import count, number

Values = Mapping[tuple[str, str], Spread]


def at_scale(preset: str) -> str:
    """``at laptop scale``; the paper's own preset is ``at the paper's scale``."""
    return "at the paper's scale" if preset == "paper" else f"at {preset} scale"


def verdict_words(item: Judged) -> str:
    """The verdict with its scale: ``holds at laptop scale``, ``fails at …, as expected``."""
    if item.best is None:
        return "not run"
    evidence = item.best.evidence
    people = f" ({seeds_words(item.best)})" if evidence.rated else ""
    return f"{item.verdict} {at_scale(evidence.preset)}{people}{_surprise(item)}"


def _surprise(item: Judged) -> str:
    if not item.expected:
        return ", unexpectedly"
    return ", as expected" if item.outcome == "fails" else ""


def found_words(found: Found) -> str:
    """What one piece of evidence says: ``fails at gpu scale (linux-…, 2026-11-20)``."""
    evidence = found.evidence
    stale = ", stale" if found.stale else ""
    who = seeds_words(found) if evidence.rated else evidence.machine
    return (
        f"{found.record.verdict} {at_scale(evidence.preset)} "
        f"({who}, {evidence.created[:10]}{stale})"
    )


def outcome_words(counts: Mapping[Answer, int], *, silent: Iterable[Answer] = ()) -> str:
    """``14 hold, 1 fails, 2 undecided``: what is zero is left out; ``none`` where all is."""
    parts = [
        f"{amount} {outcome.removesuffix('s') if amount != 1 else outcome}"
        for outcome, amount in counts.items()
        if amount and outcome not in silent
    ]
    return ", ".join(parts) or "none"


def decided(counts: Mapping[Answer, int]) -> int:
    """How many hold or fail."""
    return counts["holds"] + counts["fails"]


def group_words(counts: Counts) -> list[str]:
    """One text a group that has claims, numbers with how many of them were decided."""
    words: list[str] = []
    titles: dict[Group, str] = {
        "trends": "trends of the paper",
        "numbers": "numbers of the paper",
        "identities": "identities",
        "judged": "judged by people",
        "beyond": "beyond the paper",
    }
    for group, title in titles.items():
        found = counts[group]
        if total := sum(found.values()):
            text = outcome_words(found)
            if group == "numbers" and not decided(found):
                text = f"none of {total} decided"
            words.append(f"{title}: {text}")
    return words


def not_run_words(items: Iterable[Judged]) -> str:
    """Claims that nothing has decided, in one line, with the presets that can decide them; those
    that people judge last."""
    ordered = sorted(items, key=lambda item: _awaited(item.claim))
    texts = []
    for (_, awaited), group in groupby(ordered, key=lambda item: _awaited(item.claim)):
        names = ", ".join(item.claim.id for item in group)
        texts.append(f"{names} ({awaited})")
    return "; ".join(texts)


def _awaited(claim: Claim) -> tuple[bool, str]:
    judged = claim.kind == "judgement"
    return judged, "judged by people: quire rate" if judged else f"preset {' or '.join(claim.at)}"


def deciding(claim: Claim) -> Preset:
    """The smallest preset that decides a claim, smoke aside where a larger one does as well."""
    return next((preset for preset in claim.at if preset != "smoke"), claim.at[0])


def interval_words(found: Found) -> str:
    """``difference 1.52 to 1.77``: the 95 % interval of left - right, where there is one."""
    interval = found.record.interval
    if interval is None or interval[0] == interval[1]:
        return ""
    low, high = apart(*interval)
    return f"difference {low} to {high}"


def interval_source(found: Found) -> str:
    """Whose interval it is, and over what."""
    if found.evidence.rated is None:
        return "Student's 95 %, paired by seed"
    over_raters = ", and Student's over raters" if found.record.seeds >= RATERS else ""
    return f"Clopper and Pearson's 95 % over pairs{over_raters}"


def seeds_words(found: Found) -> str:
    """``3 seeds``; where people judged, ``2 raters, 80 pairs``."""
    if not found.record.seeds:
        return ""
    words = count(found.record.seeds, sample(found.evidence))
    rated = found.evidence.rated
    return f"{words}, {count(rated.counted, 'pair')}" if rated else words


def apart(left: float | None, right: float | None) -> tuple[str, str]:
    """Both numbers as text, with as many digits as they need to differ.

    >>> apart(1.66, 0.0166), apart(0.12341, 0.12343), apart(5, 5)
    (('1.66', '0.0166'), ('0.12341', '0.12343'), ('5', '5'))
    """
    texts = number(left), number(right)
    if left is None or right is None or left == right:
        return texts
    digits = 4
    while texts[0] == texts[1] and digits <= 17:
        texts = f"{left:.{digits}g}", f"{right:.{digits}g}"
        digits += 1
    return texts


def compared(claim: Claim, found: Found, *, limit: int = 110) -> str:
    """Both sides of a claim's check, named, with what was measured.

    ``train_loss: plain56 1.66 against 2 × plain20 0.0083 = 0.0166``. Values are means over seeds.
    Beyond `limit` characters a side's formula is cut.
    """
    record = found.record
    if record.left is None or record.right is None:
        return _one_sided(claim, found)
    check = Check.parse(record.check or claim.check)
    values = found.values(check)
    left, right = (ast.parse(side, mode="eval").body for side in (check.left, check.right))
    if text := _within(left, right, values):
        return text
    common, names = _names(check)
    shown = apart(record.left, record.right)
    link = "against"
    if record.left == record.right:
        link, shown = "equals", ("", number(record.right))
    text = ""
    for room in (limit, 44, 24, 12):
        sides = [
            _side(node, value, names, values, room)
            for node, value in zip((left, right), shown, strict=True)
        ]
        text = f"{common}{sides[0]} {link} {sides[1]}"
        if len(text) <= limit:
            break
    return text


def _one_sided(claim: Claim, found: Found) -> str:
    """What can be said where a side is not finite."""
    check = Check.parse(found.record.check or claim.check)
    return ", ".join(
        f"{arm}.{metric} {number(spread.mean)}"
        for (arm, metric), spread in list(found.values(check).items())[:4]
    )


def _names(check: Check) -> tuple[str, dict[tuple[str, str], str]]:
    """What all names share, said once in front, and what each is then called."""
    names = sorted(name for name in check.names if name[0] != "_every")
    metrics, arms = {metric for _, metric in names}, {arm for arm, _ in names}
    if len(names) > 1 and len(metrics) == 1 and len(names) == len(check.names):
        return f"{next(iter(metrics))}: ", {name: name[0] for name in names}
    if len(names) > 1 and len(arms) == 1 and len(names) == len(check.names):
        return f"{next(iter(arms))}: ", {name: name[1] for name in names}
    return "", {name: ".".join(name) for name in names}


def _side(
    node: ast.expr, value: str, names: Mapping[tuple[str, str], str], values: Values, room: int
) -> str:
    if isinstance(node, ast.Constant):
        return value or _rendered(node, names, {})
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{_rendered(node, names, {})} {value}".strip()
    whole = _rendered(node, names, values)
    if len(whole) > room:
        whole = _rendered(node, names, {})
        whole = whole if len(whole) <= room else f"{whole[:room].rstrip()}…"
    return f"{whole} = {value}" if value else whole


def _rendered(node: ast.expr, names: Mapping[tuple[str, str], str], values: Values) -> str:
    """A formula as a reader writes it, each name followed by its value where that is given."""

    class Named(ast.NodeTransformer):
        def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
            key = getattr(node.value, "id", ""), node.attr
            if key[0] == "_every":
                return ast.Name(id=f"every arm's {node.attr}")
            spread = values.get(key)
            return ast.Name(id=names[key] + (f" {number(spread.mean)}" if spread else ""))

        def visit_Constant(self, node: ast.Constant) -> ast.expr:
            whole = isinstance(node.value, int) and abs(node.value) >= 10_000
            return ast.Name(id=format(node.value, ",") if whole else repr(node.value))

    text = ast.unparse(Named().visit(ast.parse(ast.unparse(node), mode="eval").body))
    return text.replace(" * ", " × ")


def _within(left: ast.expr, right: ast.expr, values: Values) -> str:
    """``net3.error 3.28 against 3.3 ± 0.4``, for ``abs(net3.error - 3.3) <= 0.4``; else nothing."""
    match left, right:
        case (
            ast.Call(
                func=ast.Name(id="abs"),
                args=[
                    ast.BinOp(
                        left=ast.Attribute(value=ast.Name(id=arm), attr=metric),
                        op=ast.Sub(),
                        right=ast.Constant(value=float() | int() as goal),
                    )
                ],
            ),
            ast.Constant(value=float() | int() as margin),
        ) if (arm, metric) in values and margin:
            return f"{arm}.{metric} {number(values[arm, metric].mean)} against {goal} ± {margin}"
    return ""


def first_sentence(text: str) -> str:
    """The first sentence of a docstring or a summary, on one line."""
    line = " ".join(text.strip().split("\n\n")[0].split())
    match = re.match(r"(.*?[.!?])(?: (?=[A-Z`])|$)", line)
    return match.group(1) if match else line
