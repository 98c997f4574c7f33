"""Shapes of everything in an ONNX file: a script of its own, run in a process that a damaged file may kill.

    python onnx_shapes.py FILE IMAGE_SIZE MEMORY_BYTES

Writes the graph to standard output: local functions inlined, each batch of free size set to one, large weights
dropped, and the shape of every value inferred anew, whatever the file says about them. It imports onnx alone, and
nothing of wisp, since it starts for every file.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from math import prod
from pathlib import Path

import onnx
import onnx.inliner
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

KEPT_VALUES = 1024  # tensors up to this size may hold shapes and counts of turns
STAND_IN = "wisp.stand_in."
PARAMETERS = "wisp.parameters"
NOT_PARAMETERS = frozenset(
    {TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING}
)  # shapes, choices, names


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph and all graphs inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from graphs(inner)


def prepare(model: ModelProto, image_size: int) -> ModelProto:
    """The model as it is counted.

    Raises:
        Exception: onnx's own errors, for a file that is no valid model.
    """
    for value in model.graph.output:  # the checker wants a shape, runtimes do not; it is inferred anew anyway
        value.type.tensor_type.shape.SetInParent()
    onnx.checker.check_model(model)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
        del model.functions[:]
    parameters = sum(_strip(graph) for graph in graphs(model.graph))
    given = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in given:
            _fix(value, image_size)
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    shaped = ModelProto()
    shaped.CopyFrom(model)
    for graph in graphs(shaped.graph):
        _stand_in(graph)
    shaped = onnx.shape_inference.infer_shapes(shaped, data_prop=True)
    for original, inferred in zip(graphs(model.graph), graphs(shaped.graph), strict=True):
        original.value_info.extend(inferred.value_info)
        for before, after in zip(original.output, inferred.output, strict=True):
            before.CopyFrom(after)
    helper.set_model_props(model, {PARAMETERS: str(parameters)})
    return model


def _strip(graph: GraphProto) -> int:
    """Drop what the file says about shapes, and large weights; give the number of parameters."""
    del graph.value_info[:]
    parameters = 0
    for tensor in graph.initializer:
        if tensor.data_type not in NOT_PARAMETERS:
            parameters += prod(tensor.dims)
        _lighten(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _lighten(attribute.t)
    return parameters


def _lighten(tensor: TensorProto) -> None:
    """Drop the values of a large tensor; only its shape is needed."""
    if prod(tensor.dims) > KEPT_VALUES:
        for data in (
            "raw_data",
            "float_data",
            "int32_data",
            "int64_data",
            "double_data",
            "uint64_data",
            "external_data",
        ):
            tensor.ClearField(data)


def _fix(value: onnx.ValueInfoProto, image_size: int) -> None:
    """A batch of free size is one image; other free sizes are those of the image, where it is given."""
    for axis, dim in enumerate(value.type.tensor_type.shape.dim):
        if not dim.HasField("dim_value"):
            size = 1 if axis == 0 else image_size
            if size:
                dim.dim_value = size


def _same(op: str, *inputs: int) -> Callable[[NodeProto], NodeProto]:
    return lambda node: helper.make_node(
        op, [node.input[index] for index in inputs if index < len(node.input)], node.output[:1]
    )


def _keep_attributes(op: str, names: tuple[str, ...], *inputs: int) -> Callable[[NodeProto], NodeProto]:
    def make(node: NodeProto) -> NodeProto:
        made = _same(op, *inputs)(node)
        made.attribute.extend(attribute for attribute in node.attribute if attribute.name in names)
        return made

    return make


_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
_POOL = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides")
# Operators of ONNX Runtime, and one of ONNX with the same output shape, so that shapes are known behind them.
STAND_INS: Mapping[str, Callable[[NodeProto], NodeProto]] = {
    "FusedConv": _keep_attributes("Conv", _CONV, 0, 1),
    "FusedGemm": _keep_attributes("Gemm", ("transA", "transB"), 0, 1),
    "QGemm": _keep_attributes("Gemm", ("transA", "transB"), 0, 3),
    "DynamicQuantizeMatMul": _same("MatMul", 0, 1),
    "MatMulIntegerToFloat": _same("MatMul", 0, 1),
    "QLinearAdd": _same("Add", 0, 3),
    "QLinearMul": _same("Mul", 0, 3),
    "QLinearGlobalAveragePool": _same("GlobalAveragePool", 0),
    "QLinearAveragePool": _keep_attributes("AveragePool", _POOL, 0),
    "BiasGelu": _same("Add", 0, 1),
    **dict.fromkeys(
        ("Gelu", "FastGelu", "QuickGelu", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax"),
        _same("Identity", 0),
    ),
    **dict.fromkeys(
        ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "MultiHeadAttention", "GroupNorm"),
        _same("Identity", 0),
    ),
}


def _stand_in(graph: GraphProto) -> None:
    for index, node in enumerate(graph.node):
        if node.domain != "com.microsoft":
            continue
        if (
            node.op_type == "QLinearConcat"
        ):  # (scale, zero point) of the output, then (value, scale, zero point) each
            made = helper.make_node("Concat", list(node.input[2::3]), node.output[:1])
            made.attribute.extend(attribute for attribute in node.attribute if attribute.name == "axis")
        elif node.op_type in {"MatMulNBits", "Attention", "QAttention", "FusedMatMul"}:
            made = _projection(graph, node, index)
        elif node.op_type in STAND_INS:
            made = STAND_INS[node.op_type](node)
        else:
            continue
        if made is not node:
            graph.node[index].CopyFrom(made)


def _projection(graph: GraphProto, node: NodeProto, index: int) -> NodeProto:
    """A matrix product with weights of the shape that these stand for."""
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type == "MatMulNBits":
        dims = [int(attributes["K"]), int(attributes["N"])]
    else:
        dims = next((list(tensor.dims) for tensor in graph.initializer if tensor.name == node.input[1]), [])
        if node.op_type == "FusedMatMul":
            if attributes.get("transA") or not (attributes.get("transB") and dims):
                # two computed factors, one of them turned: no operator of ONNX does that in one step
                turned = any(
                    attributes.get(name) for name in ("transA", "transB", "transBatchA", "transBatchB")
                )
                return node if turned else _same("MatMul", 0, 1)(node)
            dims[-2:] = reversed(dims[-2:])
        elif dims:
            dims = [dims[0], dims[1] // 3]  # queries, keys and values side by side
    name = f"{STAND_IN}{index}"
    graph.initializer.append(TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims))
    return helper.make_node("MatMul", [node.input[0], name], node.output[:1])


def _limit_memory(size_bytes: int) -> None:
    try:
        import resource  # noqa: PLC0415  (Unix alone has it)

        resource.setrlimit(resource.RLIMIT_AS, (size_bytes, size_bytes))
    except (ImportError, ValueError, OSError):
        return  # no such limit on this system; the time is bounded still


def main() -> int:
    """Run on the file that the command line names."""
    file, image_size, memory = sys.argv[1:]
    _limit_memory(int(memory))
    try:
        model = ModelProto.FromString(Path(file).read_bytes())
        sys.stdout.buffer.write(prepare(model, int(image_size)).SerializeToString())
    except BaseException as error:  # whatever is wrong with the file, one line says it
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        sys.stderr.write(lines[0] if lines else type(error).__name__)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
