"""Which lines outside torch ran, in order: where two runs part is the line that tells them apart."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

from torch import nn

from wisp.rules.attribution import CALL, is_library

_MOST_LINES = 200_000


class Line(NamedTuple):
    """A line that ran: its file and number, and the module whose method it is in ("" where none is known)."""

    file: str
    number: int
    module: str

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"


class LineTrace:
    """The lines of one run."""

    def __init__(self, model: nn.Module) -> None:
        self._names = {id(module): name for name, module in model.named_modules()}
        self.lines: list[Line] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Write down the lines that run inside.

        Garbage is not collected meanwhile: finalizers and callbacks of the collector would run, at any moment, in
        the middle of a network that knows nothing of them.
        """
        before, collecting = sys.gettrace(), gc.isenabled()
        gc.disable()
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)
            if collecting:
                gc.enable()

    def _enter(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        file = frame.f_code.co_filename
        if file.startswith("<") or is_library(file) or not _in_a_call(frame):
            return None
        owner = self._names.get(id(frame.f_locals.get("self")), "")

        def step(inner: FrameType, event: str, _argument: Any) -> Any:
            if event == "line" and len(self.lines) < _MOST_LINES:
                self.lines.append(Line(file, inner.f_lineno, owner))
            return step

        return step


def _in_a_call(frame: FrameType) -> bool:
    """Whether a module is being called: what runs before (train(), say) is no part of an answer."""
    outer: FrameType | None = frame
    while outer is not None and outer.f_code is not CALL:
        outer = outer.f_back
    return outer is not None


def parting(one: Sequence[Line], other: Sequence[Line]) -> Line | None:
    """The last line that two runs share before they part: the one that decides. None where they do not part."""
    shared = shared_length(one, other)
    if shared == len(one) == len(other):
        return None
    return one[shared - 1] if shared else next(iter(one or other))


def shared_length(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many items two sequences begin with together."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (mine, theirs) in pairs if mine != theirs), min(len(one), len(other)))
