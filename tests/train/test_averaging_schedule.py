from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wisp.train.averaging import averaged_tensors, update_average
from wisp.train.schedule import warmup_cosine


@pytest.mark.parametrize(("step", "decay"), [(0, 0.1), (10, 0.55), (10_000, 0.99)])
def test_the_average_moves_by_its_formula(step: int, decay: float) -> None:
    torch.manual_seed(0)
    average, model = (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)) for _ in range(2))
    model(torch.randn(2, 3, 4, 4))  # fills the running statistics and counts the batch
    before, now = copy.deepcopy(average.state_dict()), model.state_dict()
    update_average(averaged_tensors(average, model), decay=0.99, step=step)
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, decay * before[name] + (1 - decay) * now[name])
        else:
            assert value == now[name] == 1


def test_without_decay_the_average_is_the_model() -> None:
    average, model = nn.Linear(3, 2), nn.Linear(3, 2)
    averaged = averaged_tensors(average, model)
    update_average(averaged, decay=0.0, step=100)
    torch.testing.assert_close(average.weight, model.weight)
    with torch.no_grad():
        model.weight.fill_(3.0)  # the pairs are those of the modules, not copies
    update_average(averaged, decay=0.0, step=100)
    assert average.weight.eq(3.0).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 500), st.floats(0, 600), st.floats(1e-6, 1.0))
def test_the_rate_stays_between_zero_and_its_peak(total: int, warmup: float, peak: float) -> None:
    rates = [warmup_cosine(step, total, warmup, peak) for step in range(total)]
    assert all(0 < rate <= peak * (1 + 1e-9) for rate in rates)
    top = rates.index(max(rates))
    assert top <= total / 10 + 1
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_ends_and_middle_of_the_cosine() -> None:
    assert warmup_cosine(0, 100, 0, 0.5) == 0.5
    assert warmup_cosine(50, 100, 0, 0.5) == pytest.approx(0.25)
    assert warmup_cosine(99, 100, 0, 0.5) == pytest.approx(0.25 * (1 + math.cos(math.pi * 0.99)))
    assert warmup_cosine(100, 100, 0, 0.5) == 0
    assert warmup_cosine(0, 100, 4, 0.5) == pytest.approx(0.1)
    assert warmup_cosine(3, 100, 4, 0.5) == pytest.approx(0.4)
    assert warmup_cosine(4, 100, 4, 0.5) == 0.5


def test_the_warmup_is_cut_to_a_tenth() -> None:
    assert [warmup_cosine(step, 100, 1e9, 1.0) for step in range(100)] == [
        warmup_cosine(step, 100, 10, 1.0) for step in range(100)
    ]
