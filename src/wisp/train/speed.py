"""How long an epoch takes here, measured before anything is planned."""

from __future__ import annotations

import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wisp.models import Network, build
from wisp.train.distributed import alone
from wisp.train.loop import make_optimizer
from wisp.train.photos import Photos, training_batch
from wisp.train.recipe import Recipe
from wisp.train.step import Step, make_step


def seconds_per_step(arch: Network, recipe: Recipe, *, steps: int = 6) -> float:
    """Wall time of one training step where trainings run, batch and augmentation included, on random pixels.

    The median of `steps` steps after two that warm up. Run it in as many processes at once as will train: caches and
    memory are shared.
    """
    generator = torch.Generator().manual_seed(0)
    size = recipe.train_resize.size
    pixels = np.random.default_rng(0).integers(0, 256, (recipe.batch_size, size, size, 3), dtype=np.uint8)
    photos = Photos(pixels, torch.arange(recipe.batch_size) % arch.num_classes)
    index = torch.arange(recipe.batch_size)
    device = alone().device
    model = build(arch).to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = make_optimizer(model, recipe)

    def batch_loss(images: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(model(images), targets)

    step: Step | None = None
    times = []
    for _ in range(steps + 2):
        started = time.perf_counter()
        batch = training_batch(photos, index, recipe, arch.num_classes, generator, device)
        if step is None:
            step = make_step(arch, model, batch_loss, batch)
        loss = step(*batch)
        optimizer.step()
        loss.item()  # waits for a GPU
        times.append(time.perf_counter() - started)
    return float(np.median(times[2:]))
