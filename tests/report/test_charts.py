import itertools
import math
import re
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sample_report import TRIALS, make_curve, make_trial
from wisp.models import named
from wisp.report.charts import (
    HEIGHT,
    WIDTH,
    Scale,
    horizontal,
    linear_ticks,
    log_ticks,
    padded,
    path,
    short_count,
)
from wisp.report.curves import COLOURS, DASHES, Line, curves_chart, key_of
from wisp.report.front import FAMILIES, f1_of_score, family_macs, front_chart
from wisp.score import F1_FLOOR, LEADERBOARD_2021, Baseline, score
from wisp.search.selection import choose

trials = tuple(make_trial(*trial) for trial in TRIALS)


def texts(svg, within=""):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg.partition(within)[2] if within else svg)


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4), st.integers(3, 12))
def test_linear_ticks_are_few_round_and_inside(low, span, at_most):
    ticks = linear_ticks(low, low + span, at_most=at_most)
    assert 1 <= len(ticks) <= at_most
    tolerance = span * 1e-6
    assert all(low - tolerance <= tick <= low + span + tolerance for tick in ticks)
    steps = {f"{b - a:.3g}" for a, b in itertools.pairwise(ticks)}
    assert all(step.strip("0.")[0] in "125" for step in steps)


@given(st.floats(10, 1e10), st.floats(5, 1e5))
def test_log_ticks_are_inside_and_never_missing(low, factor):
    ticks = log_ticks(low, low * factor)
    assert 1 <= len(ticks) <= 12
    assert all(low <= tick <= low * factor for tick in ticks)
    if factor < 100:
        assert len(ticks) >= 2


def test_scales_map_ends_to_ends():
    straight, logarithmic = Scale(1, 3, 10, 30), Scale(10, 1000, 0, 100, log=True)
    assert (straight(1), straight(2), straight(3), straight(4)) == (10, 20, 30, 40)
    assert [logarithmic(v) for v in (10, 100, 1000)] == pytest.approx([0, 50, 100])
    assert horizontal(0, 10).ticks() == [0, 2, 4, 6, 8, 10]


def test_padding_leaves_air_and_a_least_span():
    assert padded([1.0, 2.0], least_span=0.1) == pytest.approx((0.94, 2.06))
    assert padded([0.5], least_span=0.1) == pytest.approx((0.45, 0.55))


def test_counts_are_short():
    assert [short_count(n) for n in (12, 5e4, 2e6, 1.5e9)] == ["12", "50 k", "2 M", "1.5 G"]
    assert path([(0, 1), (2.25, 3)]) == "M0.0 1.0L2.2 3.0"


@given(st.floats(0, 2), st.floats(0, 3e7), st.floats(0.3, 1))
def test_contours_invert_the_score(wanted, macs, baseline_f1):
    baseline = Baseline(baseline_f1, 13_865_300)
    f1 = f1_of_score(wanted, macs, baseline)
    if f1 is None:
        assert score(1.0, macs, baseline) > wanted
    else:
        assert score(f1, macs, baseline) <= wanted + 1e-9
        if f1 > F1_FLOOR:
            assert score(f1, macs, baseline) == pytest.approx(wanted)
        assume(f1 >= 1e-6)
        assert score(f1 - 1e-6, macs, baseline) > wanted


def test_contours_at_the_points_of_the_score():
    assert f1_of_score(1 + 0.1, 1_386_530, LEADERBOARD_2021) == 0.0
    assert f1_of_score(0.1, 1_386_530, LEADERBOARD_2021) == pytest.approx(0.83655)
    assert f1_of_score(0.9, 1_386_530, LEADERBOARD_2021) == F1_FLOOR
    assert f1_of_score(0.0, 13_865_300, LEADERBOARD_2021) is None


def test_the_front_chart_shows_every_trial_once_with_its_numbers():
    chosen = choose(trials)
    svg = front_chart(trials, chosen, LEADERBOARD_2021)
    for number, trial in enumerate(trials, start=1):
        told = f"{number}: {trial.candidate.name}, {trial.epochs} epochs"
        assert svg.count(told) == 1
        assert f"{trial.measurement.macs:,} MACs" in svg
        assert f"macro F1 {trial.measurement.f1_macro:.4f}" in svg
    assert svg.count(", chosen") == svg.count("point on-front chosen") == svg.count('class="ring"') == 1
    assert svg.count("on-front") == 3  # 1, 4 and 8: no other one is cheaper and better
    assert "<title>score 0.2</title>" in svg


@pytest.mark.parametrize("shift", [0.0, -0.12, -0.35, 0.25], ids=["above", "across", "below", "bonus"])
def test_lines_of_equal_score_are_there_on_both_sides_of_the_floor(shift):
    moved = tuple(make_trial(model, size, epochs, f1 + shift) for model, size, epochs, f1 in TRIALS)
    svg = front_chart(moved, moved[3], LEADERBOARD_2021)
    levels = [float(level) for level in re.findall(r"<title>score ([-.\d]+)</title>", svg)]
    contours = svg[svg.index("contours") : svg.index('class="families"')]
    labels = [float(text) for text in texts(contours)]
    assert len(levels) >= 3
    assert set(labels) <= set(levels)
    assert len(labels) >= 2
    # between the best and the worst point there is a line
    scores = [trial.measurement.score for trial in moved]
    assert any(min(scores) < level < max(scores) for level in levels)


def test_well_known_networks_mark_their_cost():
    known = family_macs(9, 48)
    assert set(known) == set(FAMILIES)
    assert known["mobilenet_v3_small-0.5"] == named("mobilenet_v3_small-0.5", 9).macs(48)
    cheap, dear = make_trial("wisp-500k", 32, 40, 0.6), make_trial("wisp-4m", 64, 40, 0.7)
    svg = front_chart((cheap, dear, trials[3]), trials[3], LEADERBOARD_2021)
    inside = {
        name
        for name, macs in known.items()
        if cheap.measurement.macs / 1.5 <= macs <= dear.measurement.macs * 1.5
    }
    assert inside
    assert {name for name in FAMILIES if f"<title>{name} at 48 px: {known[name]:,} MACs" in svg} == inside


def test_everything_lies_inside_the_chart():
    for some in (trials, trials[:1], (make_trial("wisp-1m", 48, 1, 0.0), make_trial("wisp-4m", 64, 1, 1.0))):
        svg = front_chart(some, some[0], LEADERBOARD_2021)
        places = re.findall(r'<(?:circle cx|text x)="([-.\d]+)" (?:cy|y)="([-.\d]+)"', svg)
        assert places
        assert all(0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT for x, y in places)
        assert "nan" not in svg
        assert "inf" not in svg


def test_a_trial_without_interval_has_no_whisker_over_others():
    bare = replace(trials[0], measurement=replace(trials[0].measurement, f1_ci95=None))
    svg = front_chart([bare], bare, LEADERBOARD_2021)
    assert "95% interval" not in svg


def test_curves_have_one_line_a_training_and_skip_what_is_missing():
    lines = [
        Line(1, "a", make_curve(40, 0.6)),
        Line(2, "b <x>", make_curve(1, 0.5), chosen=True),
        Line(3, "c", [{"epoch": 1, "loss": math.nan}, {"epoch": 2, "loss": 0.5, "f1_val": None}]),
    ]
    loss, f1 = curves_chart(lines, "loss", "training loss"), curves_chart(lines, "f1_val", "macro F1")
    assert loss.count('class="line') == 3
    assert f1.count('class="line') == 2
    assert f"training loss {lines[0].rows[-1]['loss']:.4f} after 40 epochs" in loss
    assert "2: b &lt;x&gt;" in loss
    assert loss.rindex("line chosen") > loss.rindex("line colour")  # drawn last, over the others
    assert "nan" not in loss
    assert curves_chart(lines, "seconds_of_sleep", "none") is None
    assert curves_chart([], "loss", "training loss") is None
    assert "b &lt;x&gt;" in key_of(lines)


def test_long_trainings_are_thinned_out_but_end_where_they_end():
    rows = make_curve(1000, 0.8)
    points = Line(1, "long", rows).points("loss")
    assert 200 <= len(points) <= 240
    assert points[-1] == (1000, rows[-1]["loss"])


def test_labels_at_the_ends_do_not_cover_one_another():
    lines = [Line(n, f"trial {n}", [{"epoch": 10, "loss": 1 + n / 1e4}]) for n in range(1, 15)]
    svg = curves_chart(lines, "loss", "training loss")
    heights = sorted(
        float(y) for y in re.findall(r'<circle [^>]*></circle><text x="[.\d]+" y="([.\d]+)">', svg)
    )
    assert len(heights) == 14
    assert all(b - a > 10.5 for a, b in itertools.pairwise(heights))
    assert heights[0] > 0
    assert heights[-1] < HEIGHT


def test_twenty_lines_look_different():
    styles = {Line(number, "x", ()).style for number in range(1, COLOURS * DASHES + 1)}
    assert len(styles) == COLOURS * DASHES
