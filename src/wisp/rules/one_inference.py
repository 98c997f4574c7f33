"""Rule 3: one model answers with one forward pass an image."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wisp.errors import SubmissionError
from wisp.records import Violation
from wisp.rules.case import Case
from wisp.rules.findings import ONE_INFERENCE, finding
from wisp.rules.probes import PHOTOS, draw_pixels
from wisp.submission.contents import MODEL
from wisp.submission.graph import classify_images

_TOLERANCE = 1e-3  # of a probability, between torch and ONNX Runtime
_PACK_AGAIN = "pack the run again with: wisp submit"


def one_inference(case: Case) -> list[Violation]:
    """Several passes, answers that hang on other images, on chance or on time, and a file that is another model."""
    return [*case.judged(ONE_INFERENCE), *_artifact(case)]


def _artifact(case: Case) -> Iterator[Violation]:
    """model.onnx is to be the same model as the network with its weights: it is asked about the same pictures."""
    target, judgement = case.target, case.judgement
    if target.artifact is None or target.weights is None or judgement is None or not judgement.answers:
        return
    logits = np.array(judgement.answers[:PHOTOS], float)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    wanted = shifted / shifted.sum(axis=1, keepdims=True)
    with tempfile.TemporaryDirectory(prefix="wisp-") as folder:
        path = Path(folder) / MODEL
        path.write_bytes(target.artifact)
        try:
            given = classify_images(path, draw_pixels(case.seed, target.image_size), logits.shape[1])
        except SubmissionError as error:
            yield finding(ONE_INFERENCE, "violation", MODEL, f"does not answer: {error}", _PACK_AGAIN)
            return
    difference = float(np.abs(wanted - given).max(initial=0.0))
    if not difference <= _TOLERANCE:  # written so that NaN fails too
        message = (
            f"another model than the network with its weights: probabilities differ by up to {difference:.3g} on "
            f"{PHOTOS} pictures (tolerance {_TOLERANCE:g})"
        )
        yield finding(ONE_INFERENCE, "violation", MODEL, message, _PACK_AGAIN)
