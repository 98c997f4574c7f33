"""How long an epoch takes here, measured before anything is planned."""

from __future__ import annotations

import time

import numpy as np
import torch
import torch.nn.functional as F

from wisp.models import Network, build
from wisp.train.photos import Photos, training_batch
from wisp.train.recipe import Recipe


def seconds_per_step(arch: Network, recipe: Recipe, *, steps: int = 6) -> float:
    """Wall time of one training step on the CPU, batch and augmentation included, on random pixels.

    The median of `steps` steps after two that warm up. Run it in as many processes at once as will train: caches and
    memory are shared.
    """
    generator = torch.Generator().manual_seed(0)
    size = recipe.train_resize.size
    pixels = np.random.default_rng(0).integers(0, 256, (recipe.batch_size, size, size, 3), dtype=np.uint8)
    photos = Photos(pixels, torch.arange(recipe.batch_size) % arch.num_classes)
    index = torch.arange(recipe.batch_size)
    model = build(arch).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters())
    times = []
    for _ in range(steps + 2):
        started = time.perf_counter()
        images, targets = training_batch(
            photos, index, recipe, arch.num_classes, generator, torch.device("cpu")
        )
        loss = F.cross_entropy(model(images), targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        times.append(time.perf_counter() - started)
    return float(np.median(times[2:]))
