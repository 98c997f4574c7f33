"""A network under judgement: asked plainly or watched, and where two ways of asking it part."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wisp.records import Violation
from wisp.rules.findings import HIDDEN_COMPUTATION, finding, split_place
from wisp.rules.line_trace import Line, LineTrace, parting, shared_length
from wisp.rules.recording import Observation, main_outputs, observe

TOLERANCE = 2e-4  # of the largest answer; float32 kernels for other batches differ by some 1e-6
SEED = 1234
ALWAYS_THE_SAME = "the network must do the same for everyone: remove what asks"


@dataclass(frozen=True)
class Run:
    """One watched run: the main output, what was seen of it, and the lines that it went through."""

    output: Tensor
    seen: Observation
    lines: list[Line]

    @property
    def macs(self) -> int:
        """Multiply-accumulates, gates aside."""
        return self.seen.layer_macs


@dataclass
class Subject:
    """A network in evaluation mode, and the images that it is asked about (K x channels x side x side)."""

    model: nn.Module
    images: Tensor
    answers: list[Tensor] = field(default_factory=list)

    def plain(self, images: Tensor) -> Tensor:
        """The main output, without anything that watches."""
        seed()
        with torch.no_grad():
            return main_output(self.model(images))

    def watched(
        self,
        images: Tensor,
        *,
        inside: AbstractContextManager[Any] | None = None,
        hooked: bool = False,
        seeded: int = SEED,
    ) -> Run:
        """The same with everything written down; `hooked` also hooks every module."""
        seed(seeded)
        trace = LineTrace(self.model)
        with torch.no_grad(), inside or nullcontext(), trace.watching():
            seen = observe(self.model, images, with_calls=hooked)
        return Run(main_output(seen.outputs), seen, trace.lines)


def seed(value: int = SEED) -> None:
    """Set every random state that a network may draw from."""
    torch.manual_seed(value)
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002  (the global state is what is set)


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether two outputs are equal up to rounding."""
    if one.shape != other.shape:
        return False
    scale = float(other.abs().max()) if other.numel() else 0.0
    if not np.isfinite(scale):
        return bool(torch.equal(one.isfinite(), other.isfinite()))
    return bool((one - other).abs().max() <= TOLERANCE * scale + 1e-7) if one.numel() else True


def apart(one: Run, other: Run) -> Line | None:
    """Where two runs of one network part: by their lines, else by their operators."""
    where = parting(one.lines, other.lines)
    if where is not None or one.seen.steps == other.seen.steps:
        return where
    shared = shared_length(one.seen.steps, other.seen.steps)
    step = next(iter((*one.seen.steps[shared : shared + 1], *other.seen.steps[shared : shared + 1])))
    file, number = split_place(step.source)
    return Line(file, number or 0, step.layer) if file else None


def apart_in_values(one: Run, other: Run) -> Line | None:
    """The first module whose output for the first image differs between two hooked runs."""
    for mine, theirs in zip(one.seen.calls, other.seen.calls, strict=False):
        if mine.module != theirs.module or mine.output is None or theirs.output is None:
            break
        if not alike(mine.output[:1].float(), theirs.output[:1].float()):
            file, number = split_place(mine.source)
            return Line(file, number or 0, mine.module) if file else None
    return None


def main_output(value: Any) -> Tensor:
    """The first tensor of what a network gave, as float32."""
    outputs = main_outputs(value)
    if not outputs:
        raise TypeError("the network gives no tensor")
    return outputs[0].float()


def attempt(action: Callable[[], Run]) -> Run | Exception:
    """The run, or what it raised."""
    try:
        return action()
    except Exception as error:  # the network's own code may raise anything
        return error


def differs(
    message: str, where: Line | None, fix: str = ALWAYS_THE_SAME, rule: str = HIDDEN_COMPUTATION
) -> Violation:
    """A violation: two runs that must not differ do; `where` is the line that decides."""
    module = where.module if where else ""
    return finding(rule, "violation", where and str(where), message, fix, module=module)


def fails(
    what: str, error: Exception, rule: str = HIDDEN_COMPUTATION, fix: str = ALWAYS_THE_SAME
) -> Violation:
    """A violation: the network fails where it must not."""
    reason = str(error).partition("\n")[0] or type(error).__name__
    return finding(rule, "violation", None, f"fails {what} ({reason})", fix, module="")


def same_work(reference: Run, other: Run | Exception, what: str) -> Iterator[Violation]:
    """Findings where a run does not do, or answer, what the reference does."""
    if isinstance(other, Exception):
        yield fails(what, other)
    elif other.seen.work != reference.seen.work:
        yield differs(
            f"does other work {what} ({other.macs:,} MACs instead of {reference.macs:,})",
            apart(reference, other),
        )
    elif not alike(other.output, reference.output):
        yield differs(f"answers differently {what}", apart(reference, other))
