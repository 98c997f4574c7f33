"""A rendered data set on disk, written as a whole or not at all."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from PIL import __version__ as pillow_version

from wisp.cores import usable_cores
from wisp.data.synthetic.objects import CLASSES
from wisp.data.synthetic.photos import render_photo, render_scene_photo
from wisp.data.synthetic.plan import FEWEST_IMAGES, split_counts
from wisp.errors import DataError, WispError
from wisp.files import new_folder, write_json, write_text

# Raise when the same seed gives other pictures than before, so that --if-missing does not mix two generations.
RENDERER = 1

SETTINGS_FILE, LABEL_FILE = "synthetic.json", "SYNTHETIC.txt"
COCO_FILE, COCO_FOLDER = "annotations.json", "images"

_LABEL = """\
SYNTHETIC DATA

These pictures are not photographs. They were rendered by the program wisp ("wisp data synthetic") from random
numbers, for demonstrations and tests. A score measured on them says nothing about real waste; whatever is reported
on them has to be labelled as synthetic. The settings that made them stand in synthetic.json.
"""

Kind = Literal["crops", "scenes"]
Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class SyntheticDataset:
    """A rendered set.

    `counts` holds pictures by split and class, or for scenes the objects by class under "objects"; `reused` says
    that it was there already.
    """

    root: Path
    kind: Kind
    images: int
    seed: int
    counts: dict[str, dict[str, int]]
    reused: bool


def render_dataset(
    out: Path,
    *,
    images: int,
    seed: int = 0,
    kind: Kind = "crops",
    if_missing: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> SyntheticDataset:
    """Render a labelled set of nine classes of waste into the folder `out`, whole or not at all.

    Args:
        out: a folder that is new or empty.
        images: number of pictures; for crops at least 27.
        seed: the same seed gives the same set.
        kind: "crops" writes train/, val/ and test/ with one folder a class; "scenes" writes whole photos with several
            objects in images/ and annotations.json in the COCO format.
        if_missing: where `out` already holds a complete set made with the same settings, leave it and return.
        workers: processes; by default one a processor, and one in all for few pictures.
        progress: show a progress bar when stderr is a terminal.

    Raises:
        DataError: `out` is in the way or cannot be written, or a number makes no sense.
        WispError: a rendering process died.
    """
    fewest = FEWEST_IMAGES if kind == "crops" else 1
    if images < fewest:
        raise DataError(f"images: {images} is too few, at least {fewest} are needed")
    if seed < 0:
        raise DataError(f"seed: {seed} is negative; use 0 or more")
    if workers is not None and workers < 1:
        raise DataError(f"workers: {workers} makes no sense; use 1 or more")
    out = out.resolve()
    present = _present(out, images, seed, kind, if_missing)
    if present is not None:
        return present
    if workers is None:
        workers = min(usable_cores(), 1 + images // (100 if kind == "crops" else 10))
    try:
        with new_folder(out) as folder:
            render = _render_crops if kind == "crops" else _render_scenes
            counts = render(folder, images, seed, workers, progress)
            write_text(folder / LABEL_FILE, _LABEL)
            settings = {
                "synthetic": True,
                "renderer": RENDERER,
                "kind": kind,
                "images": images,
                "seed": seed,
                "counts": counts,
                "numpy": np.__version__,
                "pillow": pillow_version,
            }
            write_json(folder / SETTINGS_FILE, settings)
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror})") from error
    return SyntheticDataset(out, kind, images, seed, counts, reused=False)


def is_synthetic(root: Path) -> bool:
    """Whether the data set at `root` was rendered by wisp, and has to be labelled so wherever it is reported."""
    return bool(_settings(root).get("synthetic"))


def _settings(root: Path) -> dict[str, Any]:
    """What `synthetic.json` says; nothing where there is none that can be read."""
    try:
        value = json.loads((root / SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _present(out: Path, images: int, seed: int, kind: Kind, if_missing: bool) -> SyntheticDataset | None:
    """The set that is there already and may be used again; None where `out` is free. Raises where it is in the way."""
    if not out.exists():
        return None
    if not out.is_dir():
        raise DataError(f"{out}: a file; --out needs a folder")
    if not any(out.iterdir()):
        return None
    found = _settings(out)
    if not if_missing:
        hint = "; --if-missing keeps a set that is there" if found.get("synthetic") else ""
        raise DataError(f"{out}: not empty; name another folder or remove it{hint}")
    wanted = {"renderer": RENDERER, "kind": kind, "images": images, "seed": seed}
    if not found.get("synthetic"):
        raise DataError(f"{out}: not empty, and not synthetic data; name another folder")
    differing = [
        f"{key} {found.get(key)!r} instead of {value!r}"
        for key, value in wanted.items()
        if found.get(key) != value
    ]
    if differing:
        raise DataError(f"{out}: made with {', '.join(differing)}; remove it or name another folder")
    files = sum(1 for path in out.rglob("*.jpg"))
    is_whole = files == images and isinstance(found.get("counts"), dict)
    if not is_whole or (kind == "scenes" and not (out / COCO_FILE).is_file()):
        raise DataError(f"{out}: incomplete ({files} of {images} pictures); remove it and render again")
    return SyntheticDataset(out, kind, images, seed, found["counts"], reused=True)


def _live_with_parent() -> None:
    """Prepare a worker: Ctrl-C is the parent's affair, and when the parent is killed, the worker ends too.

    Without that, workers of a killed process wait for work for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101  (runs in workers only)
    parent.join()
    os._exit(1)


def _each(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, progress: bool, chunk: int
) -> Iterator[Result]:
    """Results of `work` on every job, in order, from `workers` processes, with a progress bar."""
    from tqdm import tqdm  # noqa: PLC0415  (comes with the training extra; reading a set does not need it)

    bar = partial(tqdm, total=len(jobs), desc="rendering", unit="image", disable=None if progress else True)
    if workers == 1:
        yield from bar(map(work, jobs))
        return
    # spawn: a fork of a process with threads (torch, a progress bar) may hang
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_live_with_parent)
    try:
        yield from bar(pool.map(work, jobs, chunksize=chunk))
    except BrokenProcessPool as error:
        raise WispError(
            "a rendering process died: out of memory, or started by a script without `if __name__ == '__main__':`; "
            "try one worker"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _write_crop(folder: Path, seed: int, job: tuple[str, str, int]) -> None:
    split, name, index = job
    path = folder / split / name / f"{name.lower()}_{split}_{index:05d}.jpg"
    path.write_bytes(render_photo(seed, split, name, index))


def _render_crops(
    folder: Path, images: int, seed: int, workers: int, progress: bool
) -> dict[str, dict[str, int]]:
    counts = split_counts(images)
    for split in counts:
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
    jobs = [
        (split, name, i) for split, classes in counts.items() for name, n in classes.items() for i in range(n)
    ]
    for _ in _each(partial(_write_crop, folder, seed), jobs, workers, progress, chunk=16):
        pass
    return counts


def _write_scene(folder: Path, seed: int, index: int) -> tuple[tuple[int, int], list[dict[str, Any]]]:
    content, size, annotations = render_scene_photo(seed, index)
    (folder / COCO_FOLDER / f"{index:06d}.jpg").write_bytes(content)
    return size, annotations


def _render_scenes(
    folder: Path, images: int, seed: int, workers: int, progress: bool
) -> dict[str, dict[str, int]]:
    (folder / COCO_FOLDER).mkdir()
    pictures: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    scenes = _each(partial(_write_scene, folder, seed), range(images), workers, progress, chunk=2)
    for index, ((width, height), objects) in enumerate(scenes):
        name = f"{COCO_FOLDER}/{index:06d}.jpg"
        pictures.append({"id": index + 1, "file_name": name, "width": width, "height": height})
        annotations += [
            {"id": len(annotations) + i, "image_id": index + 1, **box} for i, box in enumerate(objects, 1)
        ]
    coco = {
        "info": {
            "description": "Synthetic waste scenes rendered by wisp; not photographs.",
            "version": str(RENDERER),
        },
        "licenses": [],
        "images": pictures,
        "annotations": annotations,
        "categories": [
            {"id": i, "name": name, "supercategory": "waste"} for i, name in enumerate(CLASSES, 1)
        ],
    }
    write_json(folder / COCO_FILE, coco)
    objects_by_class = dict.fromkeys(CLASSES, 0)
    for annotation in annotations:
        objects_by_class[CLASSES[annotation["category_id"] - 1]] += 1
    return {"objects": objects_by_class}
