"""What this machine can confine a program with, and what it cannot guarantee."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from wisp.errors import SandboxError
from wisp.sandbox import bubblewrap, landlock, syscall_filter

# Users that no system gives out for good (systemd's range for services that exist while they run).
FREE_UIDS = range(61184, 65520)
_CAP_CHOWN, _CAP_DAC_READ_SEARCH, _CAP_SETGID, _CAP_SETUID = 0, 2, 6, 7

Mode = Literal["bubblewrap", "limits"]


@dataclass(frozen=True)
class Confinement:
    """How programs are confined here.

    Attributes:
        mode: `bubblewrap`, or `limits`: a subprocess with limits, Landlock and a system call filter.
        landlock: version of the kernel's Landlock (files and, from 4 on, TCP); 0: none.
        filtered: whether dangerous system calls are refused (seccomp), opening sockets among them.
        own_user: whether the program runs as a user that nobody else is (we are root and can give it up).
        missing: what is not guaranteed, each a phrase; empty where everything is.
        reason: why not bubblewrap; None where it is used.
    """

    mode: Mode
    landlock: int
    filtered: bool
    own_user: bool
    missing: tuple[str, ...] = ()
    reason: str | None = None

    @property
    def warning(self) -> str | None:
        """One plain line where the confinement is not the full one."""
        if self.mode == "bubblewrap":
            return None
        missing = "; ".join(self.missing)
        return (
            f"warning: confined without bubblewrap, since {self.reason}; not guaranteed: {missing}. Install bubblewrap "
            "(Debian: apt-get install bubblewrap) or use a virtual machine for programs you distrust"
        )


@cache
def confinement(mode: Mode | None = None) -> Confinement:
    """The best confinement that works here, found out once by trying.

    Args:
        mode: ask for this one; None: bubblewrap where it works, else limits.

    Raises:
        SandboxError: this system has none, or not the one asked for.
    """
    if sys.platform != "linux":
        raise SandboxError(
            "programs can be confined on Linux only; run this in a Linux container or virtual machine"
        )
    own_user = _can_change_user()
    reason = "it was not asked for" if mode == "limits" else bubblewrap.problem(as_root=own_user)
    if mode == "bubblewrap" and reason is not None:
        raise SandboxError(f"{reason}; install it, or allow user namespaces")
    version, filtered = landlock.abi_version(), syscall_filter.is_supported()
    if reason is None:
        return Confinement("bubblewrap", version, filtered, own_user)
    missing = _missing(version, filtered=filtered, own_user=own_user)
    return Confinement("limits", version, filtered, own_user, missing, reason)


def _can_change_user() -> bool:
    """Whether this process is root, may become another user, and has the unused users to become."""
    if os.geteuid() != 0:
        return False
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    powers = int(next(line for line in status.splitlines() if line.startswith("CapEff:")).split()[1], 16)
    needed = (_CAP_CHOWN, _CAP_DAC_READ_SEARCH, _CAP_SETGID, _CAP_SETUID)
    if not all(powers >> bit & 1 for bit in needed):
        return False
    return all(_is_mapped(name) for name in ("uid_map", "gid_map"))


def _is_mapped(name: str) -> bool:
    """Whether all of `FREE_UIDS` exist in this user namespace."""
    ranges = [map(int, line.split()) for line in Path("/proc/self", name).read_text("ascii").splitlines()]
    return any(start <= FREE_UIDS.start and FREE_UIDS.stop <= start + count for start, _, count in ranges)


def _missing(version: int, *, filtered: bool, own_user: bool) -> tuple[str, ...]:
    """What mode `limits` leaves open with these means."""
    open_ways = ["that names, sizes and dates of files elsewhere stay hidden"]
    if version == 0:
        which = "that anybody may read, or write" if own_user else "that you can read or write"
        open_ways.append(f"that files {which} stay untouched (the kernel has no Landlock)")
    if not filtered:
        tcp = " (TCP is)" if version >= 4 else ""
        open_ways.append(f"that the network is closed{tcp} (no system call filter here)")
        open_ways.append("that every process it starts is found and ended")
    if not own_user:
        open_ways.append("that its processes are counted apart from your others")
        if version < 6:
            open_ways.append("that your other processes get no signals from it (needs kernel 6.12)")
    return tuple(open_ways)
