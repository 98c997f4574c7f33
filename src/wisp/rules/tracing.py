"""Does a network do the same while torch traces, compiles or exports it?"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch.onnx._internal.exporter import _flags as onnx_flags
from torch.onnx._internal.torchscript_exporter._globals import GLOBALS as ONNX_GLOBALS

from wisp.macs.capture import trace_exported
from wisp.records import Violation
from wisp.rules.line_trace import Line, LineTrace, parting
from wisp.rules.subject import Run, Subject, alike, attempt, differs, main_output, same_work, seed


def check_tracing(subject: Subject, reference: Run) -> Iterator[Violation]:
    """While torch traces, compiles or exports it, the network must do the same."""
    first = subject.images[:1]
    pretences: tuple[tuple[str, AbstractContextManager[None]], ...] = (
        ("while torch.export runs", _exporting()),
        ("while torch.onnx exports it", _onnx_exporting()),
    )
    for what, pretence in pretences:
        yield from same_work(reference, attempt(partial(subject.watched, first, inside=pretence)), what)
    trace = LineTrace(subject.model)
    try:
        with warnings.catch_warnings(), torch.no_grad(), trace.watching():
            warnings.simplefilter("ignore")
            seed()
            scripted = torch.jit.trace(  # type: ignore[no-untyped-call]
                subject.model, (first,), check_trace=False, strict=False
            )
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            seed()
            output = main_output(scripted(first))
    except Exception:  # torch.jit.trace takes fewer networks than there are honest ones
        return
    if not alike(output, subject.answers[0]):
        yield differs("does something else while torch.jit traces it", parting(reference.lines, trace.lines))


def where_exported(subject: Subject, reference: Run) -> Line | None:
    """Where torch.export's run of the network parts from a plain one."""
    trace = LineTrace(subject.model)
    with suppress(Exception), trace.watching():  # many a program cannot be captured
        trace_exported(subject.model, subject.images[:1])
    return parting(reference.lines, trace.lines)


@contextmanager
def _exporting() -> Iterator[None]:
    with _set(torch.compiler, "_is_exporting_flag"), _set(torch.compiler, "_is_compiling_flag"):
        yield


@contextmanager
def _onnx_exporting() -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(_set(ONNX_GLOBALS, "in_onnx_export"))
        stack.enter_context(_set(onnx_flags, "_is_onnx_exporting"))
        yield


@contextmanager
def _set(holder: Any, name: str) -> Iterator[None]:
    before = getattr(holder, name)
    setattr(holder, name, True)
    try:
        yield
    finally:
        setattr(holder, name, before)
