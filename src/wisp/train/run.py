"""A run folder: everything that is needed to continue, export or repeat a training.

recipe.toml, arch.json, data.json   what decides the run (photos and other weights by fingerprint)
model.py                            in place of arch.json, where the network has a source of its own
environment.json                    versions and hardware that it was begun with
metrics.jsonl                       one line an epoch
checkpoint.pt                       where to continue; gone once the training is complete
model.safetensors                   the trained weights (their moving average); its presence means complete
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from wisp.data.fingerprint import content_fingerprint
from wisp.environment import describe_environment
from wisp.errors import DataError, InputError, ModelError, RecipeError
from wisp.files import file_sha256, replacing, write_json
from wisp.models import ArchSpec, Network, SourceArch, Start, build
from wisp.models.pretrained import DOWNLOAD
from wisp.records import Dataset
from wisp.train.folder_lock import LOCK
from wisp.train.recipe import Recipe

RECIPE, ARCH, DATA, METRICS = "recipe.toml", "arch.json", "data.json", "metrics.jsonl"
SOURCE = "model.py"
ENVIRONMENT = "environment.json"
CHECKPOINT, WEIGHTS, ARTIFACT = "checkpoint.pt", "model.safetensors", "model.onnx"
MEASUREMENT, REPORT, COMPRESSION = "measurement.json", "report.html", "compression.json"
RUN_FILES = (
    RECIPE,
    ARCH,
    SOURCE,
    DATA,
    ENVIRONMENT,
    METRICS,
    CHECKPOINT,
    WEIGHTS,
    ARTIFACT,
    MEASUREMENT,
    REPORT,
    COMPRESSION,
)
_START = (ENVIRONMENT, SOURCE, ARCH, DATA)  # what `create_run` writes before the recipe, the photos first


@dataclass(frozen=True)
class Run:
    """One run folder, read back. `data` is the content of data.json (root, classes, fingerprint)."""

    folder: Path
    recipe: Recipe
    arch: Network
    data: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the model's outputs."""
        return tuple(self.data["classes"])

    @property
    def is_complete(self) -> bool:
        """Whether the training reached its end."""
        return (self.folder / WEIGHTS).is_file()

    @property
    def artifact(self) -> Path:
        """Where the exported model lies (or will lie)."""
        return self.folder / ARTIFACT

    def load_model(self) -> nn.Module:
        """The trained network in evaluation mode.

        Raises:
            ModelError: the training is not complete, or the weights do not fit the architecture.
        """
        path = self.folder / WEIGHTS
        if not self.is_complete:
            raise ModelError(f"{self.folder}: the training is not complete; continue it with --resume")
        model = build(self.arch)
        try:
            model.load_state_dict(safetensors.torch.load_file(path))
        except (SafetensorError, RuntimeError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(
                f"{path}: weights do not fit {arch_file(self.arch)} ({reason}); train the run again"
            ) from error
        return model.eval()

    def save_model(self, model: nn.Module) -> None:
        """Write the trained weights, whole or not at all."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        with replacing(self.folder / WEIGHTS) as temporary:
            safetensors.torch.save_file(tensors, temporary)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; a last line cut short by a kill is left out."""
        try:
            lines = (self.folder / METRICS).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        rows: list[dict[str, Any]] = []
        for line in lines:
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return rows

    def epoch_seconds(self) -> float | None:
        """How long an epoch took, validation included; None where none is logged.

        Without the first one where there are more: a GPU's libraries take seconds to get going.
        """
        rows = self.metrics()
        if not rows:
            return None
        first, last = rows[0], rows[-1]
        if last["epoch"] == first["epoch"]:
            return float(last["seconds"]) / int(last["epoch"])
        return (float(last["seconds"]) - float(first["seconds"])) / (int(last["epoch"]) - int(first["epoch"]))


def arch_file(arch: Network) -> str:
    """The name, in a run folder, of the file that describes such a network."""
    return SOURCE if isinstance(arch, SourceArch) else ARCH


def create_run(
    folder: Path, recipe: Recipe, arch: Network, data: dict[str, Any], *, overwrite: bool = False
) -> Run:
    """Start a run folder.

    Raises:
        InputError: the folder holds something already and `overwrite` is off, or holds what is not a run.
    """
    prepare_folder(folder, contents=RUN_FILES, overwrite=overwrite)
    write_json(folder / DATA, data)
    arch.save(folder / arch_file(arch))
    write_json(folder / ENVIRONMENT, describe_environment())
    recipe.save(folder / RECIPE)  # last: where it lies, the run has begun
    return Run(folder, recipe, arch, data)


def read_run(folder: Path) -> Run:
    """Read a run folder. A source of its own is read, not executed: `load_model` and training do that.

    Raises:
        ModelError: a file of it is missing or damaged.
    """
    has_source = (folder / SOURCE).is_file()
    if not (folder / RECIPE).is_file() or not (has_source or (folder / ARCH).is_file()):
        raise ModelError(
            f"{folder}: not a run folder ({RECIPE} or {ARCH} is missing); make one with: wisp train"
        )
    try:
        data = json.loads((folder / DATA).read_text(encoding="utf-8"))
        classes = data["classes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / DATA}: missing or damaged; train the run again") from error
    arch: Network = (
        SourceArch.load(folder / SOURCE, len(classes)) if has_source else ArchSpec.load(folder / ARCH)
    )
    if arch.num_classes != len(classes):
        raise ModelError(f"{folder / ARCH}: {arch.num_classes} classes, but {DATA} names {len(classes)}")
    return Run(folder, Recipe.load(folder / RECIPE), arch, data)


def describe_data(
    dataset: Dataset,
    *,
    teachers: Sequence[Path] = (),
    pretrained: str | None = None,
    start: Start | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """What a run writes down about what it learns from.

    Args:
        dataset: the photos: where they lie on this machine, and their exact fingerprint.
        teachers: complete runs that it follows; each by the SHA-256 of its weights.
        pretrained: the file it starts from, by its SHA-256, or `download`.
        start: the weights of another network that it starts from instead, by the SHA-256 of their file.
        progress: show a progress bar on a terminal.

    Raises:
        DataError, ModelError: a file cannot be read.
    """
    described = {"root": str(dataset.root.resolve()), **content_fingerprint(dataset, progress=progress)}
    if pretrained is not None:
        described["pretrained"] = pretrained if pretrained == DOWNLOAD else _weights_digest(Path(pretrained))
    return with_start(with_teachers(described, teachers), start)


def with_start(described: Mapping[str, Any], start: Start | None) -> dict[str, Any]:
    """What `describe_data` said of photos, for a training that begins with `start`."""
    return {**described} if start is None else {**described, "pretrained": start.digest}


def with_teachers(described: Mapping[str, Any], teachers: Sequence[Path]) -> dict[str, Any]:
    """What `describe_data` said of photos, for a training that follows these complete runs."""
    digests = [_weights_digest(folder / WEIGHTS) for folder in teachers]
    return {**described, **({"teachers": digests} if digests else {})}


def _weights_digest(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot read these weights ({error.strerror})") from error


def open_run(
    folder: Path,
    recipe: Recipe,
    arch: Network,
    data: dict[str, Any],
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Run:
    """Start a run, or with `resume` take up the one in `folder` (and start it where there is none yet).

    Args:
        folder: where the run lives.
        recipe: decides the training.
        arch: the network.
        data: what `describe_data` says of the photos.
        resume: go on with the run that is there.
        overwrite: replace the run that is there.

    Raises:
        InputError: the folder is not empty, and neither `resume` nor `overwrite` was asked for.
        RecipeError, ModelError, DataError: resuming with another recipe, network or other photos.
    """
    if resume:
        _remove_leftovers(folder)
    if not (resume and (folder / RECIPE).is_file()):
        return create_run(folder, recipe, arch, data, overwrite=overwrite)
    run = read_run(folder)
    for name, value in asdict(run.recipe).items():
        given = getattr(recipe, name)
        if given != value and name != "stop_after_epochs":
            raise RecipeError(
                f"{folder}: was begun with {name} = {value!r}, not {given!r}; resume with the same settings, or start "
                "again with --overwrite"
            )
    if run.arch != arch:
        raise ModelError(
            f"{folder / arch_file(run.arch)}: is another network than the one given; start again with --overwrite"
        )
    if run.data.get("digest") != data["digest"]:
        raise DataError(
            f"{data.get('root')}: the photos changed since {folder} was begun; start again with --overwrite"
        )
    for name, option in (("teachers", "--teacher"), ("pretrained", "--init or --pretrained")):
        if run.data.get(name) != data.get(name):
            kind = "other" if run.data.get(name) else "no"
            raise ModelError(
                f"{folder}: was begun with {kind} weights for {option}; resume with the same, or start again with "
                "--overwrite"
            )
    return run


def _remove_leftovers(folder: Path) -> None:
    """What a process that was killed while it wrote left behind: half files, and a start without its recipe."""
    for path in folder.glob(".part-*"):
        path.unlink()
    names = {path.name for path in folder.glob("*")} - {LOCK}
    if DATA in names and names <= set(_START):
        for name in _START:  # the photos last: without them, nobody would know the rest for a start
            (folder / name).unlink(missing_ok=True)


def remove_run(folder: Path) -> None:
    """Remove the run in `folder`, or what is left of one.

    Killed in the middle, it leaves what `open_run(resume=True)` begins anew: first goes what would call the training
    complete, then the rest in the reverse order of `create_run`.
    """
    first, last = (WEIGHTS,), (RECIPE, *_START)
    others = {path.name for path in folder.glob("*")} - {*first, *last}
    for name in (*first, *sorted(others), *last):
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()


def check_folder(folder: Path, *, contents: tuple[str, ...], overwrite: bool) -> tuple[Path, ...]:
    """What `prepare_folder` would remove; nothing is changed.

    Raises:
        InputError: something is there and `overwrite` is off, or something is there that no run writes.
    """
    if folder.is_file():
        raise InputError(f"{folder}: is a file; give a folder with --out")
    present = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    present = [name for name in present if name != LOCK]
    # Half-written files of a killed process alone are nothing to go on with.
    if any(not name.startswith(".part-") for name in present) and not overwrite:
        raise InputError(
            f"{folder}: not empty; continue it with --resume, replace it with --overwrite, or choose "
            "another --out"
        )
    foreign = [name for name in present if name not in contents and not name.startswith(".part-")]
    if foreign:
        raise InputError(f"{folder}: holds '{foreign[0]}', which no run of wisp wrote; choose another --out")
    return tuple(folder / name for name in present)


def prepare_folder(folder: Path, *, contents: tuple[str, ...], overwrite: bool) -> None:
    """Make `folder`, empty of an earlier run's files.

    Only the names in `contents` are ever removed: a folder of somebody's photos given by mistake stays whole.

    Raises:
        InputError: as `check_folder`, or the folder cannot be made.
    """
    for path in check_folder(folder, contents=contents, overwrite=overwrite):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from error
