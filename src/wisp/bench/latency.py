"""Latency of a deployed model, one image at a time, as a robot meets it."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wisp.environment import processor_name
from wisp.runtime import Classifier


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of the wall time of one image, milliseconds, and what they were measured on."""

    p50_ms: float
    p99_ms: float
    repeats: int
    threads: int
    device: str


def measure_latency(
    model: Classifier | Path | str, *, repeats: int = 300, warmup: int = 30, threads: int = 1
) -> Latency:
    """Time from decoded pixels to probabilities, batch of one.

    Args:
        model: the `.onnx` file, the run folder it lies in, or a classifier (its file is opened anew).
        repeats: timed runs.
        warmup: runs before the clock starts; the first ones allocate memory and fill the caches.
        threads: threads that the model may use inside one image.

    Raises:
        ModelError: the file is not a wisp model.
        ValueError: `repeats` is below 1 or `warmup` below 0.
    """
    classifier = _open(model, threads)
    size = classifier.info.resize.size
    image = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    return _measure(lambda: classifier.probabilities(image), repeats, warmup, threads)


def photo_to_label_latency(
    model: Classifier | Path | str, photo: bytes, *, repeats: int = 100, warmup: int = 10, threads: int = 1
) -> Latency:
    """Time from an encoded photo in memory (the bytes of a JPEG, say) to its label: decode, resize, classify.

    Arguments and errors are those of `measure_latency`; also DataError where `photo` cannot be read.
    """
    classifier = _open(model, threads)
    return _measure(lambda: classifier.classify(photo), repeats, warmup, threads)


def _open(model: Classifier | Path | str, threads: int) -> Classifier:
    return Classifier(model.path if isinstance(model, Classifier) else model, threads=threads)


def _measure(work: Callable[[], object], repeats: int, warmup: int, threads: int) -> Latency:
    if repeats < 1 or warmup < 0:
        raise ValueError(f"need repeats >= 1 and warmup >= 0, got {repeats} and {warmup}")
    for _ in range(warmup):
        work()
    collecting = gc.isenabled()
    gc.disable()  # a collection in the middle of a run is the interpreter's cost, not the model's
    try:
        times_ns = []
        for _ in range(repeats):
            begin = time.perf_counter_ns()
            work()
            times_ns.append(time.perf_counter_ns() - begin)
    finally:
        if collecting:
            gc.enable()
    p50, p99 = np.percentile(times_ns, (50, 99)) / 1e6
    return Latency(float(p50), float(p99), repeats, threads, processor_name())
