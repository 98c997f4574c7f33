"""Running programs confined in every way that this machine has: both modes, as this user and (for root) as another."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from wisp.errors import SandboxError
from wisp.sandbox import Limits, Mode, Outcome, confinement, run_python

SOURCES = Path(__file__).resolve().parents[2] / "src"
SYSTEM_PYTHON = Path("/usr/bin/python3")
OTHER_USER = 12345  # as it is, without a name or a home
SMALL = Limits(
    wall_seconds=30,
    cpu_seconds=20,
    memory_bytes=200 * 2**20,
    processes=24,
    disk_bytes=40 * 2**20,
    disk_files=500,
    file_bytes=20 * 2**20,
    output_bytes=20_000,
)
# The other user's Python cannot be this one where it lies in root's home. It needs nothing that is installed.
_DRIVER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from dataclasses import asdict
from pathlib import Path
from wisp.sandbox import Limits, run_python
orders = json.loads(sys.argv[2])
orders["limits"] = Limits(**orders["limits"])
for name in ("scratch",):
    orders[name] = Path(orders[name])
orders["read_only"] = [Path(path) for path in orders["read_only"]]
outcome = asdict(run_python(**orders))
for name in ("stdout", "stderr"):
    outcome[name] = outcome[name].decode("latin-1")
print(json.dumps(outcome))
"""


@dataclass(frozen=True)
class Way:
    """One way to confine: the mode, and whether another user than root starts it."""

    mode: Mode
    as_other_user: bool = False

    def __str__(self) -> str:
        return f"{self.mode}{'-user' if self.as_other_user else ''}"

    def problem(self) -> str | None:
        """Why it cannot be tried here."""
        if self.as_other_user and os.geteuid() != 0:
            return "this is not root: no other user to be"
        if self.as_other_user and not SYSTEM_PYTHON.exists():
            return f"no {SYSTEM_PYTHON} that another user may start"
        try:
            confinement(self.mode)
        except SandboxError as error:
            return str(error)
        return None

    def run(
        self,
        program: str,
        scratch: Path,
        *arguments: str,
        limits: Limits = SMALL,
        read_only: tuple[Path, ...] = (),
        **options: Any,
    ) -> Outcome:
        """Run the text of a program."""
        words = ["-c", program, *arguments]
        if not self.as_other_user:
            return run_python(
                words, scratch=scratch, limits=limits, read_only=read_only, mode=self.mode, **options
            )
        os.chown(scratch, OTHER_USER, OTHER_USER)
        orders = {
            "arguments": words,
            "scratch": str(scratch),
            "limits": asdict(limits),
            "read_only": [str(path) for path in read_only],
            "mode": self.mode,
            **options,
        }
        driver = Popen(
            [str(SYSTEM_PYTHON), "-I", "-B", "-c", _DRIVER, str(SOURCES), json.dumps(orders)],
            stdout=PIPE,
            stderr=PIPE,
            user=OTHER_USER,
            group=OTHER_USER,
            extra_groups=[],
        )
        out, error = driver.communicate(timeout=120)
        assert driver.returncode == 0, error.decode()
        values = json.loads(out)
        for name in ("stdout", "stderr"):
            values[name] = values[name].encode("latin-1")
        return Outcome(**values)


WAYS = (
    Way("bubblewrap"),
    Way("limits"),
    Way("bubblewrap", as_other_user=True),
    Way("limits", as_other_user=True),
)


def processes_with(marker: str) -> Iterator[int]:
    """Pids of processes with the word in their command line, this one left out."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if marker.encode() in words and int(folder.name) != os.getpid():
            yield int(folder.name)


def require_linux() -> None:
    """Skip where nothing can be confined at all."""
    if sys.platform != "linux":
        pytest.skip("programs are confined on Linux only")
