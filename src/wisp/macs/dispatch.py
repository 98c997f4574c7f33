"""Watching operators as they reach torch's dispatcher, whoever calls them: modules, functions, hooks, scripts."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import HigherOrderOperator, OpOverload
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from wisp.macs.formulas import (
    ADDITIONS,
    BESIDES,
    FREE,
    FUNCTIONS,
    MACS,
    PRODUCTS,
    REDUCTIONS,
    VALUE_READS,
    operator_name,
    real_products,
)
from wisp.macs.ledger import Ledger, Place
from wisp.macs.outside import COMES_FROM_ELSEWHERE, Exits, existing_tensors, work_elsewhere
from wisp.macs.tensors import tensors_of

_LIBRARIES = (str(Path(torch.__file__).parent) + os.sep, str(Path(__file__).parent) + os.sep)
_STANDARD = sysconfig.get_paths()["stdlib"] + os.sep
READS_VALUES = "the program depends on values that it computes: counted for one image, another may cost more"
_NO_RULE = "no formula for this operator"
# Operators of torch.export around a part of the program that runs as it stands.
_WRAPPERS = frozenset(["wrap_with_set_grad_enabled", "wrap_with_autocast", "hints_wrapper"])
_ALONG_AXES = frozenset(["sum", "nansum", "mean"])
_SYMBOLIC = "its size depends on values that the program computes"


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own hook for subclasses
    """Writes every operator that runs inside into a ledger.

    Args:
        ledger: where to.
        place: says which layer and source line an operator belongs to.
        known: every tensor that there is before; None where tensors may come from anywhere.
    """

    supports_higher_order_operators = True

    def __init__(
        self, ledger: Ledger, place: Callable[[], Place], known: Iterable[Tensor] | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ledger = ledger
        self.place = place
        self._storages: dict[int, StorageWeakRef] = {}
        self._known = None if known is None else set(map(self._key, known))

    def __torch_dispatch__(
        self,
        func: OpOverload | HigherOrderOperator,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if isinstance(func, HigherOrderOperator) and str(func) in _WRAPPERS:
            inner = next(index for index, arg in enumerate(args) if isinstance(arg, torch.fx.GraphModule))
            with self:
                return args[inner](*args[inner + 1 :])
        if isinstance(func, OpOverload) and operator_name(func) not in _COUNTED and _is_composed(func):
            # torch's inference mode hands them over whole: take them apart
            with self:
                return func.decompose(*args, **(kwargs or {}))
        out = func(*args, **(kwargs or {}))
        if isinstance(func, HigherOrderOperator):  # control flow as an operator; what it runs is not seen
            self.ledger.miss(f"torch.{func}", self.place(), READS_VALUES)
            return out
        with torch._C.DisableTorchFunction():
            self._record(func, args, kwargs or {}, out)
        return out

    def _record(self, func: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> None:
        name, shown = operator_name(func), str(func._schema.name)
        results = tensors_of(out)
        if self._known is not None:
            if not name.startswith("lift"):  # those bring in constants: torch.tensor(2.0)
                self.expect((args, kwargs), shown)
            self._known.update(map(self._key, results))
        try:
            if name in VALUE_READS:
                self.ledger.miss(shown, self.place(), READS_VALUES)
            elif name in MACS:
                besides = BESIDES[name](args, out) if name in BESIDES else 0
                macs = MACS[name](args, results[0] if results else out)
                self.ledger.count(shown, self.place(), macs=macs, elementwise=besides)
                self._reset(results)
            elif name in PRODUCTS:
                self._product(name, shown, args, kwargs, results[0])
            elif name in FUNCTIONS:
                tensors = tensors_of(args, out)
                self.ledger.count(shown, self.place(), elementwise=max(int(leaf.numel()) for leaf in tensors))
                self._reset(results)
            elif name in ADDITIONS:
                self._addition(shown, args, kwargs, results[0])
            elif name in REDUCTIONS or name in FREE or func.is_view:
                self._move(name, args, kwargs, results)
            elif not name.startswith("prim::"):  # those ask a tensor about itself
                self.ledger.miss(shown, self.place(), _NO_RULE)
        except (RuntimeError, TypeError) as error:  # a symbolic size has no number
            tensors = tensors_of(args, out)
            if all(isinstance(size, int) for leaf in tensors for size in leaf.shape):
                raise
            self.ledger.miss(shown, self.place(), f"{_SYMBOLIC} ({type(error).__name__})")

    def expect(self, values: Any, reader: str) -> None:
        """Write down if a tensor among `values` was made out of sight."""
        for tensor in tensors_of(values):
            if self._known is not None and (key := self._key(tensor)) not in self._known:
                self._known.add(key)
                self.ledger.miss(reader, self.place(), COMES_FROM_ELSEWHERE)

    def _move(
        self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], results: Sequence[Tensor]
    ) -> None:
        """Follow products through an operator that multiplies nothing."""
        tensors = tensors_of(args, kwargs)
        sources = [self._key(leaf) for leaf in tensors]
        adds_up = name in REDUCTIONS or (name == "index_put" and len(args) > 3 and bool(args[3]))
        if name in _ALONG_AXES and results:  # over an axis of one nothing is added
            adds_up = int(tensors[0].numel()) > int(results[0].numel())
        for result in results:
            key = self._key(result)
            if adds_up:
                self.ledger.reduce(sources, key)
            elif sources != [key]:  # a view of its only source changes nothing
                self.ledger.carry(sources, key)

    def _reset(self, results: Sequence[Tensor]) -> None:
        for result in results:
            self.ledger.reset(self._key(result))

    def _product(
        self, name: str, shown: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Tensor
    ) -> None:
        factors = args[1:] if name.startswith("addc") else args
        numel = int(out.numel()) * real_products(*factors)
        if name == "div" and kwargs.get("rounding_mode") is not None:  # whole-number arithmetic on positions
            self.ledger.count(shown, self.place(), elementwise=numel)
            return
        entry = self.ledger.count(shown, self.place(), elementwise=numel)
        key = self._key(out)
        if name in {"addcmul", "addcdiv", "lerp"}:
            self.ledger.product(entry, entry)
            self.ledger.add((self._key(args[0]), entry), key)
            self.ledger.reset(entry)
        else:
            self.ledger.product(key, entry)

    def _addition(self, shown: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Tensor) -> None:
        sources: list[Any] = [self._key(arg) for arg in args[:2] if isinstance(arg, Tensor)]
        scale = kwargs.get("alpha", 1)
        if isinstance(scale, (int, float, complex)) and abs(scale) != 1:
            entry = self.ledger.count(shown, self.place(), elementwise=int(out.numel()))
            self.ledger.product(entry, entry)
            self.ledger.add([sources[0], entry], self._key(out))
            self.ledger.reset(entry)
        else:
            self.ledger.add(sources, self._key(out))

    def _key(self, tensor: Tensor) -> int:
        """What names the memory of `tensor`: its views share it. Held weakly, so that it is not given away again."""
        try:
            storage = tensor.untyped_storage()
        except (
            NotImplementedError,
            RuntimeError,
            ValueError,
        ):  # sparse ones and uninitialised parameters have none
            return id(tensor)
        key = int(storage._cdata)
        if key not in self._storages:
            self._storages[key] = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        return key


def _is_library(file: str) -> bool:
    """Whether `file` is torch's, ours or Python's own (where other packages may lie too)."""
    if file.startswith(_STANDARD):
        return "site-packages" not in file
    return file.startswith(_LIBRARIES)


def _is_composed(operator: OpOverload) -> bool:
    """Whether torch defines the operator by others."""
    return operator.namespace != "prim" and torch._C._dispatch_has_kernel_for_dispatch_key(
        str(operator._name), "CompositeImplicitAutograd"
    )


class Frames:
    """Places of what runs right now, read from the Python stack."""

    def __init__(self, model: nn.Module) -> None:
        self._names = {id(module): name for name, module in model.named_modules()}

    def __call__(self) -> Place:
        """The innermost module that was called, and the innermost line outside torch and Python's own."""
        layer = source = None
        frame = sys._getframe(1)
        while frame is not None and (layer is None or source is None):
            code = frame.f_code
            if code is _WATCHED:
                break
            if source is None and not _is_library(code.co_filename):
                source = f"{code.co_filename}:{frame.f_lineno}"
            # as hooks see it: not of a direct call of forward()
            if layer is None and code.co_name == "_call_impl":
                layer = self._names.get(id(frame.f_locals.get("self")))
            frame = frame.f_back  # type: ignore[assignment]  # None at the bottom
        return Place(layer or "", source)


def watch(model: nn.Module, image: Tensor, *, sealed: bool = True) -> Ledger:
    """Run `model` once on `image` and write down every operator that it reaches.

    With `sealed`, also whatever reaches the program from outside of them.
    """
    ledger = Ledger()
    place = Frames(model)
    known = (image, *model.parameters(), *model.buffers(), *existing_tensors()) if sealed else None
    recorder = Recorder(ledger, place, known)
    with work_elsewhere(ledger, place), Exits(ledger, place), recorder:
        out = model(image)
    recorder.expect(out, "output")
    return ledger


_COUNTED = MACS.keys() | PRODUCTS | FUNCTIONS | ADDITIONS | REDUCTIONS | FREE | VALUE_READS
_WATCHED = watch.__code__


@contextmanager
def eager_paths() -> Iterator[None]:
    """Inside, nothing hides operators: no fused path of attention, no compiled code."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
