"""Running a short helper process whose output and time are bounded, whatever goes wrong inside it."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from wisp.errors import printable

_CHUNK = 1 << 16
_LARGEST_ERROR_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Finished:
    """How a process ended.

    Attributes:
        end: `exit` by itself, or `time` or `output`: it was stopped since it took or wrote too much.
        status: its exit status; negative for a signal.
        output: what it wrote to standard output.
        error: the last lines of what it wrote to standard error.
    """

    end: Literal["exit", "time", "output"]
    status: int
    output: bytes
    error: str

    @property
    def reason(self) -> str:
        """Why it failed, in one short line without its own words' rest."""
        if self.end == "time":
            return "it took too long"
        if self.end == "output":
            return "it gave too much output"
        lines = [line.strip() for line in self.error.splitlines() if line.strip()]
        if self.status < 0 or not lines:
            return f"signal {-self.status}" if self.status < 0 else f"exit status {self.status}"
        return printable(lines[-1][:300])


def run_bounded(
    command: Sequence[str], *, seconds: float, output_bytes: int, environment: Mapping[str, str] | None = None
) -> Finished:
    """Run `command` without input, and stop it once it takes or writes more than it may.

    Args:
        command: the program and its arguments; not read by a shell.
        seconds: wall time.
        output_bytes: most bytes of standard output.
        environment: added to this process's own.
    """
    deadline = time.monotonic() + seconds
    process = subprocess.Popen(  # noqa: S603  (the callers' own programs)
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
    assert process.stdout is not None  # noqa: S101
    assert process.stderr is not None  # noqa: S101
    output, error = bytearray(), bytearray()
    end: Literal["exit", "time", "output"] = "exit"
    with process, selectors.DefaultSelector() as waiting:
        try:
            waiting.register(process.stdout, selectors.EVENT_READ, output)
            waiting.register(process.stderr, selectors.EVENT_READ, error)
            while waiting.get_map() and end == "exit":
                ready = waiting.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    end = "time"
                for key, _ in ready:
                    chunk = os.read(key.fd, _CHUNK)
                    if not chunk:
                        waiting.unregister(key.fileobj)
                    key.data.extend(chunk)
                del error[:-_LARGEST_ERROR_BYTES]
                if len(output) > output_bytes:
                    end = "output"
            if end == "exit":
                try:
                    process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    end = "time"
        finally:
            if process.poll() is None:
                process.kill()
    return Finished(end, process.returncode, bytes(output), error.decode(errors="replace"))
