"""The command line of bubblewrap (https://github.com/containers/bubblewrap): namespaces around the launcher."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from wisp.sandbox.paths import library_folders, outermost, python_folders, python_links

# bubblewrap itself and the first process of the new process namespace
GENERATIONS = 2
_PROBE_SECONDS = 120.0


def executable() -> str | None:
    """Where bubblewrap is installed; None where it is not. Only the system's folders are looked at."""
    return shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin:/usr/sbin:/sbin")


def command(program: str, *, read_only: Sequence[Path], scratch: Path | None, as_root: bool) -> list[str]:
    """The words before the command to run.

    Nothing is visible but the system's libraries, Python, `read_only` and `scratch`, at their own places; only
    `scratch` can be written. No network, own processes, no environment of the user's.

    Args:
        program: the path of bwrap.
        read_only: resolved files and folders.
        scratch: a resolved folder; None for none.
        as_root: this process is root with all its powers.
    """
    words = [
        program,
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
        "--hostname",
        "sandbox",
    ]
    words += ["--die-with-parent"]
    if as_root:
        # Real root needs no user namespace, and the launcher then becomes a user that is counted by itself. Two
        # powers to do so, and one to hand down (see the launcher).
        words += ["--cap-drop", "ALL"]
        for name in ("CAP_SETUID", "CAP_SETGID", "CAP_DAC_READ_SEARCH"):
            words += ["--cap-add", name]
    else:
        words += ["--unshare-user"]
    for folder in library_folders():
        if folder.is_symlink():
            words += ["--symlink", str(folder.readlink()), str(folder)]
        else:
            words += ["--ro-bind", str(folder), str(folder)]
    for file in ("/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives"):
        words += ["--ro-bind-try", file, file]
    words += ["--proc", "/proc", "--dev", "/dev"]
    words += ["--ro-bind-try", "/sys/devices/system", "/sys/devices/system"]
    seen = library_folders()
    for folder in outermost([*python_folders(), *read_only]):
        if not any(folder.is_relative_to(other) for other in seen):
            words += ["--ro-bind", str(folder), str(folder)]
    for link, target in python_links().items():
        words += ["--ro-bind", str(target), str(link)]
    if scratch is not None:
        words += ["--bind", str(scratch), str(scratch)]
    return [*words, "--remount-ro", "/dev", "--remount-ro", "/", "--"]


def problem(*, as_root: bool) -> str | None:
    """Why bubblewrap cannot be used here (see `command`), one line; None where it works."""
    program = executable()
    if program is None:
        return "bubblewrap is not installed"
    true = shutil.which("true", path="/usr/bin:/bin")
    try:
        probe = subprocess.run(  # noqa: S603  (fixed words)
            [*command(program, read_only=[], scratch=None, as_root=as_root), true or "/bin/true"],
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
            env={},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap cannot be started ({error})"
    if probe.returncode == 0:
        return None
    reason = probe.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
    return f"bubblewrap is not allowed to work here ({reason or f'exit code {probe.returncode}'})"
