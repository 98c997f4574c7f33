"""One step of a training up to its gradients: as plain calls, or on a GPU as one recorded graph.

A tiny network is a thousand tiny kernels a step, and a GPU finishes each of them sooner than Python asks for the next.
Recorded once and replayed as a whole (CUDA graphs), a step is several times faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from wisp.models import ArchSpec, Network

Loss = Callable[..., Tensor]
"""A batch (normalised images, n x 3 x H x W, soft targets, n x classes, ...) to the loss, a scalar."""

Step = Callable[..., Tensor]
"""The same, and the gradients of the parameters are those of this loss afterwards."""

_WARM_UP = 3  # as torch's notes on graphs advise: libraries choose their kernels in the first calls


def make_step(
    arch: Network, model: nn.Module, loss: Loss, batch: Sequence[Tensor], *, alone: bool = True
) -> Step:
    """Recorded where it can be: on one GPU, and a network of ours, which does the same in every step.

    Args:
        arch: what `model` was built from.
        model: in training mode, on the batch's device.
        loss: uses `model`, and nothing that waits for the device.
        batch: one batch, for its shapes, types and memory formats.
        alone: no other process trains the same network.
    """
    if batch[0].is_cuda and alone and isinstance(arch, ArchSpec):
        return RecordedStep(model, loss, batch)
    return plain_step(model, loss)


def plain_step(model: nn.Module, loss: Loss) -> Step:
    """Forward and backward, call by call."""

    def step(*batch: Tensor) -> Tensor:
        model.zero_grad(set_to_none=True)
        value = loss(*batch)
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    return step


class RecordedStep:
    """Forward and backward as one CUDA graph, replayed for every batch of the same shape.

    Only what runs on the GPU is repeated: a network that decides anything in Python, step by step, must not be
    recorded. Gradients must not be set to None in between.
    """

    def __init__(self, model: nn.Module, loss: Loss, batch: Sequence[Tensor]) -> None:
        """Record. The model is left as it was, its running statistics too.

        Args:
            model: in training mode, on a CUDA device.
            loss: uses `model`, and nothing that waits for the GPU.
            batch: one batch, for its shapes, types and memory formats.
        """
        self._reads = loss  # the graph knows addresses alone: freed memory would be somebody else's
        self._batch = [tensor.clone() for tensor in batch]
        device = self._batch[0].device
        state = {name: value.clone() for name, value in model.state_dict().items()}
        step = plain_step(model, loss)
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                step(*self._batch)
        torch.cuda.current_stream(device).wait_stream(side)
        # Without gradients at its start, the graph owns them: it writes them anew instead of adding.
        model.zero_grad(set_to_none=True)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._loss = step(*self._batch)
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                tensor.copy_(state[name])

    def __call__(self, *batch: Tensor) -> Tensor:
        """See `Step`."""
        for ours, theirs in zip(self._batch, batch, strict=True):
            ours.copy_(theirs)
        self._graph.replay()
        return self._loss
