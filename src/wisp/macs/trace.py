"""Running a network once and leaving it, and the process, exactly as they were found."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wisp.errors import ModelError


def check_countable(model: nn.Module, image_size: int, channels: int) -> None:
    """Refuse what no counter can run: an empty image, or layers whose sizes are not known yet.

    Raises:
        ModelError: it says which, and the way out.
    """
    if image_size < 1 or channels < 1:
        raise ModelError(f"image size {image_size} with {channels} channels: both must be at least 1")
    if any(isinstance(parameter, nn.UninitializedParameter) for parameter in model.parameters()):
        raise ModelError(
            f"{type(model).__name__} has lazy layers; run it once on a batch before it is counted"
        )


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Inside, `model` is in eval mode and records no gradients; afterwards nothing of it has changed.

    Restored even after an error: every module's own training flag (they may differ), its attributes, hooks and
    submodules, the contents of plain containers that it keeps, the parameters, buffers and gradients it holds and
    their values (BatchNorm in a model that forces training mode, observers, weights that are clamped in place), the
    random state of torch, numpy and Python, the default type and device.
    """
    modules = _modules(model)
    flags = [module.training for module in modules]
    attributes = [dict(vars(module)) for module in modules]
    containers = _contents(attributes)
    tensors = _values(modules)
    cuda = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(cuda)), _process(), torch.no_grad():
        try:
            model.eval()
            yield
        finally:
            for container, contents in containers:
                _refill(container, contents)
            for module, flag, before in zip(modules, flags, attributes, strict=True):
                _restore_attributes(module, before)
                module.training = flag
            for tensor, value, gradient, gradient_value, requires_grad in tensors:
                _restore_tensor(tensor, value)
                if tensor.requires_grad != requires_grad:
                    tensor.requires_grad_(requires_grad)
                if gradient is not None and gradient_value is not None:
                    _restore_tensor(gradient, gradient_value)
                if tensor.is_leaf and tensor.grad is not gradient:
                    tensor.grad = gradient


def _modules(model: nn.Module) -> list[nn.Module]:
    """Every module, also those that a module keeps in a plain list or dictionary."""
    found: dict[int, nn.Module] = {}
    waiting = [model]
    while waiting:
        module = waiting.pop()
        if id(module) in found:
            continue
        found[id(module)] = module
        waiting += module.children()
        for value in list(vars(module).values()):
            kept = value.values() if type(value) is dict else value if isinstance(value, list | tuple) else ()
            waiting += [item for item in kept if isinstance(item, nn.Module)]
    return list(found.values())


def _contents(attributes: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    """Plain containers (hooks, parameters, buffers and submodules are held in such, too) with a copy of each."""
    values = (value for attribute in attributes for value in attribute.values())
    return [(value, value.copy()) for value in values if isinstance(value, dict | list | set | deque)]


def _refill(container: Any, contents: Any) -> None:
    if isinstance(container, dict | set):
        container.clear()
        container.update(contents)
    else:
        container.clear()
        container.extend(contents)


_Held = tuple[Tensor, Tensor, Tensor | None, Tensor | None, bool]


def _values(modules: list[nn.Module]) -> list[_Held]:
    """The parameters and buffers with copies of their values and gradients, each once."""
    held: dict[int, _Held] = {}
    for module in modules:
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            gradient = tensor.grad if tensor.is_leaf else None
            held[id(tensor)] = (
                tensor,
                tensor.detach().clone(),
                gradient,
                None if gradient is None else gradient.detach().clone(),
                tensor.requires_grad,
            )
    return list(held.values())


def _restore_tensor(tensor: Tensor, value: Tensor) -> None:
    data = tensor.detach()
    # Only what has changed is written: a write would invalidate a graph of gradients that is waiting for backward.
    if data.shape != value.shape:
        tensor.data = value
    elif data.device.type != "meta" and not torch.equal(data, value):
        tensor.data.copy_(value)


def _restore_attributes(module: nn.Module, before: dict[str, Any]) -> None:
    now = vars(module)
    for name in now.keys() - before.keys():
        del now[name]
    now.update(before)


@contextmanager
def _process() -> Iterator[None]:
    """Keep the process's own settings: random states other than torch's, the default type and device."""
    python, array = random.getstate(), np.random.get_state()  # noqa: NPY002  (the global state is what is kept)
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(array)  # noqa: NPY002
        torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            torch.set_default_device(device)
