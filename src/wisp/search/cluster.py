"""Trials on the machines of a Ray cluster. wisp must be installed on all of them, and see the photos at the same path.

Every machine keeps its own decoded photos (`$WISP_CACHE`): the first trial on it decodes, the others wait. Weights and
results travel with the tasks, so nothing else needs to be shared.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar

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
        WorkerCrashedError,
    )
except ModuleNotFoundError as error:
    raise MissingExtraError("--ray", "cluster") from error

Task = TypeVar("Task")
Result = TypeVar("Result")


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
        if not ray.is_initialized():
            try:
                ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
            except (ConnectionError, ValueError, RuntimeError) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise InputError(
                    f"--ray {address}: no Ray cluster there ({reason}); start one with: ray start --head"
                ) from error
        if self._room() < 1:
            raise InputError(
                f"--ray {address}: the cluster has {_resources().get('CPU', 0):g} CPUs and "
                f"{_resources().get('GPU', 0):g} GPUs; one trial needs {cpus:g} and {gpus:g}"
            )

    @property
    def workers(self) -> int:
        """How many tasks the cluster has room for now; machines may come and go."""
        return max(1, self._room())

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
        running: dict[Any, tuple[Task, int]] = {}  # and how many workers died with it

        def begin(task: Task, deaths: int) -> None:
            running[remote.remote(pickle.dumps((function, task)))] = task, deaths

        more = True
        try:
            while more or running:
                while more and len(running) < self.workers:
                    task = next(waiting, _END)
                    more = task is not _END
                    if more and task is not None:
                        begin(task, 0)
                    elif running:
                        break
                ready, _ = ray.wait(list(running), num_returns=1) if running else ([], [])
                for reference in ready:
                    ended, deaths = running.pop(reference)
                    try:
                        result, error = pickle.loads(ray.get(reference))  # noqa: S301  (our own workers' bytes)
                    except _DEATHS as died:
                        if deaths < self._retries:
                            begin(ended, deaths + 1)
                            continue
                        reason = f"a trial's worker died {deaths + 1} times ({type(died).__name__})"
                        if failed is None:
                            raise TrainingError(
                                f"{reason}; look at the cluster's machines (ray status), and go on with --resume"
                            ) from died
                        yield ended, failed(ended, reason)
                        continue
                    except RayError as broken:
                        reason = (str(broken).strip().splitlines() or [type(broken).__name__])[-1]
                        raise TrainingError(
                            f"the cluster cannot run a trial ({reason}); is the same wisp installed on all of its "
                            "machines? Go on with --resume"
                        ) from broken
                    if error is not None:
                        raise error
                    yield ended, result
        finally:
            for reference in running:
                ray.cancel(reference)

    def _room(self) -> int:
        resources = _resources()
        rooms = [resources.get("CPU", 0.0) / self._cpus] if self._cpus else []
        if self._gpus:
            rooms.append(resources.get("GPU", 0.0) / self._gpus)
        return int(min(rooms, default=1.0) + 1e-9)


_END: Any = object()
# Of a worker, or the machine under it. Ray's other errors would meet every task.
_DEATHS = (WorkerCrashedError, OutOfMemoryError, NodeDiedError, LocalRayletDiedError, ObjectLostError)


def _resources() -> dict[str, float]:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources


def _run(work: bytes) -> bytes:
    """What a worker of the cluster does; errors come back as they were."""
    function, task = pickle.loads(work)  # noqa: S301  (bytes from the deciding process)
    try:
        return pickle.dumps((function(task), None))
    except BaseException as error:
        return pickled_error(error)
