"""The processes that descend from this one, read from /proc: what they use, and how to end them all.

Only the standard library: this runs in the supervisor.
"""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_TELLS_CHILDREN = os.path.exists(f"/proc/self/task/{os.getpid()}/children")  # noqa: PTH110
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


@dataclass(frozen=True, slots=True)
class Process:
    """One running process. `depth` is 1 for a child of this one; times include those of children it waited for."""

    pid: int
    depth: int
    threads: int
    cpu_seconds: float
    resident_bytes: int


def descendants(*, thorough: bool = True) -> list[Process]:
    """Every process below this one, parents before children. One that ends meanwhile is left out.

    Args:
        thorough: look at all processes of the machine. Otherwise ask each process for its children, which costs
            nothing to speak of, but misses some while others end (and takes a kernel that can tell).
    """
    children = _all_children() if thorough or not _TELLS_CHILDREN else None
    found: list[Process] = []
    level, depth = [os.getpid()], 1
    while level:
        pids = [
            pid
            for parent in level
            for pid in (children.get(parent, []) if children else _children_of(parent))
        ]
        level = []
        for pid in pids:
            fields = _stat_fields(pid)
            if fields is not None:
                found.append(_process(pid, depth, fields))
                level.append(pid)
        depth += 1
    return found


def _all_children() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdecimal() and (fields := _stat_fields(int(entry.name))) is not None:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    return children


def _children_of(pid: int) -> list[int]:
    """As the kernel tells, for each thread of a process."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  (many a second)
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123
                found += map(int, file.read().split())
    return found


def _stat_fields(pid: int) -> list[bytes] | None:
    """/proc/PID/stat from the third field (the state) on; the second, the name, may hold anything."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123  (many a second)
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return None


def _process(pid: int, depth: int, fields: list[bytes]) -> Process:
    ticks = sum(int(value) for value in fields[11:15])  # own and waited-for children's, user and system
    return Process(pid, depth, int(fields[17]), ticks / _TICKS, int(fields[21]) * _PAGE)


def shared_memory_bytes(processes: Sequence[Process]) -> int:
    """Memory of all of them together, each shared page once: the sum of proportional set sizes."""
    return sum(map(_proportional_bytes, processes))


def _proportional_bytes(process: Process) -> int:
    try:
        with open(f"/proc/{process.pid}/smaps_rollup", "rb") as file:  # noqa: PTH123  (many a second)
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss:")), 0)
    except PermissionError:  # it hides: all of it is counted
        return process.resident_bytes
    except OSError:  # it has ended
        return 0


def deleted_bytes(processes: Sequence[Process], device: int) -> int:
    """What deleted files that are still open occupy on a file system, in bytes."""
    sizes: dict[int, int] = {}
    for process in processes:
        with suppress(OSError), os.scandir(f"/proc/{process.pid}/fd") as entries:
            for entry in entries:
                with suppress(OSError):
                    status = entry.stat()
                    if status.st_nlink == 0 and stat.S_ISREG(status.st_mode) and status.st_dev == device:
                        sizes[status.st_ino] = status.st_blocks * 512
    return sum(sizes.values())


def kill_all(group: int, uid: int | None, patience_seconds: float = 10.0) -> bool:
    """End every process below this one, which must be a subreaper.

    Somebody who forks faster than one can look is met in one step: the whole group, and where the processes have a
    user of their own, all of that user's.

    Args:
        group: the process group that they were started in.
        uid: the user that nobody else is; None where there is none.
        patience_seconds: when to give up (a process may hang in the kernel).

    Returns:
        Whether none is left.
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        if uid is not None:
            _kill_user(uid)
        alive = descendants()
        for process in alive:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGKILL)
        reap()
        if not alive:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)


def reap() -> dict[int, int]:
    """Wait for the children that have ended: pid to wait status."""
    ended = {}
    with suppress(ChildProcessError):
        while (result := os.waitpid(-1, os.WNOHANG))[0]:
            ended[result[0]] = result[1]
    return ended


def _kill_user(uid: int) -> None:
    """SIGKILL to all of a user's processes at once, from a child that becomes this user."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
