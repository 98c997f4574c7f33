"""Run every fast benchmark, each in a process of its own, and say which bars are met.

    python -m benchmarks [NAME ...] [--data DIR] [--out DIR]

Exit code 1 where a bar is missed or a benchmark fails. Those that take long are only named: they have a command each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Minutes to hours, or photographs that are no part of the repository: started by hand.
LONG = {
    "accuracy": (
        "python -m benchmarks.accuracy trashnet DATA --out RUNS --record docs/records/FILE.json",
        "python -m benchmarks.accuracy waste9 DATA --out RUNS --record docs/records/FILE.json",
    ),
    "compression": ("python -m benchmarks.compression RUN DATA --out docs/records/FILE.json",),
    "front": (
        "python -m benchmarks.front DATA --out RUNS --record docs/records/FILE.json docs/records/FILE.md",
    ),
    "fuzz_submissions": (
        "python -m benchmarks.fuzz_submissions --cases 10000 --record docs/records/FILE.md",
    ),
    "make_pretrained": ("python -m benchmarks.make_pretrained PHOTOS --runs RUNS",),
    "make_zoo": ("python -m benchmarks.make_zoo SET DATA --runs RUNS",),
    "macs_counters": ("python -m benchmarks.macs_counters --record docs/records/FILE.md",),
    "recipe_study": (
        "python -m benchmarks.recipe_study DATA --out RUNS --hold-out 0.33 --variant NAME FIELD=VALUE",
    ),
    "search_predictor": ("python -m benchmarks.search_predictor --record docs/records/FILE.json",),
    "search_scaling": (
        "python -m benchmarks.search_scaling simulated --out RUNS --record docs/records/FILE.json",
        "python -m benchmarks.search_scaling processes DATA --out RUNS --record docs/records/FILE.json",
    ),
    "search_strategies": (
        "python -m benchmarks.search_strategies real DATA --out RUNS --record docs/records/FILE.json",
        "python -m benchmarks.search_strategies simulated --out RUNS --record docs/records/FILE.json",
    ),
    "synthetic_difficulty": ("python -m benchmarks.synthetic_difficulty --out docs/records/FILE.json",),
}


def discover() -> tuple[str, ...]:
    """Names of the modules of this package that can be run, without importing them."""
    scripts = sorted(set(Path(__file__).parent.glob("*.py")) - {Path(__file__)})
    return tuple(path.stem for path in scripts if "\ndef main(" in path.read_text(encoding="utf-8"))


def fast() -> tuple[str, ...]:
    """Names of the benchmarks that `make bench` runs."""
    return tuple(name for name in discover() if name not in LONG)


def run(name: str, folder: Path, data: Path | None) -> dict[str, Any] | None:
    """The result of one benchmark, run in a fresh process; None where it ended without one."""
    out = folder / f"{name}.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--out", str(out)]
    if data is not None:
        command += ["--data", str(data)]
    out.unlink(missing_ok=True)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # what it prints is in the file too
    if not out.is_file():
        return None
    result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return result


def table(results: Sequence[tuple[str, dict[str, Any] | None]]) -> tuple[str, bool]:
    """One line a bar, and whether all of them are met."""
    rows = [("benchmark", "bar", "measured", "required", "")]
    for name, result in results:
        if result is None:
            rows.append((name, "gave no result", "", "", "FAILED"))
            continue
        for bar in result["bars"]:
            required = f"{'<=' if bar['at_most'] else '>='} {bar['required']:g}"
            rows.append(
                (name, bar["name"], f"{bar['measured']:.3g}", required, "met" if bar["met"] else "MISSED")
            )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    text = "\n".join(line.rstrip() for line in lines)
    return text, all(row[-1] == "met" for row in rows[1:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(fast())}")
    parser.add_argument("--data", type=Path, help="folder of photos (default: JPEG files made on the spot)")
    parser.add_argument("--out", type=Path, help="folder to keep the results in, a JSON file each")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(fast()))
    if unknown:
        parser.error(f"no fast benchmark is called {', '.join(unknown)}; there are {', '.join(fast())}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.names or fast():
            print(f"{name} ...", file=sys.stderr, flush=True)
            results.append((name, run(name, folder, options.data)))
    text, met = table(results)
    print(text)
    if not options.names:
        print("\nThese take long, and are run by hand:")
        for command in (line for lines in LONG.values() for line in lines):
            print(f"  {command}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
