"""One trial inside a search: a short training that begins with another's weights. Nothing is exported.

What a trial leaves is its F1 on validation and its weights, as bytes that travel to any machine.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from wisp.data.folders import load_dataset
from wisp.errors import TrainingError
from wisp.models import ArchSpec, build, find_start
from wisp.models.starts import SCRATCH, pack_weights, unpack_weights
from wisp.models.transfer import Choice, transfer_weights
from wisp.records import Dataset
from wisp.search.candidate import Candidate
from wisp.search.space import Genes, Space
from wisp.search.strategy import Proposal, Result
from wisp.search.study import Assignment, Outcome
from wisp.search.supernet import smallest, supernet_space
from wisp.train.distributed import alone
from wisp.train.elastic import Family, train_elastic
from wisp.train.loop import train
from wisp.train.photos import load_photos, measure_f1, training_batch
from wisp.train.recipe import Recipe
from wisp.train.run import CHECKPOINT, open_run, remove_run
from wisp.train.threads import one_thread, own_bar_lock

_CALIBRATION_STEPS = 20  # batches that set the BatchNorm statistics of weights that are only measured


class _Done(NamedTuple):
    """Validation F1, the weights behind it, and the seconds of training and validation alone; of one epoch too."""

    f1: float
    state: dict[str, Tensor]
    seconds: float
    epoch_seconds: float = 0.0


@dataclass(frozen=True)
class ShortTraining:
    """The function that a study runs: picklable, and the same on every machine that sees the photos.

    Attributes:
        data: the photos.
        recipe: of all trials; input size, epochs and seed are the trial's own.
        space: what the genes of a proposal mean.
        folder: where trainings keep their checkpoints while they run.
        seed: of the search; every trial has one of its own, made from it.
        skip_unreadable: leave unreadable photos out instead of stopping.
        deadline: wall-clock time after which no further epoch begins.
        supernet_deadline: the same of a supernet, after which no further step begins; None: `deadline`.
        described: what `describe_data` says of the photos.
        init: what a network without a parent begins with (`wisp.models.find_start`).
    """

    data: Path
    recipe: Recipe
    space: Space
    folder: Path
    seed: int
    skip_unreadable: bool
    deadline: float | None
    described: Mapping[str, Any] = field(compare=False, repr=False)
    init: str = SCRATCH
    supernet_deadline: float | None = None

    def __call__(self, assignment: Assignment) -> Outcome:
        """Train, or where the proposal has no epochs only measure; a diverged training is a result with an error.

        Raises:
            DataError, RecipeError, ModelError: the photos or the recipe cannot be used.
        """
        own_bar_lock()
        proposal, candidate = assignment.proposal, self.space.decode(assignment.proposal.genes)
        macs = self.space.cost(proposal.genes).macs
        began = time.monotonic()
        work = self._train_supernet if proposal.elastic else self._train if proposal.epochs else self._measure
        try:
            with one_thread():
                done = work(assignment, candidate)
        except TrainingError as error:
            return Outcome(Result(0.0, macs, time.monotonic() - began, str(error)))
        weights = pack_weights(done.state, candidate.arch, elastic=proposal.elastic) if done.state else None
        seconds = time.monotonic() - began
        setup = max(0.0, seconds - done.seconds)  # of a resumed one, less than there was
        result = Result(done.f1, macs, seconds, setup_seconds=setup, epoch_seconds=done.epoch_seconds)
        return Outcome(result, weights)

    def failed(self, assignment: Assignment, reason: str) -> Outcome:
        """What stands for a trial whose worker died whenever it was begun; its checkpoint here is removed."""
        with suppress(OSError):
            remove_run(self.folder_of(assignment))
        macs = self.space.cost(assignment.proposal.genes).macs
        return Outcome(Result(0.0, macs, 0.0, reason))

    def folder_of(self, assignment: Assignment) -> Path:
        """Where a trial keeps its checkpoint: a folder of its number, and of all that decides it.

        A machine of a cluster may still have what an earlier search left there under the same number.
        """
        proposal = assignment.proposal
        decides = [asdict(self.trial_recipe(assignment.number, proposal)), proposal.to_json(), self.init]
        text = json.dumps([*decides, self.described.get("digest")])
        return self.folder / f"{assignment.number:05d}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def trial_recipe(self, number: int, proposal: Proposal) -> Recipe:
        """The recipe of trial `number`."""
        candidate = self.space.decode(proposal.genes)
        return self.recipe.with_augmentation(candidate.augmentation).replace(
            image_size=candidate.image_size,
            epochs=proposal.epochs,
            stop_after_epochs=0,
            seed=(self.seed * 1_000_003 + number) % 2**31,
        )

    def _train(self, assignment: Assignment, candidate: Candidate) -> _Done:
        recipe = self.trial_recipe(assignment.number, assignment.proposal)
        folder = self.folder_of(assignment)
        run = open_run(folder, recipe, candidate.arch, dict(self.described), resume=True)
        result = train(
            run,
            _dataset(self.data),
            initialize=functools.partial(self._start, assignment, candidate),
            skip_unreadable=self.skip_unreadable,
            progress=False,
            deadline=self.deadline,
        )
        state, per_epoch = run.load_model().state_dict(), run.epoch_seconds()
        remove_run(folder)
        return _Done(result.f1_val or 0.0, state, result.seconds, per_epoch or 0.0)

    def _train_supernet(self, assignment: Assignment, candidate: Candidate) -> _Done:
        """F1 is that of the largest network; the weights are those that all share."""
        recipe = self.trial_recipe(assignment.number, assignment.proposal)
        photos, val = load_photos(
            _dataset(self.data), recipe, skip_unreadable=self.skip_unreadable, progress=False
        )
        part = supernet_space(self.space)

        def network(genes: Genes) -> tuple[ArchSpec, int]:
            sub = part.decode(genes)
            return sub.arch, sub.image_size

        def draw(number: int) -> tuple[ArchSpec, int]:
            return network(part.draw(np.random.default_rng((recipe.seed, number))))

        device = alone().device
        began = time.monotonic()
        checkpoint = self.folder_of(assignment) / CHECKPOINT
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        model = train_elastic(
            Family((candidate.arch, candidate.image_size), network(smallest(part)), draw),
            photos,
            recipe,
            checkpoint=checkpoint,
            initialize=functools.partial(self._start, assignment, candidate),
            deadline=self.deadline if self.supernet_deadline is None else self.supernet_deadline,
            device=device,
        )
        f1 = measure_f1(model, val, candidate.arch.num_classes, device)
        trained = time.monotonic() - began
        remove_run(checkpoint.parent)
        return _Done(f1, model.state_dict(), trained)

    def _measure(self, assignment: Assignment, candidate: Candidate) -> _Done:
        """What the start's weights are worth in this network, once its BatchNorms have seen some photos.

        Nothing begins where only was measured: there are no weights.
        """
        recipe = self.trial_recipe(assignment.number, assignment.proposal).replace(epochs=1)
        photos, val = load_photos(
            _dataset(self.data), recipe, skip_unreadable=self.skip_unreadable, progress=False
        )
        torch.manual_seed(recipe.seed)
        model = build(candidate.arch)
        self._start(assignment, candidate, model)
        device = alone().device
        model = model.to(device)
        began = time.monotonic()
        generator = torch.Generator().manual_seed(recipe.seed)
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
        batch_size = min(recipe.batch_size, len(photos))
        with torch.no_grad():
            for _ in range(_CALIBRATION_STEPS):
                index = torch.randint(len(photos), (batch_size,), generator=generator)
                images, _ = training_batch(
                    photos, index, recipe, candidate.arch.num_classes, generator, device
                )
                model.train()(images)
        f1 = measure_f1(model, val, candidate.arch.num_classes, device)
        return _Done(f1, {}, time.monotonic() - began)

    def _start(self, assignment: Assignment, candidate: Candidate, model: nn.Module) -> None:
        """Begin with the weights that came along, or with those of `init`."""
        if assignment.weights is None:
            start = find_start(self.init, candidate.arch)
            if start is not None:
                start.fill(model, candidate.arch)
        else:
            state, arch, elastic = unpack_weights(assignment.weights)
            # A supernet has taught its leading channels to work without the others.
            choose: Choice = "leading" if elastic else "importance"
            transfer_weights(state, arch, model, candidate.arch, choose=choose)


@functools.lru_cache(maxsize=1)
def _dataset(data: Path) -> Dataset:
    """A process does many trials on the same photos."""
    return load_dataset(data, progress=False)
