"""Running trials: one after another in this process, or several at a time in processes of their own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, TypeVar

from wisp.errors import TrainingError

Task = TypeVar("Task")
Result = TypeVar("Result")


class Executor(Protocol):
    """Runs one function over many tasks. Results come as they are ready, each with its task."""

    @property
    def workers(self) -> int:
        """How many tasks run at the same time."""

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """Yield `(task, function(task))` for every task; the first error ends the run and is raised."""


class InlineExecutor:
    """One task after the other, in this process."""

    workers = 1

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """See `Executor.run`; the order is that of the tasks."""
        for task in tasks:
            yield task, function(task)


class ProcessExecutor:
    """Several processes on this machine. `function`, tasks and results must be picklable.

    Processes are spawned, not forked: a forked torch with threads of its own can hang.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers = {workers}: at least 1")
        self.workers = workers

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """See `Executor.run`; the order is that in which tasks end.

        Raises:
            TrainingError: a process died (was killed, ran out of memory).
        """
        pool = ProcessPoolExecutor(self.workers, mp_context=multiprocessing.get_context("spawn"))
        try:
            futures = {pool.submit(function, task): task for task in tasks}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise TrainingError(
                "a worker process died (killed, or out of memory?); run again with --resume, and with --workers 1 "
                "if it happens again"
            ) from error
        finally:
            # On an error or Ctrl-C the running tasks get the same signal and save; the others never start.
            pool.shutdown(wait=True, cancel_futures=True)
