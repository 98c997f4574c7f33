"""The competition's counter: what ptflops 0.6.5's module hooks count, as integers, without leaving a trace.

The competition counted with `ignore_modules=[ReLU, PReLU, ELU, LeakyReLU, ReLU6]`. That counter looks at modules of
exactly the types in its table: subclasses, functions and unknown modules (Hardswish, Sigmoid, ...) are zero to it.
It adds a bias once per output of a convolution and once per row of a linear layer, two per value for an affine norm,
one per *input* value for a pool. Its formulas are kept here as they are, oddities included (a ConvTranspose counts its
output positions; a sequence's length is read from its second axis), because a score is only comparable when the
count is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from math import prod
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from wisp.errors import ModelError
from wisp.macs.report import LayerMacs, MacsReport
from wisp.macs.trace import check_countable, untouched

Formula = Callable[[Any, tuple[Any, ...], Any], int]


def _upsample(_module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> int:
    return int(output[0].numel())


def _linear(module: nn.Linear, inputs: tuple[Any, ...], output: Tensor) -> int:
    out_features = output.shape[-1]
    return int(inputs[0].numel()) * out_features + (out_features if module.bias is not None else 0)


def _pool(_module: nn.Module, inputs: tuple[Any, ...], _output: Tensor) -> int:
    return int(inputs[0].numel())


def _norm(module: nn.BatchNorm2d, inputs: tuple[Any, ...], _output: Tensor) -> int:
    return int(inputs[0].numel()) * (2 if module.affine else 1)


def _conv(module: nn.Conv2d, inputs: tuple[Any, ...], output: Tensor) -> int:
    positions = int(inputs[0].shape[0]) * prod(output.shape[2:])
    products = prod(module.kernel_size) * module.in_channels * (module.out_channels // module.groups)
    return positions * (products + (module.out_channels if module.bias is not None else 0))


def _recurrent_layer(module: nn.RNNBase | nn.RNNCellBase, w_ih: Tensor, w_hh: Tensor) -> int:
    match module:
        case nn.RNN() | nn.RNNCell():
            gates = 1
        case nn.GRU() | nn.GRUCell():
            gates = 7
        case _:
            gates = 10
    return w_ih.numel() + w_hh.numel() + gates * module.hidden_size


def _rnn(module: nn.RNNBase, inputs: tuple[Any, ...], _output: Any) -> int:
    total = 0
    for layer in range(module.num_layers):
        total += _recurrent_layer(
            module, getattr(module, f"weight_ih_l{layer}"), getattr(module, f"weight_hh_l{layer}")
        )
        if module.bias:
            total += (
                getattr(module, f"bias_ih_l{layer}").numel() + getattr(module, f"bias_hh_l{layer}").numel()
            )
    rows, steps = inputs[0].shape[:2]
    return total * int(rows) * int(steps) * (2 if module.bidirectional else 1)


def _rnn_cell(module: nn.RNNCellBase, inputs: tuple[Any, ...], _output: Any) -> int:
    total = _recurrent_layer(module, module.weight_ih, module.weight_hh)
    if module.bias:
        total += module.bias_ih.numel() + module.bias_hh.numel()
    return total * int(inputs[0].shape[0])


def _attention(module: nn.MultiheadAttention, inputs: tuple[Any, ...], _output: Any) -> int:
    query, key, value = inputs
    q_len, k_len, v_len = (int(tensor.shape[0]) for tensor in (query, key, value))
    embed = module.embed_dim
    total = q_len * query.shape[2] * embed + k_len * key.shape[2] * module.kdim
    total += v_len * value.shape[2] * module.vdim
    if module.in_proj_bias is not None:
        total += (q_len + k_len + v_len) * embed
    per_head = embed // module.num_heads
    total += module.num_heads * (
        q_len * per_head + per_head * q_len * k_len + q_len * k_len + q_len * k_len * per_head
    )
    total += q_len * embed * (embed + 1)
    return int(total) * int(query.shape[1])


FORMULAS: Mapping[type[nn.Module], Formula] = MappingProxyType(
    {
        **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _conv),
        **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _conv),
        **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), _norm),
        **dict.fromkeys((nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d), _pool),
        **dict.fromkeys((nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d), _pool),
        **dict.fromkeys((nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d), _pool),
        **dict.fromkeys((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d), _pool),
        **dict.fromkeys((nn.RNN, nn.GRU, nn.LSTM), _rnn),
        **dict.fromkeys((nn.RNNCell, nn.GRUCell, nn.LSTMCell), _rnn_cell),
        nn.Linear: _linear,
        nn.Upsample: _upsample,
        nn.MultiheadAttention: _attention,
    }
)
# The competition's `ignore_modules`: known to the counter, and zero.
FREE: frozenset[type[nn.Module]] = frozenset({nn.ReLU, nn.PReLU, nn.ELU, nn.LeakyReLU, nn.ReLU6})
# Modules that do no arithmetic when a trained network runs; every other unknown leaf is reported as uncounted.
_NO_ARITHMETIC = (
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
)


def count_macs(model: nn.Module, image_size: int, channels: int = 3) -> MacsReport:
    """The MACs that the competition's counter gives `model` for one square image.

    Runs the model once on a blank batch of one, on the model's own device and type; the model is left exactly as it
    was found (training flags, buffers, hooks, random state).

    Args:
        model: Any module that takes a float batch 1 x channels x image_size x image_size.
        image_size: Side of the image in pixels.
        channels: Channels of the image.

    Raises:
        ModelError: the model cannot run on an image of this size.
    """
    check_countable(model, image_size, channels)
    macs: Counter[nn.Module] = Counter()
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        macs[module] += FORMULAS[type(module)](module, inputs, output)
        if isinstance(output, Tensor):
            shapes[module] = tuple(output.shape[1:])

    parameter = next(model.parameters(), None)
    image = torch.zeros(
        (1, channels, image_size, image_size),
        dtype=torch.float32 if parameter is None else parameter.dtype,
        device="cpu" if parameter is None else parameter.device,
    )
    handles = []
    try:
        with untouched(model):
            handles += [
                module.register_forward_hook(record) for module in model.modules() if type(module) in FORMULAS
            ]
            model(image)
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(
            f"{type(model).__name__} cannot run on a {image_size} x {image_size} image with {channels} channels; "
            f"try a larger size ({reason})"
        ) from error
    finally:
        for handle in handles:
            handle.remove()

    layers = tuple(
        LayerMacs(
            name=name,
            kind=type(module).__name__,
            macs=macs[module],
            params=sum(
                parameter.numel() for parameter in module.parameters(recurse=type(module) in FORMULAS)
            ),
            output_shape=shapes.get(module),
        )
        for name, module in _visited(model)
        if type(module) in FORMULAS or any(True for _ in module.parameters(recurse=False))
    )
    return MacsReport(
        total=sum(layer.macs for layer in layers),
        params=sum(parameter.numel() for parameter in model.parameters()),
        layers=layers,
        uncounted=_uncounted(model),
    )


def _visited(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Every module as the counter adds them up: not below a counted one, and once for each parent that shares it."""
    yield name, module
    if type(module) in FORMULAS or type(module) in FREE:
        return
    for child_name, child in module.named_children():
        yield from _visited(child, f"{name}.{child_name}" if name else child_name)


def _uncounted(model: nn.Module) -> dict[str, int]:
    known = (*FORMULAS, *FREE, *_NO_ARITHMETIC)
    kinds = Counter(
        type(module).__name__
        for _, module in _visited(model)
        if type(module) not in known
        and (not any(True for _ in module.children()))
        and not isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)
    )
    return dict(sorted(kinds.items()))
