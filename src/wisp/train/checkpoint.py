"""Where a training stands, on disk: enough to go on as if nothing had happened."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wisp.errors import ModelError
from wisp.files import replacing


@dataclass
class Progress:
    """Position in the training: `step` steps of epoch `epoch` are done, with this sum of losses and wall time."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0


def save_checkpoint(
    path: Path,
    *,
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    progress: Progress,
) -> None:
    """Write everything that the next step depends on, whole or not at all."""
    state: dict[str, Any] = {
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "generator": generator.get_state(),
        "torch_rng": torch.get_rng_state(),
        "progress": vars(progress),
    }
    with replacing(path) as temporary:
        torch.save(state, temporary)


def load_checkpoint(
    path: Path,
    *,
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    device: torch.device,
) -> Progress:
    """Put everything back and say where the training stands.

    Raises:
        ModelError: the file is damaged or belongs to another network.
    """
    try:
        # weights_only: a checkpoint is data, nothing in it is executed
        state = torch.load(path, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(_bytes(state["generator"]))
        torch.set_rng_state(_bytes(state["torch_rng"]))
        return Progress(**state["progress"])
    except (
        RuntimeError,
        KeyError,
        TypeError,
        ValueError,
        EOFError,
        OSError,
        pickle.UnpicklingError,
    ) as error:
        # torch's own words for a refused pickle advise to read the file without this protection.
        refused = isinstance(error, pickle.UnpicklingError)
        reason = "no tensors" if refused else str(error).partition("\n")[0] or type(error).__name__
        raise ModelError(f"{path}: damaged checkpoint ({reason}); start again with --overwrite") from error


def _bytes(state: Tensor) -> Tensor:
    return state.cpu().to(torch.uint8)
