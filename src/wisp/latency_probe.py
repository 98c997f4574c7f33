"""How fast a network will be, before it is trained: exported with random weights, timed as it will run, remembered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from wisp.bench.latency import measure_latency
from wisp.export.onnx import export_onnx
from wisp.files import write_json
from wisp.models import build
from wisp.records import ResizeRule
from wisp.search.candidate import Candidate


def measure_untrained(candidate: Candidate) -> float:
    """Median milliseconds of one image, from decoded pixels to probabilities, one thread, on this machine.

    Takes seconds, most of them for the export.
    """
    size = candidate.image_size
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(
            build(candidate.arch).eval(),
            labels=[str(number) for number in range(candidate.arch.num_classes)],
            resize=ResizeRule(size),
            macs_as_trained=candidate.macs,
            provenance={},
            check_images=np.zeros((1, size, size, 3), np.uint8),
            path=path,
        )
        return measure_latency(path, repeats=100, warmup=10).p50_ms


class RememberedLatencies:
    """Measured latencies: those in a file, if there is one, and those measured since."""

    def __init__(self, measure: Callable[[Candidate], float], path: Path | None = None) -> None:
        self._measure = measure
        self._path: Path | None = None
        self._known: dict[str, float] = (
            json.loads(path.read_text(encoding="utf-8")) if path is not None and path.is_file() else {}
        )

    def keep(self, path: Path) -> None:
        """Write all of them down there, from now on."""
        self._path = path
        write_json(path, self._known)

    def __call__(self, candidate: Candidate) -> float:
        """Milliseconds of this candidate, measured the first time."""
        if candidate.name not in self._known:
            self._known[candidate.name] = self._measure(candidate)
            if self._path is not None:
                write_json(self._path, self._known)
        return self._known[candidate.name]
