"""Running one confined Python program to its end."""

from __future__ import annotations

import json
import os
import selectors
import signal
import stat
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from wisp.errors import SandboxError
from wisp.sandbox import bubblewrap
from wisp.sandbox.confinement import FREE_UIDS, Confinement, Mode, confinement
from wisp.sandbox.launcher import Orders
from wisp.sandbox.limits import ADDRESS_SPACE_ALLOWANCE, Limit, Limits
from wisp.sandbox.paths import PACKAGE, library_folders, outermost, python_folders
from wisp.sandbox.supervisor import Watch

_TICK_SECONDS = 0.2
# What a program says when the kernel refused it more; a guess that only names the limit in a message.
_COMPLAINTS: tuple[tuple[bytes, Limit], ...] = (
    (b"MemoryError", "memory"),
    (b"allocate memory", "memory"),
    (b"std::bad_alloc", "memory"),
    (b"File too large", "file size"),
    (b"Too many open files", "open files"),
    (b"Resource temporarily unavailable", "processes"),
    (b"can't start new thread", "processes"),
)


@dataclass(frozen=True)
class Outcome:
    """What became of a confined program.

    Attributes:
        mode: how it was confined.
        exit_code: its exit code; None where a signal or a limit ended it.
        signal: the signal that ended it; None where none did.
        limit: the limit that it hit: ended by the supervisor or the kernel for it, or (a failed program whose last
            words say so) refused more by the kernel. None: none.
        stopped: it ended because the caller asked it to.
        stdout, stderr: what it wrote: the first and the last half of `Limits.output_bytes` each.
        truncated: whether something between the two was dropped.
        seconds: wall time.
        cpu_seconds: processor time as last seen.
        peak_memory_bytes, peak_processes: the most that was seen (looked at 20 times a second).
        none_left: whether every process it started is gone.
    """

    mode: Mode
    exit_code: int | None
    signal: int | None
    limit: Limit | None
    stopped: bool
    stdout: bytes
    stderr: bytes
    truncated: bool
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    peak_processes: int
    none_left: bool

    @property
    def ok(self) -> bool:
        """Whether it ended by itself, successfully."""
        return self.exit_code == 0 and self.limit is None

    @property
    def reason(self) -> str:
        """How it ended, in a few words."""
        if self.limit is not None:
            return f"stopped at its limit of {self.limit}"
        if self.signal is not None:
            return f"ended by signal {signal.Signals(self.signal).name}"
        if self.exit_code is None:
            return "stopped"
        last = self.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return "ended well" if self.exit_code == 0 else f"failed (exit code {self.exit_code}): {last[:300]}"


def run_python(
    arguments: Sequence[str],
    *,
    scratch: Path,
    read_only: Sequence[Path] = (),
    limits: Limits = Limits(),  # noqa: B008  (frozen)
    environment: Mapping[str, str] | None = None,
    mode: Mode | None = None,
    grace_seconds: float = 0.0,
    tick: Callable[[], None] | None = None,
) -> Outcome:
    """Run `python ARGUMENTS` confined, and end everything it started before returning.

    The program sees no network, no home folder, and of the files only the system's libraries, this Python with its
    packages, `read_only` and `scratch`. It starts in `scratch`, its only place to write, with a fresh environment
    (`HOME` and `TMPDIR` are the scratch folder) and nothing to read on its standard input. What it leaves in scratch
    may be anything, links included: read it with `read_result`.

    Args:
        arguments: what follows `python`, for instance `["program.py", "5"]` or `["-m", "module"]`. Python is isolated
            (`-I`): neither the working folder nor `PYTHON...` variables change what it imports.
        scratch: an existing folder that is this program's alone. As root its owner becomes a user that has no other
            process, for good: a later run in the same folder goes on as the same user.
        read_only: files and folders that it may read, resolved by this function; links in them that lead elsewhere
            lead nowhere.
        limits: what it may use.
        environment: more variables.
        mode: insist on a way to confine; None: the best that works.
        grace_seconds: on Ctrl-C, how long it may take to stop by itself after SIGTERM.
        tick: called about five times a second meanwhile, for progress.

    Raises:
        SandboxError: it could not be confined, so it was not started; or it could not be ended.
        KeyboardInterrupt: Ctrl-C; the program has ended.
    """
    how = confinement(mode)
    scratch = scratch.resolve(strict=True)
    readable = [path.resolve(strict=True) for path in read_only]
    uid = _give_away(scratch) if how.own_user else None
    setup_read, setup_write = os.pipe()
    result_read, result_write = os.pipe()
    orders = Orders(
        program=[sys.executable, "-I", "-B", *arguments],
        environment=_environment(scratch, environment or {}),
        scratch=str(scratch),
        readable=[str(path) for path in readable],
        runnable=[str(path.resolve()) for path in outermost([*library_folders(), *python_folders()])],
        listable=[str(PACKAGE.parent)],
        uid=uid,
        shielded=how.mode == "bubblewrap",
        landlock=how.landlock > 0,
        filtered=how.filtered,
        report_fd=setup_write,
        rlimits=_rlimits(limits, how),
    )
    launch = _python("launcher", asdict(orders))
    if how.mode == "bubblewrap":
        program = bubblewrap.executable() or "bwrap"
        launch = [
            *bubblewrap.command(program, read_only=readable, scratch=scratch, as_root=how.own_user),
            *launch,
        ]
    watch = Watch(
        command=launch,
        environment={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        limits=limits,
        scratch=str(scratch),
        wrappers=bubblewrap.GENERATIONS if how.mode == "bubblewrap" else 0,
        uid=uid,
        grace_seconds=grace_seconds,
        parent=os.getpid(),
        setup_fd=setup_read,
        launcher_fd=setup_write,
        result_fd=result_write,
    )
    try:
        supervisor = subprocess.Popen(  # noqa: S603  (our own words)
            _python("supervisor", asdict(watch)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=watch.environment,
            pass_fds=(setup_read, setup_write, result_write),
            start_new_session=True,  # Ctrl-C on the terminal is this process's to handle
        )
        for descriptor in (setup_read, setup_write, result_write):
            os.close(descriptor)
        outputs = _collect(supervisor, limits.output_bytes, tick)
        with open(result_read, "rb", closefd=False) as file:
            text = file.read()
    finally:
        os.close(result_read)
    return _outcome(text, outputs, how)


def read_result(scratch: Path, name: str, *, limit_bytes: int) -> bytes:
    """The content of a file that a confined program left in its scratch folder.

    Args:
        scratch: the folder.
        name: the file in it, with `/` between folders; none of them may be a link.
        limit_bytes: the most that is read.

    Raises:
        SandboxError: it is missing, larger, or something other than a plain file.
    """
    if ".." in name.split("/"):
        raise SandboxError(f"{name}: leads out of the scratch folder")
    descriptors: list[int] = []
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptors.append(os.open(scratch, flags | os.O_DIRECTORY))
        *folders, last = name.split("/")
        for folder in folders:
            descriptors.append(os.open(folder, flags | os.O_DIRECTORY, dir_fd=descriptors[-1]))
        descriptors.append(os.open(last, flags | os.O_NONBLOCK, dir_fd=descriptors[-1]))
        status = os.fstat(descriptors[-1])
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit_bytes:
            raise SandboxError(
                f"{name}: the confined program left something other than a file of reasonable size"
            )
        with open(descriptors[-1], "rb", closefd=False) as file:
            content = file.read(limit_bytes + 1)
    except OSError as error:
        raise SandboxError(
            f"{name}: the confined program did not leave this file ({error.strerror})"
        ) from error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    if len(content) > limit_bytes:
        raise SandboxError(f"{name}: the confined program left more than {limit_bytes} bytes")
    return content


def _python(part: str, orders: Mapping[str, object]) -> list[str]:
    """A command that runs one of our own parts with the standard library and wisp alone."""
    start = (
        f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); "
        f"from wisp.sandbox.{part} import main; main(sys.argv[1])"
    )
    return [sys.executable, "-I", "-S", "-B", "-c", start, json.dumps(orders)]


def _environment(scratch: Path, more: Mapping[str, str]) -> dict[str, str]:
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "USER": "sandbox",
        "LOGNAME": "sandbox",
        "LANG": "C.UTF-8",
        **more,
    }


def _rlimits(limits: Limits, how: Confinement) -> dict[str, tuple[int, int]]:
    """The kernel's own limits, a process each: `resource` name, soft and hard value."""
    seconds = max(1, round(limits.cpu_seconds))
    tasks = limits.processes + _tasks_counted_along(how)
    return {
        "RLIMIT_CPU": (seconds, seconds + 2),  # SIGXCPU, then SIGKILL
        "RLIMIT_DATA": (limits.memory_bytes, limits.memory_bytes),
        "RLIMIT_AS": (limits.memory_bytes + ADDRESS_SPACE_ALLOWANCE,) * 2,
        "RLIMIT_FSIZE": (limits.file_bytes, limits.file_bytes),
        "RLIMIT_NOFILE": (limits.open_files, limits.open_files),
        "RLIMIT_NPROC": (tasks, tasks),
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_MEMLOCK": (0, 0),
        "RLIMIT_MSGQUEUE": (0, 0),
    }


def _tasks_counted_along(how: Confinement) -> int:
    """What the kernel counts against the limit of processes beside the program's own."""
    if how.own_user:
        return 0
    release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2] if part.isdecimal())
    if how.mode == "bubblewrap" and release >= (5, 14):  # since then each user namespace counts for itself
        return 1  # the first process in it
    count = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if folder.stat().st_uid == os.getuid():
                count += len(list((folder / "task").iterdir()))
    return count


def _give_away(scratch: Path) -> int:
    """A user without any process becomes the owner of the scratch folder (its top only: it makes the rest)."""
    busy = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            busy.add(folder.stat().st_uid)
    owner = scratch.stat().st_uid
    if owner in FREE_UIDS:
        if owner in busy:
            raise SandboxError(
                f"{scratch}: another confined program is running in this folder; let it end first"
            )
        return owner
    offset = os.getpid() * 7919 % len(FREE_UIDS)
    candidates = (FREE_UIDS[(offset + step) % len(FREE_UIDS)] for step in range(len(FREE_UIDS)))
    uid = next(candidate for candidate in candidates if candidate not in busy)
    os.chown(scratch, uid, uid, follow_symlinks=False)
    return uid


class _Stream:
    """The first and the last half of what comes."""

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self.truncated = False

    def add(self, chunk: bytes) -> None:
        room = self._half - len(self._head)
        self._head += chunk[:room] if room > 0 else b""
        rest = chunk[max(room, 0) :]
        if rest:
            self._tail.append(rest)
            self._tail_size += len(rest)
        while self._tail_size > self._half:
            excess = self._tail_size - self._half
            first = self._tail.popleft()
            if len(first) > excess:
                self._tail.appendleft(first[excess:])
            self._tail_size -= min(len(first), excess)
            self.truncated = True

    def content(self) -> bytes:
        return bytes(self._head) + b"".join(self._tail)


def _collect(
    supervisor: subprocess.Popen[bytes], limit: int, tick: Callable[[], None] | None
) -> tuple[_Stream, _Stream]:
    """Read both streams until the supervisor has ended. Ctrl-C asks it to stop, twice to stop at once."""
    streams = (_Stream(limit), _Stream(limit))
    interrupted = False
    with supervisor, selectors.DefaultSelector() as selector:  # the former closes the pipes
        for pipe, stream in zip((supervisor.stdout, supervisor.stderr), streams, strict=True):
            assert pipe is not None  # noqa: S101  (asked for as PIPE)
            selector.register(pipe, selectors.EVENT_READ, stream)
        while True:
            try:
                while selector.get_map():
                    _read_ready(selector)
                    if tick is not None and not interrupted:
                        tick()
                supervisor.wait()
                break
            except BaseException as error:
                # Whatever happens here (Ctrl-C, a failing `tick`), nothing that was started stays behind.
                politely = isinstance(error, KeyboardInterrupt) and not interrupted
                supervisor.send_signal(signal.SIGTERM if politely else signal.SIGINT)
                if not isinstance(error, KeyboardInterrupt):
                    raise
                interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    return streams


def _read_ready(selector: selectors.BaseSelector) -> None:
    for key, _ in selector.select(_TICK_SECONDS):
        chunk = os.read(key.fd, 65536)
        if chunk:
            key.data.add(chunk)
        else:
            selector.unregister(key.fileobj)


def _outcome(text: bytes, streams: tuple[_Stream, _Stream], how: Confinement) -> Outcome:
    out, err = streams
    if not text:
        last = err.content().decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise SandboxError(f"the confined program lost its supervisor and was ended ({last[:300]})")
    result = json.loads(text)
    setup: str = result.pop("setup")
    if setup != "ready":
        reason = setup.removeprefix("ready").removeprefix("failed: ")
        reason = (
            reason
            or err.content().decode("utf-8", "replace").strip().rpartition("\n")[2]
            or "no reason given"
        )
        raise SandboxError(f"the program could not be confined, so it was not started: {reason[:300]}")
    if not result["none_left"]:
        raise SandboxError("a process of the confined program could not be ended (it hangs in the kernel)")
    limit = result.pop("limit")
    if limit is None and (result["exit_code"] or result["signal"] == signal.SIGABRT):
        tail = err.content()[-4000:]
        limit = next((name for complaint, name in _COMPLAINTS if complaint in tail), None)
    return Outcome(
        mode=how.mode,
        limit=limit,
        stdout=out.content(),
        stderr=err.content(),
        truncated=out.truncated or err.truncated,
        **result,
    )
