"""The one table of ONNX operators: what multiplies and how much, and what multiplies nothing.

Operators of ONNX itself and of ONNX Runtime (`com.microsoft`), float and quantized. The same rules as for torch's
operators (`wisp.macs.formulas`): a name in none of the tables is unknown, and makes a count incomplete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any

Shape = tuple[int, ...]


class UnknownShapeError(Exception):
    """The count of an operator needs a shape that is not known."""


@dataclass(frozen=True)
class Call:
    """One node with what a formula asks for."""

    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Any]
    shapes: Mapping[str, Shape]

    def shape(self, index: int) -> Shape:
        """Shape of an input."""
        return self._known(self.inputs[index] if index < len(self.inputs) else "")

    def out(self, index: int = 0) -> Shape:
        """Shape of an output."""
        return self._known(self.outputs[index] if index < len(self.outputs) else "")

    def _known(self, name: str) -> Shape:
        if name not in self.shapes:
            raise UnknownShapeError(f"the shape of {name!r} is not known")
        return self.shapes[name]


Formula = Callable[[Call], int]


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _activation(call: Call) -> int:
    return 0 if _text(call.attributes.get("activation", "Relu")) in {"", "Relu", "Clip"} else prod(call.out())


def _conv(weight: int) -> Formula:
    return lambda call: prod(call.out()) * prod(call.shape(weight)[1:])


def _conv_transpose(call: Call) -> int:
    return prod(call.shape(0)) * prod(call.shape(1)[1:])


def _deform_conv(call: Call) -> int:
    # the weights, and four products for each value that is sampled between pixels
    kernel = prod(call.shape(1)[2:])
    positions = prod((call.out()[0], *call.out()[2:]))
    return prod(call.out()) * prod(call.shape(1)[1:]) + 4 * kernel * call.shape(0)[1] * positions


def _matmul(left: int = 0) -> Formula:
    def macs(call: Call) -> int:
        transposed = call.attributes.get("transA", 0)
        shape = call.shape(left)
        depth = shape[-2] if transposed and len(shape) > 1 else shape[-1]
        return prod(call.out()) * depth

    return macs


def _matmul_nbits(call: Call) -> int:
    return prod(call.shape(0)[:-1]) * int(call.attributes["K"]) * int(call.attributes["N"])


def _einsum(call: Call) -> int:
    """All index sizes multiplied: n factors take n - 1 products at each, a single one is only moved or added up."""
    equation = _text(call.attributes["equation"]).replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for index, term in enumerate(terms):
        shape = call.shape(index)
        head, dots, tail = term.partition("...")
        hidden = len(shape) - len(head) - len(tail) if dots else 0
        labels = [*head, *(f"...{number - hidden}" for number in range(hidden)), *tail]
        if len(labels) != len(shape) or len(terms) != len(call.inputs):
            raise UnknownShapeError(f"{equation!r} does not fit its inputs")
        for label, size in zip(labels, shape, strict=True):
            sizes[label] = max(sizes.get(label, 1), size)
    return prod(sizes.values()) * (len(terms) - 1)


def _recurrent(call: Call) -> int:
    steps, batch, _ = call.shape(0)
    return steps * batch * (prod(call.shape(1)) + prod(call.shape(2)))


def _recurrent_gates(call: Call) -> int:
    steps, batch, _ = call.shape(0)
    directions, _, hidden = call.shape(2)
    return 8 * steps * batch * directions * hidden


def _heads(call: Call) -> tuple[int, int, int, int, int]:
    """Batch x query heads, query and key positions, and the widths of a query's and a value's head."""
    query, key, value = (call.shape(index) for index in range(3))
    if len(query) == 4:
        past = call.shapes.get(call.inputs[4], (0, 0, 0, 0))[2] if len(call.inputs) > 4 else 0
        return query[0] * query[1], query[2], key[2] + past, query[3], value[3]
    heads = int(call.attributes.get("q_num_heads") or call.attributes.get("num_heads") or 1)
    kv_heads = int(call.attributes.get("kv_num_heads") or heads)
    return query[0] * heads, query[1], key[1], query[2] // heads, value[2] // kv_heads


def _attention(call: Call) -> int:
    rows, queries, keys, width, value_width = _heads(call)
    return rows * queries * keys * (width + value_width)


def _attention_scores(call: Call) -> int:
    rows, queries, keys, _, _ = _heads(call)
    return rows * queries * keys


def _packed_attention(call: Call) -> int:
    # com.microsoft Attention: projects the input to queries, keys and values itself
    batch, positions, width = call.shape(0)
    hidden = call.shape(1)[1]
    return batch * positions * width * hidden + 2 * batch * positions**2 * (hidden // 3)


def _packed_attention_scores(call: Call) -> int:
    batch, positions, _ = call.shape(0)
    return batch * positions**2 * int(call.attributes.get("num_heads", 1))


def _resize(call: Call) -> int:
    mode = _text(call.attributes.get("mode", "nearest"))
    per_axis = {"nearest": 0, "linear": 2, "cubic": 4}.get(mode)
    if per_axis is None:
        raise UnknownShapeError(f"unknown mode {mode!r}")
    moved = sum(a != b for a, b in zip(call.shape(0), call.out(), strict=True))
    return prod(call.out()) * per_axis**moved if per_axis and moved else 0


def _grid_sample(call: Call) -> int:
    mode = _text(call.attributes.get("mode", "linear"))
    per_axis = {"nearest": 0, "bilinear": 2, "linear": 2, "bicubic": 4, "cubic": 4}.get(mode)
    if per_axis is None:
        raise UnknownShapeError(f"unknown mode {mode!r}")
    return prod(call.out()) * per_axis ** (len(call.out()) - 2) if per_axis else 0


def _squares(call: Call) -> int:
    return prod(call.shape(0))


MACS: Mapping[str, Formula] = MappingProxyType(
    {
        **dict.fromkeys(("Conv", "ConvInteger", "FusedConv", "NhwcFusedConv", "NhwcConv"), _conv(1)),
        "QLinearConv": _conv(3),
        "ConvTranspose": _conv_transpose,
        "DeformConv": _deform_conv,
        **dict.fromkeys(
            ("MatMul", "MatMulInteger", "Gemm", "FusedMatMul", "FusedGemm", "TransposeMatMul"), _matmul()
        ),
        **dict.fromkeys(
            (
                "QLinearMatMul",
                "QGemm",
                "DynamicQuantizeMatMul",
                "MatMulIntegerToFloat",
                "GemmFastGelu",
                "FusedMatMulActivation",
            ),
            _matmul(),
        ),
        "MatMulNBits": _matmul_nbits,
        "Einsum": _einsum,
        **dict.fromkeys(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"), _recurrent),
        **dict.fromkeys(("ai.onnx.Attention", "MultiHeadAttention"), _attention),
        **dict.fromkeys(("com.microsoft.Attention", "QAttention"), _packed_attention),
        **dict.fromkeys(("Resize", "Upsample"), _resize),
        "GridSample": _grid_sample,
        "AffineGrid": lambda call: prod(call.out()) * call.shape(0)[-1],
        **dict.fromkeys(("ReduceSumSquare", "ReduceL2"), _squares),
    }
)
BESIDES: Mapping[str, Formula] = MappingProxyType(
    {
        **dict.fromkeys(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"), _recurrent_gates),
        **dict.fromkeys(("ai.onnx.Attention", "MultiHeadAttention"), _attention_scores),
        **dict.fromkeys(("com.microsoft.Attention", "QAttention"), _packed_attention_scores),
        **dict.fromkeys(("FusedConv", "NhwcFusedConv", "FusedGemm", "FusedMatMulActivation"), _activation),
    }
)
PRODUCTS = frozenset(["Mul", "Div", "Pow", "QLinearMul"])
ADDITIONS = frozenset(["Add", "Sub", "Sum", "QLinearAdd"])
# The mean of several tensors (Mean) adds them up too, but each of them once: it is a sum, value by value, scaled.
REDUCTIONS = frozenset(
    """
    ReduceSum ReduceMean ReduceL1 ReduceLogSum GlobalAveragePool AveragePool CumSum ScatterElements
    ScatterND Col2Im QLinearGlobalAveragePool QLinearAveragePool QLinearReduceMean Mean
    """.split()  # noqa: SIM905  (a list of words reads best as words)
)
FUNCTIONS = frozenset(
    """
    Acos Acosh Asin Asinh Atan Atanh BatchNormalization BitShift BitwiseAnd BitwiseNot BitwiseOr
    BitwiseXor Celu Cos Cosh DequantizeLinear DynamicQuantizeLinear Elu Erf Exp Gelu GlobalLpPool
    GroupNormalization HardSigmoid HardSwish InstanceNormalization LayerNormalization LeakyRelu Log
    LogSoftmax LpNormalization LpPool LRN MeanVarianceNormalization Mish Mod PRelu QuantizeLinear
    Reciprocal ReduceLogSumExp ReduceProd RMSNormalization RotaryEmbedding Selu Sigmoid Sin Sinh Softmax
    Softplus Softsign Sqrt Swish Tan Tanh BiasGelu FastGelu QuickGelu BiasSplitGelu
    SkipLayerNormalization SimplifiedLayerNormalization SkipSimplifiedLayerNormalization QLinearSigmoid
    QLinearLeakyRelu QLinearSoftmax QLinearConcat GroupNorm BiasSoftmax BiasDropout
    """.split()  # noqa: SIM905  (a list of words reads best as words)
)
FREE = frozenset(
    """
    Abs And ArgMax ArgMin Bernoulli Cast CastLike Ceil CenterCropPad Clip Compress Concat Constant
    ConstantOfShape DepthToSpace Dropout Equal Expand EyeLike Flatten Floor Gather GatherElements
    GatherND GlobalMaxPool Greater GreaterOrEqual Hardmax Identity IsInf IsNaN Less LessOrEqual Max
    MaxPool MaxUnpool Min Neg Not OneHot Or Pad RandomNormal RandomNormalLike RandomUniform
    RandomUniformLike Range ReduceMax ReduceMin Relu Reshape ReverseSequence Round Shape Shrink Sign
    Size Slice SpaceToDepth Split Squeeze ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where Xor
    SequenceConstruct SequenceAt SequenceEmpty SequenceInsert SequenceLength ConcatFromSequence
    SplitToSequence Optional OptionalGetElement OptionalHasElement NhwcMaxPool QLinearWhere ReorderInput
    ReorderOutput
    """.split()  # noqa: SIM905  (a list of words reads best as words)
)
# Shapes behind these depend on values; they are known only where the values are constants.
VALUE_READS = frozenset(["NonZero", "Unique"])
