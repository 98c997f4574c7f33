"""Edits: changes to single layers of a network, as data.

A compressed network is described by the network that it came from and a list of edits: narrower layers, factored ones,
folded norms, merged branches. `apply_edits` makes the same module tree anew, with the same shapes; the weights are then
loaded as for any other network. Nothing is ever pickled.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, TypeAdapter
from torch import Tensor, nn

from wisp.errors import ModelError
from wisp.models.folding import replace_module
from wisp.models.options import Record

Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d
Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d

Name = Annotated[str, Field(min_length=1, max_length=512)]
Size = Annotated[int, Field(ge=1, le=1 << 20)]
NotNegative = Annotated[int, Field(ge=0, le=1 << 10)]
Pair = Annotated[
    tuple[Annotated[int, Field(ge=1, le=1 << 10)], Annotated[int, Field(ge=1, le=1 << 10)]],
    Field(strict=False),
]


class Resize(Record):
    """Fewer inputs or outputs of a convolution, a linear layer, a BatchNorm or a PReLU (these two: `outputs`)."""

    edit: Literal["resize"] = "resize"
    layer: Name
    inputs: Size | None = None
    outputs: Size | None = None
    groups: Size | None = None

    def apply(self, model: nn.Module) -> None:
        """Cut the layer's tensors to their first rows and columns."""
        layer = find_layer(model, self.layer)
        if isinstance(layer, Conv):
            groups = self.groups or layer.groups
            inputs, outputs = self.inputs or layer.in_channels, self.outputs or layer.out_channels
            if inputs % groups or outputs % groups:
                raise ModelError(f"{self.layer}: {inputs} to {outputs} channels in {groups} groups")
            cut_tensor(layer, "weight", (outputs, inputs // groups))
            cut_tensor(layer, "bias", (outputs,))
            set_sizes(layer, groups)
            return
        if isinstance(layer, nn.Linear):
            cut_tensor(
                layer, "weight", (self.outputs or layer.out_features, self.inputs or layer.in_features)
            )
            cut_tensor(layer, "bias", (self.outputs or layer.out_features,))
        elif isinstance(layer, Norm | nn.PReLU) and self.outputs:
            for name in ("weight", "bias", "running_mean", "running_var"):
                cut_tensor(layer, name, (self.outputs,))
        else:
            raise ModelError(f"{self.layer}: {type(layer).__name__} cannot be resized")
        set_sizes(layer)


class ResizeTensor(Record):
    """A smaller parameter or buffer that the network's own code uses."""

    edit: Literal["resize_tensor"] = "resize_tensor"
    tensor: Name
    shape: Annotated[tuple[Size, ...], Field(strict=False, min_length=1, max_length=8)]

    def apply(self, model: nn.Module) -> None:
        """Cut the tensor to its first entries along every axis."""
        owner, _, name = self.tensor.rpartition(".")
        cut_tensor(find_layer(model, owner) if owner else model, name, self.shape)


class Fold(Record):
    """A BatchNorm that went into the weights and the bias of the layer before it."""

    edit: Literal["fold"] = "fold"
    layer: Name
    norm: Name

    def apply(self, model: nn.Module) -> None:
        """Give the layer a bias and put an `nn.Identity` where the norm was."""
        layer, norm = find_layer(model, self.layer), find_layer(model, self.norm)
        if not isinstance(layer, Conv | nn.Linear) or not isinstance(norm, Norm):
            raise ModelError(f"{self.norm}: cannot be folded into {self.layer}")
        give_bias(layer)
        replace_module(model, norm, nn.Identity())


class Merge(Record):
    """Parallel branches that were added up, as one convolution in the place of the layer that ran first."""

    edit: Literal["merge"] = "merge"
    layer: Name
    dropped: Annotated[tuple[Name, ...], Field(strict=False, min_length=1, max_length=64)]
    inputs: Size
    outputs: Size
    kernel: Pair
    stride: Pair
    padding: Annotated[tuple[NotNegative, NotNegative], Field(strict=False)]
    dilation: Pair
    groups: Size

    def apply(self, model: nn.Module) -> None:
        """Put the convolution, freshly initialised, in its place and a `Nothing` in those of the other branches."""
        layer = find_layer(model, self.layer)
        gone = [find_layer(model, name) for name in self.dropped]
        if self.inputs % self.groups or self.outputs % self.groups:
            raise ModelError(
                f"{self.layer}: {self.inputs} to {self.outputs} channels in {self.groups} groups"
            )
        replace_module(model, layer, self.convolution())
        for module in gone:
            replace_module(model, module, Nothing())

    def convolution(self) -> nn.Conv2d:
        """The convolution, freshly initialised, in evaluation mode."""
        geometry = {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }
        return nn.Conv2d(self.inputs, self.outputs, self.kernel, **geometry).eval()  # type: ignore[arg-type]


class Factor(Record):
    """A layer as a chain of smaller ones.

    One rank: a linear layer or a 1x1 convolution becomes two. Two ranks (after the first and after the second layer): a
    k x k convolution becomes 1x1, k x k, 1x1 (Tucker-2).
    """

    edit: Literal["factor"] = "factor"
    layer: Name
    ranks: Annotated[tuple[Size, ...], Field(strict=False, min_length=1, max_length=2)]

    def apply(self, model: nn.Module) -> None:
        """Put the chain, freshly initialised, in the place of the layer."""
        layer = find_layer(model, self.layer)
        replace_module(model, layer, factor_chain(layer, self.ranks, where=self.layer))


Edit = Annotated[Resize | ResizeTensor | Fold | Merge | Factor, Field(discriminator="edit")]
Edits = Annotated[tuple[Edit, ...], Field(strict=False, max_length=20_000)]
_ADAPTER: TypeAdapter[tuple[Edit, ...]] = TypeAdapter(Edits)


class Nothing(nn.Module):
    """What is left of a branch that was merged into another one: a zero that any sum takes."""

    def forward(self, images: Tensor) -> Tensor:
        """Anything -> a zero without axes."""
        return images.new_zeros(())


def apply_edits(model: nn.Module, edits: Iterable[Edit], *, where: str = "edits") -> None:
    """Change `model` in place, one edit after the other.

    Raises:
        ModelError: an edit does not fit the network; `where` and its number say which.
    """
    for index, edit in enumerate(edits):
        try:
            edit.apply(model)
        except ModelError as error:
            raise ModelError(f"{where}[{index}]: {error}") from error


def edits_to_json(edits: Iterable[Edit]) -> list[dict[str, Any]]:
    """Dictionaries that `json.dumps` takes; what an edit leaves alone is left out."""
    return [edit.model_dump(mode="json", exclude_none=True) for edit in edits]


def edits_from_json(values: Iterable[Mapping[str, Any]]) -> tuple[Edit, ...]:
    """The edits that `edits_to_json` wrote.

    Raises:
        ValueError: they are none.
    """
    return _ADAPTER.validate_python(list(values))


def edited(build: Callable[..., nn.Module], edits: Sequence[dict[str, Any]]) -> Callable[..., nn.Module]:
    """A function that builds what `build` builds, with the edits applied; it takes the same arguments.

    Raises:
        ValueError: the edits are none.
    """
    parsed = edits_from_json(edits)

    @functools.wraps(build)
    def build_edited(*args: Any, **kwargs: Any) -> nn.Module:
        model = build(*args, **kwargs)
        apply_edits(model, parsed)
        return model

    return build_edited


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """The module called `name`.

    Raises:
        ModelError: there is none.
    """
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise ModelError(f"the network has no layer '{name}'") from error


def cut_tensor(owner: nn.Module, name: str, sizes: Sequence[int]) -> None:
    """Keep the first `sizes` entries of a parameter or buffer; further axes stay whole. A missing one is passed over.

    Raises:
        ModelError: the tensor is smaller than that, or has fewer axes.
    """
    tensor = getattr(owner, name, None)
    if tensor is None:
        return
    if not isinstance(tensor, Tensor) or len(sizes) > tensor.ndim:
        raise ModelError(f"'{name}' is no tensor with {len(sizes)} axes")
    if any(size > have for size, have in zip(sizes, tensor.shape, strict=False)):
        raise ModelError(f"'{name}' of shape {tuple(tensor.shape)} cannot be cut to {tuple(sizes)}")
    set_tensor(owner, name, tensor.detach()[tuple(slice(size) for size in sizes)])


def set_tensor(owner: nn.Module, name: str, value: Tensor) -> None:
    """Replace a parameter or a buffer by a copy of `value`."""
    before = getattr(owner, name)
    value = value.detach().clone(memory_format=torch.contiguous_format)
    if isinstance(before, nn.Parameter):
        value = nn.Parameter(value, requires_grad=before.requires_grad)
    setattr(owner, name, value)


def set_sizes(layer: nn.Module, groups: int | None = None) -> None:
    """Make what a layer says of its sizes agree with its tensors."""
    if isinstance(layer, Conv):
        layer.groups = groups or layer.groups
        layer.out_channels, layer.in_channels = layer.weight.shape[0], layer.weight.shape[1] * layer.groups
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = len(layer.weight)
    elif isinstance(layer, Norm):
        tensor = layer.running_mean if layer.running_mean is not None else layer.weight
        layer.num_features = len(tensor)


def give_bias(layer: Conv | nn.Linear) -> None:
    """A bias of zeros for a convolution or a linear layer that has none."""
    bias: Tensor | None = layer.bias
    if bias is None:
        weight = layer.weight
        layer.bias = nn.Parameter(weight.new_zeros(weight.shape[0]), requires_grad=weight.requires_grad)


def factor_chain(layer: nn.Module, ranks: Sequence[int], *, where: str) -> nn.Sequential:
    """The chain that takes the place of `layer`, freshly initialised.

    Raises:
        ModelError: no chain of so many ranks takes the place of such a layer, or a rank is larger than the layer.
    """
    match layer, tuple(ranks):
        case nn.Linear(), (rank,) if rank <= min(layer.weight.shape):
            chain = nn.Sequential(
                nn.Linear(layer.in_features, rank, bias=False),
                nn.Linear(rank, layer.out_features, bias=layer.bias is not None),
            )
        case nn.Conv2d(), (rank,) if is_pointwise(layer) and rank <= min(layer.weight.shape[:2]):
            chain = nn.Sequential(
                nn.Conv2d(layer.in_channels, rank, 1, _geometry(layer)["stride"], bias=False),
                nn.Conv2d(rank, layer.out_channels, 1, bias=layer.bias is not None),
            )
        case nn.Conv2d(), (first, second) if (
            layer.groups == 1 and first <= layer.in_channels and second <= layer.out_channels
        ):
            chain = nn.Sequential(
                nn.Conv2d(layer.in_channels, first, 1, bias=False),
                nn.Conv2d(first, second, **_geometry(layer), bias=False),
                nn.Conv2d(second, layer.out_channels, 1, bias=layer.bias is not None),
            )
        case _:
            raise ModelError(f"{where}: {type(layer).__name__} cannot be factored with ranks {list(ranks)}")
    return chain.to(layer.weight).train(layer.training)


def _geometry(layer: nn.Conv2d) -> dict[str, Any]:
    """How the kernel meets the image, as keyword arguments."""
    names = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
    return {name: getattr(layer, name) for name in names}


def is_pointwise(layer: nn.Conv2d) -> bool:
    """Whether a convolution is a matrix product at every pixel."""
    unpadded = isinstance(layer.padding, str) or not any(layer.padding)
    return layer.groups == 1 and unpadded and all(side == 1 for side in layer.kernel_size)
