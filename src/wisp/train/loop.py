"""The training loop, readable from top to bottom. Variation enters through the recipe and plain functions."""

from __future__ import annotations

import copy
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from wisp.errors import RecipeError, TrainingError
from wisp.files import write_text
from wisp.models import build
from wisp.records import Dataset
from wisp.train.averaging import averaged_tensors, update_average
from wisp.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from wisp.train.distributed import Processes, alone
from wisp.train.losses import class_weights, distillation_loss, weighted_cross_entropy
from wisp.train.photos import epoch_order, load_photos, measure_f1, training_batch
from wisp.train.recipe import Recipe
from wisp.train.run import CHECKPOINT, METRICS, RECIPE, Run
from wisp.train.schedule import warmup_cosine
from wisp.train.step import Step, make_step

Teacher = Callable[[Tensor], Tensor]
"""Normalised images, n x 3 x H x W, to logits, n x classes."""


@dataclass(frozen=True)
class TrainResult:
    """How a training ended. `f1_val` is None where there is no validation split."""

    f1_val: float | None
    loss: float
    epochs: int
    seconds: float


def train(  # noqa: PLR0912, PLR0915  (one loop, readable top to bottom, is the design)
    run: Run,
    dataset: Dataset,
    *,
    initialize: Callable[[nn.Module], object] | None = None,
    teacher: Teacher | None = None,
    procs: Processes | None = None,
    skip_unreadable: bool = False,
    progress: bool = True,
    cache_dir: Path | None = None,
    checkpoint_seconds: float = 20.0,
    deadline: float | None = None,
) -> TrainResult:
    """Train the run's network by its recipe, from the start or from its checkpoint, and save the weights.

    The same run, data and machine give the same weights bit for bit on the CPU, interrupted or not. Ctrl-C (or
    SIGTERM) saves after the current step and raises KeyboardInterrupt.

    Args:
        run: the folder to work in; a complete run is left as it is.
        dataset: photos; `train` is learned, `val` only measured (unless the recipe says `train_on_val`).
        initialize: fills the new network with other weights than random ones (a pretrained start).
        teacher: followed by the share `distillation_weight` of the loss.
        procs: this process among those that train together (see `processes`); None for one on its own.
        skip_unreadable: leave unreadable photos out instead of stopping.
        progress: show progress bars on a terminal.
        cache_dir: where decoded photos are kept.
        checkpoint_seconds: least time between two checkpoints at the ends of epochs.
        deadline: wall-clock time (`time.time()`) after which no further epoch begins; the recipe in the run folder
            then says where it stopped (`stop_after_epochs`), so that the run can be repeated exactly.

    Raises:
        DataError, RecipeError, ModelError: the input cannot be used.
        TrainingError: the loss is no longer a number.
    """
    recipe, num_classes = run.recipe, run.arch.num_classes
    procs = procs or alone()
    if run.is_complete:
        return _result(run)
    if not recipe.is_resolved:
        raise RecipeError("recipe: not everything is decided yet (epochs, rotation); use Recipe.resolved")
    if recipe.batch_size % procs.world:
        raise RecipeError(
            f"recipe: batch_size = {recipe.batch_size} is no multiple of {procs.world} processes; change it"
        )
    # Outside of what follows: Ctrl-C ends the decoding at once, since there is nothing yet to save.
    photos, val = load_photos(
        dataset,
        recipe,
        skip_unreadable=skip_unreadable,
        progress=progress and procs.is_first,
        cache_dir=cache_dir,
    )
    with _interruptible() as interrupted:
        batch_size = min(recipe.batch_size, len(photos) // procs.world * procs.world)
        if not batch_size:
            raise RecipeError(
                f"{dataset.root}: {len(photos)} training photos for {procs.world} processes; use fewer"
            )
        steps = len(photos) // batch_size
        counts = torch.bincount(photos.labels, minlength=num_classes)
        weights = class_weights(counts, recipe.class_balance).to(procs.device)

        torch.manual_seed(recipe.seed)
        model = build(run.arch)
        if initialize is not None:
            initialize(model)
        model = model.to(procs.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = copy.deepcopy(model).requires_grad_(False)
        averaged = averaged_tensors(average, model)
        parallel = procs.wrap(model)
        optimizer = make_optimizer(model, recipe)
        generator = torch.Generator()

        def batch_loss(images: Tensor, targets: Tensor, answers: Tensor | None = None) -> Tensor:
            logits = parallel(images)
            loss = weighted_cross_entropy(logits, targets, weights)
            if answers is None:
                return loss
            follow = distillation_loss(logits, answers, recipe.distillation_temperature)
            return torch.lerp(loss, follow, recipe.distillation_weight)

        step_of: Step | None = None  # made with the first batch

        at = Progress()
        checkpoint = run.folder / CHECKPOINT
        state = {"model": model, "average": average, "optimizer": optimizer, "generator": generator}
        if checkpoint.is_file():
            at = load_checkpoint(checkpoint, **state, device=procs.device)
        log = _Log(run, at, enabled=procs.is_first)
        started = saved = time.monotonic()
        before = at.seconds
        bar = tqdm(
            total=recipe.epochs * steps,
            initial=at.epoch * steps + at.step,
            desc=f"{run.folder.name}",
            unit="step",
            disable=None if progress and procs.is_first else True,
        )
        last_epoch = min(recipe.stop_after_epochs or recipe.epochs, recipe.epochs)
        while at.epoch < last_epoch:
            order_generator = torch.Generator().manual_seed(_seed(recipe.seed, at.epoch, 0))
            order = epoch_order(photos.labels, counts, recipe.balanced_sampling, order_generator)
            if at.step == 0:
                generator.manual_seed(_seed(recipe.seed, at.epoch, 1))
                torch.manual_seed(_seed(recipe.seed, at.epoch, 2 + procs.rank))  # dropout
            while at.step < steps:
                index = order[at.step * batch_size : (at.step + 1) * batch_size]
                # Every process makes the whole batch, so that the random numbers do not depend on their number.
                images, targets = training_batch(photos, index, recipe, num_classes, generator, procs.device)
                images, targets = procs.slice(images), procs.slice(targets)
                taken = at.epoch * steps + at.step
                for group in optimizer.param_groups:
                    group["lr"] = warmup_cosine(
                        taken, recipe.epochs * steps, recipe.warmup_epochs * steps, recipe.learning_rate
                    )
                parallel.train()
                batch: tuple[Tensor, ...] = images, targets
                if teacher is not None:
                    with torch.no_grad():
                        batch = (*batch, teacher(images))
                if step_of is None:
                    step_of = make_step(run.arch, parallel, batch_loss, batch, alone=procs.world == 1)
                loss = step_of(*batch)
                if recipe.gradient_clip > 0:
                    nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
                optimizer.step()
                update_average(averaged, decay=recipe.ema_decay, step=taken)

                at.loss_sum += procs.mean(loss.item())
                at.step += 1
                at.seconds = before + time.monotonic() - started
                if not math.isfinite(at.loss_sum):
                    raise TrainingError(_advice(at, recipe))
                bar.update()
                if procs.any(interrupted.is_set()):
                    if procs.is_first:
                        save_checkpoint(checkpoint, **state, progress=at)
                    bar.close()
                    raise KeyboardInterrupt

            if deadline is not None and procs.any(time.time() >= deadline):
                last_epoch = at.epoch + 1
            row: dict[str, Any] = {"epoch": at.epoch + 1, "loss": at.loss_sum / steps}
            is_last = at.epoch + 1 == last_epoch
            if procs.is_first and len(val) and (is_last or _is_validated(at.epoch, recipe.epochs)):
                row["f1_val"] = measure_f1(average, val, num_classes, procs.device)
                bar.set_postfix(loss=f"{row['loss']:.3f}", f1_val=f"{row['f1_val']:.3f}")
            at = Progress(epoch=at.epoch + 1, seconds=before + time.monotonic() - started)
            log.append({**row, "seconds": round(at.seconds, 3)})
            if procs.is_first and time.monotonic() - saved >= checkpoint_seconds:
                save_checkpoint(checkpoint, **state, progress=at)
                saved = time.monotonic()
        bar.close()
        if procs.is_first:
            if last_epoch < recipe.epochs:
                recipe.replace(stop_after_epochs=last_epoch).save(run.folder / RECIPE)
            run.save_model(average)
            checkpoint.unlink(missing_ok=True)
        procs.barrier()
    return _result(run)


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW that decays matrices and kernels only (biases and norms measured worse when decayed)."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def _seed(seed: int, epoch: int, stream: int) -> int:
    """An independent seed for every epoch and use, so that any epoch can be started on its own."""
    return int(np.random.SeedSequence((seed, epoch, stream)).generate_state(1, np.uint64)[0] >> 1)


def _is_validated(epoch: int, epochs: int) -> bool:
    """About fifty validations a training: a small set's takes 6 % of an epoch."""
    return (epoch + 1) % max(1, epochs // 50) == 0


def _advice(at: Progress, recipe: Recipe) -> str:
    return (
        f"the loss is not a number any more (epoch {at.epoch + 1}, step {at.step}); lower learning_rate (now "
        f"{recipe.learning_rate:g}), or set gradient_clip = 1.0, in the recipe and train again with --overwrite"
    )


def _result(run: Run) -> TrainResult:
    rows = run.metrics()
    last = rows[-1] if rows else {}
    return TrainResult(
        last.get("f1_val"), last.get("loss", math.nan), last.get("epoch", 0), last.get("seconds", 0.0)
    )


class _Log:
    """metrics.jsonl: kept up to the epoch that the training continues from, then one line an epoch."""

    def __init__(self, run: Run, at: Progress, *, enabled: bool) -> None:
        self._path = run.folder / METRICS if enabled else None
        if self._path is not None:
            kept = [row for row in run.metrics() if row["epoch"] <= at.epoch]
            write_text(self._path, "".join(json.dumps(row) + "\n" for row in kept))

    def append(self, row: dict[str, Any]) -> None:
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; the second one acts at once, as without this."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # signals reach the main thread only
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(number, previous[signal.Signals(number)])

    for number in previous:
        signal.signal(number, handle)
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
