"""New networks from Optuna: the multi-objective tree-structured Parzen estimator (Ozaki et al., 2020).

Optuna proposes, `Halving` decides how long its proposals are trained: Optuna's own pruners know one objective only.
It learns from the first, short training of every network, so that all it compares are equally long. Choices of stages
that are not there are not asked for: in Optuna's terms the space is conditional, and is estimated group by group.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wisp.errors import MissingExtraError
from wisp.search.sampling import Sampler
from wisp.search.space import Genes
from wisp.search.strategy import Result

try:
    import optuna
except ModuleNotFoundError as error:
    raise MissingExtraError("--strategy optuna", "search") from error

_TRIES = 20
_RANDOM_FIRST = 24  # trials before the estimator speaks


class OptunaSource:
    """See `wisp.search.halving.Source`.

    Args:
        sampler: holds the limits; what breaks them is repaired, and Optuna is told of the repaired network.
        seed: of Optuna's sampler.
        known: networks to begin with; those that follow are drawn, until Optuna knows enough to propose.
    """

    def __init__(self, sampler: Sampler, seed: int, known: Sequence[Genes] = ()) -> None:
        self._sampler, self._known = sampler, tuple(known)[:_RANDOM_FIRST]
        self._axes = sampler.space.axes
        with _quiet():
            self._study = optuna.create_study(
                directions=["maximize", "minimize"],  # F1, log MACs
                sampler=optuna.samplers.TPESampler(
                    seed=seed,
                    n_startup_trials=_RANDOM_FIRST,
                    multivariate=True,
                    group=True,
                    constant_liar=True,
                ),
            )
        self._distributions: Mapping[
            str, optuna.distributions.IntDistribution | optuna.distributions.CategoricalDistribution
        ] = {
            axis.name: (
                optuna.distributions.IntDistribution(0, len(axis.values) - 1)
                if axis.ordered
                else optuna.distributions.CategoricalDistribution(tuple(range(len(axis.values))))
            )
            for axis in self._axes
        }
        self._random = np.random.default_rng(seed)
        self._running: dict[
            Genes, list[tuple[Any, bool]]
        ] = {}  # genes -> (Optuna's trial, as it proposed it)
        self._asked = 0

    def draw(self) -> Genes:
        """A network that keeps the limits."""
        self._asked += 1
        if self._asked <= _RANDOM_FIRST:  # evenly over costs, which Optuna's own random start is not
            genes = (
                self._known[self._asked - 1]
                if self._asked <= len(self._known)
                else self._sampler.draw(self._random)
            )
            self._running.setdefault(genes, []).append((None, False))
            return genes
        genes, trial = self._ask()
        for _ in range(_TRIES):
            if self._sampler.is_feasible(genes):
                self._running.setdefault(genes, []).append((trial, True))
                return genes
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            genes, trial = self._ask()
        self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        genes = self._sampler.repair(genes, self._random)
        self._running.setdefault(genes, []).append((None, False))
        return genes

    def observe(self, genes: Genes, result: Result) -> None:
        """Tell Optuna."""
        trial, as_proposed = self._running[genes].pop(0)
        failed = bool(result.error)
        values = [result.f1, math.log(result.macs)]
        with _quiet():
            if as_proposed and failed:
                self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            elif as_proposed:
                self._study.tell(trial, values)
            elif not failed:
                names = [self._axes[index].name for index in self._sampler.space.active(genes)]
                self._study.add_trial(
                    optuna.trial.create_trial(
                        params=dict(zip(names, genes, strict=False)),
                        distributions={name: self._distributions[name] for name in names},
                        values=values,
                    )
                )

    def _ask(self) -> tuple[Genes, Any]:
        space = self._sampler.space
        genes = (0,) * len(self._axes)
        with _quiet():
            trial = self._study.ask()
            index = 0
            while index < len(space.active(genes)):  # the number of stages comes before what belongs to them
                gene = self._suggested(trial, self._axes[index].name)
                genes = (*genes[:index], gene, *genes[index + 1 :])
                index += 1
        return genes, trial

    def _suggested(self, trial: Any, name: str) -> int:
        distribution = self._distributions[name]
        if isinstance(distribution, optuna.distributions.IntDistribution):
            return int(trial.suggest_int(name, distribution.low, distribution.high))
        return int(trial.suggest_categorical(name, distribution.choices))


class _quiet(warnings.catch_warnings):  # noqa: N801  (a context, used like a function)
    """Without Optuna's notes on what is experimental, and its log."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
