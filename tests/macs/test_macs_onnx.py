"""MACs of graphs: float, quantized, fused, with control flow; and files that are no graphs."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from tiny_onnx import colour_graph
from wisp.errors import ModelError
from wisp.export import export_onnx, fold_batchnorm
from wisp.macs import count_exact, count_onnx, ledger, onnx_shapes
from wisp.macs import onnx as counter
from wisp.models import build, named
from wisp.records import ResizeRule

N = helper.make_node
FLOAT, INT64, UINT8, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8, TensorProto.BOOL


def _array(name: str, *shape: int, dtype: Any = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.ones(shape, dtype), name)


def _value(name: str, kind: int, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(
    nodes: Sequence[NodeProto],
    weights: Sequence[TensorProto],
    shape: Sequence[int | str] = (1, 3, 8, 8),
    *,
    kind: int = FLOAT,
    output: str = "y",
    output_kind: int = FLOAT,
    functions: Sequence[onnx.FunctionProto] = (),
) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [_value("x", kind, *shape)],
        [helper.make_tensor_value_info(output, output_kind, None)],
        list(weights),
    )
    domains = [
        helper.make_opsetid("", 23),
        *(helper.make_opsetid(d, 1) for d in ("com.microsoft", "own", "local")),
    ]
    return helper.make_model(graph, opset_imports=domains, ir_version=11, functions=list(functions))


def _count(model: ModelProto, folder: Path, image_size: int | None = None) -> Any:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return count_onnx(path, image_size)


CONV = 36 * 4 * 27
_Q = [_array("s", dtype=np.float32), _array("z", dtype=np.uint8)]
OPERATORS: dict[str, tuple[ModelProto, int, int]] = {
    "Conv": (_model([N("Conv", ["x", "w"], ["y"])], [_array("w", 4, 3, 3, 3)]), CONV, 0),
    "Conv, free batch": (
        _model([N("Conv", ["x", "w"], ["y"])], [_array("w", 4, 3, 3, 3)], ("n", 3, 8, 8)),
        CONV,
        0,
    ),
    "depthwise": (_model([N("Conv", ["x", "w"], ["y"], group=3)], [_array("w", 6, 1, 3, 3)]), 36 * 6 * 9, 0),
    "ConvTranspose": (
        _model([N("ConvTranspose", ["x", "w"], ["y"], group=3, strides=[2, 2])], [_array("w", 3, 2, 3, 3)]),
        64 * 3 * 2 * 9,
        0,
    ),
    "ConvInteger": (
        _model(
            [N("ConvInteger", ["x", "w"], ["y"])],
            [_array("w", 4, 3, 3, 3, dtype=np.uint8)],
            kind=UINT8,
            output_kind=TensorProto.INT32,
        ),
        CONV,
        0,
    ),
    "QLinearConv": (
        _model(
            [N("QLinearConv", ["x", "s", "z", "w", "s", "z", "s", "z"], ["y"])],
            [*_Q, _array("w", 4, 3, 3, 3, dtype=np.uint8)],
            kind=UINT8,
            output_kind=UINT8,
        ),
        CONV,
        0,
    ),
    "Gemm": (
        _model(
            [N("Flatten", ["x"], ["f"]), N("Gemm", ["f", "w", "b"], ["y"], transB=1)],
            [_array("w", 5, 192), _array("b", 5)],
        ),
        960,
        0,
    ),
    "MatMul": (_model([N("MatMul", ["x", "w"], ["y"])], [_array("w", 8, 5)]), 960, 0),
    "MatMulInteger": (
        _model(
            [N("MatMulInteger", ["x", "w"], ["y"])],
            [_array("w", 8, 5, dtype=np.uint8)],
            kind=UINT8,
            output_kind=TensorProto.INT32,
        ),
        960,
        0,
    ),
    "Einsum": (
        _model([N("Einsum", ["x", "w"], ["y"], equation="nchw,dc->ndhw")], [_array("w", 4, 3)]),
        64 * 12,
        0,
    ),
    "Einsum with dots": (
        _model([N("Einsum", ["x", "w"], ["y"], equation="...i,ij")], [_array("w", 8, 5)]),
        960,
        0,
    ),
    "Attention": (
        _model([N("Attention", ["x", "x", "x"], ["y"])], [], (1, 3, 16, 4)),
        2 * 3 * 16 * 16 * 4,
        3 * 16 * 16,
    ),
    "LSTM": (
        _model(
            [N("LSTM", ["x", "w", "r"], ["y"], hidden_size=5)],
            [_array("w", 1, 20, 3), _array("r", 1, 20, 5)],
            (7, 2, 3),
        ),
        14 * 160,
        8 * 14 * 5,
    ),
    "Resize": (
        _model(
            [N("Resize", ["x", "", "sc"], ["y"], mode="linear")],
            [numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "sc")],
        ),
        4 * 4 * 192,
        0,
    ),
    "gate": (_model([N("Sigmoid", ["x"], ["g"]), N("Mul", ["x", "g"], ["y"])], []), 0, 2 * 192),
    "multiply and sum": (
        _model(
            [N("Mul", ["x", "w"], ["p"]), N("Relu", ["p"], ["r"]), N("ReduceSum", ["r", "a"], ["y"])],
            [_array("w", 8), _array("a", 1, dtype=np.int64)],
        ),
        192,
        0,
    ),
    "three products added": (
        _model(
            [N("Mul", ["x", "w"], [f"p{i}"]) for i in range(3)]
            + [N("Add", ["p0", "p1"], ["q"]), N("Add", ["q", "p2"], ["y"])],
            [_array("w", 8)],
        ),
        3 * 192,
        0,
    ),
    "constants alone": (
        _model(
            [N("MatMul", ["a", "b"], ["w"]), N("Add", ["x", "w"], ["y"])],
            [_array("a", 8, 8), _array("b", 8, 8)],
        ),
        0,
        0,
    ),
    "FusedConv": (
        _model(
            [
                N("FusedConv", ["x", "w"], ["h"], domain="com.microsoft", activation="Relu"),
                N("Conv", ["h", "v"], ["y"]),
            ],
            [_array("w", 4, 3, 3, 3), _array("v", 2, 4, 1, 1)],
        ),
        CONV + 36 * 8,
        0,
    ),
    "FusedMatMul": (
        _model([N("FusedMatMul", ["x", "w"], ["y"], domain="com.microsoft", transB=1)], [_array("w", 5, 8)]),
        960,
        0,
    ),
    "MatMulNBits": (
        _model(
            [
                N(
                    "MatMulNBits",
                    ["x", "w", "s"],
                    ["y"],
                    domain="com.microsoft",
                    K=8,
                    N=5,
                    bits=4,
                    block_size=16,
                )
            ],
            [_array("w", 5, 1, 8, dtype=np.uint8), _array("s", 5)],
        ),
        960,
        0,
    ),
    "fused Attention": (
        _model(
            [N("Attention", ["x", "w", "b"], ["y"], domain="com.microsoft", num_heads=2)],
            [_array("w", 4, 12), _array("b", 12)],
            (1, 6, 4),
        ),
        6 * 4 * 12 + 2 * 36 * 4,
        2 * 36,
    ),
    "QLinear operators": (
        _model(
            [
                N("QLinearAdd", ["x", "s", "z", "x", "s", "z", "s", "z"], ["a"], domain="com.microsoft"),
                N(
                    "QLinearConcat",
                    ["s", "z", "a", "s", "z", "x", "s", "z"],
                    ["c"],
                    domain="com.microsoft",
                    axis=1,
                ),
                N("QLinearConv", ["c", "s", "z", "w", "s", "z", "s", "z"], ["h"]),
                N("QLinearGlobalAveragePool", ["h", "s", "z", "s", "z"], ["y"], domain="com.microsoft"),
            ],
            [*_Q, _array("w", 2, 6, 1, 1, dtype=np.uint8)],
            kind=UINT8,
            output_kind=UINT8,
        ),
        64 * 12,
        384,
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name: str, tmp_path: Path) -> None:
    model, macs, elementwise = OPERATORS[name]
    report = _count(model, tmp_path)
    assert (report.total, report.elementwise, report.unknown) == (macs, elementwise, ())
    assert report.method == "onnx"


def test_local_functions_are_opened(tmp_path: Path) -> None:
    inner = helper.make_function(
        "local",
        "Twice",
        ["a", "w"],
        ["b"],
        [N("MatMul", ["a", "w"], ["t"]), N("MatMul", ["t", "w"], ["b"])],
        [helper.make_opsetid("", 23)],
    )
    model = _model([N("Twice", ["x", "w"], ["y"], domain="local")], [_array("w", 8, 8)], functions=[inner])
    assert _count(model, tmp_path).total == 2 * 192 * 8


def _graph(
    nodes: Sequence[NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Sequence[TensorProto] = (),
) -> GraphProto:
    return helper.make_graph(list(nodes), "inner", list(inputs), list(outputs), list(weights))


IMAGE = (1, 3, 8, 8)


def _branch(turns: int) -> GraphProto:
    names = ["x", *(f"m{turns}{i}" for i in range(turns))]
    nodes = [N("MatMul", [names[i], "w"], [names[i + 1]]) for i in range(turns)]
    return _graph(nodes, [], [_value(names[-1], FLOAT, *IMAGE)])


def test_branches_count_the_larger(tmp_path: Path) -> None:
    choose = [
        N("ReduceMax", ["x"], ["m"], keepdims=0),
        N("Cast", ["m"], ["c"], to=BOOL),
        N("If", ["c"], ["y"], then_branch=_branch(1), else_branch=_branch(3)),
    ]
    report = _count(_model(choose, [_array("w", 8, 8)]), tmp_path)
    assert report.total == 3 * 192 * 8
    assert [item.operator for item in report.unknown] == ["If"]
    same = [*choose[:2], N("If", ["c"], ["y"], then_branch=_branch(2), else_branch=_branch(2))]
    report = _count(_model(same, [_array("w", 8, 8)]), tmp_path)
    assert (report.total, report.complete) == (2 * 192 * 8, True)
    fixed = [N("If", ["c"], ["y"], then_branch=_branch(1), else_branch=_branch(3))]
    report = _count(
        _model(fixed, [_array("w", 8, 8), numpy_helper.from_array(np.array(True), "c")]), tmp_path
    )
    assert (report.total, report.complete) == (192 * 8, True)


def _loop(nodes: Sequence[NodeProto], result: str = "next", go_on: str = "more") -> NodeProto:
    body = _graph(
        nodes,
        [_value("i", INT64), _value("go", BOOL), _value("last", FLOAT, *IMAGE)],
        [_value(go_on, BOOL), _value(result, FLOAT, *IMAGE)],
    )
    return N("Loop", ["turns", "", "x"], ["y"], body=body)


def test_loops(tmp_path: Path) -> None:
    turns = numpy_helper.from_array(np.array(5, np.int64), "turns")
    on = N("Identity", ["go"], ["more"])
    report = _count(
        _model([_loop([on, N("MatMul", ["last", "w"], ["next"])])], [turns, _array("w", 8, 8)]), tmp_path
    )
    assert (report.total, report.unknown) == (5 * 192 * 8, ())
    # products added up from turn to turn
    adding = _loop([on, N("Mul", ["x", "w"], ["p"]), N("Add", ["last", "p"], ["next"])])
    assert _count(_model([adding], [turns, _array("w", 8, 8)]), tmp_path).total == 5 * 192
    # a condition that is computed
    stops = _loop(
        [
            N("ReduceMax", ["last"], ["m"], keepdims=0),
            N("Cast", ["m"], ["more"], to=BOOL),
            N("MatMul", ["last", "w"], ["next"]),
        ]
    )
    report = _count(_model([stops], [turns, _array("w", 8, 8)]), tmp_path)
    assert (report.total, report.complete) == (5 * 192 * 8, False)
    # a number of turns that is computed
    unknown = [
        N("ReduceMax", ["x"], ["m"], keepdims=0),
        N("Cast", ["m"], ["turns"], to=INT64),
        _loop([on, N("MatMul", ["last", "w"], ["next"])]),
    ]
    report = _count(_model(unknown, [_array("w", 8, 8)]), tmp_path)
    assert (report.total, report.complete) == (192 * 8, False)


def test_scan(tmp_path: Path) -> None:
    body = _graph(
        [N("MatMul", ["row", "w"], ["out"]), N("Add", ["state", "out"], ["next"])],
        [_value("state", FLOAT, 8, 8), _value("row", FLOAT, 8, 8)],
        [_value("next", FLOAT, 8, 8)],
    )
    model = _model(
        [N("Scan", ["w", "x"], ["y"], body=body, num_scan_inputs=1)], [_array("w", 8, 8)], (3, 8, 8)
    )
    report = _count(model, tmp_path)
    assert (report.total, report.complete) == (3 * 512, True)


@pytest.mark.parametrize(
    ("node", "operator"),
    [
        (N("Own", ["x"], ["y"], domain="own"), "own::Own"),
        (N("Rare", ["x"], ["y"], domain="com.microsoft"), "com.microsoft::Rare"),
        (N("Det", ["x"], ["y"]), "Det"),
        (N("NonZero", ["x"], ["y"]), "NonZero"),
    ],
)
def test_unknown_operators_are_named(node: NodeProto, operator: str, tmp_path: Path) -> None:
    report = _count(_model([node], []), tmp_path)
    assert [item.operator for item in report.unknown] == [operator]
    assert not report.complete


def test_shapes_are_inferred_whatever_the_file_says(tmp_path: Path) -> None:
    model = _model([N("MatMul", ["x", "w"], ["h"]), N("MatMul", ["h", "w"], ["y"])], [_array("w", 8, 8)])
    model.graph.value_info.append(_value("h", FLOAT, 1, 1, 1, 8))
    del model.graph.output[:]
    model.graph.output.append(_value("y", FLOAT, 1, 1, 1, 8))
    assert _count(model, tmp_path).total == 2 * 192 * 8


def test_free_sizes(tmp_path: Path) -> None:
    model = _model([N("Conv", ["x", "w"], ["y"])], [_array("w", 4, 3, 3, 3)], ("n", 3, "h", "w_"))
    assert _count(model, tmp_path, 8).total == CONV
    report = _count(model, tmp_path)
    assert (report.total, report.complete) == (0, False)
    assert "shape of" in report.unknown[0].reason


class _Images(CalibrationDataReader):
    def __init__(self) -> None:
        self._left = iter([{"image": np.random.default_rng(0).random((1, 3, 16, 16), np.float32)}])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._left, None)


@pytest.mark.parametrize("layout", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_a_quantized_network_costs_what_it_did(layout: QuantFormat, tmp_path: Path) -> None:
    graph = helper.make_graph(
        [
            N("Conv", ["image", "w"], ["c"], strides=[2, 2]),
            N("Relu", ["c"], ["r"]),
            N("Conv", ["r", "d"], ["e"], group=4),
            N("GlobalAveragePool", ["e"], ["p"]),
            N("Flatten", ["p"], ["f"]),
            N("MatMul", ["f", "v"], ["y"]),
        ],
        "g",
        [_value("image", FLOAT, "n", 3, 16, 16)],
        [_value("y", FLOAT, "n", 5)],
        [_array("w", 4, 3, 3, 3), _array("d", 4, 1, 3, 3), _array("v", 4, 5)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    before, after = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    onnx.save_model(model, before)
    quantize_static(
        before,
        after,
        _Images(),
        quant_format=layout,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    expected, found = count_onnx(before), count_onnx(after)
    assert found.unknown == expected.unknown == ()
    assert found.total == expected.total == 49 * 4 * 27 + 25 * 4 * 9 + 20
    assert found.params >= 4 * 27 + 36 + 20
    assert [layer.params for layer in expected.layers] == [4 * 27, 36, 20]
    # with scales and zero points, and in one layout with the biases that quantizing adds
    assert all(layer.params >= was.params for layer, was in zip(found.layers, expected.layers, strict=True))


def test_agrees_with_the_exact_count(tmp_path: Path) -> None:
    """As folded and as trained; for all families: export/test_every_network.py."""
    torch.manual_seed(0)
    network = build(named("wisp-250k", 3))
    path = tmp_path / "model.onnx"
    export_onnx(
        network,
        labels=("a", "b", "c"),
        resize=ResizeRule(32),
        macs_as_trained=1,
        provenance={},
        check_images=np.zeros((1, 32, 32, 3), np.uint8),
        path=path,
    )
    report = count_onnx(path)
    assert report.complete
    assert (
        report.total == count_exact(fold_batchnorm(network, 32), 32).total == count_exact(network, 32).total
    )


def _damaged(data: bytes) -> list[bytes]:
    generator = random.Random(0)  # noqa: S311
    damaged = [b"", b"\x00", data[: len(data) // 2], data[1:], b"PK\x03\x04" + data]
    for _ in range(6):
        changed = bytearray(data)
        for _ in range(generator.choice((1, 4, 16))):
            changed[generator.randrange(len(changed))] = generator.randrange(256)
        damaged.append(bytes(changed))
    return damaged


def test_damaged_files_are_refused_or_counted(tmp_path: Path) -> None:
    path = tmp_path / "damaged.onnx"
    complaints = []
    for data in _damaged(colour_graph().SerializeToString()):
        path.write_bytes(data)
        try:
            assert count_onnx(path).total >= 0
        except ModelError as error:
            complaints.append(str(error))
    assert len(complaints) >= 4
    assert all(text.startswith(f"{path}: ") and "\n" not in text for text in complaints)


def test_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        count_onnx(tmp_path / "no.onnx")
    with pytest.raises(ModelError, match="not a file"):
        count_onnx(tmp_path)
    path = tmp_path / "model.onnx"
    path.write_bytes(OPERATORS["three products added"][0].SerializeToString())
    monkeypatch.setattr(counter, "LARGEST_NUMBER_OF_NODES", 2)
    with pytest.raises(ModelError, match="more than 2 operators"):
        count_onnx(path)
    monkeypatch.setattr(counter, "TIME_S", 0.001)
    with pytest.raises(ModelError, match="is it really a model"):
        count_onnx(path)
    monkeypatch.setattr(counter, "LARGEST_FILE_BYTES", 10)
    with pytest.raises(ModelError, match="at most 10 bytes"):
        count_onnx(path)


def test_nested_too_deep(tmp_path: Path) -> None:
    inner = _branch(1)
    for level in range(8):
        node = N("If", ["c"], [f"o{level}"], then_branch=inner, else_branch=inner)
        inner = _graph([node], [], [_value(f"o{level}", FLOAT, *IMAGE)])
    nodes = [N("ReduceMax", ["x"], ["m"], keepdims=0), N("Cast", ["m"], ["c"], to=BOOL), *inner.node]
    with pytest.raises(ModelError, match="nested"):
        _count(_model(nodes, [_array("w", 8, 8)], output="o7"), tmp_path)


def test_nodes_that_make_no_sense(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    scan = N("Scan", ["x", "w"], ["y"], body=_branch(1), num_scan_inputs=-7)
    path.write_bytes(_model([scan], [_array("w", 8, 8)]).SerializeToString())
    with pytest.raises(ModelError, match=r"not a valid ONNX model|makes no sense"):
        count_onnx(path)


def test_following_products_takes_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter, "Ledger", lambda: ledger.Ledger(_room=3))
    nodes = [N("Mul", ["x", "w"], [f"p{i}"]) for i in range(4)]
    nodes.append(N("Concat", [f"p{i}" for i in range(4)], ["y"], axis=1))
    assert _count(_model(nodes, [_array("w", 8)]), tmp_path).total == 4 * 192


def test_the_reader_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """What the other process does, in this one: without its limit of memory."""
    monkeypatch.setattr(onnx_shapes, "_limit_memory", lambda _size: None)
    path = tmp_path / "model.onnx"
    monkeypatch.setattr("sys.argv", ["onnx_shapes.py", str(path), "8", "1"])
    for model, _, _ in OPERATORS.values():
        path.write_bytes(model.SerializeToString())
        assert onnx_shapes.main() == 0
        sys.stdout.flush()
        read = ModelProto.FromString(capfdbinary.readouterr().out)
        assert [node.op_type for node in read.graph.node] == [node.op_type for node in model.graph.node]
        assert read.graph.output[0].type.tensor_type.HasField("shape")
    path.write_bytes(b"PK")
    assert onnx_shapes.main() == 1
    assert capfdbinary.readouterr().err
    large = _model([N("MatMul", ["x", "w"], ["y"])], [_array("w", 8, 5000)])
    assert not onnx_shapes.prepare(large, 8).graph.initializer[0].raw_data
    turned = _model([N("FusedMatMul", ["x", "x"], ["y"], domain="com.microsoft", transA=1)], [])
    assert not onnx_shapes.prepare(turned, 8).graph.output[0].type.tensor_type.HasField("shape")


# --- what the competition's counter would say of the modules that the nodes were ----------------------------------


@pytest.mark.parametrize(
    ("node", "weights", "least", "most"),
    [
        (
            N("Conv", ["x", "w", "b"], ["y"]),
            [_array("w", 4, 3, 3, 3), _array("b", 4)],
            4 * 36 * 28,
            4 * 36 * 28,
        ),
        (N("Conv", ["x", "w"], ["y"]), [_array("w", 4, 3, 3, 3)], 4 * 36 * 27, 4 * 36 * 28),
        (
            N("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2]),
            [_array("w", 3, 4, 2, 2)],
            3 * 4 * 4 * 256,
            3 * 4 * 4 * 256 + 4 * 256,
        ),
        (N("MaxPool", ["x"], ["y"], kernel_shape=[2, 2]), [], 192, 192),
        (N("GlobalAveragePool", ["x"], ["y"]), [], 192, 192),
        (N("ReduceMean", ["x", "axes"], ["y"]), [numpy_helper.from_array(np.array([2, 3]), "axes")], 0, 192),
        (N("MatMul", ["x", "w"], ["y"]), [_array("w", 8, 5)], 3 * 8 * 8 * 5, 3 * 8 * 8 * 5),
        (N("MatMul", ["x", "x"], ["y"]), [], 0, 0),
        (
            N("BatchNormalization", ["x", "s", "s", "s", "s"], ["y"]),
            [_array("s", 3)],
            2 * 192,
            2 * 192,
        ),
        (
            N("Resize", ["x", "", "scale"], ["y"], mode="nearest"),
            [numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scale")],
            768,
            768,
        ),
        (N("Sigmoid", ["x"], ["y"]), [], 0, 0),
    ],
    ids=lambda value: value.op_type if isinstance(value, NodeProto) else "",
)
def test_official_macs_of_a_graph(
    node: NodeProto, weights: list[TensorProto], least: int, most: int, tmp_path: Path
) -> None:
    assert _count(_model([node], weights), tmp_path).official == (least, most)


def test_official_macs_that_a_graph_does_not_tell(tmp_path: Path) -> None:
    branch = _branch(1)
    nodes = [
        N("ReduceMax", ["x"], ["m"], keepdims=0),
        N("Cast", ["m"], ["c"], to=BOOL),
        N("If", ["c"], ["y"], then_branch=branch, else_branch=branch),
    ]
    assert _count(_model(nodes, [_array("w", 8, 8)]), tmp_path).official is None
    unknown = [N("Own", ["x"], ["z"], domain="own"), N("MaxPool", ["z"], ["y"], kernel_shape=[2, 2])]
    assert _count(_model(unknown, []), tmp_path).official is None
