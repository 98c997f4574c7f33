"""One picture as a file: its own seed, its JPEG bytes, its annotations.

Every picture has a seed of its own, made of (seed, split, class, number), so that pictures can be rendered in any
order, in parallel, or alone, and a larger set with the same seed contains the pictures of a smaller one.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from wisp.data.synthetic.objects import CLASSES
from wisp.data.synthetic.plan import class_shares
from wisp.data.synthetic.scene import render_crop, render_scene
from wisp.records import TEST, TRAIN, VAL

_SPLITS = (TRAIN, VAL, TEST)
_SCENES = len(_SPLITS)  # the split number of whole scenes
_COMMENT = b"Synthetic: rendered by wisp, not a photograph."


def _generator(seed: int, split: int, label: int, index: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, split, label, index))))


def _jpeg(rng: np.random.Generator, image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(55, 96)), comment=_COMMENT)
    return file.getvalue()


def render_photo(seed: int, split: str, name: str, index: int) -> bytes:
    """The JPEG file of picture number `index` of class `name` in `split` ("train", "val" or "test").

    The same arguments give the same bytes, with the same versions of numpy and Pillow on the same kind of processor.
    """
    rng = _generator(seed, _SPLITS.index(split), CLASSES.index(name), index)
    return _jpeg(rng, render_crop(rng, name))


def render_scene_photo(seed: int, index: int) -> tuple[bytes, tuple[int, int], list[dict[str, Any]]]:
    """The JPEG file of scene number `index`, its (width, height), and its objects as COCO annotations without ids."""
    rng = _generator(seed, _SCENES, 0, index)
    shares = list(class_shares().values())
    names = tuple(str(name) for name in rng.choice(CLASSES, int(rng.integers(2, 8)), p=shares))
    scene = render_scene(rng, names)
    annotations = []
    for thing in scene.objects:
        rows, columns = np.flatnonzero(thing.mask.any(axis=1)), np.flatnonzero(thing.mask.any(axis=0))
        left, top = int(columns[0]), int(rows[0])
        annotations.append(
            {
                "category_id": CLASSES.index(thing.name) + 1,
                "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
                "area": int(thing.mask.sum()),
                "iscrowd": 0,
            }
        )
    return _jpeg(rng, scene.image), scene.image.size, annotations
