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
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, Protocol, TypeVar

from wisp.errors import TrainingError, WispError

Task = TypeVar("Task")
Result = TypeVar("Result")
_GRACE_SECONDS = 20.0  # for a worker that was told to stop: time to save where it stands


class Executor(Protocol):
    """Runs one function over many tasks. Results come as they are ready, each with its task.

    A task is drawn from `tasks` only when it can start at once, and after the result before it was handed out, so a
    generator may decide late what comes next. None among the tasks says: nothing now; it is asked again after the
    next result, or at once where nothing runs.
    """

    @property
    def workers(self) -> int:
        """How many tasks run at the same time."""
        ...

    def run(
        self,
        function: Callable[[Task], Result],
        tasks: Iterable[Task | None],
        failed: Callable[[Task, str], Result] | None = None,
    ) -> Generator[tuple[Task, Result], None, None]:
        """Yield `(task, function(task))` for every task; the first error ends the run and is raised.

        A task whose worker dies, however often it is begun again, is an error too; unless `failed` makes, from the
        task and the reason, what stands for its result. Close the iterator (`contextlib.closing`) where it may be
        left before its end.
        """
        ...


class InlineExecutor:
    """One task after the other, in this process."""

    workers = 1

    def run(
        self,
        function: Callable[[Task], Result],
        tasks: Iterable[Task | None],
        failed: Callable[[Task, str], Result] | None = None,
    ) -> Generator[tuple[Task, Result], None, None]:
        """See `Executor.run`; the order is that of the tasks. If their worker dies, so does the run."""
        for task in tasks:
            if task is not None:
                yield task, function(task)


class ProcessExecutor:
    """Processes on this machine, several at a time.

    `function`, tasks and results must be picklable. Processes are spawned, not forked: a forked torch with threads
    of its own can hang. When the run ends early (an error, Ctrl-C, the consumer stops) the running ones get SIGTERM,
    and when this process is killed they notice and do the same, so a training always saves where it stands. Ctrl-C
    itself does not reach them: one process decides.

    Args:
        workers: how many tasks run at the same time.
        reuse: give a process one task after the other, which saves seconds of imports a task; else each task has a
            fresh one.
        retries: how often a task is begun again whose process died (was killed, ran out of memory).
    """

    def __init__(self, workers: int, *, reuse: bool = False, retries: int = 0) -> None:
        if workers < 1:
            raise ValueError(f"workers = {workers}: at least 1")
        self.workers, self.reuse, self.retries = workers, reuse, retries

    def run(
        self,
        function: Callable[[Task], Result],
        tasks: Iterable[Task | None],
        failed: Callable[[Task, str], Result] | None = None,
    ) -> Generator[tuple[Task, Result], None, None]:
        """See `Executor.run`; the order is that in which tasks end.

        Raises:
            TrainingError: a process died, and with it the task's last retry; only without `failed`.
        """
        waiting: Iterator[Task | None] = iter(tasks)
        pool: _Pool[Task] = _Pool(self.reuse)
        more = True
        try:
            while more or pool.running:
                while more and len(pool.running) < self.workers:
                    task = next(waiting, _END)
                    more = task is not _END
                    if more and task is not None:
                        pool.begin(function, task)
                    elif pool.running:
                        break
                for was in pool.ready():
                    try:
                        result, error = was.worker.finished()
                    except _DiedError as died:
                        if was.deaths < self.retries:
                            pool.begin(function, was.task, was.deaths + 1)
                            continue
                        reason = f"a worker process died (exit code {died}: killed, or out of memory?)"
                        if failed is None:
                            raise TrainingError(
                                f"{reason}; run again with --resume, and with --workers 1 if it happens again"
                            ) from None
                        yield was.task, failed(was.task, reason)
                        continue
                    pool.release(was.worker, usable=error is None)
                    if error is not None:
                        raise error
                    yield was.task, result
        finally:
            pool.stop()


def local_executor(workers: int, *, reuse: bool = False, retries: int = 0) -> Executor:
    """What runs trials on this machine: processes, or this one where there is nothing to run side by side.

    Args:
        workers: trials at the same time.
        reuse: as in `ProcessExecutor`.
        retries: as in `ProcessExecutor`.
    """
    return ProcessExecutor(workers, reuse=reuse, retries=retries) if workers > 1 else InlineExecutor()


_END: Any = object()


class _DiedError(Exception):
    """A process is gone; the argument is its exit code."""


class _Worker:
    """A process that waits for tasks."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_start, args=(theirs,), daemon=True)
        with _interrupts_held():
            self.process.start()
            theirs.close()  # now the worker's death closes the pipe

    def begin(self, function: Callable[[Task], Result], task: Task) -> None:
        """Hand over a task."""
        # Pickled here: unpickling imports the function's module (torch, seconds), which must not happen before the
        # worker watches its parent.
        with suppress(BrokenPipeError, ConnectionResetError):  # it died: `finished` will say so
            self.pipe.send_bytes(pickle.dumps((function, task)))

    def finished(self) -> tuple[Any, BaseException | None]:
        """The task's result, or its error.

        Raises:
            _DiedError: there will be none.
        """
        try:
            result, error = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            self.pipe.close()
            raise _DiedError(self.process.exitcode) from None
        return result, error

    def dismiss(self) -> None:
        """Let it go: it ends when there are no more tasks."""
        self.pipe.close()
        self.end()

    def end(self) -> None:
        """Wait for its end, and make one when it takes too long."""
        self.process.join(_GRACE_SECONDS)
        if self.process.is_alive():
            self.process.kill()


@dataclass
class _Running(Generic[Task]):
    task: Task
    worker: _Worker
    deaths: int  # of workers that had this task before


class _Pool(Generic[Task]):
    """Worker processes, busy and idle."""

    def __init__(self, reuse: bool) -> None:
        self._reuse = reuse
        self.running: dict[Connection, _Running[Task]] = {}
        self._idle: list[_Worker] = []

    def begin(self, function: Callable[[Task], Result], task: Task, deaths: int = 0) -> None:
        """Start a task."""
        worker = self._idle.pop() if self._idle else _Worker()
        self.running[worker.pipe] = _Running(task, worker, deaths)
        worker.begin(function, task)

    def ready(self) -> Iterator[_Running[Task]]:
        """Those that ended; waits for one where any is running."""
        for pipe in wait(list(self.running)) if self.running else ():
            assert isinstance(pipe, Connection)  # noqa: S101  (only connections were waited for)
            yield self.running.pop(pipe)

    def release(self, worker: _Worker, *, usable: bool) -> None:
        """A worker whose task ended."""
        if self._reuse and usable:
            self._idle.append(worker)
        else:
            worker.dismiss()

    def stop(self) -> None:
        """End them all; those at work are told to, and have time to save."""
        for worker in self._idle:
            worker.dismiss()
        for was in self.running.values():
            was.worker.process.terminate()
        for was in self.running.values():
            was.worker.end()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold SIGINT back. Processes started meanwhile never get it (the mask is inherited), this one gets it after."""
    resource_tracker.ensure_running()  # started along with the first process, it would lift the mask too early
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(pipe: Connection) -> None:
    """What a worker process does: one task after the other, until there are no more."""
    # By default SIGTERM ends a process on the spot, and what it would have cleaned up stays behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    with suppress(EOFError, OSError, KeyboardInterrupt):  # told to stop, or forgotten, between two tasks
        while _work(_call_pickled, pipe.recv_bytes(), pipe):
            pass


def _call_pickled(work: bytes) -> object:
    function, task = pickle.loads(work)  # noqa: S301  (bytes from the parent process)
    return function(task)


def _work(function: Callable[[Task], Result], task: Task, sender: Connection) -> bool:
    """One task; its result or error goes to the parent. Whether to go on with another."""
    interrupted = False
    try:
        message = pickle.dumps((function(task), None))
    except BaseException as error:
        interrupted = not isinstance(error, Exception)
        message = pickled_error(error)
    with suppress(BrokenPipeError):
        sender.send_bytes(message)
    return not interrupted


def pickled_error(error: BaseException) -> bytes:
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
