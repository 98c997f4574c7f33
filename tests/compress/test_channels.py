"""Which channels go together: on every family, on hand-made difficulties, on random networks."""

import pytest
import torch
from compress_networks import DIFFICULT, families, family, images, lively, random_network
from torch import nn

from wisp.compress.channels import (
    find_channels,
    is_sound,
    mask_channels,
    remove_channels,
    resize_edits,
    sound_groups,
)
from wisp.errors import ModelError
from wisp.macs import count_macs
from wisp.models import build, named
from wisp.models.edits import apply_edits

SIZE = 32


def some(channels, share, seed=0, *, among=None):
    """A random part of the classes, never all of a group."""
    generator = torch.Generator().manual_seed(seed)
    removed = torch.rand(len(channels), generator=generator) < share
    for group in range(channels.n_groups):
        members = (channels.group_of == group).nonzero()[:, 0]
        removed[members[0]] = False
        if among is not None and not among[group]:
            removed[members] = False
    return removed


def middle(channels):
    """One class of each group that has several."""
    chosen = torch.zeros(len(channels), dtype=torch.bool)
    for group in range(channels.n_groups):
        members = (channels.group_of == group).nonzero()[:, 0]
        if len(members) > 1:
            chosen[members[len(members) // 2]] = True
    return chosen


def same_as_masked(model, channels, removed, size=SIZE):
    """The law of pruning: the small network is the large one with the weights that read the channels zeroed."""
    pruned, masked = remove_channels(model, channels, removed), mask_channels(model, channels, removed)
    x = images(size)
    with torch.no_grad():
        torch.testing.assert_close(pruned(x), masked(x), rtol=1e-4, atol=1e-5)
    return pruned


def test_there_are_families_to_test():
    assert len(families()) >= 7


@pytest.mark.parametrize("name", families())
@pytest.mark.parametrize("share", [0.2, 0.8])
def test_every_family_can_lose_any_channels(name, share):
    model = family(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    channels = find_channels(model, SIZE)
    removed = some(channels, share)
    assert removed.sum() > 10
    assert is_sound(model, channels, removed, SIZE)
    pruned = same_as_masked(model, channels, removed)
    assert count_macs(pruned, SIZE).total < count_macs(model, SIZE).total
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    # the edits make its shapes from a new network of the old ones
    again = build(named(name, 5))
    apply_edits(again, resize_edits(model, pruned))
    again.load_state_dict(pruned.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(images(SIZE)), pruned(images(SIZE)))


def test_a_depthwise_network_shrinks_in_all_its_layers():
    model = family("mobilenet_v2-0.1")
    channels = find_channels(model, SIZE)
    assert len(channels.depthwise) == 17
    pruned = remove_channels(model, channels, some(channels, 0.5))
    for (name, before), after in zip(model.named_modules(), pruned.modules(), strict=True):
        if isinstance(before, nn.Conv2d) and before.groups > 1:
            assert after.groups == after.in_channels == after.out_channels < before.groups, name


@pytest.mark.parametrize("kind", DIFFICULT, ids=lambda kind: kind.__name__)
def test_difficult_networks(kind):
    torch.manual_seed(0)
    model = lively(kind())
    channels = find_channels(model, 16)
    sound = sound_groups(model, channels, middle(channels), 16)
    probed = torch.zeros(channels.n_groups, dtype=torch.bool)
    probed[channels.group_of[middle(channels)]] = True
    assert int((sound & probed).sum()) == DIFFICULT[kind]
    removed = some(channels, 0.5, among=sound) if DIFFICULT[kind] else middle(channels) & False
    if is_sound(model, channels, removed, 16):
        same_as_masked(model, channels, removed, 16)
    same_as_masked(model, channels, middle(channels) & sound[channels.group_of], 16)


@pytest.mark.parametrize("seed", range(30))
def test_random_networks(seed):
    model = random_network(seed)
    channels = find_channels(model, 16)
    removed = some(channels, 0.4, seed)
    sound = sound_groups(model, channels, removed, 16)
    assert sound.any()
    same_as_masked(model, channels, removed & sound[channels.group_of], 16)


def test_why_channels_stay_is_said():
    reasons = {kind: find_channels(lively(kind()), 16).reasons for kind in DIFFICULT}
    named_reasons = {kind.__name__: set(found) - {"the network's outputs"} for kind, found in reasons.items()}
    assert named_reasons["Concatenated"] == set()
    assert named_reasons["Attended"] == {"a sum over several channels"}
    assert named_reasons["Normed"] == {"a norm over several channels"}
    assert named_reasons["Tied"] == {"weights that are used in two ways"}
    assert "a weight that is computed" in named_reasons["Computed"]
    assert named_reasons["Written"] == {"the operator fill_"}


class Turned(nn.Module):
    """Runs with any number of channels from three, but turns them by a fixed number."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1), nn.Linear(4, 5)

    def forward(self, x):
        x = self.one(x)
        return self.last(self.two(torch.cat((x[:, 3:], x[:, :3]), 1)).mean((2, 3)))


def test_a_network_that_runs_but_mixes_channels_up_is_found_out():
    torch.manual_seed(0)
    model = lively(Turned())
    channels = find_channels(model, 8)
    removed = torch.zeros(len(channels), dtype=torch.bool)
    removed[channels.axes["one.weight", 0][5]] = True
    assert is_sound(model, channels, removed, 8)
    removed[channels.axes["one.weight", 0][1]] = True
    pruned, masked = remove_channels(model, channels, removed), mask_channels(model, channels, removed)
    with torch.no_grad():
        assert not torch.allclose(pruned(images(8)), masked(images(8)))  # it runs
    assert not is_sound(model, channels, removed, 8)


def test_a_network_that_cannot_run_is_one_line():
    with pytest.raises(ModelError, match="cannot run on 4 px images"):
        find_channels(nn.Sequential(nn.Conv2d(3, 4, 7), nn.Flatten(), nn.Linear(4, 2)), 4)
