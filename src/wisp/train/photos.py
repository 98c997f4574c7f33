"""Training and validation photos as cached tensors, and the batches made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wisp.data.augment import augment, normalize
from wisp.data.cache import build_cache
from wisp.errors import DataError
from wisp.metrics import confusion_matrix, macro_f1
from wisp.records import TRAIN, VAL, Dataset
from wisp.train.losses import soft_targets
from wisp.train.mixing import mix
from wisp.train.recipe import Recipe


@dataclass(frozen=True)
class Photos:
    """Decoded photos: uint8 N x H x W x 3 (memory-mapped) with class indices N."""

    images: npt.NDArray[np.uint8]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, index: Tensor | slice) -> Tensor:
        """Some of the photos as uint8 n x 3 x H x W in channels-last memory, copied out of the cache."""
        rows = self.images[index.numpy() if isinstance(index, Tensor) else index]
        return torch.from_numpy(np.array(rows, copy=isinstance(index, slice))).permute(0, 3, 1, 2)


def load_photos(
    dataset: Dataset, recipe: Recipe, *, skip_unreadable: bool, progress: bool, cache_dir: Path | None = None
) -> tuple[Photos, Photos]:
    """The photos to train on (decoded larger, to crop from) and to validate on (at the network's size).

    Raises:
        DataError: no training photos, a class without one, or unreadable files without `skip_unreadable`.
    """
    samples = dataset.split(TRAIN) + (dataset.split(VAL) if recipe.train_on_val else ())
    wanted = ((samples, recipe.train_resize), (dataset.split(VAL), recipe.resize))
    train, val = (
        Photos(cached.images, torch.from_numpy(cached.labels))
        for cached in (
            build_cache(part, rule, cache_dir=cache_dir, progress=progress, skip_unreadable=skip_unreadable)
            for part, rule in wanted
        )
    )
    missing = set(range(len(dataset.classes))) - set(train.labels.tolist())
    if missing:
        raise DataError(
            f"{dataset.root}: no training photo of class '{dataset.classes[min(missing)]}'; add some, or "
            "remove its folder"
        )
    if len(train) < 2:
        raise DataError(f"{dataset.root}: {len(train)} training photo; at least 2 are needed")
    return train, val


def epoch_order(labels: Tensor, counts: Tensor, exponent: float, generator: torch.Generator) -> Tensor:
    """Indices of one epoch: a permutation, or draws with probability (class frequency) ** -exponent."""
    if exponent == 0:
        return torch.randperm(len(labels), generator=generator)
    weights = counts.double().clamp(min=1) ** -exponent
    return torch.multinomial(weights[labels], len(labels), replacement=True, generator=generator)


def training_batch(
    photos: Photos,
    index: Tensor,
    recipe: Recipe,
    num_classes: int,
    generator: torch.Generator,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """One augmented, mixed and normalised batch.

    Returns:
        Images, n x 3 x image_size x image_size (channels last), and soft targets, n x classes, on `device`.
    """
    images = augment(
        photos.rows(index).to(device, non_blocking=True),
        recipe.image_size,
        generator=generator,
        rotation_degrees=recipe.rotation_degrees or 0.0,
        vertical_flip=bool(recipe.vertical_flip),
        min_crop_area=recipe.min_crop_area,
        color_jitter=recipe.color_jitter,
        erasing=recipe.erasing,
    )
    targets = soft_targets(photos.labels[index].to(device), num_classes, recipe.label_smoothing)
    if recipe.mixing != "none" and torch.rand((), generator=generator).item() < recipe.mixing_share:
        images, targets = mix(
            images, targets, method=recipe.mixing, alpha=recipe.mixing_alpha, generator=generator
        )
    return normalize(images).contiguous(memory_format=torch.channels_last), targets


def predict_logits(
    model: torch.nn.Module, photos: Photos, device: torch.device, batch_size: int = 256
) -> Iterator[Tensor]:
    """Logits of all photos in their order, n x classes a batch, on the CPU. The model is put into evaluation mode."""
    model.eval()
    for start in range(0, len(photos), batch_size):
        with torch.inference_mode():
            images = normalize(photos.rows(slice(start, start + batch_size)).to(device))
            logits: Tensor = model(images.contiguous(memory_format=torch.channels_last)).cpu()
        yield logits  # outside of the mode, which would be the caller's too


def predict_classes(
    model: torch.nn.Module, photos: Photos, device: torch.device, batch_size: int = 256
) -> Tensor:
    """The most probable class of every photo, N, on the CPU. The model is put into evaluation mode."""
    predicted = [logits.argmax(dim=1) for logits in predict_logits(model, photos, device, batch_size)]
    return torch.cat(predicted) if predicted else torch.empty(0, dtype=torch.int64)


def measure_f1(model: torch.nn.Module, photos: Photos, num_classes: int, device: torch.device) -> float:
    """Macro F1 on the photos, 0..1. The model, which is on `device`, is put into evaluation mode."""
    return macro_f1(confusion_matrix(photos.labels, predict_classes(model, photos, device), num_classes))
