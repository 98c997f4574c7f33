"""What a confined program may use, and the names of the limits it can run into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Limit = Literal["wall time", "processor time", "memory", "processes", "disk", "file size", "open files"]

_MIB, _GIB = 2**20, 2**30
# Address space that is reserved and never touched (libraries, thread stacks, allocator arenas): it is not memory, and
# torch alone maps 0.7 GB before it does anything.
ADDRESS_SPACE_ALLOWANCE = 8 * _GIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one confined program with everything it starts. The whole tree is stopped at the first that is hit.

    Attributes:
        wall_seconds: time from the start of the program itself.
        cpu_seconds: processor time of all its processes together.
        memory_bytes: memory of all its processes together, what they share counted once. The kernel also refuses any
            single process more than that.
        processes: processes and threads at one time.
        disk_bytes: what the scratch folder may hold, deleted files that are still open included.
        disk_files: number of files and folders in it.
        file_bytes: size of one file.
        open_files: open files of one process.
        output_bytes: what is kept of each of the two output streams: the first and the last half of it.
    """

    wall_seconds: float = 600.0
    cpu_seconds: float = 600.0
    memory_bytes: int = 4 * _GIB
    processes: int = 64
    disk_bytes: int = 4 * _GIB
    disk_files: int = 20_000
    file_bytes: int = 1 * _GIB
    open_files: int = 256
    output_bytes: int = 1 * _MIB
