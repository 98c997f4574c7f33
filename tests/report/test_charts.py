import itertools
import math
import re
from dataclasses import replace

import pytest
from hypothesis import assume, example, given
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
    same_digits,
    short_count,
)
from wisp.report.contours import f1_of_score
from wisp.report.curves import COLOURS, DASHES, Line, curves_chart, key_of
from wisp.report.families import FAMILIES, family_macs, family_marks, off_the_chart
from wisp.report.front import front_chart
from wisp.report.points import MANY
from wisp.score import F1_FLOOR, LEADERBOARD_2021, Baseline, score
from wisp.search.selection import choose, pareto_front

trials = tuple(make_trial(*trial) for trial in TRIALS)


def texts(svg, within=""):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg.partition(within)[2] if within else svg)


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4), st.integers(3, 12))
@example(1.0, 4001.0, 3)  # two multiples of 2,000 lie inside, none of 5,000
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


def dots_of(svg):
    """Details of every dot: number -> (label, tip, (left, top, width) in percent)."""
    found = re.findall(
        r'<div class="dot (?:start|middle|end) (?:above|below)" tabindex="0" role="img" aria-label="([^"]*)" '
        r'style="left:([\d.]+)%;top:([\d.]+)%;width:([\d.]+)%"><div class="tip" aria-hidden="true">(.*?)</div></div>',
        svg,
    )
    return {
        int(label.partition(":")[0]): (label, re.sub(r"<[^>]*>", "; ", tip), (float(x), float(y), float(w)))
        for label, x, y, w, tip in found
    }


def test_every_trial_is_a_dot_that_tells_its_numbers():
    chosen = choose(trials)
    svg = front_chart(trials, chosen, LEADERBOARD_2021)
    shown = dots_of(svg)
    assert sorted(shown) == list(range(1, len(trials) + 1))
    for number, trial in enumerate(trials, start=1):
        label, tip, _ = shown[number]
        measured = trial.measurement
        for told in (
            f"{number}: {trial.candidate.name}",
            f"{trial.candidate.image_size} px, {trial.epochs} epochs",
            f"macro F1 {measured.f1_macro:.4f}",
            f"95% interval {measured.f1_ci95[0]:.4f} to {measured.f1_ci95[1]:.4f}",
            f"{measured.macs:,} MACs",
            f"{measured.params:,} parameters",
            f"score {measured.score:.4f}",
        ):
            assert told in label
            assert told in tip
        assert (", chosen" in label) == (trial == chosen)
    picture = svg.partition('<div class="dots">')[0]
    assert picture.count("point on-front chosen") == picture.count('class="ring"') == 1
    assert picture.count('class="point on-front') == 3  # 1, 4 and 8: no other one is cheaper and better
    assert picture.count('class="point') == len(trials)
    assert "<title>score 0.2</title>" in picture


def test_the_details_lie_over_the_dots():
    svg = front_chart(trials, trials[3], LEADERBOARD_2021)
    _, top, width, height = map(float, re.search(r'viewBox="([^"]*)"', svg)[1].split())
    circles = re.findall(
        r'<circle cx="([.\d]+)" cy="([.\d]+)" r="[.\d]+"></circle>', svg.partition('"dots"')[0]
    )
    drawn = sorted((float(x), float(y)) for x, y in circles)
    over = sorted((x * width / 100, y * height / 100 + top) for _, _, (x, y, _) in dots_of(svg).values())
    assert drawn == [pytest.approx(place, abs=0.1) for place in over]
    for _, _, (_, _, size) in dots_of(svg).values():
        assert 0 < size * width / 100 <= 24.1


def many_trials(count):
    sizes, models = (32, 40, 48, 56, 64, 80), ("wisp-500k", "wisp-1m", "wisp-2m", "wisp-4m")
    return tuple(
        make_trial(models[n % 4], sizes[n % 6], 10 + n, 0.55 + 0.01 * (n * 7 % 17)) for n in range(count)
    )


@pytest.mark.parametrize("some", [trials, many_trials(36)], ids=["few", "many"])
def test_numbers_and_scores_do_not_cover_one_another_or_a_dot(some):
    svg = front_chart(some, some[3], LEADERBOARD_2021).partition('<div class="dots">')[0]
    points = svg.partition('class="whiskers"')[2]
    contours = svg[svg.index('class="contours"') : svg.index('class="families"')]
    placed = [
        (float(x), float(y), text)
        for part in (points, contours)
        for x, y, text in re.findall(r'<text x="([.\d]+)" y="([.\d]+)"[^>]*>([^<]*)</text>', part)
    ]
    assert len(placed) > len(some) / 2
    boxes = [(x - 3 * len(text), y - 9, x + 3 * len(text), y) for x, y, text in placed]
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    numbers = {text for _, _, text in placed}
    on_front = re.findall(r'class="point on-front[^"]*">(.*?)</g>', points)
    assert on_front
    assert all("<text" in group for group in on_front)  # whatever is left out, not these
    assert {str(n) for n in range(1, len(some) + 1)} & numbers
    dots = re.findall(r'<circle cx="([.\d]+)" cy="([.\d]+)" r="[.\d]+"></circle>', points)
    for x, y in dots:
        assert not any(l < float(x) < r and t < float(y) < b for l, t, r, b in boxes)  # noqa: E741


def test_intervals_are_drawn_for_all_or_where_they_are_many_for_the_front():
    svg = front_chart(trials, trials[3], LEADERBOARD_2021)
    assert len(trials) <= MANY

    def drawn(svg):
        return re.search(r'<g class="whiskers">(.*?)</g>|class="whiskers"', svg) and re.findall(
            r'<path d="M[.\d]+ [.\d]+L[.\d]+ [.\d]+M[^"]*"( class="chosen")?>', svg.partition("dots")[0]
        )

    assert len(drawn(svg)) == len(trials)
    assert drawn(svg)[-1] == ' class="chosen"'
    assert "front alone" not in svg
    some = many_trials(36)
    crowded = front_chart(some, some[3], LEADERBOARD_2021)
    expected = {id(trial) for trial in [*pareto_front(some), some[3]]}
    assert len(drawn(crowded)) == len(expected)
    assert "of the front alone" in crowded


@pytest.mark.parametrize("shift", [0.0, -0.12, -0.35, 0.25], ids=["above", "across", "below", "bonus"])
def test_lines_of_equal_score_are_there_on_both_sides_of_the_floor(shift):
    moved = tuple(make_trial(model, size, epochs, f1 + shift) for model, size, epochs, f1 in TRIALS)
    svg = front_chart(moved, moved[3], LEADERBOARD_2021)
    levels = [float(level) for level in re.findall(r"<title>score ([-.\d]+)</title>", svg)]
    contours = svg[svg.index('class="contours"') : svg.index('class="families"')]
    labels = [float(text.removeprefix("score ")) for text in texts(contours)]
    assert contours.count(">score ") >= 1 + len(levels)  # the titles, and one label that says what it is
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
    assert {name for name in FAMILIES if f"<title>{name}: {known[name]:,} MACs" in svg} == inside
    for name in set(FAMILIES) - inside:
        assert f"{name} {short_count(known[name])}" in svg.partition("Beyond the right edge")[2]


def test_the_names_of_well_known_networks_cover_no_other_name_and_no_mark():
    x = horizontal(1e5, 1e8, log=True)
    for costs in (
        family_macs(9, 48),
        {"a": 30_000_000, "b" * 20: 31_000_000, "c": 31_100_000},
        {"at the left edge": 101_000, "d": 90_000_000},
    ):
        svg, height = family_marks(x, costs)
        marks = re.findall(
            r'<path d="M([.\d]+) ([-.\d]+)V[^"]*"></path><text x="([.\d]+)" y="([-.\d]+)" text-anchor="(\w+)">([^<]*)',
            svg,
        )
        assert len(marks) == len(costs)
        assert height > 0
        rows = [float(y) for _, _, _, y, _, _ in marks]
        assert all(b - a < -10 for a, b in itertools.pairwise(rows))
        assert min(rows) - 10 >= -height
        for at, _, text_x, y, anchor, text in marks:
            width = 6 * len(text)
            left = float(text_x) - (width if anchor == "end" else 0)
            assert left >= 0
            for other, top, *_ in marks:
                if other != at and float(top) < float(y) - 9:
                    assert anchor == "start" or not left < float(other) < left + width
    assert off_the_chart(1e6, {"near": 10, "far": 2_000_000}) == "Beyond the right edge: far 2 M."
    assert off_the_chart(1e7, {"near": 10}) == ""


def test_the_chart_reaches_the_cheapest_well_known_network():
    small = tuple(make_trial("wisp-500k", size, 40, 0.6) for size in (32, 40))
    svg = front_chart(small, small[0], LEADERBOARD_2021)
    cheapest = min(family_macs(9, 32).values())
    assert small[1].measurement.macs * 1.5 < cheapest
    assert f"{cheapest:,} MACs as trained" in svg


def test_everything_lies_inside_the_chart():
    for some in (trials, trials[:1], (make_trial("wisp-1m", 48, 1, 0.0), make_trial("wisp-4m", 64, 1, 1.0))):
        svg = front_chart(some, some[0], LEADERBOARD_2021)
        places = re.findall(r'<(?:circle cx|text x)="([-.\d]+)" (?:cy|y)="([-.\d]+)"', svg)
        top = float(re.search(r'viewBox="0 ([-.\d]+)', svg)[1])
        assert places
        assert all(0 <= float(x) <= WIDTH and top <= float(y) <= HEIGHT for x, y in places)
        assert "nan" not in svg
        assert "inf" not in svg


def test_a_trial_without_interval_has_no_whisker_over_others():
    bare = replace(trials[0], measurement=replace(trials[0].measurement, f1_ci95=None))
    svg = front_chart([bare], bare, LEADERBOARD_2021)
    assert "95% interval " not in dots_of(svg)[1][0]
    assert '<g class="whiskers"></g>' in svg


def test_short_flat_trainings_have_whole_epochs_and_short_numbers():
    """Longer ones would run into the name of the axis."""
    svg = curves_chart([Line(1, "a", [{"epoch": 1, "loss": 1.62345}])], "loss", "training loss")
    ticks = re.findall(r">([\d.]+)</text>", svg.partition('<g class="ticks">')[2].partition("</g>")[0])
    assert ticks == ["1.60", "1.61", "1.62", "1.63", "1.64", "0", "1", "2", "3", "4", "5"]
    assert "training loss 1.6235 after 1 epoch</title>" in svg


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


def test_faint_lines_lie_below_have_no_number_and_share_an_entry_of_the_key():
    lines = [Line(n, f"t{n}", make_curve(20, 0.6, n), chosen=n == 1, faint=n > 2) for n in range(1, 7)]
    svg = curves_chart(lines, "loss", "training loss")
    assert svg.count('class="line faint"') == 4
    assert svg.rindex("line faint") < svg.index("line colour") < svg.index("line chosen")
    ends = texts(svg)[-2:]
    assert ends == ["2", "1"]
    assert svg.count("<circle") == 2
    key = key_of(lines)
    assert key.count("<li>") == 3
    assert "4 others" in key
    assert "others" not in key_of(lines[:2])


def test_ticks_have_the_same_number_of_decimals():
    assert same_digits([0.5, 0.55, 0.6]) == ["0.50", "0.55", "0.60"]
    assert same_digits([0, 20, 40]) == ["0", "20", "40"]
    assert same_digits([]) == []


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
