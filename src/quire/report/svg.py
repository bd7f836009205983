"""Figures as SVG to stand inside a page: the same bytes each time, and no two with the same ids."""

import html
import io
import re
from typing import TYPE_CHECKING

from quire.report.figures import INK, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def inline_svg(figure: "Figure", *, prefix: str, label: str) -> str:
    """`figure` as an `<svg>` element that takes its width, ink and font from the page.

    `prefix` comes before every id, so that several figures can share a page; `label` is what a
    screen reader says.
    """
    buffer = io.StringIO()
    with style():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # matplotlib's own style element would reach the whole page, and its metadata names versions.
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = _own_ids(text, prefix)
    text = re.sub(r' d="[^"]*"', lambda path: _rounded(path.group(0)), text)
    text = re.sub(r"\n\s*", "\n", text)
    text = text.replace(INK, "currentColor").replace("'DejaVu Sans'", "system-ui, sans-serif")
    view = re.search(r'viewBox="([^"]+)"', text)
    assert view is not None
    opening = f'<svg role="img" aria-label="{html.escape(label)}" viewBox="{view.group(1)}">'
    return re.sub(r"<svg[^>]*>", lambda _: opening, text, count=1).strip()


def _own_ids(text: str, prefix: str) -> str:
    """Keep only the ids that something refers to, with `prefix` before them."""
    used = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))

    def renamed(match: "re.Match[str]") -> str:
        return f' id="{prefix}-{match.group(1)}"' if match.group(1) in used else ""

    text = re.sub(r' id="([^"]+)"', renamed, text)
    text = re.sub(r"url\(#", f"url(#{prefix}-", text)
    return re.sub(r'(?:xlink:)?href="#', f'href="#{prefix}-', text)


def _rounded(path: str) -> str:
    """Path coordinates to a hundredth of a point: nobody sees more."""
    return re.sub(r"-?\d+\.\d{3,}", lambda n: f"{float(n.group(0)):.2f}", path).replace("\n", "")
