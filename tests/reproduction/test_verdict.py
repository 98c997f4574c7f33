"""From trainings to a verdict: every branch, without any training."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wisp.reproduction.verdict import Retrained, judge


def run(seed: int, f1: float, **changes: Any) -> Retrained:
    values = {"same_weights": False, "same_answers": False, "differences": (), "seconds": 1.0, **changes}
    return Retrained(seed=seed, f1=f1, **values)


SAME = {"same_weights": True, "same_answers": True}
OTHERS = (run(2, 0.801), run(3, 0.799), run(4, 0.8))


def judged(*runs: Retrained, f1: float = 0.8, **changes: Any) -> Any:
    options = {
        "claimed_f1": f1,
        "split": "test",
        "resolution": 0.0005,
        "within": 0.05,
        "has_source": False,
        "same_environment": True,
        **changes,
    }
    return judge(runs, f1=f1, **options)


def test_equal_weights_prove_themselves() -> None:
    result = judged(run(1, 0.8, **SAME))
    assert (result.verdict, result.exit_code) == ("reproduced", 0)
    assert "bit for bit" in result.reasons[0]
    assert "bit for bit" in result.remarks[0]


def test_equal_weights_are_no_second_witness() -> None:
    result = judged(run(1, 0.8, **SAME), *OTHERS)
    assert result.decision.interval.n == 3


def test_elsewhere_the_seeds_decide() -> None:
    result = judged(run(1, 0.8005), *OTHERS, same_environment=False)
    assert result.verdict == "reproduced"
    assert result.decision.interval.n == 4
    assert "expected on another machine" in result.remarks[0]
    inflated = judged(run(1, 0.8005), *OTHERS, f1=0.9)
    assert (inflated.verdict, inflated.exit_code) == ("not reproduced", 1)
    assert "F1 0.9000 lies outside" in inflated.reasons[0]
    assert "expected only if" in inflated.remarks[0]


def test_too_few_seeds_stay_undecided() -> None:
    result = judged(run(1, 0.79), run(2, 0.81))
    assert (result.verdict, result.exit_code) == ("undecided", 3)
    assert result.more_seeds > 0
    alone = judged(run(1, 0.8))
    assert (alone.verdict, alone.more_seeds) == ("undecided", 2)
    hopeless = judged(*(run(seed, 0.3 + 0.05 * seed) for seed in range(12)), f1=0.6)
    assert (hopeless.verdict, hopeless.more_seeds) == ("undecided", None)
    assert "no number of them" in hopeless.reasons[0]


def test_a_model_that_is_not_the_export_of_its_weights() -> None:
    result = judged(run(1, 0.8, same_weights=True, same_answers=False), *OTHERS)
    assert result.verdict == "not reproduced"
    assert "not the export" in result.reasons[0]


def test_another_network_is_never_reproduced() -> None:
    other = run(1, 0.8, differences=("official MACs: 5 claimed, 6 retrained",), **SAME)
    result = judged(other, *OTHERS)
    assert result.verdict == "not reproduced"
    assert result.reasons == ("seed 1: official MACs: 5 claimed, 6 retrained",)


def test_a_lucky_seed_is_told_and_own_source_must_do_without() -> None:
    lucky = run(1, 0.9, **SAME)
    plain = judged(lucky, *OTHERS, f1=0.9)
    assert plain.verdict == "reproduced"
    assert any("exceptional" in remark for remark in plain.remarks)
    source = judged(lucky, *OTHERS, f1=0.9, has_source=True)
    assert source.verdict == "not reproduced"
    assert any("make a seed special" in reason for reason in source.reasons)
    honest = judged(run(1, 0.8, **SAME), *OTHERS, has_source=True)
    assert honest.verdict == "reproduced"


@pytest.mark.parametrize("runs", [(run(1, 0.8, **SAME), *OTHERS), (run(1, 0.8),)])
def test_it_fits_json(runs: tuple[Retrained, ...]) -> None:
    value = json.loads(json.dumps(judged(*runs).to_json(), allow_nan=False))
    assert value["verdict"] in {"reproduced", "not reproduced", "undecided"}
    assert len(value["runs"]) == len(runs)
