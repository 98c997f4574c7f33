"""Honest models are not accused, however unusual; nor is any network of wisp's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from collection import HONEST, findings
from torch import nn

from network_families import cheapest_of_each_family
from torchvision_peer import load_torchvision
from wisp.macs import count_macs
from wisp.models import build, named, names
from wisp.rules import check, read_target
from wisp.rules.hidden_work import miscounted_layers, uncounted_work
from wisp.rules.recording import observe

# What a human is asked to look at, and rightly.
_WARNED = {
    "attention_kept_for_viewing": {"MultiheadAttention", "keeps something"},
    "reparameterised_deployed": {"keeps something"},
}


def test_the_collection_is_there() -> None:
    assert len(HONEST) >= 22


@pytest.mark.parametrize("path", HONEST, ids=lambda path: path.stem)
def test_is_not_accused(path: Path) -> None:
    found = findings(path)
    assert [str(item) for item in found if item.severity == "violation"] == []
    expected = _WARNED.get(path.stem, set())
    assert all(any(words in item.message for words in expected) for item in found), [
        str(item) for item in found
    ]


@pytest.mark.parametrize("name", names())
def test_every_network_of_ours_is_counted_whole(name: str) -> None:
    torch.manual_seed(0)
    model = build(named(name, 9)).eval()
    with torch.no_grad():
        seen = observe(model, torch.randn(1, 3, 32, 32))
    assert list(uncounted_work(model, seen)) == []
    assert list(miscounted_layers(count_macs(model, 32), seen)) == []
    assert seen.macs == seen.gates + sum(seen.counted.values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", cheapest_of_each_family(32))
def test_every_family_of_ours_is_clean(name: str) -> None:
    verdict = check(read_target(name, 32), seed=4, progress=False)
    assert verdict.result == "clean"
    assert verdict.findings == ()


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small", "efficientnet_b0", "regnet_y_400mf"])
def test_torchvision_models_are_judged_alike(name: str) -> None:
    """The rule names torchvision's SqueezeNet, with its Fire module, as allowed."""
    model: nn.Module = getattr(load_torchvision(), name)(num_classes=9).eval()
    with torch.no_grad():
        seen = observe(model, torch.randn(1, 3, 64, 64))
    assert list(uncounted_work(model, seen)) == []
    assert list(miscounted_layers(count_macs(model, 64), seen)) == []
