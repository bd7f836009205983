"""Lines for a terminal: wrapped to its width, and never a column of one letter."""

import os
import sys
import textwrap
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

STYLES = {"holds": "green", "fails": "red", "undecided": "yellow", "one seed": "yellow",
          "not run": "dim"}  # fmt: skip
NARROWEST = 40


def console() -> Console:
    """Standard output; elsewhere than on a terminal as wide as COLUMNS says, else 100."""
    width = None
    if not sys.stdout.isatty():
        said = os.environ.get("COLUMNS", "")
        width = max(NARROWEST, int(said)) if said.isdecimal() else 100
    return Console(width=width, highlight=False, soft_wrap=True, markup=False)


def say(out: Console, text: str, *, indent: int = 0, hang: int = 0, style: str = "") -> None:
    """Print `text` wrapped at the console's width, `indent` deep and its later lines by `hang`
    more; words longer than a line (paths, addresses) stay whole."""
    if text.startswith("\n"):
        out.print()
    for line in textwrap.wrap(
        text.strip(), max(NARROWEST, out.width), initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hang), break_long_words=False, break_on_hyphens=False,
    ):  # fmt: skip
        out.print(Text(line, style=style))


def say_marked(
    out: Console, mark: str, text: str, *, style: str, indent: int = 0, hang: int = 2
) -> None:
    """Print `mark` in its style and then `text`, wrapped together."""
    lines = textwrap.wrap(
        f"{mark} {text}", max(NARROWEST, out.width), initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hang), break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    for place, line in enumerate(lines):
        whole = Text(line)
        if place == 0:
            whole.stylize(style, indent, indent + len(mark))
        out.print(whole)


def say_named(out: Console, rows: Iterable[tuple[str, str]], *, indent: int = 2) -> None:
    """Print names with what is said of them: beside them where there is room, else below."""
    rows = list(rows)
    longest = min(max((len(name) for name, _ in rows), default=0), 24)
    beside = out.width >= indent + longest + 2 + NARROWEST
    for name, text in rows:
        if beside and len(name) <= longest:
            start = indent + longest + 2
            wrapped = textwrap.wrap(
                text, out.width - start, break_long_words=False, break_on_hyphens=False
            )
            for place, line in enumerate(wrapped or [""]):
                left = f"{' ' * indent}{name}" if place == 0 else ""
                whole = Text(f"{left:<{start}}{line}".rstrip())
                whole.stylize("bold", 0, len(left))
                out.print(whole)
        else:
            out.print(Text(f"{' ' * indent}{name}", style="bold"))
            say(out, text, indent=indent + 2)


def say_table(
    out: Console, header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()
) -> None:
    """Print a table whose cells stand on one line each; where it does not fit, a block a row."""
    widths = [max(len(row[place]) for row in (header, *rows)) for place in range(len(header))]
    if sum(widths) + 2 * (len(widths) - 1) <= out.width:
        for row in (header, *rows):
            cells = [
                f"{cell:>{width}}" if place in right else f"{cell:<{width}}"
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            out.print(Text("  ".join(cells).rstrip(), style="dim" if row is header else ""))
        return
    for row in rows:
        out.print(Text(row[0], style="bold"))
        named = [f"{key}: {cell}" for key, cell in zip(header[1:], row[1:], strict=True) if cell]
        say(out, "; ".join(named), indent=2)
