"""Classes of channels that can only be removed together, and their removal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wisp.compress.flow import Flow
from wisp.compress.labels import COLUMNS, FIXED, ROWS, Axis, Labels
from wisp.errors import ModelError
from wisp.models.edits import Conv, Edit, Norm, Resize, ResizeTensor, set_sizes, set_tensor

OUTPUTS = "the network's outputs"
_KEPT = -1  # the class of what cannot be removed


@dataclass(frozen=True)
class Channels:
    """The classes of channels of one network, numbered from 0.

    Attributes:
        axes: for each parameter and buffer that shrinks with the channels, and each of its axes, the class of every
            entry; -1 where it cannot be removed.
        roles: which axes of weights hold outputs (`labels.ROWS`) and inputs (`labels.COLUMNS`).
        group_of: the group of each class: classes whose channels one layer (or several whose outputs are added) makes.
        depthwise: weights of depthwise convolutions.
        seeds: the labels of every axis, with which a pruned network is proven.
        reasons: why channels cannot be removed, with their number.
    """

    axes: Mapping[Axis, Tensor]
    roles: Mapping[Axis, str]
    group_of: Tensor
    depthwise: frozenset[str]
    seeds: Mapping[Axis, Tensor]
    reasons: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.group_of)

    @property
    def n_groups(self) -> int:
        """The number of groups."""
        return int(self.group_of.max()) + 1 if len(self) else 0

    def weights(self, role: str) -> Iterator[tuple[str, int, Tensor]]:
        """Weights with an axis of that role: name, axis, classes along it. Depthwise ones have no inputs."""
        for (name, axis), classes in self.axes.items():
            if self.roles.get((name, axis)) == role:
                yield name, axis, classes

    def sum_by_class(self, classes: Tensor, values: Tensor) -> Tensor:
        """The sum over each class of values along an axis; shape (classes,)."""
        sums = torch.zeros(len(self) + 1, dtype=torch.float64)
        sums.index_add_(0, torch.where(classes == _KEPT, len(self), classes), values.double())
        return sums[:-1]


def find_channels(model: nn.Module, image_size: int) -> Channels:
    """The classes of channels of a network, from one forward pass on blank images.

    Args:
        model: takes float images 2 x 3 x image_size x image_size on the CPU; in evaluation mode.
        image_size: side of the images in pixels.

    Raises:
        ModelError: the network cannot run on such images.
    """
    labels = Labels(model)
    try:
        _run(model, labels, image_size)
    except Exception as error:  # the network's own code may raise anything
        reason = str(error).partition("\n")[0]
        raise ModelError(f"{type(model).__name__} cannot run on {image_size} px images ({reason})") from error
    labels.close()
    seeds = {axis: labels.roots(values) for axis, values in labels.axes.items()}
    used = sorted({label for values in seeds.values() for label in values.tolist()} - {FIXED})
    number = torch.full((max(used, default=0) + 1,), _KEPT)
    number[used] = torch.arange(len(used))
    axes = {axis: number[values] for axis, values in seeds.items()}
    reasons = {reason: len(set(found)) for reason, found in labels.reasons.items()}
    produced = [axes[axis] for axis, role in labels.roles.items() if role == ROWS]
    return Channels(
        axes=axes,
        roles=labels.roles,
        group_of=_groups(len(used), produced),
        depthwise=frozenset(labels.depthwise),
        seeds=seeds,
        reasons=reasons,
    )


def remove_channels(model: nn.Module, channels: Channels, removed: Tensor) -> nn.Module:
    """A copy of the network without some classes of channels.

    It computes what the network computes after the weights that read those channels are set to zero.

    Args:
        model: the network.
        channels: its classes.
        removed: which of them to remove, boolean, (classes,).
    """
    pruned = deepcopy(model)
    for (name, axis), classes in channels.axes.items():
        kept = _kept(classes, removed)
        if len(kept) < len(classes):
            owner, _, attribute = name.rpartition(".")
            layer = pruned.get_submodule(owner)
            tensor = getattr(layer, attribute).detach()
            set_tensor(layer, attribute, tensor.index_select(axis, kept.to(tensor.device)))
    originals = dict(model.named_modules())
    for name, layer in pruned.named_modules():
        original = originals[name]
        if isinstance(original, Conv) and f"{name}.weight" in channels.depthwise:
            set_sizes(layer, layer.weight.shape[0] * original.groups // original.out_channels)
        else:
            set_sizes(layer)
    return pruned


def mask_channels(model: nn.Module, channels: Channels, removed: Tensor) -> nn.Module:
    """A copy of the network, as large as before, in which nothing reads the removed channels."""
    masked = deepcopy(model)
    with torch.no_grad():
        for name, axis, classes in channels.weights(COLUMNS):
            gone = torch.zeros(len(classes), dtype=torch.bool)
            gone[classes != _KEPT] = removed[classes[classes != _KEPT]]
            weight = masked.get_parameter(name)
            weight.index_fill_(axis, gone.nonzero()[:, 0].to(weight.device), 0.0)
    return masked


def is_sound(model: nn.Module, channels: Channels, removed: Tensor, image_size: int) -> bool:
    """Whether the network still does what it did, were these classes removed.

    Proven twice: by labels (no two channels that did not belong together meet), and by its logits for a noise image,
    which must be those of the network in which nothing reads the removed channels.
    """
    pruned = remove_channels(model, channels, removed)
    seeds = {axis: values[_kept(channels.axes[axis], removed)] for axis, values in channels.seeds.items()}
    images = torch.randn(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    try:
        _run(pruned, Labels(pruned, seeds, channels.depthwise), image_size)
        with torch.no_grad():
            small = pruned(images)
    except Exception:  # a mismatch of labels, or whatever the network's own code raises
        return False
    with torch.no_grad():
        large = mask_channels(model, channels, removed)(images)
    return small.shape == large.shape and torch.allclose(small, large, rtol=1e-3, atol=1e-4)


def sound_groups(model: nn.Module, channels: Channels, removed: Tensor, image_size: int) -> Tensor:
    """Groups of which these classes can be removed together without harm; boolean, (groups,).

    The network's code may count on a number of channels; such groups are found by bisection.
    """
    sound = torch.zeros(channels.n_groups, dtype=torch.bool)
    waiting = [torch.arange(channels.n_groups)] if channels.n_groups else []
    while waiting:
        groups = waiting.pop()
        together = sound.clone()
        together[groups] = True
        if is_sound(model, channels, removed & together[channels.group_of], image_size):
            sound = together
        elif len(groups) > 1:
            waiting += reversed(groups.chunk(2))
    return sound


def resize_edits(before: nn.Module, after: nn.Module) -> tuple[Edit, ...]:
    """The edits that make the shapes of `before` those of `after`, a pruned copy of it."""
    edits: list[Edit] = []
    originals = dict(before.named_modules())
    for name, layer in after.named_modules():
        original = originals[name]
        if isinstance(layer, Conv | Norm | nn.Linear | nn.PReLU):
            old, new = _sizes(original), _sizes(layer)
            changes = {key: value for key, value in new.items() if value != old[key]}
            if changes:
                edits.append(Resize.model_validate({"layer": name, **changes}))
            continue
        for key, tensor in (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)):
            if tensor.shape != getattr(original, key).shape:
                edits.append(ResizeTensor(tensor=f"{name}.{key}" if name else key, shape=tuple(tensor.shape)))
    return tuple(edits)


def _sizes(layer: nn.Module) -> dict[str, int]:
    if isinstance(layer, Conv):
        return {"inputs": layer.in_channels, "outputs": layer.out_channels, "groups": layer.groups}
    if isinstance(layer, nn.Linear):
        return {"inputs": layer.in_features, "outputs": layer.out_features}
    if isinstance(layer, nn.PReLU):
        return {"outputs": layer.num_parameters}
    assert isinstance(layer, Norm)  # noqa: S101
    return {"outputs": layer.num_features}


def _kept(classes: Tensor, removed: Tensor) -> Tensor:
    """Positions along an axis that stay."""
    gone = torch.cat((removed, torch.tensor([False])))[classes]  # -1 is the last one
    return (~gone).nonzero()[:, 0]


def _run(model: nn.Module, labels: Labels, image_size: int) -> None:
    flow = Flow(labels)
    with torch.no_grad(), flow:
        logits = model(torch.zeros(2, 3, image_size, image_size))
    if not isinstance(logits, Tensor):
        raise TypeError(f"it gives {type(logits).__name__}, not logits")
    labels.fix(flow.find(logits), OUTPUTS)


def _groups(count: int, axes: list[Tensor]) -> Tensor:
    """Numbers of the connected parts when all classes along one axis are connected."""
    parents = list(range(count))

    def root(item: int) -> int:
        while parents[item] != item:
            parents[item] = parents[parents[item]]
            item = parents[item]
        return item

    for classes in axes:
        members = torch.unique(classes[classes != _KEPT]).tolist()
        for member in members[1:]:
            parents[root(member)] = root(members[0])
    roots = [root(item) for item in range(count)]
    numbers = {found: number for number, found in enumerate(Counter(roots))}
    return torch.tensor([numbers[found] for found in roots], dtype=torch.int64)
