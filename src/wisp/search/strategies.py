"""The strategies by name, and how long they train: decided from the budget before anything is measured.

Nothing here depends on how fast the machine turns out to be, so that the same seed gives the same search.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from wisp.errors import RecipeError
from wisp.search.evolution import Evolution
from wisp.search.halving import Halving, RandomSource
from wisp.search.ladder import known_good
from wisp.search.sampling import Sampler
from wisp.search.strategy import Strategy
from wisp.search.supernet import Supernet

# A supernet is one training that its sub-networks wait for; with more workers, that is too much of the time.
_MOST_SUPERNET_WORKERS = 2

# A search of so many trainings of the unit length learns something about its space.
_TRAININGS = 150
_STEP_SECONDS = 0.025  # one step of 64 photos, one thread, a network of the middle of the space
_LEAST_EPOCHS, _MOST_EPOCHS = 2, 30
_SUPERNET_EPOCHS = 5  # times the unit
_SUPERNET_STEPS = 6  # an epoch of a supernet, in epochs of a network of the middle
SUPERNET_SHARE = 0.5  # of a search's time that its supernet may take; the rest is for what comes of it


def unit_epochs(training_seconds: float, steps_per_epoch: int) -> int:
    """The unit of training: epochs that `_TRAININGS` networks can be given.

    Args:
        training_seconds: what there is to spend, of all workers together.
        steps_per_epoch: of the photos at hand.
    """
    nominal = training_seconds / _TRAININGS / (max(1, steps_per_epoch) * _STEP_SECONDS)
    return min(max(round(nominal), _LEAST_EPOCHS), _MOST_EPOCHS)


def supernet_seconds(epochs: int, steps_per_epoch: int) -> float:
    """How long a supernet is trained on a nominal machine, where `epochs` is the unit of training."""
    return _SUPERNET_EPOCHS * epochs * _SUPERNET_STEPS * max(1, steps_per_epoch) * _STEP_SECONDS


def _random(sampler: Sampler, seed: int, epochs: int, _founders: int) -> Strategy:
    return Halving(RandomSource(sampler, seed), _rungs(epochs))


def _evolution(sampler: Sampler, seed: int, epochs: int, founders: int) -> Strategy:
    child = max(_LEAST_EPOCHS, epochs // 2)
    return Evolution(
        sampler, seed=seed, first_epochs=epochs, epochs=child, founders=founders, known=known_good(sampler)
    )


def _optuna(sampler: Sampler, seed: int, epochs: int, _founders: int) -> Strategy:
    from wisp.search.optuna_source import OptunaSource  # noqa: PLC0415  (an optional part)

    return Halving(OptunaSource(sampler, seed, known_good(sampler)), _rungs(epochs))


def _supernet(sampler: Sampler, seed: int, epochs: int, _founders: int) -> Strategy:
    # The supernet has about a fifth of the processor time (see `supernet_seconds`).
    tuning = max(_LEAST_EPOCHS, epochs // 2)
    return Supernet(
        sampler,
        seed=seed,
        supernet_epochs=_SUPERNET_EPOCHS * epochs,
        epochs=tuning,
        epochs_alone=epochs,
        known=known_good(sampler),
    )


def _rungs(epochs: int) -> tuple[int, int, int]:
    first = max(_LEAST_EPOCHS, epochs // 2)
    return first, 3 * first, 9 * first


STRATEGIES: Mapping[str, Callable[[Sampler, int, int, int], Strategy]] = MappingProxyType(
    {"evolution": _evolution, "optuna": _optuna, "random": _random, "supernet": _supernet}
)


def make_strategy(name: str, sampler: Sampler, *, seed: int, epochs: int, founders: int) -> Strategy:
    """A fresh strategy.

    Args:
        name: one of `STRATEGIES`.
        sampler: the space and its limits.
        seed: of everything random.
        epochs: the unit of training (see `unit_epochs`).
        founders: networks that an evolution begins with: the ladder's, then others drawn at random.

    Raises:
        RecipeError: no strategy has this name.
        MissingExtraError: it needs an optional part that is not installed.
    """
    if name not in STRATEGIES:
        raise RecipeError(f"--strategy {name}: there is none of this name; known: {', '.join(STRATEGIES)}")
    return STRATEGIES[name](sampler, seed, epochs, founders)


def default_strategy(
    sampler: Sampler, workers: int | None, *, search_seconds: float, steps_per_epoch: int
) -> str:
    """The strategy that measured best where it can be used: docs/records/2026-11-26-search-strategies.md.

    Args:
        sampler: the space and its limits.
        workers: trainings side by side; None where that is not known (a cluster, several machines).
        search_seconds: wall time of the search.
        steps_per_epoch: of the photos at hand.
    """
    if workers is None or workers > _MOST_SUPERNET_WORKERS:
        return "evolution"
    if len(sampler.space.augmentation) > 1:  # a supernet has one strength for all of its training
        return "evolution"
    epochs = unit_epochs(search_seconds * workers, steps_per_epoch)
    if supernet_seconds(epochs, steps_per_epoch) > SUPERNET_SHARE * search_seconds:
        return "evolution"  # so many photos that its fewest epochs take too long
    try:
        make_strategy("supernet", sampler, seed=0, epochs=1, founders=1)
    except RecipeError:  # no sub-network of it keeps the limits, or the images are too small
        return "evolution"
    return "supernet"
