"""Teachers for distillation: one trained run, or several that vote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wisp.errors import ModelError
from wisp.models import ArchSpec
from wisp.models.folding import fold_batchnorm
from wisp.train.loop import Teacher
from wisp.train.run import read_run


def load_teacher(folders: Sequence[Path], classes: Sequence[str], device: torch.device) -> Teacher:
    """A teacher made of complete runs; several give the logarithm of their mean probability.

    Each sees the student's augmented images, resized to its own input size.

    Raises:
        ModelError: a run is not complete, or was trained on other classes.
    """
    members: list[tuple[nn.Module, int]] = []
    for folder in folders:
        run = read_run(folder)
        if run.classes != tuple(classes):
            raise ModelError(
                f"{folder}: the teacher knows other classes ({', '.join(run.classes)}) than the data set"
            )
        model = run.load_model()
        if isinstance(
            run.arch, ArchSpec
        ):  # a source of its own may look at its BatchNorm, or decide by what it sees
            model = fold_batchnorm(model, run.recipe.image_size)  # a third less time
        members.append(
            (model.to(device).to(memory_format=torch.channels_last), run.recipe.image_size)  # type: ignore[call-overload]
        )

    def teacher(images: Tensor) -> Tensor:
        votes = []
        for model, size in members:
            resized = images
            if images.shape[-1] != size:
                resized = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
            votes.append(F.log_softmax(model(resized), dim=1))
        return torch.logsumexp(torch.stack(votes), dim=0)

    return teacher
