"""Several processes that train one network: what `torchrun` sets up, and nothing where it did not.

Each process computes its slice of every batch; gradients are averaged by DistributedDataParallel and BatchNorm
statistics are taken over the whole batch, so the result is that of one process up to rounding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from wisp.errors import RecipeError

T = TypeVar("T", bound=nn.Module)


@dataclass(frozen=True)
class Processes:
    """This process among all. One process on its own is rank 0 of 1."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for the others."""
        if self.world > 1:
            dist.barrier()

    def slice(self, batch: Tensor) -> Tensor:
        """This process's equal share of a batch."""
        share = len(batch) // self.world
        return batch[self.rank * share : (self.rank + 1) * share] if self.world > 1 else batch

    def mean(self, value: float) -> float:
        """The mean of one number over all processes."""
        if self.world == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.item() / self.world

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process, the same answer in all of them."""
        return self.mean(float(flag)) > 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The module whose forward and backward keep all processes in step; `model` itself where it is alone."""
        if self.world == 1:
            return model
        on_cuda = self.device.type == "cuda"
        convert: Callable[[nn.Module], nn.Module] = (
            nn.SyncBatchNorm.convert_sync_batchnorm if on_cuda else _sync_on_cpu
        )
        devices = [self.device] if on_cuda else None
        return nn.parallel.DistributedDataParallel(
            convert(model), device_ids=devices, broadcast_buffers=False
        )


def alone(device: str | None = None) -> Processes:
    """One process on its own, on `cpu`, `cuda`, or (None) on CUDA where there is one."""
    return Processes(0, 1, torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))


@contextmanager
def processes(device: str | None = None) -> Iterator[Processes]:
    """Join the process group that `torchrun` describes in the environment, and leave it at the end.

    Args:
        device: `cpu`, `cuda`, or None for CUDA where there is one.

    Raises:
        RecipeError: `cuda` where there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise RecipeError(
            "--device cuda: torch finds no CUDA GPU here; leave the option out, or use --device cpu"
        )
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    place = (
        torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device(kind)
    )
    if world == 1:
        yield Processes(0, 1, place)
        return
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield Processes(rank, world, place)
    finally:
        dist.destroy_process_group()


class _Total(torch.autograd.Function):
    """Sum over all processes, in both directions: every process's loss depends on every process's summand."""

    @staticmethod
    def forward(ctx: Any, summand: Tensor) -> Tensor:
        total = summand.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class _SyncedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm whose batch statistics span all processes. torch's SyncBatchNorm does this for CUDA only."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's own name)
        if not self.training:
            return super().forward(input)
        channels = input.shape[1]
        count = torch.full((1,), float(input.numel() // channels))
        sums = torch.cat([input.sum(dim=(0, 2, 3)), input.square().sum(dim=(0, 2, 3)), count])
        sums = _Total.apply(sums)  # type: ignore[no-untyped-call]
        mean = sums[:channels] / sums[-1]
        variance = (sums[channels:-1] / sums[-1] - mean.square()).clamp(min=0)  # rounding may go below
        assert self.running_mean is not None  # noqa: S101  (for the type checker: track_running_stats is on)
        assert self.running_var is not None  # noqa: S101
        assert self.num_batches_tracked is not None  # noqa: S101
        with torch.no_grad():
            momentum = 0.1 if self.momentum is None else self.momentum
            unbiased = variance * (sums[-1] / (sums[-1] - 1))
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(unbiased, momentum)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return torch.addcmul(shift.view(1, -1, 1, 1), input, scale.view(1, -1, 1, 1))


def _sync_on_cpu(module: T) -> T:
    """Give every BatchNorm2d statistics over all processes, in place: same parameters, same state dict."""
    for child in module.modules():
        if type(child) is nn.BatchNorm2d:
            child.__class__ = _SyncedBatchNorm2d
    return module
