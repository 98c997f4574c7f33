"""Is a retrained network the claimed one, and how well does it do? Nothing that it says of itself is believed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wisp import strict_json
from wisp.data.classes import class_order
from wisp.errors import SubmissionError, TrainingError
from wisp.macs import count_onnx
from wisp.records import Dataset
from wisp.reproduction.claim import Claim
from wisp.reproduction.interval import one_photo
from wisp.reproduction.retraining import COSTS, Retraining
from wisp.reproduction.verdict import Retrained
from wisp.submission.contents import MODEL
from wisp.submission.contents import WEIGHTS as WEIGHTS_MEMBER
from wisp.submission.graph import classify_images, describe_model
from wisp.submission.photos import SplitAnswers, answer_samples
from wisp.submission.tensors import read_tensors
from wisp.submission.verification import PARITY_TOLERANCE
from wisp.train.run import ARTIFACT, WEIGHTS


@dataclass(frozen=True)
class Target:
    """The submitted model on the deciding split: what retraining has to give again.

    Attributes:
        claim: the submission.
        dataset: the photos.
        split: the deciding split.
        answers: the submitted model's.
        skip_unreadable: leave unreadable photos out.
    """

    claim: Claim
    dataset: Dataset
    split: str
    answers: SplitAnswers
    skip_unreadable: bool

    @property
    def resolution(self) -> float:
        """The least spread of F1 to reckon with: half of what one photo changes."""
        return one_photo(np.bincount(self.answers.true).tolist()) / 2


def measure_target(
    claim: Claim, dataset: Dataset, split: str, folder: Path, *, skip_unreadable: bool, progress: bool = True
) -> Target:
    """Run the submitted model on the deciding split.

    Args:
        claim: the submission, verified.
        dataset: the photos.
        split: the deciding split.
        folder: where its model is unpacked.
        skip_unreadable: leave unreadable photos out.
        progress: show progress on a terminal.

    Raises:
        SubmissionError: the model cannot be run.
        DataError: photos cannot be read.
    """
    model = folder / MODEL
    model.write_bytes(claim.files[MODEL])
    answers = _answer(model, claim, dataset, split, skip_unreadable=skip_unreadable, progress=progress)
    return Target(claim, dataset, split, answers, skip_unreadable)


def measure_retrained(task: Retraining, target: Target, seconds: float) -> Retrained:
    """Compare a finished training with the submission.

    Raises:
        TrainingError: what it left cannot be used (only own source code can do that).
        DataError: photos cannot be read.
    """
    artifact, claim = task.folder / ARTIFACT, target.claim
    try:
        answers = _answer(
            artifact,
            claim,
            target.dataset,
            target.split,
            skip_unreadable=target.skip_unreadable,
            progress=False,
        )
        weights = (task.folder / WEIGHTS).read_bytes()
        differences = tuple(_differences(task, artifact, weights, claim))
        submitted = claim.files[WEIGHTS_MEMBER]
        apart = float(np.abs(answers.probabilities - target.answers.probabilities).max(initial=0.0))
        return Retrained(
            seed=task.recipe.seed,
            f1=answers.f1_macro(),
            same_weights=_same_tensors(weights, submitted),
            same_answers=apart <= PARITY_TOLERANCE,  # False for NaN
            differences=differences,
            seconds=seconds,
        )
    except SubmissionError as error:
        raise TrainingError(
            f"seed {task.recipe.seed}: what its training left cannot be used: {error}"
        ) from error


def _answer(
    model: Path, claim: Claim, dataset: Dataset, split: str, *, skip_unreadable: bool, progress: bool
) -> SplitAnswers:
    """The model's answers, from a process of its own."""
    classes = claim.manifest.classes
    return answer_samples(
        lambda images: classify_images(model, images, len(classes)),
        dataset.split(split),
        describe_model(model).resize,
        class_order(dataset, classes),
        skip_unreadable=skip_unreadable,
        progress=progress,
    )


def _differences(task: Retraining, artifact: Path, weights: bytes, claim: Claim) -> Iterator[str]:
    """What is not as claimed: the classes and MACs of the exported graph, the shapes, the parameters."""
    manifest = claim.manifest
    info, graph = describe_model(artifact), count_onnx(artifact)
    if info.labels != manifest.classes:
        yield "the retrained network has other classes"
    counted = {
        "MACs of its graph": (manifest.macs.onnx, graph.total),
        "deployed MACs": (manifest.macs.deployed, info.macs),
        "official MACs": (manifest.macs.official, info.macs_as_trained),
    }
    if claim.has_source:  # of an ArchSpec, looking has already counted these
        costs = strict_json.loads((task.folder / COSTS).read_bytes())
        counted["parameters"] = (manifest.params, costs["params"])
        counted["official MACs"] = (manifest.macs.official, costs["official"])
        counted["exact MACs"] = (manifest.macs.exact, costs["exact"])
    for name, (claimed, here) in counted.items():
        if claimed != here:
            yield f"{name}: {claimed:,} claimed, {here:,} retrained"
    ours, theirs = read_tensors(weights), read_tensors(claim.files[WEIGHTS_MEMBER])
    shapes = {name: (tensor.dtype, tensor.shape) for name, tensor in ours.items()}
    claimed_shapes = {name: (tensor.dtype, tensor.shape) for name, tensor in theirs.items()}
    if shapes != claimed_shapes:
        names = sorted(
            name for name in shapes.keys() | claimed_shapes if shapes.get(name) != claimed_shapes.get(name)
        )
        yield f"another architecture: {len(names):,} tensors differ (first: {names[0]})"


def _same_tensors(ours: bytes, theirs: bytes) -> bool:
    """Whether two safetensors files hold the same tensors, bit for bit, in whatever order."""
    return _contents(ours) == _contents(theirs)


def _contents(weights: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    start = 8 + int.from_bytes(weights[:8], "little")
    return {
        name: (tensor.dtype, tensor.shape, weights[start + tensor.begin : start + tensor.end])
        for name, tensor in read_tensors(weights).items()
    }
