"""What the competition's counter would say of the modules that the nodes of a graph were.

The counter sees modules, and an exported graph has none; but each kind of module that it counts becomes nodes of known
kinds. So the count that a file states about itself can be held against its own graph.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import prod
from types import MappingProxyType

from wisp.macs.onnx_formulas import MACS, Call

# Operators that were a convolution or a linear layer, and which input is the bias.
_BIAS_AT: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("Conv", "FusedConv", "NhwcFusedConv", "NhwcConv", "ConvTranspose"), 2),
        **dict.fromkeys(("Gemm", "FusedGemm"), 2),
        "QLinearConv": 8,
        "QGemm": 6,
    }
)
_POOLS = frozenset(
    """
    MaxPool AveragePool GlobalMaxPool GlobalAveragePool NhwcMaxPool QLinearGlobalAveragePool QLinearAveragePool
    """.split()  # noqa: SIM905  (a list of words reads best as words)
)
# What an adaptive pool to 1 x 1 becomes, which is counted; but so does a call of mean(), which is not.
_MEANS = frozenset(["ReduceMean", "ReduceMax", "QLinearReduceMean"])
_IMAGE_AXES = 4  # N x C x H x W


def module_macs(name: str, call: Call, constants: Collection[str]) -> tuple[int, int]:
    """The least and the most MACs of one node by the competition's rules; 0 for what its counter does not see.

    A bias counts one per value; exporters leave out a bias that is zero throughout, so a missing one may be counted.

    Args:
        name: the operator, as `wisp.macs.onnx_formulas` calls it.
        call: its inputs, outputs and shapes.
        constants: names of values that do not depend on the image.

    Raises:
        UnknownShapeError: a shape that is needed is not known.
    """
    if name in _BIAS_AT:
        at = _BIAS_AT[name]
        biased = len(call.inputs) > at and bool(call.inputs[at])
        macs = MACS[name](call)
        if (
            name == "ConvTranspose"
        ):  # a kernel for each output position, where the exact count has each input's
            macs = prod(call.shape(1)) * prod(call.out()[2:])
        return macs + (prod(call.out()) if biased else 0), macs + prod(call.out())
    macs = 0
    if name == "MatMul" and len(call.inputs) > 1 and call.inputs[1] in constants:
        macs = MACS[name](call)
    elif name in _POOLS:
        macs = prod(call.shape(0))
    elif name in _MEANS and len(call.shape(0)) == _IMAGE_AXES:
        return 0, prod(call.shape(0))
    elif name == "BatchNormalization":
        macs = 2 * prod(call.out())
    elif name in {"Resize", "Upsample"}:
        macs = prod(call.out())
    return macs, macs
