"""Fusing changes no output: on every family, on reparameterised blocks, on random networks."""

import pytest
import torch
import torch.nn.functional as F
from compress_networks import CLASSES, conv, families, family, images, lively, random_network
from torch import nn

from wisp.compress import FuseConfig, fuse, fusion
from wisp.errors import ModelError
from wisp.macs import count_macs
from wisp.models import build, named
from wisp.models.edits import Merge, Nothing, apply_edits

SIZE = 32


def same_outputs(model, fused, size=SIZE):
    x = images(size)
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(fused(x), expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 0


def difference(change):
    """Of a logit, relative, as it is noted."""
    note = next(note for note in change.notes if note.startswith("largest difference of a logit"))
    return float(note.partition(": ")[2].partition(" ")[0])


def merges(change):
    return [edit for edit in change.edits if isinstance(edit, Merge)]


@pytest.mark.parametrize("name", families())
def test_every_family_computes_the_same_with_fewer_macs(name):
    model = family(name)
    fused, change = fuse(model, FuseConfig(), image_size=SIZE)
    same_outputs(model, fused)
    assert difference(change) < 2e-6  # as docs/compress.md says
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(change.edits) == len(norms)
    assert change.macs_after["official"] == count_macs(fused, SIZE).total
    assert (change.macs_after["official"] < change.macs_before["official"]) == bool(norms)
    assert change.macs_after["exact"] == change.macs_before["exact"]
    rebuilt = build(named(name, CLASSES).with_edits(change.edits))
    rebuilt.load_state_dict(fused.state_dict())
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(images(SIZE)), fused(images(SIZE)))


class Block(nn.Module):
    """RepVGG: a 3x3, a 1x1 and, where sizes agree, an identity, each with its BatchNorm."""

    def __init__(self, inputs, outputs, stride=1, groups=1):
        super().__init__()
        self.dense = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, groups=groups, bias=False), nn.BatchNorm2d(outputs)
        )
        self.point = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, groups=groups, bias=False), nn.BatchNorm2d(outputs)
        )
        self.same = nn.BatchNorm2d(inputs) if inputs == outputs and stride == 1 else None

    def forward(self, x):
        identity = 0 if self.same is None else self.same(x)
        return F.relu(self.dense(x) + self.point(x) + identity)


class InPlace(nn.Module):
    """MobileOne's way of adding up: a list of branches into the first one's result."""

    def __init__(self, channels):
        super().__init__()
        self.same = nn.BatchNorm2d(channels)
        self.scale = nn.Sequential(conv(channels, channels, 1, groups=channels), nn.BatchNorm2d(channels))
        self.many = nn.ModuleList(
            nn.Sequential(conv(channels, channels, groups=channels, bias=False), nn.BatchNorm2d(channels))
            for _ in range(3)
        )

    def forward(self, x):
        out = self.scale(x) + self.same(x)
        for branch in self.many:
            out += branch(x)
        return F.relu_(out)


class Asymmetric(nn.Module):
    """ACNet: 3x3 + 1x3 + 3x1, dilated and `same`, with Python's sum."""

    def __init__(self, channels):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, 6, kernel, padding="same", dilation=2) for kernel in ((3, 3), (1, 3), (3, 1))
        )

    def forward(self, x):
        return sum(branch(x) for branch in self.branches)


def reparameterised(*blocks, channels):
    torch.manual_seed(0)
    stem = nn.Sequential(conv(3, 8, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    return lively(
        nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))
    )


@pytest.mark.parametrize(
    ("blocks", "channels", "count"),
    [
        ((lambda: Block(8, 8), lambda: Block(8, 12, stride=2), lambda: Block(12, 12, groups=4)), 12, 3),
        ((lambda: InPlace(8),), 8, 1),
        ((lambda: Asymmetric(8),), 6, 1),
    ],
    ids=["RepVGG", "MobileOne", "ACNet"],
)
def test_parallel_branches_become_one_kernel(blocks, channels, count):
    model = reparameterised(*(block() for block in blocks), channels=channels)
    fused, change = fuse(model, FuseConfig(), image_size=16)
    same_outputs(model, fused, 16)
    assert len(merges(change)) == count
    assert change.macs_after["exact"] < change.macs_before["exact"]
    kernels = [module for module in fused.modules() if isinstance(module, nn.Conv2d)]
    assert len(kernels) == 1 + count
    assert not [module for module in fused.modules() if isinstance(module, nn.BatchNorm2d)]
    rebuilt = reparameterised(*(block() for block in blocks), channels=channels)
    apply_edits(rebuilt, change.edits)
    rebuilt.load_state_dict(fused.state_dict())
    with torch.no_grad():
        assert torch.equal(rebuilt(images(16)), fused(images(16)))


class NotParallel(nn.Module):
    """Sums that must stay: other inputs, a second reader, a weighted sum, strides that differ, a layer used twice."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three, self.four = conv(8, 8), conv(8, 8, 1), conv(8, 8), conv(8, 8, 1)
        self.five, self.six, self.seven = conv(8, 8), conv(8, 8, 1), conv(8, 8)
        self.wide, self.tall = (
            nn.Conv2d(8, 8, (1, 3), padding=(0, 1)),
            nn.Conv2d(8, 8, (3, 1), padding=(1, 0)),
        )

    def forward(self, x):
        y = F.relu(self.one(x) + self.two(F.relu(x)))
        z = self.three(y)
        y = F.relu(z + self.four(y)) * z.mean()
        y = F.relu(torch.add(self.five(y), self.six(y), alpha=2))
        y = F.relu(self.seven(y) + self.seven(y))
        return F.relu(self.wide(y) + self.tall(y))


def test_other_sums_stay():
    model = reparameterised(NotParallel(), channels=8)
    fused, change = fuse(model, FuseConfig(), image_size=16)
    same_outputs(model, fused, 16)
    assert merges(change) == []
    assert not [module for module in fused.modules() if isinstance(module, Nothing)]


@pytest.mark.parametrize("seed", range(20))
def test_random_networks_compute_the_same(seed):
    model = random_network(seed)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fused, change = fuse(model, FuseConfig(), image_size=16)
    same_outputs(model, fused, 16)
    assert change.edits
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_the_config_says_what_is_fused():
    model = reparameterised(Block(8, 8), channels=8)
    assert (
        fuse(model, FuseConfig(branches=False), image_size=16)[1].macs_after["exact"]
        == (fuse(model, FuseConfig(norms=False, branches=False), image_size=16)[1].macs_before["exact"])
    )
    fused, change = fuse(model, FuseConfig(norms=False, branches=False), image_size=16)
    assert change.edits == ()
    assert any("nothing to fuse" in note for note in change.notes)
    same_outputs(model, fused, 16)


@pytest.mark.parametrize(("off", "passes"), [(5e-6, True), (2e-5, False)])
def test_what_differs_by_more_than_is_promised_is_refused(off, passes, monkeypatch):
    model = family("wisp-250k")
    noise = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        largest = max(1.0, float(model(noise).abs().max()))
    fold = fusion.fold_in_place

    def nearly(network, image_size):
        edits = fold(network, image_size)
        network.classifier.bias.data[0] += off * largest
        return edits

    monkeypatch.setattr(fusion, "fold_in_place", nearly)
    if passes:
        _, change = fuse(model, FuseConfig(), image_size=SIZE)
        assert difference(change) == pytest.approx(off, rel=0.2)
    else:
        with pytest.raises(ModelError, match=r"would compute something else: logits differ by 2\.0e-05"):
            fuse(model, FuseConfig(), image_size=SIZE)
