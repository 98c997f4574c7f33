"""Which counted module an operator belongs to, read from the Python stack while the operator runs.

An operator belongs to a module that the competition's counter hooks (`wisp.macs.hooks.FORMULAS`) only if it runs
inside that type's own `forward`, torch code all the way down, called through `Module.__call__`. A hook, a replaced
`forward`, a subclass, a direct call of `forward()`, a module that no parent registered: none of these is counted, and
each is named.

The code objects are those of the time when this file is imported; it is imported before any code that is judged.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from types import CodeType, FrameType, MappingProxyType

import torch
from torch import nn

import wisp
from wisp.macs.hooks import FORMULAS
from wisp.macs.ledger import Place

CALL = nn.Module._call_impl.__code__
# `Module._call_impl` runs hooks and forward from a function inside it, and while torch.jit traces through another.
_CALL_PARTS = frozenset(
    [
        *(item for item in CALL.co_consts if isinstance(item, CodeType)),
        nn.Module._slow_forward.__code__,
    ]
)
_FORWARDS = MappingProxyType({kind: kind.forward.__code__ for kind in FORMULAS})
_COUNTED_KINDS = tuple(FORMULAS)
_STANDARD = sysconfig.get_paths()["stdlib"] + os.sep
_LIBRARIES = (
    str(Path(torch.__file__).parent) + os.sep,
    *(str(Path(wisp.__file__).parent / part) + os.sep for part in ("macs", "rules")),
)
_MARK = "\n"  # in no module's name

COUNTED = "counted"
HOW = MappingProxyType(
    {
        "function": "called as a function",
        "subclass": "a subclass: the counter knows the exact types only",
        "replaced": "run by a hook or a replaced method of this counted module",
        "unregistered": "a module that no parent registers: keep it as an attribute, or in nn.ModuleList",
        "forward": "its forward() is called directly, past the hooks",
    }
)


def is_library(file: str) -> bool:
    """Whether `file` is torch's, Python's own (other packages may lie below it) or the counter's."""
    if file.startswith(_STANDARD):
        return "site-packages" not in file
    return file.startswith((*_LIBRARIES, "<frozen "))


def split_layer(layer: str) -> tuple[str, str]:
    """The module's name, and `counted` or how its work gets past the counter."""
    name, _, how = layer.partition(_MARK)
    return name, how or COUNTED


class Attribution:
    """Places of what runs right now, for a recorder. The layer of uncounted work carries a mark: see `split_layer`.

    Args:
        model: the network.
        boundary: the code of the function that calls the network; the stack is read up to there.
    """

    def __init__(self, model: nn.Module, boundary: CodeType) -> None:
        self._names = {id(module): name for name, module in model.named_modules()}
        self._boundary = boundary

    def __call__(self) -> Place:
        """The innermost module that was called, and the innermost line outside torch and Python's own files."""
        source: str | None = None
        below: list[CodeType] = []  # frames between the operator and the module, innermost first
        foreign = False
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code is not self._boundary:
            code = frame.f_code
            if code is CALL:
                module = frame.f_locals["self"]
                layer = self._layer(module, below, foreign)
                return Place(layer, source or _source(frame, self._boundary))
            if not is_library(code.co_filename):
                foreign = True
                source = source or f"{code.co_filename}:{frame.f_lineno}"
            below.append(code)
            frame = frame.f_back
        return Place(f"{_MARK}function", source)

    def _layer(self, module: nn.Module, below: list[CodeType], foreign: bool) -> str:
        name = self._names.get(id(module))
        kind = type(module)
        if kind not in FORMULAS:
            if isinstance(module, _COUNTED_KINDS):
                return f"{name or ''}{_MARK}subclass"
            called = next((code for code in reversed(below) if code in _FORWARDS.values()), None)
            return f"{name or ''}{_MARK}{'function' if called is None else 'forward'}"
        outermost = [code for code in below if code not in _CALL_PARTS]
        if foreign or not outermost or outermost[-1] is not _FORWARDS[kind]:
            return f"{name or ''}{_MARK}replaced"
        return f"{_MARK}unregistered" if name is None else name


def calling_line(boundary: CodeType) -> str | None:
    """The innermost line outside torch that runs right now, as `file:line`."""
    return _source(sys._getframe(1), boundary)


def _source(frame: FrameType, boundary: CodeType) -> str | None:
    inner: FrameType | None = frame
    while inner is not None and inner.f_code is not boundary:
        if not is_library(inner.f_code.co_filename):
            return f"{inner.f_code.co_filename}:{inner.f_lineno}"
        inner = inner.f_back
    return None
