"""The page on which people judge: one file that holds everything and asks for nothing."""

import base64
import json
from pathlib import Path

from markupsafe import Markup

from quire.lab.evidence import Evidence
from quire.lab.files import write_atomically
from quire.lab.ratings import Pictures
from quire.report.site import make_templates

_EMPTY = '"ratings": []'


def write_page(out: Path, page: Evidence, pictures: Pictures) -> None:
    """Write the page of pairs that `page` describes to the file `out`.

    The file that the page saves is `page` itself with one rating in it: its text stands in the
    page in two halves, so that no number of it is read and written by a browser. Raises `RunError`
    with one line when the file cannot be written.
    """
    assert page.rated is not None
    head, _, tail = page.text().rpartition(_EMPTY)
    content = {
        "key": page.machine,
        "head": f'{head}"ratings": [',
        "tail": f"]{tail}",
        "names": [pair[2:] for pair in page.rated.pairs],
        "pictures": [[_address(png) for png in pair] for pair in pictures],
    }
    # Nothing in the JSON can end the script that it stands in.
    text = json.dumps(content).replace("<", "\\u003c")
    template = make_templates().get_template("rate.html")
    html = template.render(
        question=page.rated.question, pairs=len(pictures), content=Markup(text), home=""
    )
    write_atomically(out, html.encode())


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
