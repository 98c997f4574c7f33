"""A captured program as plain data, and running it again without any code of its author.

The process that runs a submission's source can be lied in: whatever is in it may be changed by that source. So it hands
over the program itself, a list of torch's operators with their arguments, and its weights. Another process, which never
saw the source, runs that list on the same images. If the answers agree, the counted program is what answers; if not,
something else does.

The text is JSON: `{"inputs": [...], "nodes": [...], "output": n}`. An argument is JSON's own number, boolean, null or
list, or an object with one key: `node`, `text`, `real` (inf, nan), `dtype`, `layout` or `memory`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.export.graph_signature import InputKind

from wisp.errors import ModelError
from wisp.macs.dispatch import Recorder, eager_paths
from wisp.macs.formulas import ADDITIONS, FREE, FUNCTIONS, MACS, PRODUCTS, REDUCTIONS, operator_name
from wisp.macs.ledger import Ledger, Place

IMAGE = "image"
_KNOWN = MACS.keys() | PRODUCTS | FUNCTIONS | ADDITIONS | REDUCTIONS | FREE
_MOST_NODES = 100_000
_NOWHERE = Place("", None)
_LAYER_PRODUCTS = frozenset(
    ["convolution", "mkldnn_convolution", "mm", "addmm", "addmv", "mv", "mkldnn_rnn_layer"]
)
_ENUMS = {"dtype": torch.dtype, "layout": torch.layout, "memory": torch.memory_format}


def write_program(model: nn.Module, image: Tensor) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The program that `model` runs for one image, and the tensors that it reads.

    Args:
        model: a network in evaluation mode; it is left as it was.
        image: 1 x channels x side x side.

    Raises:
        ModelError: it cannot be captured, or not written down.
    """
    try:
        with eager_paths(), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # notes for who exports it for use
            exported = torch.export.export(model, (image,), strict=False)
    except Exception as error:  # torch.export has no common class of errors
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(f"its program cannot be captured ({reason})") from error
    inputs, tensors = [], {}
    for spec in exported.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            inputs.append(IMAGE)
            continue
        target = str(spec.target)
        held = exported.constants if spec.kind is InputKind.CONSTANT_TENSOR else exported.state_dict
        value = held.get(target, exported.constants.get(target))
        if not isinstance(value, Tensor):
            raise ModelError(f"its program reads {target}, which is no tensor")
        inputs.append(target)
        tensors[target] = value.detach().clone().contiguous()
    numbers: dict[torch.fx.Node, int] = {}
    nodes: list[dict[str, Any]] = []
    output: int | None = None
    for node in exported.graph.nodes:
        if node.op == "output":
            output = _first(node.args[0], numbers, exported.graph_signature.user_outputs)
        else:
            numbers[node] = len(numbers)
            if node.op != "placeholder":
                nodes.append(_written(node, numbers))
    return {"inputs": inputs, "nodes": nodes, "output": output}, tensors


def _first(values: Any, numbers: Mapping[torch.fx.Node, int], names: Sequence[Any]) -> int:
    """The first tensor that the network gives (buffers that it changes stand before it)."""
    for value in values:
        if isinstance(value, torch.fx.Node) and value.name in names:
            return numbers[value]
    raise ModelError("its program gives no tensor")


def _written(node: torch.fx.Node, numbers: Mapping[torch.fx.Node, int]) -> dict[str, Any]:
    target = node.target
    if node.op == "call_function" and getattr(target, "__name__", "") == "getitem":
        return {"item": [numbers[node.args[0]], node.args[1]]}  # type: ignore[index]
    if node.op != "call_function" or not isinstance(target, OpOverload):
        raise ModelError(f"its program has a step that is no operator: {target}")
    return {
        "operator": f"{target._schema.name}.{target._overloadname}",
        "args": [_argument(value, numbers) for value in node.args],
        "kwargs": {key: _argument(value, numbers) for key, value in node.kwargs.items() if key != "device"},
    }


def _argument(value: Any, numbers: Mapping[torch.fx.Node, int]) -> Any:
    written: Any = None
    if isinstance(value, torch.fx.Node):
        written = {"node": numbers[value]}
    elif isinstance(value, list | tuple):
        written = [_argument(item, numbers) for item in value]
    elif value is None or isinstance(value, bool | int):
        written = value
    elif isinstance(value, float):
        written = value if abs(value) < float("inf") else {"real": str(value)}
    elif isinstance(value, str):
        written = {"text": value}
    elif not isinstance(value, torch.device):  # there is one alone
        key = next((key for key, kind in _ENUMS.items() if isinstance(value, kind)), None)
        if key is None:
            raise ModelError(f"its program has an argument of type {type(value).__name__}")
        written = {key: str(value).removeprefix("torch.")}
    return written


class Replayed(NamedTuple):
    """What a program did when it was run again.

    Attributes:
        answers: its outputs, a row an image.
        macs: multiply-accumulates of one image.
        least_official: what the competition's counter must give at least: convolutions and matrix products with their
            biases, and batch norms. (Attention's own products, pools and interpolation are left out: its formulas for
            them may give less than the truth, or it may not see them.)
        unknown: operators that could not be counted.
    """

    answers: Tensor
    macs: int
    least_official: int
    unknown: tuple[str, ...]


class _Watcher(Recorder):  # type: ignore[no-untyped-call]  # torch's own hook for subclasses
    """Also adds up what hooks on modules must see."""

    official = 0

    def _record(self, func: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> None:
        first = len(self.ledger.entries)
        super()._record(func, args, kwargs, out)
        name = operator_name(func)
        if name in _LAYER_PRODUCTS:
            self.official += sum(entry.macs for entry in self.ledger.entries[first:])
            if name == "convolution" and args[2] is not None:
                self.official += int(out.numel())
            elif name == "addmm":
                self.official += int(out.shape[-1])
        elif "batch_norm" in name:
            self.official += int(args[0].numel()) * (1 if args[1] is None else 2)


def run_program(program: Mapping[str, Any], tensors: Mapping[str, Tensor], images: Tensor) -> Replayed:
    """Run a written program on each image alone.

    Args:
        program: what `write_program` gives, from wherever; nothing of it is believed.
        tensors: what it reads.
        images: K x channels x side x side.

    Raises:
        ModelError: it is no program, or uses an operator that is not known to be one of a network.
    """
    rows = []
    watcher = _Watcher(Ledger(), lambda: _NOWHERE)
    try:
        for image in images.split(1):  # type: ignore[no-untyped-call]
            watcher = _Watcher(Ledger(), lambda: _NOWHERE)
            with torch.no_grad(), eager_paths(), watcher:
                rows.append(_run(program, tensors, image))
        unknown = tuple(sorted({name for name, _, _ in watcher.ledger.unknown}))
        return Replayed(torch.cat(rows).float(), watcher.ledger.macs, watcher.official, unknown)
    except ModelError:
        raise
    except Exception as error:  # wrong arguments of any kind: torch has no common class of errors
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ModelError(f"its program does not run ({reason})") from error


def _run(program: Mapping[str, Any], tensors: Mapping[str, Tensor], image: Tensor) -> Tensor:
    nodes = program["nodes"]
    if len(nodes) > _MOST_NODES:
        raise ModelError(f"its program has {len(nodes):,} steps")
    values: list[Any] = [image if name == IMAGE else tensors[name].clone() for name in program["inputs"]]
    for node in nodes:
        if "item" in node:
            source, index = node["item"]
            values.append(values[int(source)][int(index)])
            continue
        args = [_value(item, values) for item in node["args"]]
        kwargs = {str(key): _value(item, values) for key, item in node["kwargs"].items()}
        values.append(_operator(node["operator"])(*args, **kwargs))
    output = values[int(program["output"])]
    if not isinstance(output, Tensor):
        raise ModelError("its program gives no tensor")
    return output


def _operator(name: str) -> OpOverload:
    """One of torch's operators that networks are made of; nothing that reads files or runs code is among them."""
    qualified, _, overload = str(name).rpartition(".")
    namespace, _, base = qualified.partition("::")
    packet = getattr(torch.ops.aten, base, None) if namespace == "aten" and base.isidentifier() else None
    operator = getattr(packet, overload, None) if overload.isidentifier() else None
    if not isinstance(operator, OpOverload):
        raise ModelError(f"its program has an unknown operator: {str(name)[:80]!r}")
    if operator_name(operator) not in _KNOWN and not _is_composed(operator):
        raise ModelError(f"its program has an operator that no network is known to need: {str(name)[:80]!r}")
    return operator


def _is_composed(operator: OpOverload) -> bool:
    """Whether torch defines the operator by others, which are then seen one by one."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(
        str(operator._name), "CompositeImplicitAutograd"
    ) and not str(operator._name).startswith(("aten::from_file", "aten::save", "aten::_save"))


def _value(item: Any, values: Sequence[Any]) -> Any:
    if isinstance(item, list):
        return [_value(part, values) for part in item]
    if not isinstance(item, dict):
        return item
    ((key, value),) = item.items()
    if key == "node":
        return values[int(value)]
    if key == "text":
        return str(value)
    if key == "real":
        return float(value)
    kind = _ENUMS.get(key)
    named = getattr(torch, str(value), None) if kind is not None else None
    if kind is None or not isinstance(named, kind):
        raise ModelError(f"its program has an argument that is none: {str(key)[:80]!r}")
    return named
