"""Simple Markdown as HTML: what a paper's card uses in its sections, and nothing else."""

import html
import re

_BULLET = re.compile(r"^\s*[-*] +")


def section(page: str, title: str) -> str:
    """The text under the heading ``## title`` of a Markdown page; empty where it has none."""
    match = re.search(rf"^## {re.escape(title)}\s*\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    return match.group(1).strip() if match else ""


def rendered(text: str) -> str:
    """`text` as HTML: paragraphs, bullets, tables, fenced code, emphasis and https links.

    Everything else stands as it is written; markup in the text itself is escaped.
    """
    blocks = []
    parts = re.split(r"^```\w*\n(.*?)^```\s*$", text, flags=re.M | re.S)
    for place, part in enumerate(parts):
        if place % 2:
            blocks.append(f'<pre tabindex="0"><code>{html.escape(part.rstrip())}</code></pre>')
            continue
        blocks += [_block(block) for block in re.split(r"\n\s*\n", part) if block.strip()]
    return "\n".join(blocks)


def _block(block: str) -> str:
    lines = block.strip("\n").splitlines()
    if heading := re.match(r"^#{2,} +(.*)", lines[0]):
        rest = _block("\n".join(lines[1:])) if lines[1:] else ""
        return f"<p><b>{_inline(heading.group(1))}</b></p>{rest}"
    if lines[0].lstrip().startswith("|"):
        return _table(lines)
    first = next((place for place, line in enumerate(lines) if _BULLET.match(line)), None)
    if first is None:
        return f"<p>{_inline(' '.join(line.strip() for line in lines))}</p>"
    before = f"<p>{_inline(' '.join(lines[:first]))}</p>" if first else ""
    items: list[str] = []
    for line in lines[first:]:
        if _BULLET.match(line):
            items.append(_BULLET.sub("", line).strip())
        else:
            items[-1] += f" {line.strip()}"
    return f"{before}<ul>{''.join(f'<li>{_inline(item)}</li>' for item in items)}</ul>"


def _table(lines: list[str]) -> str:
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
             for line in lines if not re.fullmatch(r"[\s|:-]+", line)]  # fmt: skip
    head = "".join(f'<th scope="col">{_inline(cell)}</th>' for cell in cells[0])
    rows = ["<tr>" + "".join(f"<td>{_inline(cell)}</td>" for cell in row) + "</tr>"
            for row in cells[1:]]  # fmt: skip
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _inline(text: str) -> str:
    """Code, bold, emphasis and links of one line; a link to a file of the checkout is its text."""
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(
        f"<code>{html.escape(piece[1:-1])}</code>" if place % 2 else _words(piece)
        for place, piece in enumerate(pieces)
    )


def _words(text: str) -> str:
    text = html.escape(text.replace("\\|", "|"), quote=False)
    text = re.sub(r"\[([^\]]+)\]\((https://[^)\s\"]+)\)", r'<a href="\2">\1</a>', text)
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", text)
    return re.sub(r"(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])", r"<em>\1</em>", text)
