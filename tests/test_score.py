"""The competition's score: the published rows, the rules' worked examples, and the edges."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.cli.main import run
from wisp.errors import InputError
from wisp.score import LEADERBOARD_2021, PRESETS, TEAM_CODE_2021, Baseline, f1_term, score

EXAMPLE = Baseline(f1=0.7, macs=550e6)  # the baseline of the rules' examples


def test_reproduces_every_published_row(shared_data: Path) -> None:
    with (shared_data / "competition" / "leaderboard_rows.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 20
    for row in rows:
        f1 = 0.49 if row["f1_macro"] == "<0.5" else float(row["f1_macro"])
        assert score(f1, int(row["macs"])) == pytest.approx(float(row["score"]), abs=2e-4), row


@pytest.mark.parametrize(
    ("macs", "f1", "expected"),
    [
        (350e6, 0.4, 0.6364 + 1.0),
        (650e6, 0.8, 1.1818 - 0.5 * 0.1429),
        (650e6, 0.4, 1.1818 + 1.0),
    ],
)
def test_worked_examples(macs: float, f1: float, expected: float) -> None:
    assert score(f1, macs, EXAMPLE) == pytest.approx(expected, abs=1e-4)


def test_edges() -> None:
    assert f1_term(0.7, EXAMPLE) == 0
    assert f1_term(0.5, EXAMPLE) == pytest.approx(0.2 / 0.7)  # the floor itself is not below the floor
    assert f1_term(math.nextafter(0.5, 0), EXAMPLE) == 1
    assert f1_term(0.0, EXAMPLE) == 1
    assert f1_term(1.0, EXAMPLE) == pytest.approx(-0.5 * 0.3 / 0.7)
    assert score(0.7, 0, EXAMPLE) == 0
    assert score(0.7, 550e6, EXAMPLE) == 1


def test_presets() -> None:
    assert PRESETS["leaderboard-2021"] == LEADERBOARD_2021 == Baseline(0.83655, 13_865_300)
    assert PRESETS["team-code-2021"] == TEAM_CODE_2021 == Baseline(0.8342, 13_863_553)
    assert score(0.6, 1_000_000) == score(0.6, 1_000_000, LEADERBOARD_2021)


@pytest.mark.parametrize(
    ("f1", "macs"),
    [(math.nan, 1), (-0.1, 1), (1.1, 1), (math.inf, 1), (0.5, math.nan), (0.5, -1), (0.5, math.inf)],
)
def test_refuses_what_is_no_measurement(f1: float, macs: float) -> None:
    with pytest.raises(InputError, match=r"must be"):
        score(f1, macs)


@pytest.mark.parametrize(
    ("f1", "macs"),
    [(math.nan, 1), (0, 1), (-0.1, 1), (1.1, 1), (0.8, math.nan), (0.8, 0), (0.8, -5), (0.8, math.inf)],
)
def test_refuses_a_baseline_that_is_none(f1: float, macs: float) -> None:
    with pytest.raises(InputError, match=r"baseline (F1|MACs)"):
        Baseline(f1, macs)


@given(low=st.floats(0.5, 1), high=st.floats(0.5, 1), macs=st.floats(0, 1e9), baseline_f1=st.floats(0.5, 1))
def test_never_rewards_a_worse_network(low: float, high: float, macs: float, baseline_f1: float) -> None:
    low, high = min(low, high), max(low, high)
    baseline = Baseline(baseline_f1, 1e7)
    assert score(high, macs, baseline) <= score(low, macs, baseline)
    assert score(low, macs, baseline) <= score(low, macs * 2, baseline)
    assert f1_term(low, baseline) <= 1


def test_needs_no_dependency() -> None:
    code = "import sys, wisp.score; assert not {'numpy', 'torch', 'click'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_cli_prints_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", "--f1", "0.6002", "--macs", "1083210"]) == 0
    assert capsys.readouterr().out == "score 0.3607 = 0.0781 (MACs) + 0.2825 (F1)\n"
    assert (
        run(["score", "--f1", "0.8", "--macs", "6.5e8", "--baseline-f1", "0.7", "--baseline-macs", "5.5e8"])
        == 0
    )
    assert capsys.readouterr().out == "score 1.1104 = 1.1818 (MACs) - 0.0714 (F1)\n"


def test_cli_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", "--f1", "0.6", "--macs", "1000000", "--preset", "team-code-2021", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["score"] == score(0.6, 1_000_000, TEAM_CODE_2021)
    assert values["score"] == values["macs_term"] + values["f1_term"]
    assert values["baseline"] == {"f1": 0.8342, "macs": 13_863_553}
    assert (values["f1"], values["macs"]) == (0.6, 1_000_000)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--f1", "nan", "--macs", "1"], "F1 nan"),
        (["--f1", "1.5", "--macs", "1"], "F1 1.5"),
        (["--f1", "0.5", "--macs", "-1"], "MACs -1"),
        (["--f1", "0.5", "--macs", "nan"], "MACs nan"),
        (["--f1", "0.5", "--macs", "1", "--baseline-f1", "nan", "--baseline-macs", "1"], "baseline F1 nan"),
        (["--f1", "0.5", "--macs", "1", "--baseline-f1", "0.7"], "belong together"),
        (["--f1", "0.5", "--macs", "1", "--baseline-macs", "7"], "belong together"),
        (
            ["--f1", "0.5", "--macs", "1", "--baseline-f1", "0.7", "--preset", "team-code-2021"],
            "exclude one another",
        ),
        (["--f1", "0.5", "--macs", "1", "--preset", "leaderboard-1999"], "leaderboard-2021"),
        (["--f1", "half", "--macs", "1"], "--f1"),
        (["--f1", "0.5"], "--macs"),
    ],
)
def test_cli_refuses(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", *arguments]) == 2
    output = capsys.readouterr()
    assert complaint in output.err
    assert not output.out
