"""One case of `benchmarks.fuzz_submissions`: one file, read in a process of its own, and what became of it."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import wisp.submission.graph
from wisp.child_process import Finished
from wisp.errors import WispError
from wisp.macs import onnx as onnx_counter
from wisp.macs import onnx_shapes
from wisp.runtime import classifier
from wisp.submission import graph_process

MEMORY_BYTES = 3 << 30  # resident, of a case and of each of its helpers
ADDRESS_SPACE_BYTES = 8 << 30  # so that a case that fails does not take the machine with it
CPU_SECONDS = 150  # of a case with its helpers
FIRST_IMAGE_SECONDS, GRAPH_SECONDS = 4.0, 10  # 60 and 60 outside of this script
WALL_SECONDS = 1800  # on a busy machine; nothing waits for anything
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
Kind = Literal["refused", "violations", "accepted", "FAILED"]


@dataclass(frozen=True)
class Outcome:
    """What became of one case; `words` says how, for a table. `seconds` are of processor time."""

    case: int
    target: str
    kind: Kind
    words: str
    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Target:
    """Something that reads files: how often it is tried, how the files are changed, and what reads them."""

    name: str
    share: float
    changes: tuple[Callable[[bytes, random.Random], bytes], ...]
    suffix: str
    read: Callable[[Path], str]


def attempt(case: int, target: Target, place: Path) -> Outcome:
    """Read the file in a process of its own, and see what became of it."""
    path = place / f"file{target.suffix}"
    before = _snapshot(place.parent)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _be_the_case(target, path, writer)  # never returns
    os.close(writer)
    said = _read(reader, WALL_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        if said is None:
            os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    seconds, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
    kind: Kind = "FAILED"
    if said is None:
        words = f"over {WALL_SECONDS} seconds"
    elif not said:
        words = f"ended by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"ended with {status}"
    else:
        kind, words = pickle.loads(said)  # noqa: S301  (our own child's words)
    after = _snapshot(place.parent)
    if after != before:
        kind, words = "FAILED", f"left behind or changed: {sorted(after ^ before)[:3]}"
    if memory > MEMORY_BYTES:
        kind, words = "FAILED", f"{memory:,} bytes of memory ({words})"
    if seconds > CPU_SECONDS:
        kind, words = "FAILED", f"{seconds:.0f} seconds of processor time ({words})"
    return Outcome(case, target.name, kind, words, round(seconds, 3), memory)


def _be_the_case(target: Target, path: Path, writer: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    os.chdir(path.parent)
    tempfile.tempdir = str(path.parent)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 2)  # ONNX Runtime's own notes
    os.dup2(silence, 1)
    written: list[str] = []
    _watch(path.parent, written)
    said: tuple[Kind, str]
    try:
        rule = target.read(path)
        said = ("violations", rule) if rule else ("accepted", "")
    except WispError as error:
        text = str(error)
        said = ("refused", _topic(text)) if "\n" not in text else ("FAILED", f"two lines: {text[:200]!r}")
    except BaseException as error:  # whatever else comes out is what is looked for
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = (
            "FAILED",
            f"{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})",
        )
    if written:
        said = ("FAILED", f"wrote outside: {written[0]}")
    os.write(writer, pickle.dumps(said))
    os._exit(0)


def _watch(place: Path, written: list[str]) -> None:
    """Note every way in which Python is asked to change a file outside `place`."""
    changes = {
        "os.mkdir",
        "os.rename",
        "os.remove",
        "os.rmdir",
        "os.symlink",
        "os.link",
        "os.chmod",
        "os.truncate",
    }
    allowed = (str(place), os.environ["WISP_CACHE"], os.devnull)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            file, _, flags = arguments
            paths = [file] if isinstance(file, str | bytes | os.PathLike) and flags & WRITING else []
        else:
            paths = (
                [item for item in arguments if isinstance(item, str | bytes | os.PathLike)]
                if event in changes
                else []
            )
        for item in paths:
            full = os.path.abspath(os.fsdecode(item))  # noqa: PTH100  (resolve() would open files itself)
            if not full.startswith(allowed):
                written.append(f"{event} {full}")

    sys.addaudithook(hook)


def _snapshot(folder: Path) -> set[tuple[str, int, int]]:
    """Every file below, with its size and time: the samples, the case's own folder, whatever appears beside it."""
    found = set()
    for path in folder.rglob("*"):
        if "cache" not in path.parts and not path.is_dir():
            status = path.lstat()
            found.add((str(path.relative_to(folder)), status.st_size, status.st_mtime_ns))
    return found | {(str(path), 0, 0) for path in folder.iterdir() if path.is_dir()}


def _read(descriptor: int, seconds: float) -> bytes | None:
    """What is written until the other end closes; None where that takes too long."""
    chunks: list[bytes] = []
    deadline = time.monotonic() + seconds
    with contextlib.closing(os.fdopen(descriptor, "rb", buffering=0)) as pipe:
        while True:
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return None
            chunk = pipe.read(1 << 16)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)


# --- helpers, forked instead of started ---------------------------------------------------------------------------


def fork_helpers() -> None:
    """Helpers are forked, and endless graphs end after seconds instead of a minute: there are hundreds of them."""
    classifier.FIRST_IMAGE_SECONDS = FIRST_IMAGE_SECONDS
    wisp.submission.graph.SECONDS = GRAPH_SECONDS

    def ask(arguments: list[str], seconds: int, output_bytes: int) -> tuple[bytes | None, str]:
        done = _forked(lambda: graph_process.main(arguments), output_bytes, WALL_SECONDS)
        return (done.output if done.end == "exit" and not done.status else None), done.reason

    def read_shapes(command: Sequence[str], *, seconds: float, output_bytes: int) -> Finished:
        def start() -> int:
            sys.argv = ["onnx_shapes.py", *command[3:]]
            return onnx_shapes.main()

        return _forked(start, output_bytes, WALL_SECONDS)

    wisp.submission.graph._ask_bounded = ask
    wisp.submission.graph._ask_confined = ask
    onnx_counter.run_bounded = read_shapes  # type: ignore[assignment, attr-defined]


def _forked(work: Callable[[], int], output_bytes: int, seconds: float) -> Finished:
    """`run_bounded`, of a function in a fork."""
    out_reader, out_writer = os.pipe()
    error_reader, error_writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(out_writer, 1)
        os.dup2(error_writer, 2)
        for descriptor in (out_reader, error_reader, out_writer, error_writer):
            os.close(descriptor)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        status = 70
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
            status = work()
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException as problem:  # as the interpreter would print it
            os.write(2, f"{type(problem).__name__}: {problem}".encode(errors="replace")[:1000])
        finally:
            os._exit(status)
    os.close(out_writer)
    os.close(error_writer)
    output = _read(out_reader, seconds)
    error = _read(error_reader, seconds)
    if output is None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    end: Literal["exit", "time", "output"] = "time" if output is None else "exit"
    if output is not None and len(output) > output_bytes:
        end = "output"
    return Finished(
        end, os.waitstatus_to_exitcode(status), output or b"", (error or b"").decode(errors="replace")
    )


def _topic(message: str) -> str:
    """The kind of a message: without the file, and without the numbers and names of this case."""
    text = message.partition(": ")[2] or message
    return text.partition("(")[0].partition(";")[0].strip()[:60]
