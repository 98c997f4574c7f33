"""What networks that are named on a command line are called in tables and folders."""

from __future__ import annotations

from pathlib import Path

from wisp.train.run import ARCH


def network_name(text: str) -> str:
    """The name itself, that of a run's folder, or that of a .json file (`arch.json`: of the folder it lies in)."""
    path = Path(text)
    if path.suffix != ".json":
        return path.name
    return path.parent.name if path.name == ARCH else path.stem
