"""Counting multiply-accumulates (MACs).

`count_macs` is the competition's counter, which sees modules; `count_exact` sees every operator of the program;
`count_onnx` counts an exported graph. `differences` explains how the first and the second differ.
"""

from typing import TYPE_CHECKING, Any

from wisp.macs.difference import Difference, contradiction, differences
from wisp.macs.onnx import count_onnx
from wisp.macs.report import LayerMacs, MacsReport, OperatorMacs, ProgramReport, UnknownOperator

if TYPE_CHECKING:
    from wisp.macs.exact import count_exact
    from wisp.macs.hooks import count_macs

__all__ = [
    "Difference",
    "LayerMacs",
    "MacsReport",
    "OperatorMacs",
    "ProgramReport",
    "UnknownOperator",
    "contradiction",
    "count_exact",
    "count_macs",
    "count_onnx",
    "differences",
]

# Imported on first use: a graph is counted without torch, whose import takes over a second.
_WITH_TORCH = {"count_exact": "exact", "count_macs": "hooks"}


def __getattr__(name: str) -> Any:
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(f"{__name__}.{_WITH_TORCH[name]}"), name)
