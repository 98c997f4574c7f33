"""Starting from the weights of another network: what fits is copied, what is new does no harm.

Between two networks of the wisp family, layers correspond by stage and block, and channels by group: all layers that
read or write the same channels choose the same ones. Where the new network is larger, it computes what the old one
computed, as far as its structure allows it (Chen et al., 2016, "Net2Net"; Wei et al., 2016): weights that read new
channels are zero, new residual blocks and squeeze-excite gates begin as the identity, larger kernels have a frame of
zeros. Where it is smaller, channels are dropped from the end, or the least important ones by the scale of their
BatchNorm (Liu et al., 2017), and kernels are cut from their centre.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from wisp.errors import ModelError
from wisp.models.inverted_residual import Block
from wisp.models.spec import ArchSpec
from wisp.models.zoo.wisp import WispOptions

_NORM = ("weight", "bias", "running_mean", "running_var")
_OPEN_GATE = 3.0  # hard sigmoid of 3 is 1

Choice = Literal["leading", "importance"]


@dataclass(frozen=True, slots=True)
class Transfer:
    """What came of a transfer, by the names of the new network's tensors (batch counters aside).

    Attributes:
        whole: taken as they were.
        partial: cut, or with some values that are new.
        left: not taken; they have their fresh values, or those of an identity.
    """

    whole: tuple[str, ...]
    partial: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Layer:
    """A convolution or linear layer, and where its channels belong. `into` is None for colours and depthwise layers."""

    conv: str
    norm: str | None
    out: str
    into: str | None
    kernel: int = 1
    depthwise: bool = False


def transfer_weights(
    source: Mapping[str, Tensor],
    source_arch: ArchSpec,
    model: nn.Module,
    arch: ArchSpec,
    *,
    choose: Choice = "leading",
    classifier: bool = True,
) -> Transfer:
    """Fill `model` with the weights of another network as far as they fit, in place.

    Args:
        source: the other network's state dict.
        source_arch: the other network.
        model: as `build(arch)` gives it.
        arch: of `model`.
        choose: which channels a narrower network keeps: the leading ones (what a supernet needs), or those with the
            largest BatchNorm scales.
        classifier: take the last layer too, where the number of classes is the same; not for other classes.

    Families other than wisp, and compressed networks, are matched by name and shape alone.
    """
    ours, theirs = _options(arch), _options(source_arch)
    target = model.state_dict()
    keep_classifier = classifier and source_arch.num_classes == arch.num_classes
    with torch.no_grad():
        if ours is None or theirs is None:
            taken = _by_name(source, target, keep_classifier=keep_classifier)
        else:
            taken = _by_structure(source, theirs, target, ours, choose, keep_classifier=keep_classifier)
    model.load_state_dict(target)
    names = [name for name in target if not name.endswith("num_batches_tracked")]
    return Transfer(
        tuple(name for name in names if taken.get(name) == "whole"),
        tuple(name for name in names if taken.get(name) == "partial"),
        tuple(name for name in names if name not in taken),
    )


def _options(arch: ArchSpec) -> WispOptions | None:
    plain = arch == ArchSpec(num_classes=arch.num_classes, options=arch.options)  # not compressed
    return arch.options if isinstance(arch.options, WispOptions) and plain else None


# By structure


def _by_structure(
    source: Mapping[str, Tensor],
    theirs: WispOptions,
    target: dict[str, Tensor],
    ours: WispOptions,
    choose: Choice,
    *,
    keep_classifier: bool,
) -> dict[str, str]:
    their_layers, our_layers = dict(_layers(theirs)), dict(_layers(ours))
    index = _indices(source, theirs, ours, choose)
    taken: dict[str, str] = {}
    for key, layer in our_layers.items():
        there = their_layers.get(key)
        if key == "classifier" and not keep_classifier:
            continue
        if there is None or not _corresponds(key, layer, there, theirs, ours):
            continue
        rows = index.get(layer.out)
        columns = None if layer.into is None else index.get(layer.into)
        if rows is None and key == "classifier":
            rows = torch.arange(len(target[f"{layer.conv}.weight"]))
        if rows is None or (columns is None and layer.into is not None):
            continue
        _copy(source, there, target, layer, rows, columns, taken)
    _make_identities(target, our_layers, their_layers, ours, theirs)
    return taken


def _layers(options: WispOptions) -> Iterator[tuple[str, _Layer]]:
    """The layers in order; keys say the place, such as `1.0.filter`: second stage, first block."""
    yield "stem", _Layer("stem.0", "stem.1", "stem", None, options.stem.kernel)
    stream = "stem"
    for number, (stage, position, block) in enumerate(_blocks(options)):
        place, path, layer = f"{stage}.{position}", f"blocks.{number}.block", 0
        hidden = f"hidden {place}" if block.expands else stream
        if block.expands:
            yield f"{place}.expand", _Layer(f"{path}.0.0", f"{path}.0.1", hidden, stream)
            layer = 1
        filters = _Layer(f"{path}.{layer}.0", f"{path}.{layer}.1", hidden, None, block.kernel, True)
        yield f"{place}.filter", filters
        if block.squeezed:
            layer += 1
            yield f"{place}.squeeze", _Layer(f"{path}.{layer}.fc1", None, f"squeezed {place}", hidden)
            yield f"{place}.excite", _Layer(f"{path}.{layer}.fc2", None, hidden, f"squeezed {place}")
        layer += 1
        stream_after = f"stage {stage}"
        yield f"{place}.project", _Layer(f"{path}.{layer}.0", f"{path}.{layer}.1", stream_after, hidden)
        stream = stream_after
    if options.head:
        yield "head", _Layer("head.0", "head.1", "head", stream)
        stream = "head"
    yield "classifier", _Layer("classifier", None, "classes", stream)


def _blocks(options: WispOptions) -> Iterator[tuple[int, int, Block]]:
    """(stage, position in it, block)."""
    places = [
        (number, position) for number, stage in enumerate(options.stages) for position in range(stage.depth)
    ]
    for (number, position), block in zip(places, options.blocks(), strict=True):
        yield number, position, block


def _widths(options: WispOptions) -> dict[str, int]:
    """Channels of every group."""
    widths = {"stem": options.stem.width, "head": options.head}
    for number, stage in enumerate(options.stages):
        widths[f"stage {number}"] = stage.width
    for stage_number, position, block in _blocks(options):
        if block.expands:
            widths[f"hidden {stage_number}.{position}"] = block.hidden
        widths[f"squeezed {stage_number}.{position}"] = block.squeezed
    return {group: width for group, width in widths.items() if width}


def _indices(
    source: Mapping[str, Tensor], theirs: WispOptions, ours: WispOptions, choose: Choice
) -> dict[str, Tensor]:
    """For every group of the new network: the old channel of each new one, -1 for none. Missing: no such group."""
    old, importance = _widths(theirs), _importance(source, theirs)
    last = len(theirs.stages) - 1
    index = {}
    for group, width in _widths(ours).items():
        # A stage that is new continues the last one's channels.
        kind, _, number = group.partition(" ")
        there = f"stage {min(int(number), last)}" if kind == "stage" else group
        if there not in old:
            continue
        count = min(width, old[there])
        chosen = torch.arange(count)
        if choose == "importance" and width < old[there] and there in importance:
            chosen = importance[there].topk(count).indices.sort().values
        index[group] = torch.cat((chosen, torch.full((width - count,), -1)))
    return index


def _importance(source: Mapping[str, Tensor], options: WispOptions) -> dict[str, Tensor]:
    """The sum of absolute BatchNorm scales that write into each channel of a group; shortcuts tie groups."""
    total: dict[str, Tensor] = {}
    for key, layer in _layers(options):
        if layer.norm is not None and not key.endswith(".expand"):
            scale = source[f"{layer.norm}.weight"].abs()
            total[layer.out] = total.get(layer.out, torch.zeros_like(scale)) + scale
    streams = ["stem", *(f"stage {number}" for number in range(len(options.stages)))]
    tied = [
        (streams[number], streams[number + 1])
        for number, position, block in _blocks(options)
        if position == 0 and block.residual
    ]
    for one, other in [*tied, *reversed(tied)]:
        joint = torch.maximum(total[one], total[other])
        total[one] = total[other] = joint
    return total


def _corresponds(key: str, layer: _Layer, there: _Layer, theirs: WispOptions, ours: WispOptions) -> bool:
    """Whether two layers of the same place read and write the same kind of channels."""
    kinds = (layer.out.partition(" ")[0], (layer.into or "").partition(" ")[0])
    other = (there.out.partition(" ")[0], (there.into or "").partition(" ")[0])
    if key in ("head", "classifier") and len(ours.stages) < len(theirs.stages):
        return (layer.into, there.into) == ("head", "head")
    return kinds == other


def _copy(
    source: Mapping[str, Tensor],
    there: _Layer,
    target: dict[str, Tensor],
    layer: _Layer,
    rows: Tensor,
    columns: Tensor | None,
    taken: dict[str, str],
) -> None:
    """One layer and its norm."""
    known = rows >= 0
    name = f"{layer.conv}.weight"
    old, new = source[f"{there.conv}.weight"][rows[known]], target[name]
    if columns is not None:
        wide = old.new_zeros((old.shape[0], len(columns), *old.shape[2:]))
        wide[:, columns >= 0] = old[:, columns[columns >= 0]]
        old = wide
    new[known] = _fit(old, there.kernel, layer.kernel) if old.dim() == 4 else old
    same = bool(known.all()) and new.shape == source[f"{there.conv}.weight"].shape
    taken[name] = "whole" if same and torch.equal(new, source[f"{there.conv}.weight"]) else "partial"
    vectors = [(f"{layer.conv}.bias", f"{there.conv}.bias")] if f"{layer.conv}.bias" in target else []
    if layer.norm is not None and there.norm is not None:
        vectors += [(f"{layer.norm}.{part}", f"{there.norm}.{part}") for part in _NORM]
        target[f"{layer.norm}.num_batches_tracked"].copy_(source[f"{there.norm}.num_batches_tracked"])
    for ours, theirs in vectors:
        target[ours][known] = source[theirs][rows[known]]
        taken[ours] = "whole" if torch.equal(target[ours], source[theirs]) else "partial"


def _fit(weight: Tensor, old: int, new: int) -> Tensor:
    """A kernel of another size with the same centre (where padding is (kernel - 1) // 2): cut, or framed by zeros."""
    before = (new - 1) // 2 - (old - 1) // 2
    after = new - old - before
    return nn.functional.pad(weight, (before, after, before, after))


def _make_identities(
    target: dict[str, Tensor],
    ours: Mapping[str, _Layer],
    theirs: Mapping[str, _Layer],
    options: WispOptions,
    source: WispOptions,
) -> None:
    """New residual blocks add nothing, new gates let everything through."""
    for stage, position, block in _blocks(options):
        place = f"{stage}.{position}"
        if f"{place}.project" not in theirs and block.residual:
            norm = ours[f"{place}.project"].norm
            target[f"{norm}.weight"].zero_()
        elif block.squeezed and f"{place}.excite" not in theirs:
            gate = ours[f"{place}.excite"].conv
            target[f"{gate}.weight"].zero_()
            target[f"{gate}.bias"].fill_(_OPEN_GATE)


# By name


def _by_name(
    source: Mapping[str, Tensor], target: dict[str, Tensor], *, keep_classifier: bool
) -> dict[str, str]:
    """Tensors of the same name and number of axes: leading channels, the centre of kernels."""
    weights = [name for name, tensor in target.items() if tensor.dim() > 1]
    last = weights[-1].rpartition(".")[0] if weights else ""
    taken: dict[str, str] = {}
    for name, new in target.items():
        old = source.get(name)
        if old is None or old.dim() != new.dim() or (name.rpartition(".")[0] == last and not keep_classifier):
            continue
        if old.shape == new.shape:
            new.copy_(old)
            taken[name] = "whole"
            continue
        if old.dim() == 4 and old.shape[2:] != new.shape[2:]:
            old = _fit(old, old.shape[2], new.shape[2])
        corner = tuple(slice(min(a, b)) for a, b in zip(old.shape, new.shape, strict=True))
        if old.dim() > 1:
            new[corner[0]] = 0  # what reads new channels reads nothing of them
        new[corner] = old[corner]
        taken[name] = "partial"
    return taken


# A supernet's sub-networks


def shared_weights(source: Mapping[str, Tensor], source_arch: ArchSpec, arch: ArchSpec) -> dict[str, Tensor]:
    """The parameters of a sub-network as views into those of a larger network, through which gradients flow back.

    They are what `transfer_weights` would copy: leading channels, leading blocks of a stage, centres of kernels. For
    `torch.func.functional_call` on a network of `build(arch)`; its BatchNorm statistics are its own.

    Raises:
        ModelError: `arch` is not a sub-network of `source_arch`.
    """
    ours, theirs = _options(arch), _options(source_arch)
    if ours is None or theirs is None:
        raise ModelError("only networks of the wisp family share weights")
    their_layers, widths, views = dict(_layers(theirs)), {**_widths(ours), "classes": arch.num_classes}, {}
    for key, layer in _layers(ours):
        there = their_layers.get(key)
        fits = there is not None and _corresponds(key, layer, there, theirs, ours)
        if there is None or not fits or source_arch.num_classes != arch.num_classes:
            raise ModelError(f"not a sub-network: it has a layer ({key}) that the larger one lacks")
        weight = source[f"{there.conv}.weight"][: widths[layer.out]]
        if layer.into is not None:
            weight = weight[:, : widths[layer.into]]
        if weight.dim() == 4:
            before = (there.kernel - 1) // 2 - (layer.kernel - 1) // 2
            weight = weight[:, :, before : before + layer.kernel, before : before + layer.kernel]
        views[f"{layer.conv}.weight"] = weight
        for name, other in ((layer.conv, there.conv), (layer.norm, there.norm)):
            for part in ("weight", "bias"):
                if name is not None and f"{other}.{part}" in source and f"{name}.{part}" not in views:
                    views[f"{name}.{part}"] = source[f"{other}.{part}"][: widths[layer.out]]
    return views
