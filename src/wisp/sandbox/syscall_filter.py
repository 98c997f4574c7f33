"""A seccomp filter: system calls that a confined program never gets, whatever the kernel or its user would allow.

Only the standard library: this runs in the launcher, before the confined program.
Source of the numbers: the kernel's arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
from collections.abc import Callable, Iterable

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD_WORD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
# struct seccomp_data: number, architecture, instruction pointer (8 bytes), six arguments of 8 bytes, low half first.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_X32_CALLS = 0x40000000
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NEW_NAMESPACES = 0x7E020080  # every CLONE_NEW* flag of clone(2)
_PR_SET_DUMPABLE = 4
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C

# name: (x86_64, aarch64); None where the architecture never had it.
_Numbers = dict[str, tuple[int | None, int | None]]

# Talking to anybody; memory that no limit sees; other processes; the kernel's own doors.
_FORBIDDEN: _Numbers = {
    "socket": (41, 198),
    "io_uring_setup": (425, 425),  # could open sockets behind this filter's back
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "fanotify_init": (300, 262),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),  # with CAP_DAC_READ_SEARCH: any file of the disk
    "mknod": (133, None),
    "mknodat": (259, 33),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "syslog": (103, 116),
    "acct": (163, 89),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "_sysctl": (156, None),
    "personality": (135, 92),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    "vhangup": (153, 58),
}
# Flags that the filter cannot see, as they lie in memory. "Not there" makes the C library use clone(2) instead.
_ABSENT: _Numbers = {"clone3": (435, 435)}

# Only without namespaces of its own (mode "limits"). Leaving the process group would escape being killed with it.
_FORBIDDEN_UNSHIELDED: _Numbers = {
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "truncate": (76, 45),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    "sched_setaffinity": (203, 122),
}
# Landlock does not guard permissions and times. Copying programs set both and expect to succeed: they are told so.
_IGNORED_UNSHIELDED: _Numbers = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "utime": (132, None),
    "utimes": (235, None),
    "utimensat": (280, 88),
    "futimesat": (261, None),
}
# Only where Landlock does not keep signals inside (kernels before 6.12).
_SIGNALS: _Numbers = {
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
}


def is_supported() -> bool:
    """Whether there is a filter for this machine's processor and the kernel takes filters."""
    libc = ctypes.CDLL(None, use_errno=True)
    # A null filter: EFAULT where filters exist, EINVAL where they do not.
    absent = libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, 0, 0, 0) < 0 and ctypes.get_errno() == errno.EINVAL
    return platform.machine() in _AUDIT and not absent


def build_filter(*, shielded: bool, signals_held: bool, machine: str | None = None) -> bytes:
    """The filter program (classic BPF).

    Args:
        shielded: the program has namespaces of its own, and sees all files but its scratch folder read-only.
        signals_held: something else keeps its signals from other processes.
        machine: the processor, as `platform.machine()` names it.

    Raises:
        KeyError: no filter for this processor.
    """
    machine = machine or platform.machine()
    column = {"x86_64": 0, "aarch64": 1}[machine]
    code = [
        _statement(_LOAD_WORD, _ARCHITECTURE),
        # Calls of another architecture have other numbers.
        _jump(_JUMP_EQUAL, _AUDIT[machine], 1, 0),
        _statement(_RETURN, _KILL_PROCESS),
        _statement(_LOAD_WORD, _NUMBER),
    ]
    if machine == "x86_64":
        code += [_jump(_JUMP_AT_LEAST, _X32_CALLS, 0, 1), _refuse(errno.ENOSYS)]

    def add(calls: _Numbers, number: int) -> None:
        for pair in calls.values():
            call = pair[column]
            if call is not None:
                code.extend([_jump(_JUMP_EQUAL, call, 0, 1), _refuse(number)])

    def add_check(pair: tuple[int, int], argument: int, tests: Iterable[bytes]) -> None:
        """`tests` see the low half of the argument and end in a return."""
        body = [_statement(_LOAD_WORD, _FIRST_ARGUMENT + 8 * argument), *tests]
        code.extend([_jump(_JUMP_EQUAL, pair[column], 0, len(body)), *body])

    allow, refuse = _statement(_RETURN, _ALLOW), _refuse(errno.EPERM)
    add(_FORBIDDEN, errno.EPERM)
    add(_ABSENT, errno.ENOSYS)
    if not shielded:
        add(_FORBIDDEN_UNSHIELDED, errno.EPERM)
        add(_IGNORED_UNSHIELDED, 0)
        if not signals_held:
            add(_SIGNALS, errno.EPERM)
    only_zero = [_jump(_JUMP_EQUAL, 0, 0, 1), allow, refuse]
    add_check((53, 199), 0, [_jump(_JUMP_EQUAL, int(socket.AF_UNIX), 0, 1), allow, refuse])  # socketpair
    add_check((56, 220), 0, [_jump(_JUMP_BITS, _NEW_NAMESPACES, 0, 1), refuse, allow])  # clone
    add_check((302, 261), 0, only_zero)  # prlimit64: of nobody else
    add_check((157, 167), 0, [_jump(_JUMP_EQUAL, _PR_SET_DUMPABLE, 0, 1), refuse, allow])  # prctl
    add_check(  # ioctl: no typing into terminals
        (16, 29), 1, [_jump(_JUMP_EQUAL, _TIOCSTI, 1, 0), _jump(_JUMP_EQUAL, _TIOCLINUX, 0, 1), refuse, allow]
    )
    code.append(allow)
    return b"".join(code)


def install_filter(program: bytes) -> None:
    """Hold this process and all it starts to the filter, for good. Needs no_new_privs.

    Raises:
        OSError: the kernel refuses.
    """

    class FilterProgram(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    libc = ctypes.CDLL(None, use_errno=True)
    loaded = FilterProgram(len(program) // 8, program)
    prctl: Callable[..., int] = libc.prctl
    if prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(loaded), 0, 0) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number)}")


def _statement(code: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, 0, 0, value)


def _jump(code: int, value: int, if_true: int, if_false: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _refuse(number: int) -> bytes:
    return _statement(_RETURN, _ERRNO | number)
