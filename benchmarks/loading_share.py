"""How much of a training step goes into loading and augmenting: python -m benchmarks.loading_share [--data DIR].

One thread, 64 px, a network of about 2 M MACs, photos from the memory-mapped cache, the default recipe.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.outcome import Bar, arguments, finish
from benchmarks.photographs import photographs
from wisp.data.cache import build_cache
from wisp.models import build, named
from wisp.records import Sample
from wisp.train.averaging import averaged_tensors, update_average
from wisp.train.losses import weighted_cross_entropy
from wisp.train.photos import Photos, training_batch
from wisp.train.recipe import Recipe

_STEPS, _WARMUP = 60, 5


def main() -> None:
    """Time the two halves of a step, print and judge."""
    options = arguments(__doc__ or "").parse_args()
    torch.set_num_threads(1)
    recipe, arch = Recipe().resolved(1768), named("wisp-2m", 9)
    with tempfile.TemporaryDirectory() as folder:
        paths = photographs(options.data, Path(folder), 500)
        samples = [Sample(path, str(index), index % 9) for index, path in enumerate(paths)]
        cached = build_cache(samples, recipe.train_resize, cache_dir=Path(folder) / "cache", progress=False)
        photos = Photos(cached.images, torch.from_numpy(cached.labels))
        model = build(arch).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = build(arch)
        averaged = averaged_tensors(average, model)
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        generator = torch.Generator().manual_seed(0)
        weights = torch.ones(9)
        loading, steps = [], []
        for step in range(_WARMUP + _STEPS):
            index = torch.randint(len(photos), (recipe.batch_size,), generator=generator)
            started = time.perf_counter()
            images, targets = training_batch(photos, index, recipe, 9, generator, torch.device("cpu"))
            loaded = time.perf_counter()
            loss = weighted_cross_entropy(model(images), targets, weights)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            update_average(averaged, decay=recipe.ema_decay, step=step)
            if step >= _WARMUP:
                loading.append(loaded - started)
                steps.append(time.perf_counter() - started)
        del photos, cached
    share = float(np.median(loading) / np.median(steps))
    numbers = {
        "macs": arch.macs(recipe.image_size),
        "batch_size": recipe.batch_size,
        "photos": len(samples),
        "loading_ms": round(float(np.median(loading)) * 1e3, 2),
        "step_ms": round(float(np.median(steps)) * 1e3, 2),
    }
    finish(
        "loading_share",
        numbers,
        [Bar("share of loading and augmentation", share, 0.2, at_most=True)],
        options.out,
    )


if __name__ == "__main__":
    main()
