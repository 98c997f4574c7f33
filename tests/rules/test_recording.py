"""Who is charged for an operator, and what tells a gate from a filter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wisp.macs import count_exact, count_macs, differences
from wisp.rules.recording import GATE_PRODUCTS, Observation, observe
from wisp.rules.state import changes, memory, structure, torch_itself
from wisp.rules.subject import alike

SIDE, CHANNELS = 8, 6
PIXELS = SIDE * SIDE


class Net(nn.Module):
    """A 1 x 1 convolution, then a function of its output."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 1)
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, images: Tensor) -> Tensor:
        return self.function(self, self.stem(images))


def _seen(function: Callable[[Any, Tensor], Tensor], **parts: nn.Module | nn.Parameter) -> Observation:
    torch.manual_seed(0)
    model = Net(function, **parts).eval()
    with torch.no_grad():
        return observe(model, torch.randn(1, 3, SIDE, SIDE))


def _hidden(seen: Observation) -> int:
    return sum(work.macs for work in seen.hidden)


def test_layers_are_charged_by_name_and_line() -> None:
    seen = _seen(lambda net, x: net.head(x.mean((2, 3))), head=nn.Linear(CHANNELS, 4))
    assert seen.counted == {"stem": PIXELS * 3 * CHANNELS, "head": 4 * CHANNELS}
    assert all(str(place).startswith(__file__) for place in seen.sources.values())
    assert seen.hidden == ()
    assert seen.gates == 0


def test_the_hidden_part_is_what_the_counters_differ_by() -> None:
    """`wisp.macs.differences` calls the same work `not seen`."""
    model = Net(lambda net, x: F.conv2d(x, net.w).mean((2, 3)), w=nn.Parameter(torch.ones(2, CHANNELS, 3, 3)))
    with torch.no_grad():
        seen = observe(model.eval(), torch.randn(1, 3, SIDE, SIDE))
    items = differences(count_macs(model, SIDE), count_exact(model, SIDE))
    unseen = sum(-item.macs for item in items if item.cause.startswith("not seen"))
    assert _hidden(seen) == unseen == 36 * 2 * 9 * CHANNELS


@pytest.mark.parametrize("products", range(1, 6))
def test_more_than_two_products_a_value_are_a_filter(products: int) -> None:
    """Each value times `products` weights, all of it added up."""
    weights = nn.Parameter(torch.arange(1.0, products + 1))
    seen = _seen(
        lambda net, x: sum((x.roll(n, 2) * net.w[n] for n in range(products)), x).mean((2, 3)), w=weights
    )
    total = products * PIXELS * CHANNELS
    if products <= GATE_PRODUCTS:
        assert (_hidden(seen), seen.gates) == (0, total)
    else:
        assert (_hidden(seen), seen.gates) == (total, 0)


@pytest.mark.parametrize(
    "copied",
    [
        lambda x, n: x.clone() + 0.0 * n,
        lambda x, n: x.flip(2).flip(2),
        lambda x, n: torch.cat([x, x])[: len(x)],
        lambda x, n: x.relu() + (x - x.relu()) * 0 + n,
        lambda x, n: torch.tanh(x) + n,
        lambda x, n: F.pad(x, (1, 1, 1, 1))[:, :, 1:-1, 1:-1],
    ],
)
def test_copies_do_not_hide_a_filter(copied: Callable[[Tensor, int], Tensor]) -> None:
    seen = _seen(
        lambda net, x: sum((copied(x, n) * net.w[n] for n in range(5)), x).mean((2, 3)),
        w=nn.Parameter(torch.ones(5)),
    )
    assert _hidden(seen) > 0


def test_a_pooled_value_stands_for_many() -> None:
    """A classifier as products and sums over pooled features: as many products a value as classes."""
    for classes, is_hidden in ((2, False), (4, True)):
        seen = _seen(
            lambda net, x: (x.mean((2, 3))[:, None] * net.w).sum(2),
            w=nn.Parameter(torch.ones(classes, CHANNELS)),
        )
        assert (_hidden(seen) > 0) == is_hidden
        assert _hidden(seen) + seen.gates == classes * CHANNELS


def test_a_chunk_at_a_time_is_one_product_a_value() -> None:
    seen = _seen(lambda net, x: torch.cat([part * 2.0 for part in x.chunk(CHANNELS, 1)], 1).mean((2, 3)))
    assert (_hidden(seen), seen.gates) == (0, PIXELS * CHANNELS)


def test_batches_are_counted_an_image_at_a_time() -> None:
    model = Net(lambda net, x: net.head(x.mean((2, 3))), head=nn.Linear(CHANNELS, 4)).eval()
    with torch.no_grad():
        one, three = (observe(model, torch.randn(n, 3, SIDE, SIDE)) for n in (1, 3))
    assert {name: 3 * macs for name, macs in one.counted.items()} == dict(three.counted)


def test_observing_leaves_no_trace() -> None:
    model = Net(lambda net, x: net.head(x.mean((2, 3))), head=nn.Linear(CHANNELS, 4)).eval()
    image = torch.randn(1, 3, SIDE, SIDE)
    before = (structure(model), memory(model), torch_itself())
    with torch.no_grad():
        plain = model(image)
        seen = observe(model, image, with_calls=True)
    assert torch.equal(seen.outputs[0], plain)
    assert [call.module for call in seen.calls] == ["stem", "head"]
    after = (structure(model), memory(model), torch_itself())
    assert [changes(one, other) for one, other in zip(before, after, strict=True)] == [(), (), ()]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda net: setattr(net, "count", 1), "count"),
        (lambda net: net.parts.append(1), "parts"),
        (lambda net: net.stem.weight.data.mul_(2), "stem._parameters['weight']"),
        (lambda net: net.table.update(a=[1]), "table"),
        (lambda net: net.function.__defaults__[0].append(1), "function.defaults[0]"),
    ],
)
def test_what_is_remembered_is_noticed(change: Callable[[Any], object], expected: str) -> None:
    def function(net: Any, x: Tensor, memory: list[int] = []) -> Tensor:  # noqa: B006  (that is the trick)
        return x

    net: Any = Net(function)
    net.parts, net.table = [], {"a": [0]}
    before = memory(net)
    assert changes(before, memory(net)) == ()
    change(net)
    assert expected in changes(before, memory(net))[0]


def test_a_patch_of_torch_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch_itself()
    monkeypatch.setattr(F, "conv2d", lambda *arguments: None)
    monkeypatch.setattr(nn.Linear, "forward", lambda *arguments: None)
    found = changes(before, torch_itself())
    assert "torch.nn.functional.conv2d" in found
    assert "torch.nn.modules.linear.Linear.forward" in found


def test_alike_means_up_to_rounding() -> None:
    one = torch.tensor([1.0, -100.0])
    assert alike(one, one + 1e-3)
    assert not alike(one, one + 0.1)
    assert not alike(one, one[:1])
    assert alike(torch.tensor([float("inf"), 1.0]), torch.tensor([float("inf"), 2.0]))
    assert not alike(torch.tensor([float("nan"), 1.0]), torch.tensor([0.0, 1.0]))
