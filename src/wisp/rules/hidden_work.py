"""What a count says against a network: work that no counted layer accounts for, and counts that cannot be true."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from torch import nn

from wisp.macs import MacsReport, ProgramReport
from wisp.records import Violation
from wisp.rules.attribution import HOW
from wisp.rules.findings import HIDDEN_COMPUTATION, finding
from wisp.rules.recording import GATE_PRODUCTS, Observation

# Counted by the competition, with formulas of its own that may give less than the truth.
_OWN_FORMULA = ("MultiheadAttention", "Upsample")
_FIX = MappingProxyType(
    {
        "function": "make it a layer (nn.Conv2d, nn.Linear, nn.MultiheadAttention, ...) and call the layer",
        "subclass": "use torch's own class; what is added to it belongs into a module around it",
        "replaced": "leave torch's layers as they are: no hooks that compute, no replaced methods",
        "unregistered": "keep the module as an attribute of the network, or in nn.ModuleList",
        "forward": "call the module itself: layer(x), not layer.forward(x)",
    }
)
_GATES_SHARE = 0.1
# The largest share in the networks of wisp and of the tests is 0.13; products as sums of logarithms need one a product.
_SINGLES_SHARE, _SINGLES_LIMIT = 0.5, 1.0
_ADDITIONS_SHARE = 1.0
_SMALL = 20_000  # operations that are not worth a human's time


def uncounted_work(model: nn.Module, seen: Observation) -> Iterator[Violation]:
    """Multiply-accumulates outside of counted layers, a finding for each place."""
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    for work in sorted(seen.hidden, key=lambda work: -work.macs):
        kind = kinds.get(work.layer, "")
        message = (
            f"{work.macs:,} MACs that the counter does not see: {work.operator}"
            f"{f' in {kind}' if work.layer else ''}, {HOW[work.how]}"
        )
        if work.operator.endswith("mul"):
            message += f" (products that are added up, more than {GATE_PRODUCTS} for each value)"
        yield finding(
            HIDDEN_COMPUTATION, "violation", work.source, message, _FIX[work.how], module=work.layer
        )


def miscounted_layers(official: MacsReport, seen: Observation) -> Iterator[Violation]:
    """Counted layers that do more than the counter gives them."""
    counted: dict[str, int] = {}
    kinds: dict[str, str] = {}
    for layer in official.layers:
        counted.setdefault(layer.name, layer.macs)
        kinds[layer.name] = layer.kind
    for name, macs in seen.counted.items():
        given = counted.get(name, 0)
        if macs <= given:
            continue
        lawful = kinds.get(name) in _OWN_FORMULA and given > 0
        message = f"does {macs:,} MACs, and the counter sees {given:,}"
        if lawful:
            message += f" (its formula of {kinds[name]} differs from what torch does)"
        yield finding(
            HIDDEN_COMPUTATION,
            "warning" if lawful else "violation",
            seen.sources.get(name),
            message,
            ""
            if lawful
            else "leave the layer's attributes, inputs and outputs to torch, and every layer to one parent",
            module=name,
        )


def uncountable(exact: ProgramReport, traced: Callable[[], str | None]) -> Iterator[Violation]:
    """What the exact counter could not count; `traced` finds the line at which a traced run parts from a plain one."""
    for item in exact.unknown:
        yield finding(
            HIDDEN_COMPUTATION,
            "violation",
            traced() if item.operator == "program" else item.source,
            f"cannot be counted: {item.operator}: {item.reason}",
            "use torch's layers on tensors alone, the same for every image",
            module=item.layer,
        )


def much_besides(official: MacsReport, seen: Observation) -> Iterator[Violation]:
    """Work that is no hidden MAC by the letter, and too much of it: for a human, or beyond any honest use."""
    total = max(1, official.total)
    kinds: tuple[tuple[int, float, float, str], ...] = (
        (seen.gates, _GATES_SHARE, math.inf, "products by gates and scales that are added up"),
        (seen.singles, _SINGLES_SHARE, _SINGLES_LIMIT, "products and functions of single values"),
        (seen.additions, _ADDITIONS_SHARE, math.inf, "additions and look-ups"),
    )
    for amount, share, limit, what in kinds:
        if amount > max(_SMALL, share * total):
            yield finding(
                HIDDEN_COMPUTATION,
                "violation" if amount > limit * total else "warning",
                None,
                f"{amount:,} {what} outside counted layers, beside {total:,} counted MACs: a human should look at what "
                "they are for",
                "let torch's layers do the work",
                module="",
            )


def count_differs(one: Mapping[str, int], other: Mapping[str, int]) -> str | None:
    """The first layer that two counts of one network disagree on."""
    for name in {**one, **other}:
        if one.get(name, 0) != other.get(name, 0):
            return name
    return None
