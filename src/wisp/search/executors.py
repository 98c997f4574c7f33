"""Running trials: one after another in this process, or several at a time in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol, TypeVar

from wisp.errors import TrainingError, WispError

Task = TypeVar("Task")
Result = TypeVar("Result")
_GRACE_SECONDS = 20.0  # for a worker that was told to stop: time to save where it stands


class Executor(Protocol):
    """Runs one function over many tasks. Results come as they are ready, each with its task.

    A task is drawn from `tasks` only when it can start at once, so a generator may decide late what comes next.
    """

    @property
    def workers(self) -> int:
        """How many tasks run at the same time."""
        ...

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Generator[tuple[Task, Result], None, None]:
        """Yield `(task, function(task))` for every task; the first error ends the run and is raised.

        Close the iterator (`contextlib.closing`) where it may be left before its end.
        """
        ...


class InlineExecutor:
    """One task after the other, in this process."""

    workers = 1

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Generator[tuple[Task, Result], None, None]:
        """See `Executor.run`; the order is that of the tasks."""
        for task in tasks:
            yield task, function(task)


class ProcessExecutor:
    """A fresh process on this machine for every task, several at a time.

    `function`, tasks and results must be picklable. Processes are spawned, not forked: a forked torch with threads
    of its own can hang. When the run ends early (an error, Ctrl-C, the consumer stops) the running ones get SIGTERM,
    and when this process is killed they notice and do the same, so a training always saves where it stands. Ctrl-C
    itself does not reach them: one process decides.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers = {workers}: at least 1")
        self.workers = workers

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Generator[tuple[Task, Result], None, None]:
        """See `Executor.run`; the order is that in which tasks end.

        Raises:
            TrainingError: a process died (was killed, ran out of memory).
        """
        context = multiprocessing.get_context("spawn")
        waiting = iter(tasks)
        running: dict[Connection, tuple[SpawnProcess, Task]] = {}

        def start_next() -> None:
            for task in waiting:
                # Pickled here: unpickling imports the function's module (torch, seconds), which must not happen
                # before the worker watches its parent.
                work = pickle.dumps((function, task))
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_start, args=(work, sender), daemon=True)
                with _interrupts_held():
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
    except (EOFError, OSError):
        process.join()
        return None, TrainingError(
            f"a worker process died (exit code {process.exitcode}: killed, or out of memory?); run again with "
            "--resume, and with --workers 1 if it happens again"
        )
    finally:
        receiver.close()
    return result, error


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold SIGINT back. Processes started meanwhile never get it (the mask is inherited), this one gets it after."""
    resource_tracker.ensure_running()  # started along with the first process, it would lift the mask too early
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(work: bytes, sender: Connection) -> None:
    """The first thing that a worker process does."""
    # By default SIGTERM ends a process on the spot, and what it would have cleaned up stays behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    _work(_call_pickled, work, sender)


def _call_pickled(work: bytes) -> object:
    function, task = pickle.loads(work)  # noqa: S301  (bytes from the parent process)
    return function(task)


def _work(function: Callable[[Task], Result], task: Task, sender: Connection) -> None:
    """One task; its result or error goes to the parent."""
    try:
        message = pickle.dumps((function(task), None))
    except BaseException as error:
        message = _pickled_error(error)
    with suppress(BrokenPipeError):
        sender.send_bytes(message)
    sender.close()


def _pickled_error(error: BaseException) -> bytes:
    """The error as the parent will raise it; one that cannot travel is told in words."""
    if not isinstance(error, WispError | KeyboardInterrupt):
        error.add_note("In a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        message = pickle.dumps((None, error))
        pickle.loads(message)  # noqa: S301  (just written)
    except Exception:
        return pickle.dumps((None, TrainingError(f"{type(error).__name__} in a worker process: {error}")))
    return message


def _stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
