"""The last step into confinement: limits, Landlock, an unprivileged user, the system call filter; then the program.

Runs in its own process, with the standard library alone. Nothing of it is left when the program starts.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from wisp.sandbox import landlock, syscall_filter
from wisp.sandbox.landlock import READ, RUN, WRITE, Access

_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 1, 8, 38, 47
_CAP_DAC_READ_SEARCH = 2
_CAPABILITY_VERSION_3 = 0x20080522
# What Python, torch and the C library look at to find out where they run.
_SYSTEM = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/version",
    "/proc/sys/kernel",
    "/proc/sys/vm",
    "/sys/devices/system",
    "/etc/ld.so.cache",
    "/etc/localtime",
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


@dataclass(frozen=True)
class Orders:
    """What the launcher is told, as JSON on its command line.

    Attributes:
        program: what replaces the launcher, its absolute path first.
        environment: its whole environment.
        scratch: the only folder it may write to, and where it starts.
        readable: files and folders that it may read.
        runnable: those that it may also start programs from.
        listable: folders whose file names it may see, for Python to find packages in them.
        uid: the user to become; None: the one that this already is.
        shielded: there are namespaces around this process.
        landlock: whether the kernel has it.
        filtered: whether there is a system call filter.
        rlimits: name of each `resource` limit (`RLIMIT_...`) and its soft and hard value.
        report_fd: where the way into confinement is reported: `ready`, or what went wrong.
    """

    program: list[str]
    environment: dict[str, str]
    scratch: str
    readable: list[str]
    runnable: list[str]
    listable: list[str]
    uid: int | None
    shielded: bool
    landlock: bool
    filtered: bool
    report_fd: int
    rlimits: dict[str, tuple[int, int]] = field(default_factory=dict)


def main(text: str) -> None:
    """Read the orders, confine this process, become the program. Never returns."""
    orders = Orders(**json.loads(text))
    try:
        os.set_inheritable(orders.report_fd, False)
        _confine(orders)
        os.write(orders.report_fd, b"ready")
        os.execve(orders.program[0], orders.program, orders.environment)  # noqa: S606  (no shell is wanted)
    except Exception as error:
        os.write(orders.report_fd, f"failed: {error}".encode()[:500])
        os._exit(1)


def _confine(orders: Orders) -> None:
    os.umask(0o022)
    os.chdir(orders.scratch)
    ruleset = landlock.create_ruleset(_rules(orders)) if orders.landlock else None
    program = b""
    if orders.filtered:
        # Within namespaces of its own nobody else is there to be signalled.
        signals_held = orders.shielded or landlock.abi_version() >= 6
        program = syscall_filter.build_filter(shielded=orders.shielded, signals_held=signals_held)
    for name, (soft, hard) in orders.rlimits.items():
        resource.setrlimit(getattr(resource, name), _within_hard(name, soft, hard))
    if orders.uid is not None:
        # Its photos and Python may belong to root alone. Reading past permissions is safe only where what can be
        # named at all is held by something else, and files cannot be opened by number.
        _become(orders.uid, may_read=orders.filtered and (orders.shielded or orders.landlock))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if ruleset is not None:
        landlock.restrict_self(ruleset)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which clears it
    if program:
        syscall_filter.install_filter(program)


def _rules(orders: Orders) -> list[tuple[str, Access]]:
    own = f"/proc/{os.getpid()}"
    return [
        *((path, RUN) for path in orders.runnable),
        *((path, Access.READ_DIR) for path in orders.listable),
        *((path, READ) for path in orders.readable),
        *((path, READ) for path in (*_SYSTEM, own)),
        *((path, READ | Access.WRITE_FILE) for path in _DEVICES),
        (orders.scratch, WRITE),
    ]


def _within_hard(name: str, soft: int, hard: int) -> tuple[int, int]:
    """Somebody may have set a lower limit around us, which only root could raise again."""
    highest = resource.getrlimit(getattr(resource, name))[1]
    if highest == resource.RLIM_INFINITY:
        return soft, hard
    return min(soft, highest), min(hard, highest)


def _become(uid: int, *, may_read: bool) -> None:
    """Give up root. With `may_read` one power stays: CAP_DAC_READ_SEARCH, to read whoever owns the file."""
    if may_read:
        _prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    kept = 1 << _CAP_DAC_READ_SEARCH if may_read else 0
    _set_capabilities(kept)
    if may_read:
        _prctl(_PR_CAP_AMBIENT, 2, _CAP_DAC_READ_SEARCH, 0, 0)  # 2: raise


def _set_capabilities(kept: int) -> None:
    """Permitted, effective and inheritable become `kept`, a set of bits below 32."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    data = struct.pack("=6I", kept, kept, kept, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"capset: {os.strerror(number)}")


def _prctl(option: int, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    padded: Sequence[Any] = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    if libc.prctl(option, *padded) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


if __name__ == "__main__":
    main(sys.argv[1])
