"""The watch over a confined program, in a process of its own: ends it, with all it started, at its limits.

Only the standard library. It is a subreaper: a process that the program abandons becomes its child and ends with it.
When the process that started it dies, it ends the program too.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import stat
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from wisp.sandbox.limits import Limit, Limits
from wisp.sandbox.process_tree import (
    Process,
    deleted_bytes,
    descendants,
    kill_all,
    reap,
    shared_memory_bytes,
)

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_POLL_SECONDS = 0.05
_SETUP_SECONDS = (
    120.0  # for bubblewrap and the launcher, on a busy machine; the program's own clock starts after it
)
_FREE_RESERVE_BYTES = 2**29  # backstop for what no look at the folder finds: the disk is never filled up
_WATCHED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Watch:
    """What the supervisor is told, as JSON on its command line.

    Attributes:
        command: what to start: bubblewrap or the launcher.
        limits: see `Limits`.
        scratch: the folder whose size is watched.
        wrappers: how many generations of the started tree belong to bubblewrap.
        uid: the user that the program becomes, nobody else's; None where it stays the caller's.
        grace_seconds: between a request to stop (SIGTERM; SIGINT means at once) and the end.
        parent: who started this.
        setup_fd: where the launcher reports (read end); launcher_fd: its write end.
        result_fd: where the result goes, as JSON.
    """

    command: list[str]
    environment: dict[str, str]
    limits: Limits
    scratch: str
    wrappers: int
    uid: int | None
    grace_seconds: float
    parent: int
    setup_fd: int
    launcher_fd: int
    result_fd: int


@dataclass
class _State:
    started: float
    report: bytes = b""  # what the launcher said
    limit: Limit | None = None
    peak_memory_bytes: int = 0
    cpu_seconds: float = 0.0
    peak_processes: int = 0
    next_disk_look: float = 0.0
    free_at_start: int = 0
    stop_at: float | None = None  # asked to stop: when patience ends
    processes: list[Process] = field(default_factory=list)


def main(text: str) -> None:
    """Start the command, watch it, end its tree, write the result."""
    values = json.loads(text)
    watch = Watch(**{**values, "limits": Limits(**values["limits"])})
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    os.set_inheritable(watch.launcher_fd, True)
    for descriptor in (watch.setup_fd, watch.result_fd):
        os.set_inheritable(descriptor, False)
    state = _State(started=time.monotonic(), free_at_start=_free_bytes(watch.scratch))
    pid = os.posix_spawn(
        watch.command[0],
        watch.command,
        watch.environment,
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        setsid=True,
        setsigmask=[],
        setsigdef=_WATCHED,
    )
    os.close(watch.launcher_fd)
    os.set_blocking(watch.setup_fd, False)
    try:
        status = _follow(pid, watch, state)
    finally:
        none_left = kill_all(pid, watch.uid)
    result = _result(status, watch, state, none_left=none_left)
    os.write(watch.result_fd, json.dumps(result).encode())


def _follow(pid: int, watch: Watch, state: _State) -> int | None:
    """Until the command ends (its wait status) or has to be ended (None)."""
    while True:
        woken = signal.sigtimedwait(_WATCHED, _POLL_SECONDS)
        ended = reap()
        if pid in ended:
            return ended[pid]
        now = time.monotonic()
        if woken is not None and woken.si_signo != signal.SIGCHLD:
            at_once = woken.si_signo == signal.SIGINT or watch.grace_seconds <= 0 or state.stop_at is not None
            if at_once or os.getppid() != watch.parent:
                state.stop_at = now
                return None
            state.stop_at = now + watch.grace_seconds
            for process in _program(watch):
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGTERM)
        if os.getppid() != watch.parent or (state.stop_at is not None and now > state.stop_at):
            return None
        if not state.report:
            _read_report(watch, state)
            state.started = time.monotonic() if state.report else state.started
            if now - state.started > _SETUP_SECONDS:
                state.report = b"failed: it took too long to set up"
                return None
            continue
        state.limit = _exceeded(watch, state, now)
        if state.limit is not None:
            return None


def _read_report(watch: Watch, state: _State) -> None:
    """What the launcher has said by now: `ready`, and perhaps that the program could not be started after all."""
    with suppress(BlockingIOError):
        state.report += os.read(watch.setup_fd, 1000)


def _program(watch: Watch) -> list[Process]:
    """The processes of the program itself, without bubblewrap's."""
    return [process for process in descendants(thorough=False) if process.depth > watch.wrappers]


def _exceeded(watch: Watch, state: _State, now: float) -> Limit | None:
    """The first limit that is exceeded now, if any."""
    limits = watch.limits
    processes = _program(watch)
    state.cpu_seconds = max(state.cpu_seconds, sum(process.cpu_seconds for process in processes))
    state.peak_processes = max(state.peak_processes, sum(process.threads for process in processes))
    memory = sum(process.resident_bytes for process in processes)
    if memory > limits.memory_bytes:  # pages that processes share were counted for each: look closer
        memory = shared_memory_bytes(processes)
    state.peak_memory_bytes = max(state.peak_memory_bytes, memory)
    if now - state.started > limits.wall_seconds:
        return "wall time"
    if state.cpu_seconds > limits.cpu_seconds:
        return "processor time"
    if memory > limits.memory_bytes:
        return "memory"
    if state.peak_processes >= limits.processes:
        return "processes"
    if now >= state.next_disk_look:
        full = _disk_exceeded(watch, state, processes)
        took = time.monotonic() - now
        state.next_disk_look = now + max(0.2, 10 * took)
        if full:
            return "disk"
    return None


def _disk_exceeded(watch: Watch, state: _State, processes: list[Process]) -> bool:
    free = _free_bytes(watch.scratch)
    if free < _FREE_RESERVE_BYTES <= state.free_at_start:
        return True
    limits = watch.limits
    held = deleted_bytes(processes, os.stat(watch.scratch).st_dev)  # noqa: PTH116  (pathlib costs a start-up)
    files, folders = 0, [watch.scratch]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    held += status.st_blocks * 512
                    files += 1
                    if held > limits.disk_bytes or files > limits.disk_files:
                        return True
                    if stat.S_ISDIR(status.st_mode):
                        folders.append(entry.path)
        except (
            PermissionError
        ):  # the program closed the folder to its own user: nobody can tell what is in it
            return True
        except OSError:  # gone meanwhile
            continue
    return held > limits.disk_bytes


def _free_bytes(folder: str) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _result(status: int | None, watch: Watch, state: _State, *, none_left: bool) -> dict[str, Any]:
    exit_code: int | None = None
    number: int | None = None
    if status is not None and os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
    elif status is not None:
        code = os.WEXITSTATUS(status)
        # bubblewrap tells the signal that ended the program like a shell
        if watch.wrappers and code > 128 and code - 128 in signal.valid_signals():
            number = code - 128
        else:
            exit_code = code
    limit = state.limit
    if limit is None and number == signal.SIGXCPU:
        limit = "processor time"
    if limit is None and number == signal.SIGXFSZ:
        limit = "file size"
    _read_report(watch, state)
    return {
        "setup": state.report.decode("utf-8", "replace"),
        "exit_code": exit_code,
        "signal": number,
        "limit": limit,
        "stopped": state.stop_at is not None,
        "seconds": time.monotonic() - state.started,
        "cpu_seconds": state.cpu_seconds,
        "peak_memory_bytes": state.peak_memory_bytes,
        "peak_processes": state.peak_processes,
        "none_left": none_left,
    }
