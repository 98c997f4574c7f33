"""One training of a submission from itself alone, in whatever process calls it, and its measurement."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wisp.data.folders import load_dataset
from wisp.errors import SandboxError, TrainingError
from wisp.files import replacing, write_json, write_text
from wisp.models import ArchSpec, Network, load_pretrained
from wisp.models.pretrained import DOWNLOAD
from wisp.models.starts import initializer, start_of_digest
from wisp.sandbox import Limits, read_result, run_python
from wisp.submission.contents import MEMBERS, MODEL
from wisp.submission.contents import WEIGHTS as WEIGHTS_MEMBER
from wisp.train.loop import train
from wisp.train.recipe import Recipe
from wisp.train.run import ARTIFACT, METRICS, RECIPE, WEIGHTS, open_run
from wisp.train.threads import own_bar_lock
from wisp.trials import export_run

COSTS, DONE = "costs.json", "done.json"
CONFINED, SUBMISSION = "confined", "submission"
_GRACE_SECONDS = 15.0  # for a confined training that was told to stop: time to save where it stands
_LARGEST_LOG_BYTES, _LARGEST_COSTS_BYTES = 16 << 20, 1 << 16


@dataclass(frozen=True)
class Retraining:
    """One training to do.

    Attributes:
        folder: where it lives.
        data: the photos; for source code those that it may see (train and val alone).
        recipe: with its own seed.
        network: an ArchSpec, or the source that the sandbox runs.
        sources: Python files by name, where the network is source code.
        described: what the run writes down of its photos.
        begins_with: `download` for torchvision's published weights, the SHA-256 of weights that came with wisp, or
            None for random ones.
        skip_unreadable: leave unreadable photos out.
        limits: of a confined training.
    """

    folder: Path
    data: Path
    recipe: Recipe
    network: Network
    sources: Mapping[str, str] = field(repr=False)
    described: dict[str, Any] = field(repr=False)
    begins_with: str | None
    skip_unreadable: bool
    limits: Limits

    @property
    def log(self) -> tuple[Path, str]:
        """Where the log of epochs grows: a folder and a name in it that may not be trusted."""
        if isinstance(self.network, ArchSpec):
            return self.folder, METRICS
        return self.folder / CONFINED, f"run/{METRICS}"

    @property
    def is_done(self) -> bool:
        """Whether it was completed, perhaps by an earlier process."""
        return (self.folder / DONE).is_file()


def retrain(task: Retraining) -> float:
    """Train (or go on with it) and export; what is done already is not done again.

    It leaves the weights, the exported file and costs.json in the folder.

    Returns:
        Seconds of training; of a confined one, since its last interruption.

    Raises:
        TrainingError: it cannot be trained to its end.
        SandboxError: source code cannot be confined here.
    """
    if not task.is_done:
        task.folder.mkdir(parents=True, exist_ok=True)
        do = _train_here if isinstance(task.network, ArchSpec) else _train_confined
        seconds = do(task)
        write_json(task.folder / DONE, {"seed": task.recipe.seed, "seconds": seconds})
    return float(json.loads((task.folder / DONE).read_text(encoding="utf-8"))["seconds"])


def _train_here(task: Retraining) -> float:
    own_bar_lock()
    torch.set_num_threads(1)
    dataset = load_dataset(task.data, progress=False)
    run = open_run(task.folder, task.recipe, task.network, task.described, resume=True)
    result = train(
        run, dataset, initialize=_initialize(task), skip_unreadable=task.skip_unreadable, progress=False
    )
    export_run(run, dataset, skip_unreadable=task.skip_unreadable)
    return result.seconds


def _initialize(task: Retraining) -> Callable[[nn.Module], object] | None:
    if task.begins_with is None:
        return None
    if task.begins_with == DOWNLOAD:
        return partial(load_pretrained, source=DOWNLOAD)
    start = start_of_digest(task.begins_with)
    if start is None:  # they went away since the submission was read
        raise TrainingError("the pretrained weights that it begins with are no longer among those of wisp")
    return initializer(start, task.network)


def _train_confined(task: Retraining) -> float:
    """The same in the sandbox. What it leaves is taken over as data: it ran together with code nobody vouches for."""
    if task.begins_with is not None:
        raise TrainingError(
            "its own source code started from other weights; the sandbox has no network to download them"
        )
    given, scratch = task.folder / SUBMISSION, task.folder / CONFINED
    for name, text in task.sources.items():
        write_text(given / name, text)
    task.recipe.save(given / RECIPE)
    scratch.mkdir(exist_ok=True)
    outcome = run_python(
        ["-m", "wisp.reproduction.confined_training", str(task.data.resolve()), str(given.resolve())]
        + ["--skip-unreadable"] * task.skip_unreadable,
        scratch=scratch,
        read_only=(task.data, given),
        limits=task.limits,
        environment={"OMP_NUM_THREADS": "1", "WISP_CACHE": str(scratch.resolve() / "cache")},
        grace_seconds=_GRACE_SECONDS,
    )
    if not outcome.ok:
        raise TrainingError(f"seed {task.recipe.seed}: the submission's own training {outcome.reason}")
    for name, target, limit in (
        (WEIGHTS, WEIGHTS, MEMBERS[WEIGHTS_MEMBER]),
        (ARTIFACT, ARTIFACT, MEMBERS[MODEL]),
        (METRICS, METRICS, _LARGEST_LOG_BYTES),
        (COSTS, COSTS, _LARGEST_COSTS_BYTES),
    ):
        content = read_result(scratch, f"run/{name}" if name != COSTS else name, limit_bytes=limit)
        with replacing(task.folder / target) as temporary:
            temporary.write_bytes(content)
    return outcome.seconds


def epochs_done(task: Retraining) -> int:
    """How many epochs the training has behind it, from its log."""
    if task.is_done:
        return task.recipe.stop_after_epochs or task.recipe.epochs
    folder, name = task.log
    try:
        return read_result(folder, name, limit_bytes=_LARGEST_LOG_BYTES).count(b"\n")
    except SandboxError:  # not there yet
        return 0
