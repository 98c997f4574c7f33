"""Factoring whole networks: MACs fall, by as much as was asked, and the chains compute what they stand for."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from compress_networks import CLASSES, conv, families, family, images, lively
from torch import nn

from wisp.compress import LowRankConfig, factorize
from wisp.compress.lowrank import _candidate, _within_budget
from wisp.errors import InputError, ModelError
from wisp.macs import count_exact, count_macs
from wisp.models import build, named
from wisp.models.edits import apply_edits

SIZE = 32


def low_rank_layer(layer, rank):
    """Give a layer weights of this rank and a little noise."""
    shape = layer.weight.shape
    with torch.no_grad():
        matrix = torch.randn(shape[0], rank) @ torch.randn(rank, layer.weight[0].numel())
        layer.weight.copy_(matrix.reshape(shape) + 0.01 * torch.randn(shape))


@pytest.mark.parametrize("name", families())
def test_every_family_meets_a_budget(name):
    model = family(name)
    target = count_macs(model, SIZE).total * 8 // 10
    small, change = factorize(model, LowRankConfig(max_macs=target), image_size=SIZE, progress=False)
    assert change.reached
    assert change.edits
    assert 0.9 * target < change.macs_after["official"] == count_macs(small, SIZE).total <= target
    assert change.macs_after["exact"] == count_exact(small, SIZE).total <= target
    for layer in change.layers:
        assert layer.macs_after < layer.macs_before, layer
    rebuilt = build(named(name, CLASSES).with_edits(change.edits))
    rebuilt.load_state_dict(small.state_dict())
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(images(SIZE)), small(images(SIZE)))


def test_variational_bayes_finds_the_layers_that_have_structure():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, 2),
        nn.ReLU(),
        nn.Conv2d(32, 48, 1),
        nn.ReLU(),
        nn.Conv2d(48, 64, 3, groups=4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 40),
    )
    low_rank_layer(model[2], 3)
    low_rank_layer(model[7], 2)
    before = [parameter.clone() for parameter in model.parameters()]
    small, change = factorize(model, LowRankConfig(), image_size=SIZE, progress=False)
    ranks = {edit.layer: edit.ranks for edit in change.edits}
    assert ranks["2"] == (3,)
    assert ranks["7"] == (2,)
    assert "4" not in ranks  # grouped
    assert change.macs_after["exact"] < change.macs_before["exact"]
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    x = images(SIZE)
    with torch.no_grad():
        kept = nn.Sequential(small[2], nn.ReLU())(small[:2](x))
        torch.testing.assert_close(kept, F.relu(model[2](small[:2](x))), rtol=0.05, atol=0.2)


def test_tucker_ranks_are_those_of_the_channels():
    torch.manual_seed(0)
    model = nn.Sequential(
        conv(3, 24, 1), conv(24, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2)
    )
    core, first, last = torch.randn(4, 3, 3, 3), torch.randn(3, 24), torch.randn(32, 4)
    with torch.no_grad():
        model[1].weight.copy_(torch.einsum("os,srhw,ri->oihw", last, core, first))
        model[1].weight.add_(0.05 * torch.randn_like(model[1].weight))
    _, change = factorize(model, LowRankConfig(), image_size=16, progress=False)
    assert {edit.layer: edit.ranks for edit in change.edits}["1"] == (3, 4)


def test_the_budget_is_met_at_nearly_the_least_loss():
    """Against all combinations of ranks."""
    torch.manual_seed(0)
    layers = nn.ModuleDict({"a": nn.Linear(7, 6), "b": nn.Linear(8, 8), "c": conv(3, 4)})
    positions = {"a": [(1, 1)], "b": [(2, 2), (1, 1)], "c": [(4, 4)]}
    candidates = [_candidate(layers, name, calls) for name, calls in positions.items()]
    most = sum(int(one.saved.max()) for one in candidates)
    choices = list(itertools.product(*(range(len(one.saved)) for one in candidates)))
    for excess in (1, most // 4, most // 2, most * 9 // 10, most):
        edits = {edit.layer: list(edit.ranks) for edit in _within_budget(candidates, excess)}
        picked = [
            one.ranks.tolist().index(edits.get(one.name, [0] * one.ranks.shape[1])) for one in candidates
        ]

        def of(choice, values):
            return sum(
                float(getattr(one, values)[index]) for one, index in zip(candidates, choice, strict=True)
            )

        assert of(picked, "saved") >= excess
        least = min(of(choice, "lost") for choice in choices if of(choice, "saved") >= excess)
        assert of(picked, "lost") <= least + 0.15
    assert _within_budget(candidates, 0) == []


def test_known_images_decide_what_is_lost():
    """A layer that only ever sees three directions loses nothing at rank three, whatever its weights."""
    torch.manual_seed(0)
    model = nn.Sequential(
        conv(3, 3, 1, bias=False),
        conv(3, 16, 1, bias=False),
        conv(16, 16, 1, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    )
    target = count_macs(model, 16).total - 64 * (16 * 16 - 3 * 32) - 8
    results = {}
    for known in (None, lambda: [images(16, 4), images(16, 2)]):
        config = LowRankConfig(max_macs=target)
        small, change = factorize(model, config, image_size=16, images=known, progress=False)
        with torch.no_grad():
            results[known is not None] = float((small(images(16)) - model(images(16))).abs().max())
        assert change.reached
    assert 20 * results[True] < results[False]


def test_a_budget_beyond_reach_ends_with_rank_one_and_says_so():
    model = family("wisp-250k")
    _, change = factorize(model, LowRankConfig(max_macs=1), image_size=SIZE, progress=False)
    assert not change.reached
    assert {rank for edit in change.edits for rank in edit.ranks} == {1}
    assert any("1 MACs cannot be reached" in note for note in change.notes)


class Peeking(nn.Module):
    """Looks into one of its layers, which therefore cannot become a chain."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.last = conv(3, 12), conv(12, 12), nn.Linear(12, CLASSES)

    def forward(self, x):
        x = F.relu(self.two(F.relu(self.one(x))))
        return self.last(x.mean((2, 3))) / self.two.weight.norm()


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.last = conv(3, 12), conv(12, 12), nn.Linear(12, CLASSES)

    def forward(self, x):
        return self.last(self.two(self.two(self.one(x))).mean((2, 3)))


def test_a_layer_that_the_network_looks_into_stays():
    torch.manual_seed(0)
    _, change = factorize(Peeking(), LowRankConfig(max_macs=1), image_size=16, progress=False)
    assert {edit.layer for edit in change.edits} == {"one", "last"}


def test_a_layer_that_runs_twice_saves_twice():
    torch.manual_seed(0)
    model = Shared()
    small, change = factorize(model, LowRankConfig(max_macs=1), image_size=16, progress=False)
    assert {edit.layer for edit in change.edits} == {"one", "two", "last"}
    assert change.macs_after["exact"] == count_exact(small, 16).total
    rebuilt = Shared()
    apply_edits(rebuilt, change.edits)
    rebuilt.load_state_dict(small.state_dict())


def test_fine_tuning_is_asked_for_once():
    torch.manual_seed(0)
    model = lively(
        nn.Sequential(conv(3, 12), conv(12, 12), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5))
    )
    seen = []

    def tune(network, edits, step):
        seen.append((len(edits), step))
        network[1][0].weight.data.zero_()
        return network.train()

    small, change = factorize(model, LowRankConfig(max_macs=1), image_size=16, tune=tune, progress=False)
    assert seen == [(len(change.edits), 1)]
    assert not small.training
    assert small[1][0].weight.abs().max() == 0


def test_wrong_wishes_are_one_line():
    with pytest.raises(InputError, match="at least 1"):
        LowRankConfig(max_macs=0)
    with pytest.raises(ModelError, match="cannot run on 4 px"):
        factorize(
            nn.Sequential(nn.Conv2d(3, 4, 7), nn.Flatten(), nn.Linear(4, 2)), LowRankConfig(), image_size=4
        )
