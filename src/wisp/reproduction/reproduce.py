"""The flow of a reproduction, from top to bottom. All of it is on disk, so that it can be taken up after a kill."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from wisp.data.folders import load_dataset
from wisp.environment import describe_environment
from wisp.errors import InputError
from wisp.files import write_json
from wisp.records import Dataset
from wisp.reproduction.claim import (
    Claim,
    deciding_split,
    read_claim,
    refuted_claims,
    require_same_photos,
)
from wisp.reproduction.measuring import measure_retrained, measure_target
from wisp.reproduction.photos import copy_photos
from wisp.reproduction.retraining import Retraining, epochs_done, retrain
from wisp.reproduction.verdict import Reproduction, Retrained, judge
from wisp.sandbox import Limits
from wisp.search.executors import Executor, ProcessExecutor
from wisp.train.folder_lock import sole_use
from wisp.train.run import describe_data, prepare_folder

STATE = "reproduction.json"
PHOTOS = "photos"
_FORMAT = 1


@dataclass(frozen=True)
class Settings:
    """What is asked for.

    Attributes:
        submission: the zip file.
        data: the photos.
        out: the folder of this reproduction.
        seeds: trainings, the first with the submitted seed.
        within: the difference of F1 that must not go unnoticed.
        workers: trainings side by side.
        run_source: run source code of the submission, in the sandbox.
        limits: of one confined training.
        skip_unreadable: leave unreadable photos out.
        progress: show progress bars on a terminal.
    """

    submission: Path
    data: Path
    out: Path
    seeds: int = 3
    within: float = 0.05
    workers: int = 1
    run_source: bool = False
    limits: Limits = Limits()  # noqa: RUF009  (frozen)
    skip_unreadable: bool = False
    progress: bool = True


def reproduce(
    settings: Settings, *, resume: bool = False, overwrite: bool = False, executor: Executor | None = None
) -> Reproduction:
    """Find out whether a submission is what its training gives.

    What looking refutes is not trained. Otherwise it is trained again, from the submission alone, with its own seed
    and others, each in a process of its own; F1 is measured by wisp on the exported files. `reproduction.json` in the
    folder says what was found.

    Args:
        settings: what is asked for.
        resume: go on with the reproduction in the folder, perhaps with more seeds; start it where there is none.
        overwrite: replace the one that is there.
        executor: runs the trainings; None: each in a process of its own.

    Raises:
        SubmissionError, DataError, RecipeError, InputError: the input cannot be used.
        TrainingError: its training fails.
        KeyboardInterrupt: Ctrl-C; the trainings have saved where they stand.
    """
    claim = read_claim(settings.submission, run_source=settings.run_source)
    dataset = load_dataset(settings.data, progress=settings.progress)
    described = describe_data(dataset, progress=settings.progress)
    require_same_photos(claim, described, dataset.root)
    split = deciding_split(claim, dataset)
    with sole_use(settings.out):
        _open_folder(settings, claim, described["digest"], resume=resume, overwrite=overwrite)

        findings = refuted_claims(claim, dataset, progress=settings.progress)
        untrue = [str(finding) for finding in findings if finding.severity == "violation"]
        if untrue:
            result = _refuted(untrue, claim, split, settings)
        else:
            executor = executor or ProcessExecutor(min(settings.workers, settings.seeds))
            result = _retrain_and_judge(claim, dataset, split, described, settings, executor)
        notes = tuple(str(finding) for finding in findings if finding.severity == "warning")
        result = _with_remarks(result, notes)
        state = {**_identity(claim, described["digest"]), "seeds": settings.seeds, "result": result.to_json()}
        write_json(settings.out / STATE, state)
    return result


def retraining_seeds(claim: Claim, n: int) -> list[int]:
    """The submitted seed, then such that its submitter did not choose: they follow from the bytes of the zip file."""
    seeds = [claim.recipe.seed]
    number = 0
    while len(seeds) < n:
        number += 1
        digest = hashlib.sha256(f"{claim.digest} {number}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big") >> 1
        if seed not in seeds:
            seeds.append(seed)
    return seeds


def _retrain_and_judge(
    claim: Claim,
    dataset: Dataset,
    split: str,
    described: dict[str, Any],
    settings: Settings,
    executor: Executor,
) -> Reproduction:
    data = settings.data
    if claim.has_source:
        data = settings.out / PHOTOS
        copy_photos(dataset, data, progress=settings.progress)
    with tempfile.TemporaryDirectory(prefix="wisp-") as folder:
        target = measure_target(
            claim,
            dataset,
            split,
            Path(folder),
            skip_unreadable=settings.skip_unreadable,
            progress=settings.progress,
        )
    tasks = [
        Retraining(
            folder=settings.out / f"seed-{seed}",
            data=data,
            recipe=claim.recipe.replace(seed=seed),
            network=claim.network(),
            sources=claim.sources,
            described=described,
            begins_with=claim.begins_with,
            skip_unreadable=settings.skip_unreadable,
            limits=settings.limits,
        )
        for seed in retraining_seeds(claim, settings.seeds)
    ]
    runs: dict[int, Retrained] = {}
    with (
        _watched(tasks, enabled=settings.progress),
        closing(executor.run(retrain, tasks)) as finished,
    ):
        for task, seconds in finished:
            runs[task.recipe.seed] = measure_retrained(task, target, seconds)
    shutil.rmtree(settings.out / PHOTOS, ignore_errors=True)
    return judge(
        [runs[task.recipe.seed] for task in tasks],
        f1=target.answers.f1_macro(),
        claimed_f1=claim.manifest.f1.get(split),
        split=split,
        resolution=target.resolution,
        within=settings.within,
        has_source=claim.has_source,
        same_environment=_same_environment(claim),
    )


def _refuted(untrue: Sequence[str], claim: Claim, split: str, settings: Settings) -> Reproduction:
    """The verdict where looking is enough."""
    return Reproduction(
        verdict="not reproduced",
        reasons=tuple(untrue),
        remarks=("nothing was trained: what a submission says of itself must be true first",),
        split=split,
        f1=None,
        claimed_f1=claim.manifest.f1.get(split),
        runs=(),
        decision=None,
        within=settings.within,
        same_environment=_same_environment(claim),
    )


def _with_remarks(result: Reproduction, more: tuple[str, ...]) -> Reproduction:
    return replace(result, remarks=(*result.remarks, *more)) if more else result


def _same_environment(claim: Claim) -> bool:
    return claim.manifest.environment.model_dump() == describe_environment()


def _identity(claim: Claim, digest: str) -> dict[str, Any]:
    """What must stay the same for a reproduction to be taken up."""
    return {"format": _FORMAT, "submission": claim.digest, "data": digest}


def _open_folder(settings: Settings, claim: Claim, digest: str, *, resume: bool, overwrite: bool) -> None:
    """Start the folder, or make sure that it holds the same reproduction.

    Raises:
        InputError: it holds something else, or neither `resume` nor `overwrite` was asked for.
    """
    state, out = settings.out / STATE, settings.out
    identity = _identity(claim, digest)
    if resume and state.is_file():
        try:
            before = json.loads(state.read_text(encoding="utf-8"))
            differs = any(before[name] != value for name, value in identity.items())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{state}: damaged; start again with --overwrite") from error
        if differs:
            raise InputError(
                f"{out}: is the reproduction of another submission, or with other photos; choose another --out, or "
                "start again with --overwrite"
            )
        return
    trainings = [path.name for path in out.glob("seed-*")] if out.is_dir() else []
    prepare_folder(out, contents=(STATE, PHOTOS, *trainings), overwrite=overwrite)
    write_json(state, identity)


@contextmanager
def _watched(tasks: Sequence[Retraining], *, enabled: bool) -> Iterator[None]:
    """Show how far all trainings together are, from what they write down."""
    ended = threading.Event()
    epochs = [task.recipe.stop_after_epochs or task.recipe.epochs for task in tasks]
    bar = tqdm(total=sum(epochs), desc="retrain", unit="epoch", disable=None if enabled else True)

    def watch() -> None:
        while not ended.wait(0.5):
            bar.n = sum(epochs_done(task) for task in tasks)
            bar.refresh()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        bar.close()
