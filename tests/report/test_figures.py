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
from quire.report.figures import (
    COLOURS,
    Dots,
    Drawn,
    Stroke,
    curves,
    dots,
    series,
    strokes,
    style,
)
from quire.report.svg import inline_svg
from report.samples import make_curves


@pytest.fixture(scope="module")
def large(evidence: list[Evidence]) -> Evidence:
    return evidence[0]


@pytest.fixture(scope="module")
def parity(evidence: list[Evidence]) -> Evidence:
    return next(item for item in evidence if item.paper == "small")


def drawn_of(evidence: Evidence) -> Drawn:
    return {(run.arm, run.seed): run for run in make_curves(evidence)}


def test_one_figure_a_logged_name_and_one_line_an_arm(large: Evidence) -> None:
    drawn = curves(large, drawn_of(large))
    assert list(drawn) == ["loss against step", "accuracy against step, probe"]
    for figure in drawn.values():
        (axes,) = figure.axes
        assert [line.get_label() for line in axes.lines] == [f"net{n}" for n in range(12)]
        assert axes.get_xlabel() == "step"
        looks = {(line.get_color(), str(line.get_linestyle())) for line in axes.lines}
        assert len(looks) == 12


def test_a_line_is_the_mean_and_a_band_the_range_over_seeds(parity: Evidence) -> None:
    (figure,) = curves(parity, drawn_of(parity)).values()
    (axes,) = figure.axes
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [0, 50, 100])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [1e3, 1.0, 2e-3])
    corners = axes.collections[0].get_paths()[0].vertices
    at_end = corners[corners[:, 0] == 100][:, 1]  # type: ignore[index, call-overload]
    np.testing.assert_allclose([at_end.min(), at_end.max()], [1e-3, 3e-3])
    assert axes.get_yscale() == "log"


def test_seeds_with_other_steps_are_met_between_their_points(parity: Evidence) -> None:
    first, second = make_curves(parity)[:2]
    early = first.model_copy(update={"curves": {"loss": ((0, 0.0), (10, 10.0))}})
    late = second.model_copy(update={"curves": {"loss": ((0, 4.0), (5, 4.0), (20, 4.0))}})
    (figure,) = curves(parity, {("act", 0): early, ("act", 1): late}).values()
    line = figure.axes[0].lines[0]
    np.testing.assert_allclose(line.get_xdata(), [0, 5, 10, 20])
    np.testing.assert_allclose(line.get_ydata(), [2, 4.5, 7, 4])


def test_series_leave_out_values_that_are_not_finite(large: Evidence) -> None:
    (figure,) = series(large, drawn_of(large)).values()
    (axes,) = figure.axes
    assert axes.get_xlabel() == "layer & depth $"
    assert axes.get_ylabel() == "mean |response|"
    np.testing.assert_allclose(axes.lines[0].get_xdata(), range(1, 8))
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.arange(7) * 1.1)
    first = make_curves(large)[0]
    empty = first.series["response <by> $layer"].model_copy(update={"y": (None,) * 8})
    run = first.model_copy(update={"series": {"gone": empty}})
    assert series(large, {(run.arm, run.seed): run}) == {}


def test_failed_runs_are_not_drawn(parity: Evidence) -> None:
    runs = tuple(run.model_copy(update={"status": "failed"}) for run in parity.runs)
    assert curves(parity.model_copy(update={"runs": runs}), drawn_of(parity)) == {}


def test_without_curves_nothing_is_drawn(parity: Evidence) -> None:
    assert curves(parity, {}) == series(parity, {}) == {}


def test_dots_are_seeds_and_the_bar_is_students_interval() -> None:
    content = Dots("accuracy: %", {"act": [1.0, 2.0, 3.0], "x": [5.0]}, frozenset({"act"}), 4.0)
    (axes,) = dots(content, known={}).axes
    bar, seeds, mean = axes.lines[:3]
    # t of 2 degrees of freedom is 4.3027; the standard error of 1, 2, 3 is 1 / sqrt(3).
    np.testing.assert_allclose(bar.get_xdata(), 2 + np.array([-1, 1]) * 4.3027 / 3**0.5, rtol=1e-4)
    np.testing.assert_allclose(seeds.get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(mean.get_xdata(), [2])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["act", "x"]
    assert list(axes.lines[-1].get_xdata()) == [4.0, 4.0]


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
    (figure,) = curves(parity, drawn_of(parity)).values()
    text = inline_svg(figure, prefix="one", label='<"loss">')
    (again,) = curves(parity, drawn_of(parity)).values()
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


def test_importing_the_report_draws_in_no_drawing_library() -> None:
    heavy = "{'matplotlib', 'jinja2', 'numpy', 'scipy', 'torch'}"
    script = "import sys, quire.report.console, quire.report.overview\n"
    script += f"print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_global_settings_are_left_alone(parity: Evidence) -> None:
    with matplotlib.rc_context({"font.size": 31, "lines.linewidth": 9}):
        (figure,) = curves(parity, drawn_of(parity)).values()
        assert figure.axes[0].lines[0].get_linewidth() == 1.5
        with style():
            assert matplotlib.rcParams["font.size"] == 8.5
        assert matplotlib.rcParams["font.size"] == 31
