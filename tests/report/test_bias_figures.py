"""Figures of the audit card: what is drawn lies within the drawing, whatever the values are."""

import re

import pytest

from mm_sae_plugin.report.bias_figures import (
    GapRow,
    LeftRow,
    both_widths,
    gap_figure,
    left_figure,
    spread_figure,
)

NUMBER = r"(-?[\d.]+)"


def places(drawing: str, attribute: str) -> list[float]:
    return [float(found) for found in re.findall(rf' {attribute}="{NUMBER}"', drawing)]


@pytest.mark.parametrize("width", [1024, 372])
@pytest.mark.parametrize("gap", [-40.0, -0.003, 0.0, 2.0, 1e4])
def test_gaps_of_any_size_lie_within_the_drawing(width, gap):
    reach = 0.1 * abs(gap)
    rows = [GapRow("nurse", gap, gap - reach, gap + reach, (-1e-3, 1e-3), None)]
    drawing = gap_figure(rows, "woman", "man", width)
    for attribute in ("x", "cx", "x1", "x2"):
        assert all(0 <= place <= width for place in places(drawing, attribute))
    axis = re.search(rf'x1="{NUMBER}"[^>]*class="axis"', drawing)
    assert axis is not None
    (dot,), zero = places(drawing, "cx"), float(axis[1])
    assert dot > zero if gap > 0 else dot < zero if gap < 0 else dot == zero


def test_the_axis_has_few_round_numbers_and_nothing_among_them():
    rows = [LeftRow("ImgD, images", -0.47, (1.2, 1.6), "#e07b39")]
    drawing = left_figure(rows, 3.07, 372)
    ticks = re.findall(r'text-anchor="middle">([^<]+)<', drawing)
    assert ticks == ["0", "1", "2", "3"]


def test_a_bar_is_as_long_as_its_value():
    drawing = spread_figure(2.0, {"place": 0.5, "age": 1.0}, "gender", 1024)
    asked, age, place = places(drawing, "width")
    assert asked == pytest.approx(2 * age, rel=1e-3) and age == pytest.approx(2 * place, rel=1e-3)


def test_names_are_escaped_and_long_ones_cut_with_the_whole_as_a_hint():
    name = "<b>a name</b> " * 9
    rows = [GapRow(name, 1.0, 0.5, 1.5, (-0.2, 0.2), 0)]
    drawing = both_widths(lambda width: gap_figure(rows, name, name, width))
    assert "<b>" not in drawing and "&lt;b&gt;a name&lt;/b&gt; " * 8 in drawing
    shown = re.findall(r'class="name">([^<]+)<', drawing)
    assert len(shown) == 2 and all(text.endswith("…") for text in shown)
