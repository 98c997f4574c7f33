"""The process that reads and runs a stranger's model.onnx: bounded memory and time, nothing written.

Reading an ONNX file builds objects many times its size, and ONNX Runtime is C++ that was not written for hostile files.
What goes wrong here ends this process alone; the caller turns it into one line (`wisp.submission.graph`).

It prints one line of JSON, `{"problems": [...], "metadata": {...}}`, and behind it, where there are no problems and
images were given, the probabilities: float32, N x classes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from wisp.artifact import SEAL_KEY, check_seal
from wisp.errors import WispError

_DOMAINS = frozenset({"", "ai.onnx"})
_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
_DEEPEST = 6
_MOST_PROBLEMS = 10
_LARGEST_METADATA = 1 << 20


def find_problems(model: ModelProto) -> Iterator[str]:
    """Everything in a model that is more than a graph of ONNX's own operators with its weights inside."""
    if model.functions:
        yield "it defines functions of its own; only standard operators are allowed"
    if model.training_info:
        yield "it holds training information, which no deployed model needs"
    keys = [prop.key for prop in model.metadata_props]
    if len(set(keys)) != len(keys):
        yield "a field of its metadata is given twice"
    if sum(len(prop.key) + len(prop.value) for prop in model.metadata_props) > _LARGEST_METADATA:
        yield f"over {_LARGEST_METADATA:,} characters of metadata"
    versions = {entry.domain: entry.version for entry in model.opset_import}
    version = versions.get("", versions.get("ai.onnx", 0))
    if not 1 <= version <= onnx.defs.onnx_opset_version():
        yield f"it needs version {version} of the standard operators; known are 1 to {onnx.defs.onnx_opset_version()}"
        return
    yield from _graph_problems(model.graph, version, depth=0)


def _graph_problems(graph: GraphProto, version: int, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        yield f"graphs are nested more than {_DEEPEST} deep"
        return
    tensors = [*graph.initializer]
    for sparse in graph.sparse_initializer:
        tensors += [sparse.values, sparse.indices]
    for tensor in tensors:
        yield from _tensor_problems(tensor)
    for node in graph.node:
        yield from _node_problems(node, version)
        for attribute in node.attribute:
            yield from _attribute_problems(attribute, version, depth)


def _node_problems(node: NodeProto, version: int) -> Iterator[str]:
    if node.domain not in _DOMAINS:
        yield f"the operator {node.domain[:60]!a}::{node.op_type[:60]!a} is none of ONNX's own"
    elif not onnx.defs.has(node.op_type, version, ""):
        yield f"ONNX {version} has no operator called {node.op_type[:60]!a}"
    elif node.op_type in _RANDOM:
        yield f"the operator {node.op_type} draws random numbers: the answers change from run to run"


def _attribute_problems(attribute: AttributeProto, version: int, depth: int) -> Iterator[str]:
    tensors = [*attribute.tensors, *([attribute.t] if attribute.HasField("t") else [])]
    for sparse in [
        *attribute.sparse_tensors,
        *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
    ]:
        tensors += [sparse.values, sparse.indices]
    for tensor in tensors:
        yield from _tensor_problems(tensor)
    for graph in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
        yield from _graph_problems(graph, version, depth + 1)


def _tensor_problems(tensor: TensorProto) -> Iterator[str]:
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        yield f"the weights {tensor.name[:60]!a} lie in another file; a submission's model holds its own"


def _limit(memory_bytes: int, seconds: int) -> None:
    """Bound this process; a system without such limits keeps the caller's clock alone."""
    try:
        import resource  # noqa: PLC0415  (Unix alone has it)
    except ImportError:
        return
    for name, limit in (
        ("RLIMIT_AS", memory_bytes),
        ("RLIMIT_CPU", seconds),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_FSIZE", 0),  # it writes to its pipe alone
    ):
        try:
            resource.setrlimit(getattr(resource, name), (limit, limit))
        except (ValueError, OSError):
            continue  # a lower limit holds already


def main(arguments: list[str]) -> int:
    """Run on `MODEL MEMORY_BYTES SECONDS [PIXELS COUNT SIZE]`; what it gives is said at the top of this file."""
    path, memory_bytes, seconds, *images = arguments
    sys.dont_write_bytecode = True
    _limit(int(memory_bytes), int(seconds))
    said: dict[str, Any] = {"problems": [], "metadata": {}}
    answers = b""
    try:
        content = Path(path).read_bytes()
        sealed = check_seal(content, where=path)
        model = ModelProto.FromString(content)
        del content
        said["problems"] = [
            text for text, _ in zip(find_problems(model), range(_MOST_PROBLEMS), strict=False)
        ]
        if not said["problems"]:
            said["metadata"] = {prop.key: prop.value for prop in model.metadata_props}
            if SEAL_KEY in said["metadata"] and not sealed:
                said["problems"] = ["it was changed by another tool since it was exported"]
        del model
        if images and not said["problems"]:
            answers = _probabilities(Path(path), Path(images[0]), int(images[1]), int(images[2]))
    except MemoryError:
        raise
    except WispError as error:
        said["problems"] = [_one_line(error).removeprefix(f"{path}: ")]
    except (
        Exception
    ) as error:  # neither protobuf's nor onnxruntime's exceptions have a base class of their own
        said["problems"] = [_one_line(error)]
    sys.stdout.buffer.write(json.dumps(said).encode() + b"\n" + answers)
    sys.stdout.buffer.flush()
    return 0


def _probabilities(model: Path, pixels: Path, count: int, size: int) -> bytes:
    from wisp.runtime import Classifier  # noqa: PLC0415  (onnxruntime: only where photos are to be answered)

    images = np.memmap(pixels, np.uint8, "r", shape=(count, size, size, 3))
    return Classifier(model).probabilities(images).tobytes()


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
