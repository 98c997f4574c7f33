"""The filter, run by an interpreter of its machine language: every call of both processors."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from wisp.sandbox import syscall_filter
from wisp.sandbox.syscall_filter import build_filter

ALLOWED, KILLED = 0x7FFF0000, 0x80000000
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
HEADERS = {
    "x86_64": (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), r"#define __NR_(\w+)\s+(\d+)"),
    "aarch64": (Path("/usr/include/asm-generic/unistd.h"), r"#define __NR(?:3264)?_(\w+)\s+(\d+)"),
}
# Classic calls of each processor: clone, socketpair, prlimit64, prctl, ioctl
CHECKED = {"x86_64": (56, 53, 302, 157, 16), "aarch64": (220, 199, 261, 167, 29)}


def answer(
    program: bytes, machine: str, number: int, *arguments: int, architecture: int | None = None
) -> int:
    """What the kernel would do with one call."""
    words = [value & (2**64 - 1) for value in (*arguments, *[0] * (6 - len(arguments)))]
    data = struct.pack("<IIQ6Q", number, architecture or ARCHITECTURE[machine], 0, *words)
    instructions = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    at, accumulator = 0, 0
    while True:
        code, if_true, if_false, value = instructions[at]
        at += 1
        if code == 0x20:
            accumulator = struct.unpack_from("<I", data, value)[0]
        elif code == 0x06:
            return int(value)
        else:
            met = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[
                code
            ]
            at += if_true if met else if_false


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
class TestFilter:
    def test_forbidden_calls_fail_and_all_others_pass(self, machine: str) -> None:
        column = ["x86_64", "aarch64"].index(machine)
        for shielded in (True, False):
            program = build_filter(shielded=shielded, signals_held=False, machine=machine)
            expected = dict.fromkeys(_numbers(syscall_filter._FORBIDDEN, column), errno.EPERM)
            expected |= dict.fromkeys(_numbers(syscall_filter._ABSENT, column), errno.ENOSYS)
            if not shielded:
                expected |= dict.fromkeys(_numbers(syscall_filter._FORBIDDEN_UNSHIELDED, column), errno.EPERM)
                expected |= dict.fromkeys(_numbers(syscall_filter._IGNORED_UNSHIELDED, column), 0)
                expected |= dict.fromkeys(_numbers(syscall_filter._SIGNALS, column), errno.EPERM)
            assert len(expected) > 60
            for number in range(500):
                if number not in CHECKED[machine]:
                    wanted = 0x00050000 | expected[number] if number in expected else ALLOWED
                    assert answer(program, machine, number) == wanted, number

    def test_calls_that_are_fine_with_some_arguments(self, machine: str) -> None:
        clone, socketpair, prlimit, prctl, ioctl = CHECKED[machine]
        program = build_filter(shielded=True, signals_held=True, machine=machine)

        def passes(number: int, *arguments: int) -> bool:
            return answer(program, machine, number, *arguments) == ALLOWED

        assert passes(clone, 0x3D0F00)  # a thread, as the C library makes it
        assert passes(clone, 0x1200011)  # a fork
        for bit in (0x80, 0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
            assert not passes(clone, bit | 17)
        assert passes(socketpair, 1)
        assert not passes(socketpair, 2)
        assert not passes(socketpair, 16)
        assert passes(prlimit, 0)
        assert not passes(prlimit, 1)
        assert passes(prctl, 38)
        assert not passes(prctl, 4)
        assert passes(ioctl, 1, 0x5401)
        assert not passes(ioctl, 1, 0x5412)
        assert not passes(ioctl, 1, 0x541C)

    def test_another_architecture_is_killed(self, machine: str) -> None:
        program = build_filter(shielded=True, signals_held=True, machine=machine)
        assert answer(program, machine, 0, architecture=0x40000003) == KILLED  # 32-bit x86
        if machine == "x86_64":
            assert answer(program, machine, 0x40000000 | 41) == 0x00050000 | errno.ENOSYS

    def test_the_numbers_are_the_kernels(self, machine: str) -> None:
        path, pattern = HEADERS[machine]
        if not path.exists():
            pytest.skip(f"NOT TESTED: {path} is missing (Debian: linux-libc-dev)")
        numbers = {name: int(number) for name, number in re.findall(pattern, path.read_text())}
        column = ["x86_64", "aarch64"].index(machine)
        compared = 0
        for table in (
            syscall_filter._FORBIDDEN,
            syscall_filter._ABSENT,
            syscall_filter._FORBIDDEN_UNSHIELDED,
            syscall_filter._IGNORED_UNSHIELDED,
            syscall_filter._SIGNALS,
        ):
            for name, pair in table.items():
                if name in numbers:  # newer calls than the headers are not there
                    assert pair[column] == numbers[name], name
                    compared += 1
        assert compared > 60
        names = ("clone", "socketpair", "prlimit64", "prctl", "ioctl")
        assert tuple(numbers[name] for name in names) == CHECKED[machine]


def _numbers(table: dict[str, tuple[int | None, int | None]], column: int) -> list[int]:
    return [number for pair in table.values() if (number := pair[column]) is not None]


def test_an_unknown_processor_has_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert not syscall_filter.is_supported()
    with pytest.raises(KeyError):
        build_filter(shielded=True, signals_held=True)
