"""Functions for workers of the executor tests: a worker process imports them by name, so this stays light."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from wisp.errors import DataError, MissingExtraError, TrainingError


class FoldedError(Exception):
    """Its arguments do not make it again, as with many errors of libraries."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def square(task: int) -> int:
    return task * task


def same(task: int) -> int:
    return task


def fail_at_two(task: int) -> int:
    if task == 2:
        raise DataError("photo two cannot be read")
    return task


def raise_kind(task: str) -> None:
    raise {
        "training": TrainingError("the loss is not a number any more"),
        "extra": MissingExtraError("that", "train"),
        "bug": ZeroDivisionError("a bug"),
        "interrupt": KeyboardInterrupt(),
        "folded": FoldedError("this", "that"),
    }[task]


def return_lambda(task: int) -> object:
    return lambda: task


def die(task: int) -> int:
    if task == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def wait_until_told(folder: Path) -> str:
    """Write down the process, then work until SIGTERM, as a training does: save, and raise KeyboardInterrupt."""

    def stop(number: int, frame: object) -> None:
        (folder / f"saved-{os.getpid()}").touch()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    (folder / f"began-{os.getpid()}").touch()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.02)
    return "not told"


def wait_or_return(task: tuple[str, Path]) -> str:
    kind, folder = task
    return wait_until_told(folder) if kind == "wait" else kind


def sleep_deaf(folder: Path) -> str:
    """Do not listen to SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (folder / f"began-{os.getpid()}").touch()
    time.sleep(60)
    return "not killed"


def die_once(task: tuple[Path, int]) -> int:
    """Be killed the first time."""
    folder, number = task
    mark = folder / f"died-{number}"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def own_pid(_: int) -> int:
    return os.getpid()


def slow(task: tuple[Path, int]) -> int:
    """Take a moment, and leave a mark for every beginning; on a machine that is to be killed, work until then."""
    import ray  # noqa: PLC0415  (only workers of a cluster do this)

    folder, number = task
    machine = ray.get_runtime_context().get_node_id()
    (folder / f"began-{number}-{machine}").touch()
    time.sleep(120 if (folder / f"doomed-{machine}").exists() else 0.5)
    return number


def wait_for_file(path: Path) -> None:
    """Take a core until somebody makes the file."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not path.exists():
        time.sleep(0.02)


def hold_core(leave: Path) -> None:
    """Take a core, say so by `leave` with the suffix .began, and leave when somebody makes the file."""
    leave.with_suffix(".began").touch()
    wait_for_file(leave)


def work_until_stopped(task: tuple[str, Path]) -> str:
    """Save when interrupted, as a training does; or be done at once."""
    kind, folder = task
    if kind == "long":
        (folder / f"began-{os.getpid()}").touch()
        try:
            wait_for_file(folder / "never")
        except KeyboardInterrupt:
            time.sleep(0.5)
            (folder / f"saved-{os.getpid()}").touch()
            raise
    return kind
