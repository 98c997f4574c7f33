"""Judging a network: our own in this process, a stranger's source in confined ones."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from wisp.errors import ModelError
from wisp.models import ArchSpec, build
from wisp.rules.examination import examine
from wisp.rules.hearing import LIMITS, Hearing, Judgement
from wisp.rules.probes import draw_images
from wisp.rules.state import torch_itself
from wisp.rules.target import Target
from wisp.sandbox import Limits

__all__ = ["LIMITS", "Judgement", "judge"]


def judge(
    target: Target, seed: int, *, limits: Limits = LIMITS, tick: Callable[[], None] | None = None
) -> Judgement:
    """Run the network of `target` and find out what is wrong with it.

    Args:
        target: its source, if it has one, is executed, confined.
        seed: of the images that it is asked about.
        limits: what the confined processes may use.
        tick: called about five times a second while they run.

    Raises:
        SandboxError: this system cannot confine programs.
    """
    if target.spec is not None:
        return _judge_own(target.spec, target, seed)
    with tempfile.TemporaryDirectory(prefix="wisp-") as folder:
        return Hearing(target, seed, Path(folder).resolve(), limits, tick).hold()


def _judge_own(spec: ArchSpec, target: Target, seed: int) -> Judgement:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        before = torch_itself()
        result = examine(
            lambda: build(spec),
            draw_images(seed, target.image_size),
            torch_before=before,
            weights=_weights(target),
            num_classes=spec.num_classes,
        )
    except ModelError as error:
        return Judgement(failure=str(error))
    finally:
        torch.set_num_threads(threads)
    counts = {"official": result.official.total, "exact": result.exact.total, "params": result.exact.params}
    return Judgement(result.findings, (), counts, tuple(map(tuple, result.answers.tolist())))


def _weights(target: Target) -> dict[str, torch.Tensor] | None:
    if target.weights is None:
        return None
    try:
        return safetensors.torch.load(target.weights)
    except SafetensorError as error:
        raise ModelError(f"its weights cannot be read ({error})") from error
