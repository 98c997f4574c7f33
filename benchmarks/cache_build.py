"""Building the cache against a plain Pillow loop, on one core and on all.

    python -m benchmarks.cache_build [--data DIR] [--photos 800] [--out FILE]

The peer opens, converts and resizes as one writes it without thinking (`Image.open(p).convert("RGB").resize(…)`). On
all cores it runs in that many processes, started before the clock. Both sides read files that lie in the page cache.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.outcome import Bar, arguments, finish, stay_on_one_core
from benchmarks.photographs import photographs
from wisp.cores import usable_cores
from wisp.data.cache import build_cache
from wisp.records import ResizeRule, Sample

ROUNDS = 5
REQUIRED = 2.5


def plain(paths: Sequence[Path], size: int) -> npt.NDArray[np.uint8]:
    """The peer: what everybody's first loader does."""
    return np.stack([np.asarray(Image.open(path).convert("RGB").resize((size, size))) for path in paths])


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def compare(paths: Sequence[Path], size: int, scratch: Path, workers: int) -> dict[str, float]:
    """Median seconds of both sides, in turns so that a busy moment hits both, on `workers` cores."""
    samples = [Sample(path, f"{index}/{path.name}", None) for index, path in enumerate(paths)]
    times: dict[str, list[float]] = {"plain_s": [], "cache_s": []}
    share = -(-len(paths) // (4 * workers))
    chunks = [paths[start : start + share] for start in range(0, len(paths), share)]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(plain, [paths[:1]] * workers, [size] * workers))  # start the processes
        for turn in range(ROUNDS):
            peer = (
                (lambda: list(pool.map(plain, chunks, [size] * len(chunks))))
                if workers > 1
                else (lambda: plain(paths, size))
            )
            times["plain_s"].append(seconds(peer))
            build = partial(build_cache, samples, ResizeRule(size), workers=workers, progress=False)
            times["cache_s"].append(seconds(partial(build, cache_dir=scratch / f"cache-{workers}-{turn}")))
    return {name: median(values) for name, values in times.items()}


def main() -> None:
    """Run the comparison."""
    parser = arguments("Building the cache against a plain Pillow loop.")
    parser.add_argument("--photos", type=int, default=800, help="photos to decode")
    parser.add_argument("--size", type=int, default=64, help="side of the decoded images, pixels")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        paths = photographs(options.data, scratch / "photos", options.photos)
        plain(paths, options.size)  # into the page cache
        everywhere = compare(paths, options.size, scratch, usable_cores())
        stay_on_one_core()
        alone = compare(paths, options.size, scratch, 1)
    bars = []
    numbers: dict[str, object] = {"photos": len(paths), "size": options.size, "rounds": ROUNDS}
    for name, times in (("one_core", alone), ("all_cores", everywhere)):
        ratio = times["plain_s"] / times["cache_s"]
        numbers[name] = {**times, "ratio": ratio, "photos_per_s": len(paths) / times["cache_s"]}
        bars.append(Bar(f"{name}: times as fast as plain Pillow", ratio, REQUIRED))
    finish("cache_build", numbers, bars, options.out)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
