"""Counting multiply-accumulates (MACs).

`count_macs` is the competition's counter, which sees modules; `count_exact` sees every operator of the program;
`count_onnx` counts an exported graph. `differences` explains how the first and the second differ.
"""

from wisp.macs.difference import Difference, differences
from wisp.macs.exact import count_exact
from wisp.macs.hooks import count_macs
from wisp.macs.onnx import count_onnx
from wisp.macs.report import LayerMacs, MacsReport, OperatorMacs, ProgramReport, UnknownOperator

__all__ = [
    "Difference",
    "LayerMacs",
    "MacsReport",
    "OperatorMacs",
    "ProgramReport",
    "UnknownOperator",
    "count_exact",
    "count_macs",
    "count_onnx",
    "differences",
]
