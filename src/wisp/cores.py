"""How many cores there are to use."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Cores this process may use: fewer than the machine has, in containers and under taskset."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
