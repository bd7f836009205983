"""Figures: what they draw, and how they stand in a page."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from quire.lab.evidence import Evidence
from quire.report import save_figures
from quire.report.figures import COLOURS, Stroke, curves, series, strokes, style
from quire.report.svg import inline_svg


@pytest.fixture(scope="module")
def large(evidence: list[Evidence]) -> Evidence:
    return evidence[0]


@pytest.fixture(scope="module")
def parity(evidence: list[Evidence]) -> Evidence:
    return next(item for item in evidence if item.paper == "small")


def test_one_figure_a_logged_name_and_one_line_an_arm(large: Evidence) -> None:
    drawn = curves(large)
    assert list(drawn) == ["loss", "accuracy"]
    for name, figure in drawn.items():
        (axes,) = figure.axes
        assert [line.get_label() for line in axes.lines] == [f"net{n}" for n in range(12)]
        assert axes.get_xlabel() == "step"
        assert axes.get_title(loc="left") == name
        looks = {(line.get_color(), str(line.get_linestyle())) for line in axes.lines}
        assert len(looks) == 12
        assert len(figure.legends[0].get_texts()) == 12


def test_a_line_is_the_mean_and_a_band_the_range_over_seeds(parity: Evidence) -> None:
    (figure,) = curves(parity).values()
    (axes,) = figure.axes
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [0, 50, 100])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [1e3, 1.0, 2e-3])
    corners = axes.collections[0].get_paths()[0].vertices
    at_end = corners[corners[:, 0] == 100][:, 1]  # type: ignore[index, call-overload]
    np.testing.assert_allclose([at_end.min(), at_end.max()], [1e-3, 3e-3])
    assert axes.get_yscale() == "log"


def test_seeds_with_other_steps_are_met_between_their_points(parity: Evidence) -> None:
    first, second = parity.runs[0], parity.runs[1]
    early = first.model_copy(update={"curves": {"loss": ((0, 0.0), (10, 10.0))}})
    late = second.model_copy(update={"curves": {"loss": ((0, 4.0), (5, 4.0), (20, 4.0))}})
    (figure,) = curves(parity.model_copy(update={"runs": (early, late)})).values()
    line = figure.axes[0].lines[0]
    np.testing.assert_allclose(line.get_xdata(), [0, 5, 10, 20])
    np.testing.assert_allclose(line.get_ydata(), [2, 4.5, 7, 4])


def test_series_leave_out_values_that_are_not_finite(large: Evidence) -> None:
    (figure,) = series(large).values()
    (axes,) = figure.axes
    assert axes.get_xlabel() == "layer & depth $"
    assert axes.get_ylabel() == "mean |response|"
    np.testing.assert_allclose(axes.lines[0].get_xdata(), range(1, 8))
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.arange(7) * 1.1)
    empty = large.runs[0].series["response <by> $layer"].model_copy(update={"y": (None,) * 8})
    run = large.runs[0].model_copy(update={"series": {"gone": empty}})
    assert series(large.model_copy(update={"runs": (run,)})) == {}


def test_failed_runs_are_not_drawn(parity: Evidence) -> None:
    runs = tuple(run.model_copy(update={"status": "failed"}) for run in parity.runs)
    assert curves(parity.model_copy(update={"runs": runs})) == {}


def test_an_arm_keeps_its_stroke_and_shares_it_with_no_neighbour() -> None:
    groups = [["a", "b"], ["b", "c", "d"], ["e"], [f"n{n}" for n in range(50)]]
    known = strokes(groups)
    for group in groups:
        assert len({known[arm] for arm in group}) == len(group)
    assert known["a"] == known["e"] == Stroke(COLOURS[0])
    assert known["c"] == known["a"]


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_colours_stand_out_on_light_and_dark_pages(site: Path) -> None:
    css = (site / "style.css").read_text()
    themes = [
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
    ]
    assert len(themes) == 2
    for theme in themes:
        for colour in COLOURS:
            assert _contrast(colour, theme["page"]) >= 3, colour
        texts = [
            (name, ground)
            for name in ("text", "soft", "link")
            for ground in ("page", "wash", "target")
        ]
        texts += [(name, f"{name}-wash") for name in ("holds", "fails", "undecided")]
        texts += [("not-run", "page"), ("fails", "page")]
        for name, ground in texts:
            assert _contrast(theme[name], theme[ground]) >= 4.5, (name, ground)


def test_inline_svg_can_share_a_page_and_repeats(parity: Evidence) -> None:
    (figure,) = curves(parity, titled=False).values()
    text = inline_svg(figure, prefix="one", label='<"loss">')
    (again,) = curves(parity, titled=False).values()
    assert text == inline_svg(again, prefix="one", label='<"loss">')
    other = inline_svg(figure, prefix="two", label="loss")
    ids = set(re.findall(r'id="([^"]+)"', text))
    assert ids
    assert not ids & set(re.findall(r'id="([^"]+)"', other))
    assert (
        set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text)) == ids
    )
    assert "<style" not in text
    assert "<metadata" not in text
    assert "matplotlib" not in text.lower()
    assert "currentColor" in text
    root = ElementTree.fromstring(text)
    assert root.attrib["aria-label"] == '<"loss">'
    assert [float(n) for n in root.attrib["viewBox"].split()][:2] == [0, 0]


def test_figures_are_saved_as_png_for_those_who_want_them(
    tmp_path: Path, parity: Evidence, large: Evidence
) -> None:
    (path,) = save_figures(parity, tmp_path / "a")
    assert path.name == "parity-laptop-curve-loss.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    (again,) = save_figures(parity, tmp_path / "b")
    assert again.read_bytes() == path.read_bytes()
    names = [path.name for path in save_figures(large, tmp_path)]
    assert names[-1] == "digits-laptop-series-response-by-layer.png"


def test_importing_the_report_draws_in_no_drawing_library() -> None:
    heavy = "{'matplotlib', 'jinja2', 'numpy', 'scipy', 'torch'}"
    script = f"import sys, quire.report; print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_global_settings_are_left_alone(parity: Evidence) -> None:
    with matplotlib.rc_context({"font.size": 31, "lines.linewidth": 9}):
        (figure,) = curves(parity).values()
        assert figure.axes[0].lines[0].get_linewidth() == 1.5
        with style():
            assert matplotlib.rcParams["font.size"] == 8.5
        assert matplotlib.rcParams["font.size"] == 31
