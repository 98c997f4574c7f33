"""Landlock: a process gives up every file except those it names (Linux 5.13; Salaün, 2021). No privileges needed.

Only the standard library: this runs in the launcher, before the confined program.
Source of the numbers: the kernel's include/uapi/linux/landlock.h and Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable
from enum import IntFlag

# The same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_NET_BIND_AND_CONNECT_TCP = 0b11
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11


class Access(IntFlag):
    """What may be done to a file or folder."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


READ = Access.READ_FILE | Access.READ_DIR
RUN = READ | Access.EXECUTE
WRITE = (
    READ
    | Access.WRITE_FILE
    | Access.REMOVE_DIR
    | Access.REMOVE_FILE
    | Access.MAKE_DIR
    | Access.MAKE_REG
    | Access.MAKE_FIFO
    | Access.MAKE_SYM
    | Access.REFER
    | Access.TRUNCATE
)
_OF_FILES = Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE | Access.IOCTL_DEV


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi_version() -> int:
    """Which Landlock the kernel has, 1 and up; 0 where it has none."""
    return max(0, _call(_CREATE_RULESET, None, 0, _VERSION_FLAG))


def create_ruleset(rules: Iterable[tuple[str, Access]]) -> int:
    """A ruleset that allows what `rules` say and nothing else; paths that do not exist are left out.

    Beside files it takes away TCP (kernel 6.7), and signals and abstract sockets to the outside (kernel 6.12).

    Returns:
        A file descriptor for `restrict_self`.

    Raises:
        OSError: no Landlock here, or a path cannot be opened.
    """
    version = abi_version()
    handled = _handled(version)
    attributes = _Ruleset(
        handled,
        _NET_BIND_AND_CONNECT_TCP if version >= 4 else 0,
        _SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS if version >= 6 else 0,
    )
    # A kernel refuses a longer structure than its own, unless the rest is zero; shorter ones are older versions.
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _checked(_CREATE_RULESET, ctypes.byref(attributes), size, 0)
    for path, access in rules:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            allowed = access & handled
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                allowed &= _OF_FILES
            rule = _PathBeneath(allowed, descriptor)
            _checked(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
        finally:
            os.close(descriptor)
    return ruleset


def restrict_self(ruleset: int) -> None:
    """Hold this process and all it starts to the ruleset, for good. Needs no_new_privs.

    Raises:
        OSError: the kernel refuses.
    """
    _checked(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _handled(version: int) -> Access:
    handled = Access((1 << 13) - 1)
    for since, access in ((2, Access.REFER), (3, Access.TRUNCATE), (5, Access.IOCTL_DEV)):
        if version >= since:
            handled |= access
    return handled


def _call(*arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    widened = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return int(libc.syscall(*widened))


def _checked(*arguments: object) -> int:
    result = _call(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result
