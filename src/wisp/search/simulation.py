"""A cluster that is not there: a virtual clock, workers that fail and straggle, and networks that learn by formula.

On it a search of hours takes milliseconds, which is what tests need, and thousands of workers can be studied.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import json
import math
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np

from wisp.errors import TrainingError
from wisp.search.space import Genes, Space
from wisp.search.strategy import Proposal
from wisp.search.strategy import Result as TrialResult
from wisp.search.study import Assignment, Outcome

Task = TypeVar("Task")
Result = TypeVar("Result")


class SimulatedExecutor:
    """Workers whose time is simulated (discrete events); `function` itself is called when a task ends.

    Args:
        workers: how many.
        seconds: how long a task takes on a worker.
        seed: of failures and stragglers.
        failures_an_hour: how often a worker dies (its task is begun again on another, after `repair_seconds`).
        repair_seconds: until a worker that died is back.
        straggling: spread of a task's duration: the standard deviation of its logarithm.
        dispatch_seconds: time that the one deciding process takes for each task; no other task starts meanwhile.
        retries: how often a task may be begun again; then it has failed.
    """

    def __init__(
        self,
        workers: int,
        *,
        seconds: Callable[[Any], float],
        seed: int = 0,
        failures_an_hour: float = 0.0,
        repair_seconds: float = 60.0,
        straggling: float = 0.0,
        dispatch_seconds: float = 0.0,
        retries: int = 10,
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers = {workers}: at least 1")
        self.workers = workers
        self.now = 0.0
        self.deaths = 0
        self._worked = 0.0
        self._last_begun: float | None = None  # when there were no more tasks to begin
        self._seconds, self._random = seconds, np.random.default_rng(seed)
        self._failures, self._repair = failures_an_hour / 3600, repair_seconds
        self._straggling, self._dispatch, self._retries = straggling, dispatch_seconds, retries

    def clock(self) -> float:
        """The virtual time, seconds since the start."""
        return self.now

    @property
    def utilisation(self) -> float:
        """Share of the workers' time in which work was done, up to the moment when there were no more tasks to begin.

        What a worker did of a task before it died is lost, and none. Tasks count when they have ended.
        """
        offered = self.workers * (self.now if self._last_begun is None else self._last_begun)
        return self._worked / offered if offered else 0.0

    def run(
        self,
        function: Callable[[Task], Result],
        tasks: Iterable[Task | None],
        failed: Callable[[Task, str], Result] | None = None,
    ) -> Generator[tuple[Task, Result], None, None]:
        """See `Executor.run`; the order is that in which tasks end.

        Raises:
            TrainingError: a task died more often than `retries`; only without `failed`.
        """
        waiting: Iterator[Task | None] = iter(tasks)
        self._last_begun = None
        # (time, tie-break, what ends then; None: a worker is back)
        events: list[tuple[float, int, _Run[Task] | None]] = []
        again: list[_Run[Task]] = []  # their worker died
        ties, idle, running, more = itertools.count(), self.workers, 0, True
        while more or running or again:
            while idle and (more or again):
                task = again[-1].task if again else next(waiting, _END)
                if task is _END:
                    more, self._last_begun = False, self.now
                    break
                if task is None:
                    if running:
                        break
                    continue
                self.now += self._dispatch
                run = self._fate(task, again.pop().deaths if again else 0)
                idle, running = idle - 1, running + 1
                heapq.heappush(events, (self.now + run.taken, next(ties), run))
            if not events:
                continue
            time, _, ended = heapq.heappop(events)
            self.now = max(self.now, time)  # the deciding process may have been busy
            if ended is None:
                idle += 1
                continue
            running -= 1
            if ended.died:
                self.deaths += 1
                heapq.heappush(events, (self.now + self._repair, next(ties), None))
                if ended.deaths < self._retries:
                    again.append(dataclasses.replace(ended, deaths=ended.deaths + 1))
                    continue
                reason = f"workers died {ended.deaths + 1} times with the same task"
                if failed is None:
                    raise TrainingError(reason)
                yield ended.task, failed(ended.task, reason)
                continue
            idle += 1
            until = time if self._last_begun is None else min(time, self._last_begun)
            self._worked += max(0.0, until - ended.began)
            yield ended.task, function(ended.task)

    def _fate(self, task: Task, deaths: int) -> _Run[Task]:
        """How long a task will take, and whether its worker dies before."""
        whole = self._seconds(task) * math.exp(self._straggling * self._random.standard_normal())
        alive = self._random.exponential(1 / self._failures) if self._failures else math.inf
        return _Run(task, deaths, self.now, min(whole, alive), died=alive < whole)


_END: Any = object()


@dataclasses.dataclass(frozen=True)
class _Run(Generic[Task]):
    task: Task
    deaths: int  # of workers that had this task before
    began: float
    taken: float  # seconds
    died: bool


class LearningCurves:
    """Networks that learn by formula: F1 as a smooth function of a network's choices, its cost and its epochs.

    Not a model of any data set. It has what a strategy must cope with: more MACs help less and less, some choices are
    better than others at equal cost, learning takes epochs (more of them for a large network), inherited weights keep
    their epochs as far as the network is the same, and every measurement is noisy.

    Args:
        space: of the networks.
        seed: which choices are good, and the noise.
        noise: standard deviation of a measured F1.
    """

    def __init__(self, space: Space, *, seed: int = 0, noise: float = 0.01) -> None:
        random = np.random.default_rng(seed)
        self.space, self._seed, self._noise = space, seed, noise
        self._best = random.uniform(0.2, 0.8, len(space.axes))
        self._weight = random.gamma(1.0, 0.05, len(space.axes))

    def limit(self, proposal: Proposal) -> float:
        """The F1 that the network reaches after endless training."""
        cost = self.space.cost(proposal.genes)
        active = list(self.space.active(proposal.genes))
        away = self.space.vector(proposal.genes)[active] - self._best[active]
        quality = math.exp(-float((self._weight[active] * away**2).sum()) * 4)
        return 0.95 * quality * (1 - math.exp(-((cost.macs / 2e5) ** 0.4)))

    def f1(self, proposal: Proposal, epochs: float, number: int) -> float:
        """Measured after so many epochs, inherited ones included."""
        patience = 6 + 4 * math.log10(self.space.cost(proposal.genes).macs / 1e4)
        value = self.limit(proposal) * (1 - math.exp(-epochs / patience))
        noise = np.random.default_rng((self._seed, number)).normal(0, self._noise)
        return float(np.clip(value + noise, 0, 1))

    def seconds(self, proposal: Proposal) -> float:
        """How long the training takes: like two cores with 2,000 photos, and a fixed second."""
        cost = self.space.cost(proposal.genes)
        networks = 3 if proposal.elastic else 1  # a supernet's step trains some smaller ones too
        return 1.0 + networks * proposal.epochs * (0.1 + cost.macs_as_trained / 2e6)

    def inherited(self, parent: Genes, child: Genes, epochs: float, *, elastic: bool = False) -> float:
        """Of the parent's epochs, those that a child still has: the fewer the more choices differ.

        A sub-network of a supernet has half of its epochs' worth, however different it is.
        """
        if elastic:
            return epochs / 2
        changed = sum(a != b for a, b in zip(parent, child, strict=True))
        return epochs * 0.85**changed


class SimulatedTraining:
    """The function that an executor calls: trains by the learning curves.

    The weights that it hands back are the epochs that are in them.
    """

    def __init__(self, curves: LearningCurves) -> None:
        self._curves = curves

    def seconds(self, assignment: Assignment) -> float:
        """For `SimulatedExecutor`."""
        return self._curves.seconds(assignment.proposal)

    def __call__(self, assignment: Assignment) -> Outcome:
        """Train and measure."""
        proposal, epochs = assignment.proposal, float(assignment.proposal.epochs)
        if assignment.weights is not None:
            parent = json.loads(assignment.weights)
            epochs += self._curves.inherited(
                tuple(parent["genes"]), proposal.genes, parent["epochs"], elastic=parent["elastic"]
            )
        result = TrialResult(
            f1=self._curves.f1(proposal, epochs, assignment.number),
            macs=self._curves.space.cost(proposal.genes).macs,
            seconds=self._curves.seconds(proposal),
        )
        return Outcome(
            result,
            json.dumps({"genes": proposal.genes, "epochs": epochs, "elastic": proposal.elastic}).encode(),
        )
