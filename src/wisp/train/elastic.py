"""Training a supernet: one set of weights with which each of its sub-networks works.

Every step trains the largest network, the smallest, and some between (the sandwich rule, Yu & Huang, 2019), each at a
resolution of its own; all but the largest follow its answers (in-place distillation), as in BigNAS (Yu et al., 2020).
The sub-networks' weights are views into the largest one's (`wisp.models.transfer.shared_weights`).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from wisp.errors import TrainingError
from wisp.models import ArchSpec, build
from wisp.models.transfer import shared_weights
from wisp.train.averaging import averaged_tensors, update_average
from wisp.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from wisp.train.loop import make_optimizer
from wisp.train.losses import class_weights, distillation_loss, weighted_cross_entropy
from wisp.train.photos import Photos, epoch_order, training_batch
from wisp.train.recipe import Recipe
from wisp.train.schedule import warmup_cosine

SubNetwork = tuple[ArchSpec, int]
"""A network and its image size in pixels."""


@dataclass(frozen=True)
class Family:
    """A supernet and its sub-networks.

    Attributes:
        largest: the supernet.
        smallest: trained in every step.
        draw: a sub-network; a function of the number it is given alone.
    """

    largest: SubNetwork
    smallest: SubNetwork
    draw: Callable[[int], SubNetwork]


def train_elastic(  # noqa: PLR0915  (one loop, readable top to bottom, is the design)
    family: Family,
    photos: Photos,
    recipe: Recipe,
    *,
    checkpoint: Path,
    initialize: Callable[[nn.Module], object] | None = None,
    between: int = 2,
    deadline: float | None = None,
    device: torch.device | None = None,
    checkpoint_seconds: float = 20.0,
) -> nn.Module:
    """Train the supernet by a recipe, from the start or from its checkpoint.

    Args:
        family: what is trained.
        photos: to learn from, at the size of the largest network.
        recipe: complete; its image size is the largest network's.
        checkpoint: a file that says where an interrupted training stands; the caller removes it.
        initialize: fills the new supernet with other weights than random ones (a pretrained start).
        between: sub-networks a step, beside the largest and the smallest.
        deadline: wall-clock time after which no further step begins; one there is in any case.
        device: where to train; None for the CPU.
        checkpoint_seconds: least time between two checkpoints.

    Returns:
        The largest network with the moving average of the weights, in evaluation mode.

    Raises:
        TrainingError: the loss is no longer a number.
        ModelError: a sub-network is none, or the checkpoint is damaged.
    """
    arch, size = family.largest
    device = device or torch.device("cpu")
    batch_size = min(recipe.batch_size, len(photos))
    steps = len(photos) // batch_size
    counts = torch.bincount(photos.labels, minlength=arch.num_classes)
    weights = class_weights(counts, recipe.class_balance).to(device)
    torch.manual_seed(recipe.seed)
    model = build(arch)
    if initialize is not None:
        initialize(model)
    model = model.to(device)
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = make_optimizer(model, recipe)
    generator = torch.Generator().manual_seed(recipe.seed)
    state = {"model": model, "average": average, "optimizer": optimizer, "generator": generator}
    at = Progress()
    if checkpoint.is_file():
        at = load_checkpoint(checkpoint, **state, device=device)  # type: ignore[arg-type]
    averaged = averaged_tensors(average, model)
    skeletons: dict[ArchSpec, nn.Module] = {}
    saved = time.monotonic()
    while at.epoch < recipe.epochs:
        order = epoch_order(photos.labels, counts, recipe.balanced_sampling, generator)
        for step in range(steps):
            taken = at.epoch * steps + step
            if deadline is not None and taken and time.time() >= deadline:
                return average.eval()
            for group in optimizer.param_groups:
                group["lr"] = warmup_cosine(
                    taken, recipe.epochs * steps, recipe.warmup_epochs * steps, recipe.learning_rate
                )
            index = order[step * batch_size : (step + 1) * batch_size]
            images, targets = training_batch(photos, index, recipe, arch.num_classes, generator, device)
            optimizer.zero_grad(set_to_none=True)
            logits = model.train()(images)
            loss = weighted_cross_entropy(logits, targets, weights)
            if not math.isfinite(loss.item()):
                raise TrainingError(f"the supernet's loss is not a number any more (epoch {at.epoch + 1})")
            loss.backward()  # type: ignore[no-untyped-call]
            answers = logits.detach()
            drawn = [family.draw(taken * between + number) for number in range(between)]
            for sub, sub_size in (family.smallest, *drawn):
                if sub not in skeletons:
                    with torch.random.fork_rng(devices=[]):  # dropout must not depend on what is built
                        skeletons[sub] = build(sub).to(device)
                views = shared_weights(dict(model.named_parameters()), arch, sub)
                smaller = images if sub_size == size else _resized(images, sub_size)
                own = torch.func.functional_call(skeletons[sub].train(), views, (smaller,))
                distillation_loss(own, answers, 1.0).backward()  # type: ignore[no-untyped-call]
            if len(skeletons) > 500:  # they hold memory
                skeletons.clear()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)  # several losses add up
            optimizer.step()
            update_average(averaged, decay=recipe.ema_decay, step=taken)
        at = Progress(epoch=at.epoch + 1)
        if time.monotonic() - saved >= checkpoint_seconds:
            save_checkpoint(checkpoint, **state, progress=at)  # type: ignore[arg-type]
            saved = time.monotonic()
    return average.eval()


def _resized(images: torch.Tensor, size: int) -> torch.Tensor:
    """N x 3 x H x W -> N x 3 x size x size, channels last."""
    smaller = F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return smaller.contiguous(memory_format=torch.channels_last)
