"""Why the competition's count and the exact one differ."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from wisp.macs.report import MacsReport, ProgramReport

_NOT_MACS = (("BatchNorm", "batch norm"), ("Pool", "pooling"), ("Upsample", "upsampling"))
_OTHER_FORMULA = ("RNN", "GRU", "LSTM", "MultiheadAttention")


@dataclass(frozen=True, slots=True)
class Difference:
    """MACs that the competition's counter gives beyond the exact count (negative: that it does not see)."""

    cause: str
    macs: int


def differences(official: MacsReport, exact: ProgramReport) -> tuple[Difference, ...]:
    """The items whose sum is `official.total - exact.total`, largest first.

    Batch norms and pools are no MACs, and a bias is an addition; both are in the competition's count. What the
    exact count finds in a place where the other one has no layer is `not seen`.
    """
    found: Counter[str] = Counter()
    exact_macs = Counter({layer.name: layer.macs for layer in exact.layers})
    seen = {layer.name for layer in official.layers if layer.macs}
    for layer in official.layers:
        inside = 0 if layer.name not in seen else exact_macs.pop(layer.name, 0)
        if not layer.macs:
            continue
        cause = next((cause for kind, cause in _NOT_MACS if kind in layer.kind), None)
        if cause is None:
            # a layer that was added twice, or whose formula is the old counter's own, is no matter of its bias
            is_bias = inside <= layer.macs < 2 * max(1, inside) and not layer.kind.startswith(_OTHER_FORMULA)
            cause = "bias" if is_bias else f"formula of {layer.kind}"
        found[cause] += layer.macs - inside
    for name, macs in exact_macs.items():
        inner = any(
            name.startswith(f"{layer.name}.") for layer in official.layers if layer.kind in _OTHER_FORMULA
        )
        found[
            "formula of " + "MultiheadAttention" if inner else f"not seen: {name or 'the network itself'}"
        ] -= macs
    return tuple(
        Difference(cause, macs)
        for cause, macs in sorted(found.items(), key=lambda item: -abs(item[1]))
        if macs
    )


def contradiction(stated: int, graph: ProgramReport) -> str | None:
    """Why a file's own count by the competition's rules cannot be true of its graph, in one line; None where it can.

    Args:
        stated: MACs of the deployed network, as the file states them.
        graph: what `count_onnx` says of the file.
    """
    if graph.official is None or graph.official[0] <= stated <= graph.official[1]:
        return None
    least, most = graph.official
    span = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"it states {stated:,} MACs, but its graph has {span} by the competition's counter"
