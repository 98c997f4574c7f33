"""What a network, and the code behind it, remembers: compared before and after a run, to find what changes itself."""

from __future__ import annotations

import hashlib
import importlib
import itertools
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from types import FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from wisp.macs.dispatch import eager_paths
from wisp.macs.hooks import FORMULAS
from wisp.rules.attribution import is_library

_MOST_ITEMS = 50_000  # of a state; a network of any use has far fewer
_DEEPEST = 6
_SIMPLE = (bool, int, float, complex, str, bytes, type(None))
_RUNNING = frozenset(["training"])
_NOT_STATE = frozenset(
    ["__builtins__", "__doc__", "__file__", "__loader__", "__spec__", "__cached__", "__warningregistry__"]
)
_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks_with_kwargs",
)

State = Mapping[str, str]


def structure(model: nn.Module) -> State:
    """What a counter that hooks modules relies on: types, parameters, hooks and replaced methods of every module."""
    found: dict[str, str] = {}
    for name, module in model.named_modules():
        found[name] = f"{type(module).__qualname__} {id(type(module))} {id(module)}"
        for key, parameter in module._parameters.items():
            found[f"{name}.{key}"] = "none" if parameter is None else f"parameter {tuple(parameter.shape)}"
        for key, buffer in module._buffers.items():
            found[f"{name}.{key}"] = "none" if buffer is None else f"buffer {tuple(buffer.shape)}"
        for kind in _HOOKS:
            for number, hook in enumerate(getattr(module, kind).values()):
                found[f"{name}.{kind}[{number}]"] = f"hook {id(hook)}"
        for key, value in vars(module).items():
            if isinstance(value, FunctionType | MethodType):
                found[f"{name}.{key}"] = f"method {id(getattr(value, '__func__', value))}"
    return found


def memory(model: nn.Module) -> State:
    """Everything that a run may remember, as digests: attributes, weights, class attributes, globals, closures.

    Globals and classes are those of the files outside torch and Python's own that the network's code comes from.
    """
    walk = _Walk()
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if key not in _RUNNING and key != "_modules":
                walk.look(f"{name}.{key}".lstrip("."), value, 0)
    for source in _sources(model):
        for key, value in list(vars(source).items()):
            if key not in _NOT_STATE:
                walk.look(f"{source.__name__}:{key}", value, 0)
    return walk.found


def changes(before: State, after: State) -> tuple[str, ...]:
    """What differs, in the order of `after`, then what is gone."""
    changed = [key for key, value in after.items() if before.get(key) != value]
    return (*changed, *(key for key in before if key not in after))


def torch_itself() -> State:
    """What counting relies on in torch and wisp: functions, methods and hooks that hold for all modules."""
    with eager_paths():  # torch's own compiler replaces some functions of torch when it is first needed
        importlib.import_module("torch.export")
    found: dict[str, str] = {}
    for module in _relied_on():
        for key, value in list(vars(module).items()):
            if callable(value):
                found[f"{module.__name__}.{key}"] = _code(value)
            if isinstance(value, type) and value.__module__ == module.__name__:
                found |= _class(value)
    for kind in FORMULAS:
        found |= _class(kind)
    found |= _class(nn.Module) | _class(Tensor) | _class(torch._C.TensorBase)
    everywhere = vars(sys.modules["torch.nn.modules.module"])
    for key, value in everywhere.items():
        if key.startswith("_global_") and isinstance(value, dict):
            found[f"torch.nn.modules.module.{key}"] = str(len(value))
    return found


def _relied_on() -> Iterator[ModuleType]:
    names = (
        "torch",
        "torch.nn",
        "torch.nn.functional",
        "torch.nn.modules.module",
        "torch.overrides",
        "builtins",
    )
    counting = [
        name for name in sys.modules if name.startswith(("wisp.macs", "wisp.rules", "wisp.models.source"))
    ]
    watching = ["torch.utils._python_dispatch", "torch._C", "torch._C._nn", "torch.export", "sys", "gc"]
    yield from (sys.modules[name] for name in (*names, *counting, *watching) if name in sys.modules)


def _class(kind: type) -> dict[str, str]:
    name = f"{kind.__module__}.{kind.__qualname__}"
    return {f"{name}.{key}": _code(value) for key, value in vars(kind).items() if callable(value)}


def _code(value: Any) -> str:
    code = getattr(value, "__code__", None)
    return f"{id(value)} {id(code)}" if code is not None else str(id(value))


def _sources(model: nn.Module) -> list[ModuleType]:
    """Modules of Python outside the libraries that the network's classes, and what they use, come from."""
    found: dict[str, ModuleType] = {}
    waiting = [type(module).__module__ for module in model.modules()]
    waiting += [kind.__module__ for module in model.modules() for kind in type(module).__mro__]
    while waiting:
        name = waiting.pop()
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if module is None or name in found or file is None or is_library(file) or "site-packages" in file:
            continue
        found[name] = module
        for value in vars(module).values():
            other = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
            if isinstance(other, str):
                waiting.append(other)
    return list(found.values())


class _Walk:
    """Digests of values, containers opened. Whatever cannot be opened is known by its identity."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self._open: set[int] = set()

    def look(self, path: str, value: Any, depth: int) -> None:
        if len(self.found) >= _MOST_ITEMS:
            return
        kind = type(value)
        if kind in _SIMPLE:
            self.found[path] = repr(value)[:200]
        elif isinstance(value, Tensor):
            self.found[path] = _tensor(value)
        elif isinstance(value, itertools.count):
            self.found[path] = repr(value)
        elif isinstance(value, nn.Module | ModuleType):
            self.found[path] = str(id(value))
        elif depth >= _DEEPEST or id(value) in self._open:
            self.found[path] = f"{kind.__name__} {id(value)}"
        else:
            self._open.add(id(value))
            self._inside(path, value, depth + 1)
            self._open.discard(id(value))

    def _inside(self, path: str, value: Any, depth: int) -> None:
        if isinstance(value, FunctionType | MethodType):
            self._function(path, getattr(value, "__func__", value), depth)
            return
        if isinstance(value, dict | MappingProxyType):
            items = [(f"{path}[{key!r:.60}]", item) for key, item in list(value.items())]
            self.found[path] = f"{len(items)} items"
        elif isinstance(value, list | tuple | deque | set | frozenset):
            is_ordered = not isinstance(value, set | frozenset)
            items = [(f"{path}[{number}]", item) for number, item in enumerate(value)] if is_ordered else []
            self.found[path] = f"{len(value)} items"
        else:
            kind = value if isinstance(value, type) else type(value)
            held = {} if _is_foreign(kind) else dict(getattr(value, "__dict__", {}))
            items = [(f"{path}.{key}", item) for key, item in held.items() if not key.startswith("__")]
            self.found[path] = f"{kind.__name__} {id(value)}"
        for name, item in items:
            self.look(name, item, depth)

    def _function(self, path: str, function: Any, depth: int) -> None:
        self.found[path] = f"function {id(function)} {id(function.__code__)}"
        if is_library(function.__code__.co_filename):
            return
        for number, cell in enumerate(function.__closure__ or ()):
            try:
                self.look(f"{path}.closure[{number}]", cell.cell_contents, depth)
            except ValueError:  # an empty cell
                continue
        self.look(f"{path}.defaults", function.__defaults__, depth)
        self.look(f"{path}.attributes", function.__dict__, depth)


def _is_foreign(kind: type) -> bool:
    """Whether a class is torch's, Python's own or an installed package's."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return file is None or is_library(file) or "site-packages" in file


def _tensor(value: Tensor) -> str:
    shape = f"{tuple(value.shape)} {value.dtype}"
    try:
        raw = value.detach().cpu().contiguous().view(torch.uint8).numpy()
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        return f"{shape} {id(value)}"
    return f"{shape} {hashlib.blake2b(raw.tobytes(), digest_size=8).hexdigest()}"
