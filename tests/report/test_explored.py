"""The short trainings of a search behind the chart of the front."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sample_report import TRIALS, make_content, make_trial
from wisp.report.charts import BOTTOM, HEIGHT, TOP, horizontal, vertical
from wisp.report.explored import faint_dots, widened
from wisp.report.front import front_chart
from wisp.report.page import render
from wisp.score import LEADERBOARD_2021
from wisp.search.selection import choose

TRIED = tuple(make_trial(*trial) for trial in TRIALS)
MACS = horizontal(1e5, 1e7, log=True)


def drawn(html: str) -> list[tuple[float, float]]:
    """Places of the faint dots behind the chart; the legend has some, too."""
    paths = re.findall(r'<path d="([^"]*)" class="explored"', html)
    return [(float(x), float(y)) for x, y in re.findall(r"M([\d.]+) ([\d.]+)h0", paths[0])] if paths else []


def test_dots_lie_where_they_were_measured_and_inside_the_frame() -> None:
    y = vertical(0.4, 0.8)
    markup, count = faint_dots(MACS, y, [(1e6, 0.6), (1e5, 0.8), (9e4, 0.6), (1e6, 0.39), (1.1e7, 0.5)])
    assert count == 2
    expected = sorted([(MACS(1e5), float(TOP)), (MACS(1e6), (TOP + HEIGHT - BOTTOM) / 2)])
    assert drawn(markup) == [pytest.approx(each, abs=0.05) for each in expected]


@given(
    st.lists(st.tuples(st.floats(1e4, 1e8), st.floats(0, 1)), max_size=20),
    st.floats(0.1, 0.8),
    st.floats(0.06, 0.2),
)
def test_the_axis_shows_their_front_or_gives_them_half_of_its_height(
    explored: list[tuple[float, float]], low: float, span: float
) -> None:
    high = low + span
    wider = widened(low, high, MACS, explored)
    assert low - span * (1 + 1e-9) <= wider <= low
    beside = [(macs, f1) for macs, f1 in explored if MACS.low <= macs <= MACS.high]
    cheapest = min((point for point in beside), key=lambda point: (point[0], -point[1]), default=None)
    if cheapest is None:
        assert wider == low
    elif wider > low - span * (1 - 1e-9):
        assert wider <= cheapest[1]  # the cheapest one begins the front, at its lowest F1


def test_the_chart_and_its_legend_say_what_was_explored() -> None:
    chosen = choose(TRIED)
    networks = [(900_000, 0.55), (800_000, 0.5), (1_200_000, 0.2), (5e8, 0.4)]
    html = front_chart(TRIED, chosen, LEADERBOARD_2021, explored=networks)
    assert len(drawn(html)) == 2
    assert "the search trained briefly, to choose whom to train longer; 2 more lie outside the chart" in html
    without = front_chart(TRIED, chosen, LEADERBOARD_2021)
    assert "explored" not in without
    assert "briefly" not in without


def test_networks_that_are_all_far_off_change_nothing_but_the_view() -> None:
    chosen = choose(TRIED)
    far = front_chart(TRIED, chosen, LEADERBOARD_2021, explored=[(5e8, 0.4)])
    assert far == front_chart(TRIED, chosen, LEADERBOARD_2021)


def test_the_page_shows_them() -> None:
    content = replace(make_content(), explored=((800_000, 0.6),))
    assert len(drawn(render(content))) == 1
    assert drawn(render(make_content())) == []
