"""Running trials: one after another in this process, or several at a time in processes of their own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol, TypeVar

from wisp.errors import TrainingError

Task = TypeVar("Task")
Result = TypeVar("Result")
_GRACE_SECONDS = 20.0  # for a worker that was told to stop: time to save where it stands


class Executor(Protocol):
    """Runs one function over many tasks. Results come as they are ready, each with its task."""

    @property
    def workers(self) -> int:
        """How many tasks run at the same time."""
        ...

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """Yield `(task, function(task))` for every task; the first error ends the run and is raised."""
        ...


class InlineExecutor:
    """One task after the other, in this process."""

    workers = 1

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """See `Executor.run`; the order is that of the tasks."""
        for task in tasks:
            yield task, function(task)


class ProcessExecutor:
    """A fresh process on this machine for every task, several at a time.

    `function`, tasks and results must be picklable. Processes are spawned, not forked: a forked torch with threads
    of its own can hang. When the run ends early (an error, Ctrl-C, the consumer stops) the running ones get SIGTERM,
    and when this process is killed they notice and do the same, so a training always saves where it stands.
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
        context = multiprocessing.get_context("spawn")
        waiting = iter(tasks)
        running: dict[Connection, tuple[SpawnProcess, Task]] = {}

        def start_next() -> None:
            for task in waiting:
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(function, task, sender), daemon=True)
                process.start()
                sender.close()  # now the worker's death closes the pipe
                running[receiver] = (process, task)
                return

        try:
            for _ in range(self.workers):
                start_next()
            while running:
                for ready in wait(list(running)):
                    assert isinstance(ready, Connection)  # noqa: S101  (only connections were waited for)
                    process, task = running.pop(ready)
                    result, error = _receive(ready, process)
                    process.join()
                    if error is not None:
                        raise error
                    start_next()
                    yield task, result
        finally:
            for process, _ in running.values():
                process.terminate()
            for process, _ in running.values():
                process.join(_GRACE_SECONDS)
                if process.is_alive():
                    process.kill()


def _receive(receiver: Connection, process: SpawnProcess) -> tuple[Any, BaseException | None]:
    """What the worker sent, or why it sent nothing."""
    try:
        result, error = receiver.recv()
    except EOFError:
        process.join()
        return None, TrainingError(
            f"a worker process died (exit code {process.exitcode}: killed, or out of memory?); run again with "
            "--resume, and with --workers 1 if it happens again"
        )
    finally:
        receiver.close()
    return result, error


def _work(function: Callable[[Task], Result], task: Task, sender: Connection) -> None:
    """What a worker process does: one task, its result or error to the parent."""
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        message: tuple[Result | None, BaseException | None] = (function(task), None)
    except BaseException as error:
        message = (None, error)
    with contextlib.suppress(BrokenPipeError):
        sender.send(message)
    sender.close()


def _stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
