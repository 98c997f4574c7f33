"""From a run and its photos to a submission: team.zip, or the competition's own file of answers."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wisp import strict_json
from wisp.artifact import ArtifactInfo
from wisp.data.classes import class_order
from wisp.data.fingerprint import content_fingerprint
from wisp.environment import describe_environment
from wisp.errors import DataError, ExportError, ModelError
from wisp.files import replacing
from wisp.macs import count_exact, count_macs, count_onnx
from wisp.models import ArchSpec
from wisp.records import TEST, TRAIN, UNLABELLED, VAL, Dataset, Violation
from wisp.runtime import Classifier
from wisp.runtime.answers import Answers
from wisp.submission import Environment, Facts, Macs, Manifest, verify_submission, write_submission
from wisp.submission.claims import answer_names
from wisp.submission.contents import ARCH, DATA, MODEL, PREDICTIONS, RECIPE, SOURCE, WEIGHTS
from wisp.submission.photos import SplitAnswers, answer_samples, test_samples
from wisp.train.run import ENVIRONMENT, Run
from wisp.train.run import RECIPE as RECIPE_FILE
from wisp.train.run import WEIGHTS as WEIGHTS_FILE
from wisp.trials import export_run


@dataclass(frozen=True)
class Packed:
    """A submission that was written and has passed its own check.

    `findings` holds the notes and warnings of that check; there are no violations.
    """

    path: Path
    manifest: Manifest
    n_answers: int
    findings: tuple[Violation, ...]


def pack_run(
    run: Run, dataset: Dataset, path: Path, *, skip_unreadable: bool = False, progress: bool = True
) -> Packed:
    """Pack a complete run as a submission; the same run and photos give the same bytes.

    A run without model.onnx is exported first, with its check against torch. The finished file is verified as a
    stranger would (`verify_submission`, with the photos), and written only if nothing is wrong with it.

    Args:
        run: a complete run, of `wisp train` or `wisp optimize`.
        dataset: the photos: the run's own for training and validation, and those to answer (test, unlabelled).
        path: the zip file to write.
        skip_unreadable: leave training and validation photos out that cannot be read.
        progress: show progress bars on a terminal.

    Raises:
        ModelError: the run is not complete, or its model.onnx is of another training.
        DataError: other photos than those of the training, none to answer, or unreadable ones.
        ExportError: the network cannot be exported, or the submission would not pass its own check.
    """
    model = run.load_model()
    data = _fingerprint(run, dataset, progress=progress)
    info, answers = answer_run(run, dataset, skip_unreadable=skip_unreadable, progress=progress)
    exact = count_exact(model, run.recipe.image_size)
    graph = count_onnx(run.artifact)
    facts = Facts(
        classes=run.classes,
        image_size=run.recipe.image_size,
        params=sum(parameter.numel() for parameter in model.parameters()),
        macs=Macs(
            official=count_macs(model, run.recipe.image_size).total,
            deployed=info.macs,
            exact=exact.total,
            onnx=graph.total,
            exact_complete=exact.complete,
            onnx_complete=graph.complete,
        ),
        seed=run.recipe.seed,
        f1={split: found.f1_macro() for split, found in answers.items() if split != UNLABELLED},
        environment=_environment(run),
    )
    predictions = competition_answers(info, dataset, answers)
    files = {
        PREDICTIONS: strict_json.dumps(predictions.to_json()),
        MODEL: run.artifact.read_bytes(),
        WEIGHTS: (run.folder / WEIGHTS_FILE).read_bytes(),
        RECIPE: (run.folder / RECIPE_FILE).read_bytes(),
        DATA: strict_json.dumps(data),
    }
    if isinstance(run.arch, ArchSpec):
        files[ARCH] = strict_json.dumps(run.arch.to_json())
    else:
        files[SOURCE] = run.arch.text.encode()
    with replacing(path) as temporary:
        manifest = write_submission(temporary, files, facts)
        findings = verify_submission(temporary, dataset, progress=progress)
        for finding in findings:
            if finding.severity == "violation":
                raise ExportError(f"{path}: not written, since it would not pass its own check: {finding}")
    return Packed(path, manifest, len(predictions.answers), tuple(findings))


def answer_run(
    run: Run, dataset: Dataset, *, skip_unreadable: bool = False, progress: bool = True
) -> tuple[ArtifactInfo, dict[str, SplitAnswers]]:
    """What the run's model.onnx says about itself, and what it answers on every split; it is exported where missing.

    Args:
        run: a complete run.
        dataset: the photos.
        skip_unreadable: leave training and validation photos out that cannot be read.
        progress: show progress bars on a terminal.

    Raises:
        ModelError: the run is not complete, or its model.onnx is of another training.
        DataError: no photos to answer, or unreadable ones among them.
        ExportError: the network cannot be exported.
    """
    if not test_samples(dataset):
        raise DataError(
            f"{dataset.root}: no test photos to answer; put them into {dataset.root / TEST}, one folder a class, or "
            f"into {dataset.root / TEST / 'NoLabel'}"
        )
    if not run.artifact.is_file():
        export_run(run, dataset, skip_unreadable=skip_unreadable)
    classifier = Classifier(run.artifact)
    info = classifier.info
    if info.labels != run.classes or info.resize != run.recipe.resize:
        raise ModelError(
            f"{run.artifact}: of another training; export the run again with: wisp export "
            f"{shlex.quote(str(run.folder))}"
        )
    order = class_order(dataset, info.labels)
    answers = {
        split: answer_samples(
            classifier.probabilities,
            dataset.split(split),
            info.resize,
            order,
            skip_unreadable=skip_unreadable and split in {TRAIN, VAL},
            progress=progress,
        )
        for split in (TRAIN, VAL, TEST, UNLABELLED)
        if dataset.split(split)
    }
    return info, answers


def competition_answers(info: ArtifactInfo, dataset: Dataset, answers: Mapping[str, SplitAnswers]) -> Answers:
    """The answers to the test photos by file name, in the competition's form."""
    samples = test_samples(dataset)
    name_of = dict(zip(samples, answer_names([sample.name for sample in samples]), strict=True))
    said = {
        name_of[sample]: info.labels[int(row.argmax())]
        for split in (TEST, UNLABELLED)
        if split in answers
        for sample, row in zip(answers[split].samples, answers[split].probabilities, strict=True)
    }
    return Answers(info.macs, said)


def _fingerprint(run: Run, dataset: Dataset, *, progress: bool) -> dict[str, Any]:
    """data.json: what the photos are, without where they lie.

    Training and validation photos must be those of the run; test photos may have come later.
    """
    here = content_fingerprint(dataset, progress=progress)
    trained = run.data.get("splits", {})
    for split in (TRAIN, VAL):
        if here["classes"] != run.data.get("classes") or here["splits"].get(split) != trained.get(split):
            raise DataError(
                f"{dataset.root}: its {split} photos are not those that {run.folder} was trained with; name the run's "
                "own photos with --data (test photos may be new)"
            )
    said = {name: here[name] for name in ("classes", "splits", "digest")}
    return said | {name: run.data[name] for name in ("teachers", "pretrained") if name in run.data}


def _environment(run: Run) -> Environment:
    """Where the run was trained; of a run that did not write it down, where it is packed."""
    path = run.folder / ENVIRONMENT
    try:
        described = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else describe_environment()
        return Environment(**described)
    except (OSError, ValueError, TypeError, ValidationError) as error:
        raise ModelError(f"{path}: damaged; remove it, and this machine is described instead") from error
