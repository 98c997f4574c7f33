"""Which files a confined Python needs to be able to start: the interpreter, its libraries and the system's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]  # wisp itself, which may lie outside the environment (editable)
_LIBRARIES = ("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin")


def library_folders() -> list[Path]:
    """The system's folders of programs and libraries, as they are named (several may be links into /usr)."""
    return [path for path in map(Path, _LIBRARIES) if path.exists()]


def python_folders() -> list[Path]:
    """The folders of this interpreter, its environment and wisp, resolved, without those inside another."""
    folders = [Path(prefix).resolve() for prefix in (sys.prefix, sys.exec_prefix, sys.base_prefix)]
    return outermost([*folders, PACKAGE])


def python_links() -> dict[Path, Path]:
    """Folders on the way from `sys.executable` to the real interpreter that are themselves links: name to target."""
    links: dict[Path, Path] = {}
    hop = Path(sys.executable)
    while hop.is_symlink():
        target = hop.readlink()
        hop = target if target.is_absolute() else hop.parent / target
        prefix = hop.parent.parent
        if prefix.resolve() != prefix and prefix.is_absolute():
            links[prefix] = prefix.resolve()
    return links


def outermost(folders: Sequence[Path]) -> list[Path]:
    """Sorted, without repetitions and without what lies inside another of them."""
    kept: list[Path] = []
    for folder in sorted(set(folders)):
        if not any(folder.is_relative_to(other) for other in kept):
            kept.append(folder)
    return kept
