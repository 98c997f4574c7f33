from __future__ import annotations

import sys
import time

from wisp.child_process import Finished, run_bounded


def python(program: str, *, seconds: float = 60, output_bytes: int = 1000) -> Finished:
    return run_bounded([sys.executable, "-c", program], seconds=seconds, output_bytes=output_bytes)


def test_output_and_errors() -> None:
    done = python("import sys; print('hello'); sys.stderr.write('first\\n\\nlast words\\n'); sys.exit(3)")
    assert (done.end, done.status, done.output) == ("exit", 3, b"hello\n")
    assert done.reason == "last words"
    assert python("import sys; sys.stderr.write('\x1b[31mred'); sys.exit(1)").reason == r"\x1b[31mred"
    assert python("raise SystemExit(4)").reason == "exit status 4"
    assert python("import os; os.abort()").reason == "signal 6"
    assert python("import sys; sys.stderr.write('x' * 100_000); sys.exit(1)").reason == "x" * 300


def test_it_reads_nothing_and_sees_what_it_is_given() -> None:
    assert python("print(input())").status == 1
    program = "import os; print(os.environ['WISP_TEST'])"
    done = run_bounded(
        [sys.executable, "-c", program], seconds=60, output_bytes=100, environment={"WISP_TEST": "seen"}
    )
    assert done.output == b"seen\n"


def test_more_time_or_output_than_allowed() -> None:
    started = time.monotonic()
    slow = python("import time; time.sleep(1000)", seconds=0.2)
    assert (slow.end, slow.status, slow.reason) == ("time", -9, "it took too long")
    loud = python("while True: print('x' * 10_000)")
    assert (loud.end, loud.reason) == ("output", "it gave too much output")
    assert len(loud.output) < 200_000
    silent = python("import os, time; os.close(1); os.close(2); time.sleep(1000)", seconds=1)
    assert silent.end == "time"
    assert time.monotonic() - started < 100


def test_errors_without_end_take_bounded_memory() -> None:
    done = python("import sys\nfor _ in range(3000): sys.stderr.write('y' * 1000)\nsys.exit(1)")
    assert len(done.error) <= 1 << 16
