"""Running a network once and leaving it exactly as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Inside, `model` is in eval mode and records no gradients; afterwards nothing of it has changed.

    Restored even after an error: every module's own training flag (they may differ), its attributes, the buffers it
    holds and their values (BatchNorm in a model that forces training mode, observers), and the random state.
    """
    modules = list(model.modules())
    flags = [module.training for module in modules]
    attributes = [dict(vars(module)) for module in modules]
    buffers = [
        {name: (buffer, _copy(buffer)) for name, buffer in module._buffers.items()} for module in modules
    ]
    cuda = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(cuda)), torch.no_grad():
        try:
            model.eval()
            yield
        finally:
            for module, flag, before, held in zip(modules, flags, attributes, buffers, strict=True):
                _restore_attributes(module, before)
                _restore_buffers(module, held)
                module.training = flag


def _copy(buffer: Tensor | None) -> Tensor | None:
    return None if buffer is None else buffer.detach().clone()


def _restore_attributes(module: nn.Module, before: dict[str, Any]) -> None:
    now = vars(module)
    for name in now.keys() - before.keys():
        del now[name]
    now.update(before)


def _restore_buffers(module: nn.Module, held: dict[str, tuple[Tensor | None, Tensor | None]]) -> None:
    for name in module._buffers.keys() - held.keys():
        del module._buffers[name]
    for name, (buffer, value) in held.items():
        module._buffers[name] = buffer
        if buffer is not None and value is not None:
            buffer.copy_(value)
