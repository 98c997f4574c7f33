"""Photos for benchmarks: those of a folder, or JPEG files made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from wisp.runtime.answers import find_photos

WIDTH, HEIGHT, QUALITY = 512, 384, 90


def photographs(data: Path | None, scratch: Path, count: int) -> list[Path]:
    """`count` photos spread evenly over the folder `data`; without a folder, JPEG files made in `scratch`.

    The made ones are smooth gradients with edges and sensor noise: 512 x 384, quality 90, some 40 kB each, about
    what photos of that size weigh. (Pure noise would weigh more and make decoding look slower than it is.)
    """
    if data is not None:
        found = find_photos(data)
        return [found[index] for index in np.linspace(0, len(found) - 1, min(count, len(found))).astype(int)]
    scratch.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    paths = []
    for index in range(count):
        gradient = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
        pixels = np.array(gradient.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float32)
        for _ in range(12):
            left, top = rng.integers(0, WIDTH), rng.integers(0, HEIGHT)
            pixels[top : top + rng.integers(20, 200), left : left + rng.integers(20, 200)] += rng.normal(
                0, 40, 3
            )
        pixels += rng.normal(0, 5, pixels.shape)
        paths.append(scratch / f"{index:05}.jpg")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(paths[-1], quality=QUALITY)
    return paths
