"""Trials on the machines of a Ray cluster. wisp must be installed on all of them, and see the photos at the same path.

Every machine keeps its own decoded photos (`$WISP_CACHE`): the first trial on it decodes, the others wait. Weights and
results travel with the tasks, so nothing else needs to be shared.

On a cluster that others use too, a task that was merely submitted may wait in Ray's queue for as long as they like, and
no budget would hold. So room is reserved first (a placement group for each task that runs at the same time), and tasks
are drawn only for room that is there. It is kept until the search ends: when its time is over, what runs ends by
itself, and what was never given room was never begun.
"""

from __future__ import annotations

import logging
import pickle
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Generic, TypeVar

from wisp.errors import InputError, MissingExtraError, TrainingError
from wisp.search.executors import pickled_error

try:
    import ray
    from ray.exceptions import (
        LocalRayletDiedError,
        NodeDiedError,
        ObjectLostError,
        OutOfMemoryError,
        RayError,
        TaskCancelledError,
        WorkerCrashedError,
    )
    from ray.util import placement_group, placement_group_table, remove_placement_group
    from ray.util.placement_group import PlacementGroup
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
except ModuleNotFoundError as error:
    raise MissingExtraError("--ray", "cluster") from error

Task = TypeVar("Task")
Result = TypeVar("Result")
_GRACE_SECONDS = 20.0  # for trials that were told to stop: time to save where they stand
_LOOK_SECONDS = 2.0  # between two looks whether machines are still there


class RayExecutor:
    """Tasks of a Ray cluster; a task whose worker or machine dies is begun again elsewhere.

    Args:
        address: of the cluster; `auto` for the one that this machine belongs to.
        cpus: cores that a task is given.
        gpus: GPUs that a task is given; 0.25 puts four on one.
        retries: how often a task is begun again.

    Raises:
        InputError: there is no cluster at this address, or it has no room for a single task.
    """

    def __init__(
        self, address: str = "auto", *, cpus: float = 1.0, gpus: float = 0.0, retries: int = 2
    ) -> None:
        self._cpus, self._gpus, self._retries = cpus, gpus, retries
        self._most = 0  # tasks for which there was room at the same time
        if not ray.is_initialized():
            try:
                ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
            except (ConnectionError, ValueError, RuntimeError) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise InputError(
                    f"--ray {address}: no Ray cluster there ({reason}); start one with: ray start --head"
                ) from error
        if self._room(_resources()) < 1:
            raise InputError(
                f"--ray {address}: the cluster has {_resources().get('CPU', 0):g} CPUs and "
                f"{_resources().get('GPU', 0):g} GPUs; one trial needs {cpus:g} and {gpus:g}"
            )

    @property
    def workers(self) -> int:
        """How many tasks the cluster has room for beside those of others; machines may come and go."""
        free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
        return max(1, min(self._room(_resources()), max(self._most, self._room(free))))

    def run(
        self,
        function: Callable[[Task], Result],
        tasks: Iterable[Task | None],
        failed: Callable[[Task, str], Result] | None = None,
    ) -> Generator[tuple[Task, Result], None, None]:
        """See `Executor.run`; the order is that in which tasks end.

        Raises:
            TrainingError: a task's worker died, and with it the last retry (only without `failed`); or the cluster's
                machines cannot run tasks at all.
        """
        # Counted here, not by Ray, which begins a task that ran out of memory again for ever.
        remote = ray.remote(num_cpus=self._cpus, num_gpus=self._gpus, max_retries=0)(_run)
        waiting: Iterator[Task | None] = iter(tasks)
        places = _Places({"CPU": self._cpus, "GPU": self._gpus})
        pool: _Pool[Task] = _Pool(remote, places)
        more, nothing_now = True, False
        try:
            while more or pool.again or pool.running:
                if more or pool.again:
                    places.ask(self._room(_resources()) - len(pool.running))
                pool.begin_again(function)
                while more and not nothing_now and places.any_free():
                    task = next(waiting, _END)
                    more = task is not _END
                    if more and task is not None:
                        pool.begin(function, task)
                    nothing_now = task is None and bool(pool.running)
                self._most = max(self._most, len(pool.running))
                if not more and not pool.again:
                    places.clear()
                for reference, ended, deaths in pool.ended():
                    nothing_now = False
                    try:
                        result = _result(reference)
                    except _DEATHS as died:
                        if deaths < self._retries:
                            pool.again.append((ended, deaths + 1))
                            continue
                        reason = f"a trial's worker died {deaths + 1} times ({type(died).__name__})"
                        if failed is None:
                            raise TrainingError(
                                f"{reason}; look at the cluster's machines (ray status), and go on with --resume"
                            ) from died
                        result = failed(ended, reason)
                    yield ended, result
        finally:
            pool.stop()

    def _room(self, resources: dict[str, float]) -> int:
        rooms = [resources.get("CPU", 0.0) / self._cpus] if self._cpus else []
        if self._gpus:
            rooms.append(resources.get("GPU", 0.0) / self._gpus)
        return int(min(rooms, default=1.0) + 1e-9)


class _Places:
    """Room for one task each, reserved on the cluster: asked for, or ours and free."""

    def __init__(self, resources: dict[str, float]) -> None:
        self._resources = {name: amount for name, amount in resources.items() if amount}
        self.asked: dict[Any, PlacementGroup] = {}  # by what becomes ready with it
        self.free: list[PlacementGroup] = []

    def ask(self, count: int) -> None:
        """Ask for more, up to so many that are not taken."""
        for _ in range(count - len(self.asked) - len(self.free)):
            place = placement_group([self._resources])
            self.asked[place.ready()] = place

    def receive(self, reference: Any) -> None:
        """One that was asked for is there."""
        self.free.append(self.asked.pop(reference))

    def any_free(self) -> bool:
        """Whether there is one to take; those of machines that are gone are given back."""
        while self.free and not _is_there(self.free[-1]):
            remove_placement_group(self.free.pop())
        return bool(self.free)

    def clear(self) -> None:
        """Give all back that are not taken."""
        for place in (*self.free, *self.asked.values()):
            remove_placement_group(place)
        self.free.clear()
        self.asked.clear()


class _Pool(Generic[Task]):
    """Tasks under way, each at its place."""

    def __init__(self, remote: Any, places: _Places) -> None:
        self._remote, self._places = remote, places
        self.running: dict[Any, tuple[Task, int, PlacementGroup]] = {}  # and how many workers died with it
        self.again: deque[tuple[Task, int]] = deque()  # whose worker died

    def begin(self, function: Callable[[Task], Result], task: Task, deaths: int = 0) -> None:
        """Start a task at a free place."""
        place = self._places.free.pop()
        remote = self._remote.options(scheduling_strategy=PlacementGroupSchedulingStrategy(place))
        self.running[remote.remote(pickle.dumps((function, task)))] = task, deaths, place

    def begin_again(self, function: Callable[[Task], Result]) -> None:
        """Those whose worker died, where there is room."""
        while self.again and self._places.any_free():
            self.begin(function, *self.again.popleft())

    def ended(self) -> Iterator[tuple[Any, Task, int]]:
        """A task that ended, its place free again; none where room came first, or nothing for a while."""
        references = [*self.running, *self._places.asked]
        ready = ray.wait(references, num_returns=1, timeout=_LOOK_SECONDS)[0] if references else []
        if not ready:
            self._cancel_lost()
        for reference in ready:
            if reference in self._places.asked:
                self._places.receive(reference)
                continue
            task, deaths, place = self.running.pop(reference)
            self._places.free.append(place)
            yield reference, task, deaths

    def _cancel_lost(self) -> None:
        """End what lost its machine: a task that had not begun would wait until there is room for it elsewhere."""
        for reference, (_, _, place) in self.running.items():
            if not _is_there(place):
                ray.cancel(reference, force=True)

    def stop(self) -> None:
        """Tell what runs to stop, and give all room back."""
        for reference in self.running:
            ray.cancel(reference)
        if self.running:  # without its place, a task is killed at once
            ray.wait(list(self.running), num_returns=len(self.running), timeout=_GRACE_SECONDS)
        self._places.free += [place for _, _, place in self.running.values()]
        self._places.clear()


_END: Any = object()
# Of a worker, or the machine under it. Ray's other errors would meet every task.
_DEATHS = (
    WorkerCrashedError,
    OutOfMemoryError,
    NodeDiedError,
    LocalRayletDiedError,
    ObjectLostError,
    TaskCancelledError,  # by `_Pool.ended`, where the machine is gone
)


def _resources() -> dict[str, float]:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources


def _is_there(place: PlacementGroup) -> bool:
    return bool(placement_group_table(place).get("state") == "CREATED")


def _result(reference: Any) -> Any:
    """What a task returned.

    Raises:
        TrainingError: the machines cannot run any task.
        BaseException: the task's own error, or one of `_DEATHS`.
    """
    try:
        result, error = pickle.loads(ray.get(reference))  # noqa: S301  (our own workers' bytes)
    except _DEATHS:
        raise
    except RayError as broken:
        reason = (str(broken).strip().splitlines() or [type(broken).__name__])[-1]
        raise TrainingError(
            f"the cluster cannot run a trial ({reason}); is the same wisp installed on all of its machines? Go on with "
            "--resume"
        ) from broken
    if error is not None:
        raise error
    return result


def _run(work: bytes) -> bytes:
    """What a worker of the cluster does; errors come back as they were."""
    function, task = pickle.loads(work)  # noqa: S301  (bytes from the deciding process)
    try:
        return pickle.dumps((function(task), None))
    except BaseException as error:
        return pickled_error(error)
