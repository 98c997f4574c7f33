"""torchvision's networks as the oracle: its state dicts load unchanged, and the outputs are equal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import pytest
import torch
from torch import nn

from wisp.models import build, named, pretrained_names
from wisp.models.pretrained import _FILES, ADDRESS


@pytest.fixture(scope="session")
def peer() -> ModuleType:
    """`torchvision.models`.

    Where the wheel was not made for this torch, its compiled operators are missing and the import fails on the two
    that it looks up at once: these are declared, and the import tried again.
    """
    try:
        return import_module("torchvision.models")
    except RuntimeError as error:
        assert "torchvision::nms" in str(error)  # noqa: PT017
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return import_module("torchvision.models")


def _mobilenet_v3_small(peer: ModuleType, width: float) -> nn.Module:
    rows, last = peer.mobilenetv3._mobilenet_v3_conf("mobilenet_v3_small", width_mult=width)
    network: nn.Module = peer.MobileNetV3(rows, last, num_classes=7)
    return network


def _shufflenet_v2(peer: ModuleType, stages: list[int]) -> nn.Module:
    network: nn.Module = peer.ShuffleNetV2([4, 8, 4], stages, num_classes=7)
    return network


CASES: dict[str, Callable[[ModuleType], nn.Module]] = {
    "mobilenet_v2": lambda peer: peer.mobilenet_v2(num_classes=7),
    "mobilenet_v2-0.35": lambda peer: peer.mobilenet_v2(num_classes=7, width_mult=0.35),
    "mobilenet_v2-0.1": lambda peer: peer.mobilenet_v2(num_classes=7, width_mult=0.1),
    "mobilenet_v2-1.4": lambda peer: peer.mobilenet_v2(num_classes=7, width_mult=1.4),
    "mobilenet_v3_small": lambda peer: peer.mobilenet_v3_small(num_classes=7),
    "mobilenet_v3_small-0.5": lambda peer: _mobilenet_v3_small(peer, 0.5),
    "mobilenet_v3_small-0.21": lambda peer: _mobilenet_v3_small(peer, 0.21),
    "shufflenet_v2-x0.5": lambda peer: peer.shufflenet_v2_x0_5(num_classes=7),
    "shufflenet_v2": lambda peer: peer.shufflenet_v2_x1_0(num_classes=7),
    "shufflenet_v2-x1.5": lambda peer: peer.shufflenet_v2_x1_5(num_classes=7),
    "shufflenet_v2-x2.0": lambda peer: peer.shufflenet_v2_x2_0(num_classes=7),
    "shufflenet_v2-x0.25": lambda peer: _shufflenet_v2(peer, [16, 28, 56, 112, 512]),
    "squeezenet1_0": lambda peer: peer.squeezenet1_0(num_classes=7),
    "squeezenet1_1": lambda peer: peer.squeezenet1_1(num_classes=7),
}


@pytest.mark.parametrize("name", CASES)
def test_takes_torchvisions_state_dict_and_gives_its_output(name: str, peer: ModuleType) -> None:
    torch.manual_seed(0)
    oracle, ours = CASES[name](peer).eval(), build(named(name, 7)).eval()
    for tensor in oracle.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.2, 1.2) if tensor.dim() == 1 else nn.init.kaiming_uniform_(tensor)
    ours.load_state_dict(oracle.state_dict(), strict=True)
    assert list(ours.state_dict()) == list(oracle.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = oracle(images)
        torch.testing.assert_close(ours(images), expected)
    assert expected.std() > 0


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "squeezenet1_1"])
def test_initialises_as_torchvision_does(name: str, peer: ModuleType) -> None:
    torch.manual_seed(0)
    oracle = CASES[name](peer).state_dict()
    ours = build(named(name, 7)).state_dict()
    for path, tensor in oracle.items():
        if tensor.is_floating_point() and tensor.numel() > 2000:
            assert float(ours[path].std()) == pytest.approx(float(tensor.std()), rel=0.15), path


def test_addresses_are_torchvisions(peer: ModuleType) -> None:
    theirs = {
        "mobilenet_v2": peer.MobileNet_V2_Weights,
        "mobilenet_v3_small": peer.MobileNet_V3_Small_Weights,
        "shufflenet_v2-x0.5": peer.ShuffleNet_V2_X0_5_Weights,
        "shufflenet_v2": peer.ShuffleNet_V2_X1_0_Weights,
        "shufflenet_v2-x1.5": peer.ShuffleNet_V2_X1_5_Weights,
        "shufflenet_v2-x2.0": peer.ShuffleNet_V2_X2_0_Weights,
        "squeezenet1_0": peer.SqueezeNet1_0_Weights,
        "squeezenet1_1": peer.SqueezeNet1_1_Weights,
    }
    assert set(pretrained_names()) == set(theirs)
    for name, weights in theirs.items():
        assert ADDRESS + _FILES[name] == weights.DEFAULT.url
