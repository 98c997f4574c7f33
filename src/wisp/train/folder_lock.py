"""One command at a time in an output folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from wisp.errors import InputError

LOCK = ".wisp.lock"


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Hold `folder`, which is made where missing, for this process alone; a process that dies lets go of it.

    A command that goes on with a job while an earlier one is still at it (over a connection that was lost, say) would
    train into the same files.

    Raises:
        InputError: another process holds it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from error
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"{folder}: another wisp command is at work here; wait for it to end, or choose another --out"
        ) from error
    except (OSError, NotImplementedError):  # some network file systems have no locks: as without this
        pass
    try:
        yield
    finally:
        lock.release()  # the file stays: to remove it would free it under whoever opens it now
