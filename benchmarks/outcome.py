"""What a benchmark says: its numbers, the machine, and whether each bar was met."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wisp import __version__
from wisp.cores import usable_cores
from wisp.environment import processor_name
from wisp.files import write_json


@dataclass(frozen=True)
class Bar:
    """One number that must be reached: `measured` at least, or at most, `required`."""

    name: str
    measured: float
    required: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether the bar was met."""
        return self.measured <= self.required if self.at_most else self.measured >= self.required


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, help="folder of photos (default: JPEG files made on the spot)")
    parser.add_argument("--out", type=Path, help="also write the result to this JSON file")
    return parser


_CORES = usable_cores()  # before anything narrows them


def stay_on_one_core() -> None:
    """Keep this process on a single core from now on, where the system allows to say so."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def finish(name: str, numbers: Mapping[str, Any], bars: Sequence[Bar], out: Path | None) -> None:
    """Print the result as JSON, write it to `out`, and exit with 1 where a bar was missed."""
    result = {
        "benchmark": name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {
            "device": processor_name(),
            "cores": _CORES,
            "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
            "python": platform.python_version(),
            "wisp": __version__,
        },
        **numbers,
        "bars": [{**asdict(bar), "met": bar.met} for bar in bars],
    }
    print(json.dumps(result, indent=2, ensure_ascii=False))
    if out is not None:
        write_json(out, result)
    sys.exit(0 if all(bar.met for bar in bars) else 1)
