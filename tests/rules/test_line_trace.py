"""Which lines a network runs: its own alone, whatever else goes on in the process."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from wisp.rules.line_trace import LineTrace


class Allocating(nn.Module):
    """Makes so many objects that Python collects garbage meanwhile."""

    def forward(self, images: Tensor) -> Tensor:
        sets = list(map(set, [()] * 1000))
        return images * len(sets)


def told_of_garbage(phase: str, _facts: dict[str, int]) -> None:
    """What test tools and profilers leave in `gc.callbacks`."""
    assert phase in {"start", "stop"}


@pytest.fixture
def eager_collector() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(5, 1, 1)
    gc.callbacks.append(told_of_garbage)
    yield
    gc.callbacks.remove(told_of_garbage)
    gc.set_threshold(*before)


@pytest.mark.usefixtures("eager_collector")
def test_collecting_garbage_is_no_part_of_a_run() -> None:
    model = Allocating()
    trace = LineTrace(model)
    with torch.no_grad(), trace.watching():
        model(torch.ones(1, 3, 4, 4))
    first = Allocating.forward.__code__.co_firstlineno
    assert [line.number for line in trace.lines] == [first + 1, first + 2]
    assert gc.isenabled()
