"""Photos for compression: the F1 before and after, gradients for importance, and fine-tuning as a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wisp.compression.subject import Subject
from wisp.data.augment import normalize
from wisp.data.cache import build_cache
from wisp.errors import DataError, InputError
from wisp.models.edits import Edit
from wisp.records import TRAIN, VAL, Dataset, ResizeRule, Sample
from wisp.train.distributed import Processes
from wisp.train.folder_lock import sole_use
from wisp.train.loop import train
from wisp.train.photos import Photos, measure_f1
from wisp.train.recipe import Recipe
from wisp.train.run import RUN_FILES, Run, check_folder, open_run, prepare_folder, remove_run

_BATCHES, _BATCH = 8, 64  # training photos that importance by gradients looks at


@dataclass
class Tuner:
    """Fine-tunes a compressed network with the recipe of the original one, which teaches it (distillation).

    Attributes:
        subject: the original.
        dataset: photos.
        recipe: of each fine-tuning, with its number of epochs.
        out: the run folder of the last step; earlier steps lie beside it, in `OUT.steps/`.
        steps: how many steps there are.
        described: what data.json says.
        procs: where to train.
        held: until this is closed, `out` is for this process alone, from the first training on.
        resume: go on with what an interrupted call left.
        overwrite: replace the run in `out`.
        skip_unreadable: leave unreadable photos out.
        progress: show bars.
    """

    subject: Subject
    dataset: Dataset
    recipe: Recipe
    out: Path
    steps: int
    described: dict[str, Any]
    procs: Processes
    held: ExitStack
    resume: bool = False
    overwrite: bool = False
    skip_unreadable: bool = False
    progress: bool = True
    run: Run | None = field(default=None, init=False)
    _holds: bool = field(default=False, init=False)

    @property
    def steps_folder(self) -> Path:
        """Where the runs of the earlier steps lie until all is done."""
        return self.out.with_name(f"{self.out.name}.steps")

    def remove_steps(self) -> None:
        """Remove the runs of the earlier steps, and what a killed removal left of them.

        Only when nothing is left to do: without them, a resumed call would train these steps again.
        """
        with suppress(InputError, OSError):  # what is no run stays; the result does not depend on it
            for folder in self.steps_folder.glob("*"):
                check_folder(folder, contents=RUN_FILES, overwrite=True)
                remove_run(folder)
            self.steps_folder.rmdir()

    def __call__(self, model: nn.Module, edits: tuple[Edit, ...], step: int) -> nn.Module:
        """See `wisp.compress.Tune`.

        Raises:
            InputError: another process is at work in the folder.
        """
        if not self._holds:  # not earlier: where nothing can be removed, nothing is left behind
            self.held.enter_context(sole_use(self.out))
            self._holds = True
        is_last = step == self.steps
        folder = self.out if is_last else self.steps_folder / str(step)
        if self.overwrite and not is_last:  # a resumed call would take the old run for its last step
            prepare_folder(self.out, contents=RUN_FILES, overwrite=True)
        # Halfway, the network only has to recover enough for the next step to see what matters in it.
        epochs = self.recipe.epochs if is_last else max(1, self.recipe.epochs // 2)
        run = self._open(folder, edits, epochs, overwrite=self.overwrite or not is_last)
        teacher = self.subject.model.to(self.procs.device)
        weights = model.state_dict()

        def follow(images: Tensor) -> Tensor:
            logits: Tensor = teacher(images)
            return logits

        train(
            run,
            self.dataset,
            initialize=lambda network: network.load_state_dict(weights),
            teacher=follow,
            procs=self.procs,
            skip_unreadable=self.skip_unreadable,
            progress=self.progress,
        )
        self.subject.model.cpu()
        if is_last:
            self.run = run
        return run.load_model()

    def reopen(self, edits: tuple[Edit, ...]) -> Run:
        """The run of the last step, from an earlier call.

        Raises:
            RecipeError, ModelError, DataError: it was trained in another way.
        """
        return self._open(self.out, edits, self.recipe.epochs, overwrite=False)

    def _open(self, folder: Path, edits: tuple[Edit, ...], epochs: int, *, overwrite: bool) -> Run:
        return open_run(
            folder,
            self.recipe.replace(epochs=epochs),
            self.subject.network.with_edits(edits),
            self.described,
            resume=self.resume,
            overwrite=overwrite,
        )


@dataclass(frozen=True)
class Judge:
    """Looks at networks on photos.

    Attributes:
        dataset: photos.
        resize: how they become the network's input.
        device: where to run.
        skip_unreadable: leave unreadable photos out instead of stopping.
        progress: show bars.
    """

    dataset: Dataset
    resize: ResizeRule
    device: torch.device
    skip_unreadable: bool = False
    progress: bool = True

    def f1(self, model: nn.Module, num_classes: int) -> float | None:
        """Macro F1 on validation photos; None where there are none.

        Raises:
            DataError: unreadable photos.
        """
        photos = self._photos(self.dataset.split(VAL))
        if not len(photos):
            return None
        f1 = measure_f1(model.to(self.device), photos, num_classes, self.device)
        model.cpu()
        return f1

    def losses(self, model: nn.Module) -> Iterator[Tensor]:
        """The loss on a few batches of training photos, the same ones each time.

        Raises:
            DataError: unreadable photos, or none to learn from.
        """
        for images, labels in self._batches():
            yield F.cross_entropy(model(images), labels)

    def images(self) -> Iterator[Tensor]:
        """The photos of these batches, normalised, n x 3 x H x W."""
        return (images for images, _ in self._batches())

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        samples = self.dataset.split(TRAIN)
        if not samples:
            raise DataError(f"{self.dataset.root}: no training photos to measure importance on")
        order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0)).tolist()
        photos = self._photos(tuple(samples[index] for index in order[: _BATCHES * _BATCH]))
        for start in range(0, len(photos), _BATCH):
            part = slice(start, start + _BATCH)
            yield normalize(photos.rows(part)), photos.labels[part]

    def _photos(self, samples: tuple[Sample, ...]) -> Photos:
        cached = build_cache(
            samples, self.resize, skip_unreadable=self.skip_unreadable, progress=self.progress
        )
        return Photos(cached.images, torch.from_numpy(cached.labels))
