"""MACs of an ONNX graph, float or quantized, from the file alone: nothing of it is run."""

from __future__ import annotations

import os
import sys
from collections import ChainMap
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from wisp.child_process import run_bounded
from wisp.errors import ModelError
from wisp.macs import onnx_shapes
from wisp.macs.ledger import Ledger, Place
from wisp.macs.onnx_formulas import (
    ADDITIONS,
    BESIDES,
    FREE,
    FUNCTIONS,
    MACS,
    PRODUCTS,
    REDUCTIONS,
    VALUE_READS,
    Call,
    Shape,
    UnknownShapeError,
)
from wisp.macs.onnx_modules import module_macs
from wisp.macs.report import ProgramReport

LARGEST_FILE_BYTES = 1 << 30
LARGEST_NUMBER_OF_NODES = 500_000
LARGEST_GRAPH_BYTES = 64 << 20  # with shapes, without weights: 128 bytes for each of the operators
DEEPEST = 6
MEMORY_BYTES = 4 << 30  # of the process that reads the file
TIME_S = 120
_DOMAINS = {"": "", "ai.onnx": "", "com.microsoft": "com.microsoft", "com.microsoft.nchwc": "com.microsoft"}
_AMBIGUOUS = {"Attention": {"": "ai.onnx.Attention", "com.microsoft": "com.microsoft.Attention"}}
_DEPENDS = "which part runs depends on values: the larger count is given"
_TURNS = "the number of turns depends on values: counted once"
_STOPS = "it may stop early, depending on values: all turns are counted"
_NO_RULE = "no formula for this operator"


def count_onnx(path: Path, image_size: int | None = None) -> ProgramReport:
    """The multiply-accumulates of the graph in `path`, for one image.

    A batch of free size counts as one. What depends on constants alone is free, since every runtime folds it.
    Convolutions, products and additions count as they do in `wisp.macs.count_exact`, whatever their number format;
    quantizing and dequantizing are elementwise. The file is read in a process of its own, with bounded memory and
    time.

    Args:
        path: the file.
        image_size: side of the image, for a graph that leaves it open.

    Raises:
        ModelError: there is no such file, or it is no valid ONNX model.
    """
    model = _read(path, image_size or 0)
    parameters = {prop.key: prop.value for prop in model.metadata_props}.get(onnx_shapes.PARAMETERS, "0")
    walk = _Walk(path)
    try:
        walk.graph(model.graph, _Scope(), times=1, depth=0)
    except ModelError:
        raise
    except Exception as error:  # attributes of a wrong type, missing inputs: whatever the checker lets pass
        raise ModelError(
            f"{path}: a node of the graph makes no sense ({error}); export the model again"
        ) from error
    report = walk.ledger.report(
        method="onnx",
        params=int(parameters),
        kinds=walk.kinds,
        params_of=lambda layer: walk.parameters.get(layer, 0),
        shapes=walk.outputs,
    )
    return replace(report, official=walk.official)


def _read(path: Path, image_size: int) -> ModelProto:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    if not path.is_file():
        raise ModelError(f"{path}: not a file")
    if size > LARGEST_FILE_BYTES:
        raise ModelError(f"{path}: {size:,} bytes; a model of at most {LARGEST_FILE_BYTES:,} bytes is read")
    command = [
        sys.executable,
        "-I",
        onnx_shapes.__file__,
        os.fspath(path.resolve()),
        str(image_size),
        str(MEMORY_BYTES),
    ]
    done = run_bounded(command, seconds=TIME_S, output_bytes=LARGEST_GRAPH_BYTES)
    if done.end == "time":
        raise ModelError(f"{path}: reading it took over {TIME_S} seconds; is it really a model?")
    if done.end == "output":
        raise ModelError(f"{path}: its graph without the weights has over {LARGEST_GRAPH_BYTES:,} bytes")
    if done.status:
        reason = f"it stopped the reader, {done.reason}" if done.status < 0 else done.reason
        raise ModelError(f"{path}: not a valid ONNX model ({reason})")
    try:
        return ModelProto.FromString(done.output)
    except Exception as error:  # protobuf's DecodeError, which has no typed home
        raise ModelError(f"{path}: not a valid ONNX model ({error})") from error


@dataclass(frozen=True, slots=True)
class _Scope:
    """What is known about values inside a graph: shapes, constants, and the parameters that went into these.

    Of constants the value is kept where it is one number. Names of outer graphs are seen inside; onnx's
    checker has made sure that none is given twice.
    """

    shapes: ChainMap[str, Shape] = field(default_factory=ChainMap)
    constants: ChainMap[str, Any] = field(default_factory=ChainMap)
    parameters: ChainMap[str, int] = field(default_factory=ChainMap)

    def enter(self, graph: GraphProto) -> _Scope:
        inner = _Scope(self.shapes.new_child(), self.constants.new_child(), self.parameters.new_child())
        for value in (*graph.input, *graph.value_info, *graph.output):
            dims = value.type.tensor_type.shape.dim
            known = value.type.tensor_type.HasField("shape") and all(
                dim.HasField("dim_value") and dim.dim_value >= 0 for dim in dims
            )
            if known:
                inner.shapes[value.name] = tuple(dim.dim_value for dim in dims)
        for tensor in graph.initializer:
            inner.shapes[tensor.name] = tuple(tensor.dims)
            inner.constants[tensor.name] = _scalar(tensor)
            if tensor.data_type not in onnx_shapes.NOT_PARAMETERS:
                inner.parameters[tensor.name] = prod(tensor.dims)
        return inner

    def parameters_of(self, node: NodeProto) -> int:
        """Of the constants that it reads, each once; quantized ones with their scale and zero point."""
        return sum(self.parameters.get(source, 0) for source in set(node.input))


def _scalar(tensor: onnx.TensorProto) -> Any:
    """The value of a tensor that holds one; None for others."""
    if prod(tensor.dims) != 1 or tensor.data_location == onnx.TensorProto.EXTERNAL:
        return None
    return numpy_helper.to_array(tensor).reshape(-1)[0].item()


class _Walk:
    """One pass over a graph and the graphs inside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ledger = Ledger()
        self.kinds: dict[str, str] = {}
        self.outputs: dict[str, Shape] = {}
        self.parameters: dict[str, int] = {}
        self.official: tuple[int, int] | None = (0, 0)  # None: not to be told from this graph
        self._nodes = 0

    def graph(self, graph: GraphProto, outer: _Scope, *, times: int, depth: int) -> None:
        if depth > DEEPEST:
            raise ModelError(f"{self.path}: graphs are nested more than {DEEPEST} deep")
        scope = outer.enter(graph)
        for node in graph.node:
            self._nodes += 1
            if self._nodes > LARGEST_NUMBER_OF_NODES:
                raise ModelError(f"{self.path}: more than {LARGEST_NUMBER_OF_NODES:,} operators")
            self._node(node, scope, times, depth)

    def _node(self, node: NodeProto, scope: _Scope, times: int, depth: int) -> None:
        attributes = {
            item.name: helper.get_attribute_value(item) for item in node.attribute if not item.ref_attr_name
        }
        layer = node.name or next(iter(node.output), node.op_type)
        place = Place(layer, None)
        domain = _DOMAINS.get(node.domain)
        name = node.op_type if domain is None else _AMBIGUOUS.get(node.op_type, {}).get(domain, node.op_type)
        shown = f"{node.domain}::{node.op_type}" if domain != "" else node.op_type
        call = Call(tuple(node.input), tuple(node.output), attributes, scope.shapes)
        self.kinds.setdefault(layer, node.op_type)
        if node.output and node.output[0] in scope.shapes:
            self.outputs[layer] = scope.shapes[node.output[0]][1:]
        if domain == "" and name in {"If", "Loop", "Scan"}:
            self.official = None
            self._control(node, call, scope, place, times, depth)
        elif domain is None or not any(name in table for table in _KNOWN):
            self.ledger.miss(shown, place, _NO_RULE)
        elif all(source in scope.constants for source in node.input if source):
            value = _scalar(attributes["value"]) if name == "Constant" and "value" in attributes else None
            scope.constants.update(dict.fromkeys(node.output, value))
            scope.parameters.update(dict.fromkeys(node.output[:1], scope.parameters_of(node)))
        else:
            self.parameters[layer] = scope.parameters_of(node)
            try:
                self._operator(name, shown, call, place, times)
                if self.official is not None:
                    (least, most), here = self.official, module_macs(name, call, scope.constants)
                    self.official = least + here[0], most + here[1]
            except UnknownShapeError as error:
                self.ledger.miss(shown, place, str(error))
                self.official = None

    def _operator(self, name: str, shown: str, call: Call, place: Place, times: int) -> None:
        ledger, out = self.ledger, call.outputs[0]
        if name in MACS:
            besides = BESIDES[name](call) if name in BESIDES else 0
            ledger.count(shown, place, macs=MACS[name](call), elementwise=besides, times=times)
            ledger.reset(out)
        elif name in PRODUCTS:
            ledger.product(out, ledger.count(shown, place, elementwise=prod(call.out()), times=times))
        elif name in FUNCTIONS:
            sizes = [prod(call.shapes[value]) for value in (*call.inputs[:1], out) if value in call.shapes]
            if not sizes:
                raise UnknownShapeError(f"the shape of {out!r} is not known")
            ledger.count(shown, place, elementwise=max(sizes), times=times)
            ledger.reset(out)
        elif name in ADDITIONS:
            ledger.add([call.inputs[0], *call.inputs[3:4]] if name == "QLinearAdd" else call.inputs, out)
        elif name in REDUCTIONS:
            ledger.reduce(call.inputs, out)
        else:
            if name in VALUE_READS:
                ledger.miss(shown, place, "the size of its output depends on values")
            for output in call.outputs:
                ledger.carry(call.inputs, output)

    def _control(
        self, node: NodeProto, call: Call, scope: _Scope, place: Place, times: int, depth: int
    ) -> None:
        if node.op_type == "If":
            self._branch(node, call, scope, place, times, depth)
            return
        body: GraphProto = call.attributes["body"]
        if node.op_type == "Loop":
            turns = scope.constants.get(node.input[0]) if node.input[0] else None
            if not isinstance(turns, int):
                self.ledger.miss(node.op_type, place, _TURNS)
                turns = 1
            elif not _goes_on(node, body, scope):
                self.ledger.miss(node.op_type, place, _STOPS)
            fed, carried = list(node.input[2:]), len(node.input) - 2
            ports = [value.name for value in body.input[2:]]
            results = [value.name for value in body.output[1:]]
        else:
            scanned = int(call.attributes["num_scan_inputs"])
            axes = call.attributes.get("scan_input_axes") or [0] * scanned
            carried = len(node.input) - scanned
            turns = call.shape(carried)[axes[0]] if node.input[carried] in scope.shapes else None
            if turns is None:
                self.ledger.miss(node.op_type, place, _TURNS)
                turns = 1
            fed, ports = list(node.input), [value.name for value in body.input]
            results = [value.name for value in body.output]
        for source, port in zip(fed, ports, strict=False):
            self.ledger.carry([source], port)
        # Three turns show whether products are added up from turn to turn; the rest are like the third.
        for turn in range(min(turns, 3)):
            self.graph(body, scope, times=times * (turns - 2 if turn == 2 else 1), depth=depth + 1)
            for result, port in zip(results[:carried], ports[:carried], strict=False):
                self.ledger.carry([result], port)
        for result, output in zip(results, node.output, strict=False):
            self.ledger.carry([result], output)

    def _branch(
        self, node: NodeProto, call: Call, scope: _Scope, place: Place, times: int, depth: int
    ) -> None:
        branches = [call.attributes["then_branch"], call.attributes["else_branch"]]
        condition = scope.constants.get(node.input[0])
        if condition is not None:
            branches = [branches[0 if condition else 1]]
        ledger, counted = self.ledger, []
        for branch in branches:
            before = len(ledger.entries)
            self.graph(branch, scope, times=times, depth=depth + 1)
            counted.append(ledger.entries[before:])
            del ledger.entries[before:]
            for result, output in zip(branch.output, node.output, strict=False):
                ledger.carry([result.name], output, keep=True)
        costs = [(sum(e.macs for e in entries), sum(e.elementwise for e in entries)) for entries in counted]
        ledger.entries += counted[costs.index(max(costs))]
        if len(set(costs)) > 1:
            ledger.miss(node.op_type, place, _DEPENDS)


def _goes_on(node: NodeProto, body: GraphProto, scope: _Scope) -> bool:
    """Whether a Loop's condition is true in every turn: a constant, or handed through."""
    if len(node.input) > 1 and node.input[1] and not scope.constants.get(node.input[1]):
        return False
    result = body.output[0].name
    constants = {tensor.name: _scalar(tensor) for tensor in body.initializer}
    made = {output: inner for inner in body.node for output in inner.output}
    while result in made and made[result].op_type == "Identity":
        result = made[result].input[0]
    if result in made and made[result].op_type == "Constant":
        constants[result] = _scalar(made[result].attribute[0].t)
    return result == body.input[1].name or bool(constants.get(result, scope.constants.get(result)))


_KNOWN = (MACS, PRODUCTS, ADDITIONS, REDUCTIONS, FUNCTIONS, FREE, VALUE_READS)
