"""Pages are complete HTML files, and the text in them is escaped; charts show the finite values they are given."""

import re

import numpy as np
import pytest

from emo.media.html import interval_chart, line_chart, render_page, render_table


def test_a_page_is_complete_and_its_text_is_escaped():
    page = render_page("a < b", [render_table("t", [("<b>", "1")], ("n", "v"))])
    assert page.startswith("<!doctype html>") and "<title>a &lt; b</title>" in page and "<td>&lt;b&gt;</td>" in page


def test_intervals_lie_at_their_values():
    chart = interval_chart(
        "x <y>", [("made", 2.0, 1.0, 3.0), ("none", np.nan, np.nan, np.nan), ("real", 5.0, 4.0, 5.0)], "s"
    )
    ends = [[float(x) for x in found] for found in re.findall(r'<line x1="([\d.]+)" x2="([\d.]+)"', chart)]
    assert ends == [[8, 120], [176, 232]]  # 1 .. 5 over 224 pixels
    assert [float(x) for x in re.findall(r'cx="([\d.]+)"', chart)] == [64, 232]
    assert "none" not in chart and "x &lt;y&gt;" in chart and ">5 s<" in chart


def test_a_curve_is_stretched_and_leaves_out_values_that_are_not_finite():
    chart = line_chart("", {"a": np.array([0.0, 2.0, np.nan, 1.0]), "b": np.full(4, np.nan)})
    lines = re.findall(r'points="([^"]*)"', chart)
    assert lines[0] == "0.0,58.0 145.0,2.0 435.0,30.0" and lines[1] == ""


@pytest.mark.parametrize("rows", [[], [("made", 1.0, 1.0, 1.0)]])
def test_a_chart_of_nothing_or_of_one_number_is_drawn(rows):
    assert interval_chart("x", rows, "s").count("<circle") == len(rows)
