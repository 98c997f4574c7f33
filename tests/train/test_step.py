from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tiny_training import ARCH
from wisp.models import Network, build
from wisp.models.source import SourceArch
from wisp.train import step as steps
from wisp.train.losses import soft_targets, weighted_cross_entropy
from wisp.train.step import Loss, RecordedStep, plain_step

CLASSES = ARCH.num_classes
gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="there is no CUDA GPU here: nothing can be recorded"
)


def batches(device: str, *, count: int = 4) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(count):
        images = torch.randn(8, 3, 16, 16, generator=generator).contiguous(memory_format=torch.channels_last)
        labels = torch.randint(CLASSES, (8,), generator=generator)
        made.append((images.to(device), soft_targets(labels, CLASSES, 0.1).to(device)))
    return made


def network(device: str) -> nn.Module:
    torch.manual_seed(0)
    model = build(ARCH).to(device).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def loss_of(model: nn.Module, device: str) -> Loss:
    weights = torch.ones(CLASSES, device=device)

    def loss(images: Tensor, targets: Tensor) -> Tensor:
        return weighted_cross_entropy(model(images), targets, weights)

    return loss


def gradients(model: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


class OnGpu:
    """Looks like a batch on a GPU, as far as the decision goes."""

    is_cuda = True


@pytest.mark.parametrize(
    ("batch", "arch", "alone", "recorded"),
    [
        (OnGpu(), ARCH, True, True),
        (OnGpu(), ARCH, False, False),  # the others' gradients are added in between
        (OnGpu(), SourceArch("", 3), True, False),  # it may decide something in Python
        (torch.zeros(1), ARCH, True, False),
    ],
)
def test_what_is_recorded(
    monkeypatch: pytest.MonkeyPatch, batch: Any, arch: Network, alone: bool, recorded: bool
) -> None:
    monkeypatch.setattr(steps, "RecordedStep", lambda *given: "recorded")
    made = steps.make_step(arch, network("cpu"), lambda: torch.zeros(()), [batch], alone=alone)
    assert (made == "recorded") is recorded


def test_a_plain_step_leaves_the_gradients_of_its_own_batch_alone() -> None:
    model = network("cpu")
    step = plain_step(model, loss_of(model, "cpu"))
    for images, targets in batches("cpu"):
        value = step(images, targets)
        assert not value.requires_grad
        expected = torch.autograd.grad(loss_of(model, "cpu")(images, targets), list(model.parameters()))
        assert len(gradients(model)) == len(expected)
        for ours, theirs in zip(gradients(model), expected, strict=True):
            torch.testing.assert_close(ours, theirs)


@gpu
def test_recording_leaves_the_model_as_it_was() -> None:
    model = network("cuda")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    RecordedStep(model, loss_of(model, "cuda"), batches("cuda")[0])
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


@gpu
@pytest.mark.parametrize("clip", [False, True])
def test_a_recorded_training_is_the_plain_one(clip: bool) -> None:
    def trained(
        make: Callable[[nn.Module], Callable[[Tensor, Tensor], Tensor]],
    ) -> tuple[list[float], nn.Module]:
        model = network("cuda")
        step = make(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        losses = []
        for images, targets in batches("cuda"):
            losses.append(step(images, targets).item())
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
        return losses, model

    plain_losses, plain = trained(lambda model: plain_step(model, loss_of(model, "cuda")))
    losses, recorded = trained(lambda model: RecordedStep(model, loss_of(model, "cuda"), batches("cuda")[0]))
    assert len(set(losses)) == len(losses)  # every batch is a new one
    assert losses == pytest.approx(plain_losses, rel=1e-3)
    for name, tensor in recorded.state_dict().items():
        torch.testing.assert_close(tensor, plain.state_dict()[name], rtol=1e-2, atol=2e-3)
