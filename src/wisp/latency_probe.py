"""How fast a network will be, before it is trained: exported with random weights, and timed as it will run."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from wisp.bench.latency import measure_latency
from wisp.export.onnx import export_onnx
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
