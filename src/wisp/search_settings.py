"""What is asked of a search, and what is decided of it before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from wisp.errors import RecipeError
from wisp.latency_probe import RememberedLatencies
from wisp.search.candidate import Candidate
from wisp.search.limits import Limits
from wisp.search.sampling import Sampler, feasible_sizes
from wisp.search.space import Space
from wisp.search.store import begun_with
from wisp.search.strategies import default_strategy, make_strategy, unit_epochs
from wisp.search.supernet import supernet_space

DATABASE = "trials.db"
JOURNAL = f"{DATABASE}-journal"  # SQLite's, of a process that was killed while it wrote
SEARCH_SHARE = 0.4  # of the whole budget; the rest trains the best of the search for longer
# When a search is worth more than the ladder. Below five minutes, starting, decoding and exporting take what it would
# search with. And the unit of training (150 of them make a search) must tell good networks from bad ones: at least 5
# epochs, and 200 steps unless the photos are so few that 30 epochs are less.
LEAST_SEARCH_SECONDS = 300.0
LEAST_UNIT_EPOCHS, LEAST_UNIT_STEPS, ENOUGH_EPOCHS = 5, 200, 30
# Strengths of augmentation, where it is searched too; 1 is the recipe.
AUGMENTATIONS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
# Input sizes in order of interest: what decodes first when time is short.
_SIZES = (48, 64, 32, 40, 56, 80, 24, 96, 72, 128, 112)


@dataclass(frozen=True)
class SearchSettings:
    """What the user asked of a search.

    Attributes:
        strategy: its name; None: see `decided`.
        limits: of every network.
        storage: a SQLAlchemy URL that several machines share; None for a SQLite file in the output folder.
        study: name of the search in there.
        ray: address of a Ray cluster to train on (`auto`); None for processes on this machine.
        gpus_per_trial: share of a GPU that each short training on the cluster is given.
        trials: end the search after so many; None for no limit but time.
        sizes: input sizes; None for those that the time allows to decode.
        augmentation: search the strength of augmentation together with the network.
    """

    strategy: str | None = None
    limits: Limits = field(default_factory=Limits)
    storage: str | None = None
    study: str = "search"
    ray: str | None = None
    gpus_per_trial: float = 0.0
    trials: int | None = None
    sizes: tuple[int, ...] | None = None
    augmentation: bool = False

    def check(self, num_classes: int) -> None:
        """Refuse what could not work, before anything else is done.

        Raises:
            RecipeError: no network keeps the limits (the nearest feasible values are named), no such strategy, sizes
                that are not in the space, a latency limit for several machines, or a storage that is no URL.
        """
        if self.limits.latency_ms is not None and (self.storage is not None or self.ray is not None):
            raise RecipeError(
                "--max-latency: is measured on this machine; it cannot be used with --storage or --ray"
            )
        if self.storage is not None and "://" not in self.storage:
            raise RecipeError(
                f"--storage {self.storage}: no SQLAlchemy URL; give one such as sqlite:///trials.db or "
                "postgresql+pg8000://user@host/database"
            )
        known = Space(num_classes).image_size
        for size in self.sizes or ():
            if size not in known:
                raise RecipeError(f"--sizes {size}: the space has {', '.join(map(str, known))}")
        sampler = self._sampler(num_classes)
        if self.strategy is not None:
            make_strategy(self.strategy, sampler, seed=0, epochs=1, founders=1)

    def decided(
        self,
        num_classes: int,
        workers: int,
        *,
        budget_seconds: float,
        steps_per_epoch: int,
        latencies: Path | None = None,
    ) -> SearchSettings:
        """The same with a strategy: the default one for this job and machine, or for several.

        Args:
            num_classes: of the networks.
            workers: trainings side by side.
            budget_seconds: wall time of the whole job.
            steps_per_epoch: of the photos at hand.
            latencies: those that an earlier run of the job measured; from now on none is measured twice.

        Raises:
            RecipeError: as `check`.
        """
        search = self
        if self.limits.measure is not None:
            remembered = RememberedLatencies(self.limits.measure, latencies)
            search = replace(self, limits=replace(self.limits, measure=remembered))
        search.check(num_classes)
        if search.strategy is not None:
            return search
        alone = search.storage is None and search.ray is None
        strategy = default_strategy(
            search._sampler(num_classes),
            workers if alone else None,
            search_seconds=SEARCH_SHARE * budget_seconds,
            steps_per_epoch=steps_per_epoch,
        )
        return replace(search, strategy=strategy)

    def _space(self, num_classes: int) -> Space:
        sizes = tuple(sorted(set(self.sizes or Space(num_classes).image_size)))
        return Space(num_classes, image_size=sizes, augmentation=self.strengths)

    def _sampler(self, num_classes: int) -> Sampler:
        return Sampler(self._space(num_classes), self.limits)

    @property
    def strengths(self) -> tuple[float | None, ...]:
        """Strengths of augmentation to search among; None alone: as the recipe says."""
        return AUGMENTATIONS if self.augmentation else (None,)

    def sizes_to_decode(self, num_classes: int, out: Path, *, most: int) -> list[Candidate]:
        """One network of every input size that the search may use, the most interesting first; they are not trained.

        Those that the search was begun with, else those asked for, else the `most` first ones; without those at which
        no network keeps the limits.

        Raises:
            RecipeError: the search was begun with other sizes than those asked for.
        """
        begun = begun_with(self.url(out), self.study)
        if begun:
            if self.sizes is not None and not set(begun["image_size"]) <= set(self.sizes):
                known, asked = (
                    ",".join(map(str, sorted(each))) for each in (begun["image_size"], self.sizes)
                )
                raise RecipeError(
                    f"--sizes {asked}: the search in {self.url(out)} was begun with {known}; leave the option out, or "
                    "use another --out or --study"
                )
            sizes = sorted(begun["image_size"], key=_SIZES.index)
        else:
            sizes = self._feasible_sizes(num_classes)[: None if self.sizes else most]
        space = Space(num_classes)
        genes = Sampler(space, Limits()).haven
        return [Candidate(f"{size}px", space.decode(genes).arch, size) for size in sizes]

    def _feasible_sizes(self, num_classes: int) -> list[int]:
        """Input sizes at which the limits can be kept, in order of interest; those of a supernet before all others."""
        space = self._space(num_classes)
        if not self.limits.any_closed_form:
            return sorted(space.image_size, key=_SIZES.index)
        within = first = feasible_sizes(space, self.limits)
        if self.strategy == "supernet":
            first = feasible_sizes(supernet_space(space), self.limits)
        return sorted((size for size in _SIZES if size in within), key=lambda size: size not in first)

    def url(self, out: Path) -> str | Path:
        """Where the trials are remembered."""
        return self.storage or out / DATABASE


def is_worth_searching(budget_seconds: float, workers: int, steps_per_epoch: int) -> bool:
    """Whether a budget is long enough for a search to find more than the ladder; see `LEAST_UNIT_STEPS`.

    Args:
        budget_seconds: wall time of the whole job.
        workers: trainings side by side.
        steps_per_epoch: of the photos at hand.
    """
    epochs = unit_epochs(SEARCH_SHARE * budget_seconds * workers, steps_per_epoch)
    is_long = epochs >= ENOUGH_EPOCHS or epochs * steps_per_epoch >= LEAST_UNIT_STEPS
    return budget_seconds >= LEAST_SEARCH_SECONDS and epochs >= LEAST_UNIT_EPOCHS and is_long
