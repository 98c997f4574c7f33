"""Low rank: a layer becomes a chain of smaller ones where that saves multiplications."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from wisp.compress.change import Change, Costs, describe_change
from wisp.compress.factors import Factorable, errors_by_rank, factored
from wisp.compress.pruning import Tune
from wisp.compress.rank import variational_rank
from wisp.errors import InputError, ModelError
from wisp.models.edits import Factor, is_pointwise
from wisp.models.folding import replace_module

Images = Callable[[], Iterable[Tensor]]
"""A few batches of normalised images, the same ones each time."""


@dataclass(frozen=True)
class LowRankConfig:
    """How to choose the ranks.

    Attributes:
        max_macs: what the larger of the competition's and the exact count is to become at most, at the least loss of
            the weights' energy; None: the rank that stands out of each weight's noise (variational Bayes).
    """

    max_macs: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        if self.max_macs is not None and self.max_macs < 1:
            raise InputError(f"factoring to {self.max_macs} MACs: must be at least 1")


@dataclass(frozen=True)
class _Candidate:
    """One layer that may be factored.

    Attributes:
        name: of the layer.
        layer: itself.
        ranks: choices, (choices, 1 or 2); the first row, zeros, stands for the layer as it is.
        saved: MACs that each choice saves, (choices,); only choices that save some are listed.
        lost: the share of the weights' energy (of the outputs', where inputs are known) that each loses, (choices,).
        moment: of the inputs, see `split_matrix`; None where they are not known.
    """

    name: str
    layer: Factorable
    ranks: Tensor
    saved: Tensor
    lost: Tensor
    moment: Tensor | None = None

    def factored(self, edit: Factor) -> tuple[nn.Sequential, nn.Module]:
        """See `wisp.compress.factors.factored`."""
        return factored(self.layer, edit, self.moment)


def factorize(
    model: nn.Module,
    config: LowRankConfig,
    *,
    image_size: int,
    images: Images | None = None,
    tune: Tune | None = None,
    progress: bool = True,
) -> tuple[nn.Module, Change]:
    """Replace layers by chains of smaller ones, each only where its MACs fall.

    Linear layers and 1x1 convolutions become two (singular value decomposition), k x k convolutions three (Tucker-2,
    Kim et al., 2016). Grouped and depthwise convolutions stay: their cost is not in products of channels.

    Args:
        model: takes float images N x 3 x image_size x image_size, gives logits. Left as it was.
        config: how the ranks are chosen.
        image_size: pixels.
        images: gives a few batches of normalised images, N x 3 x image_size x image_size; then linear layers and 1x1
            convolutions lose the least of their outputs on them, instead of the least of their weights.
        tune: fine-tunes at the end; None leaves the weights as they are.
        progress: show a bar on a terminal.

    Raises:
        ModelError: the network cannot run on such images.
    """
    before = deepcopy(model).eval().cpu().float()
    costs, calls = Costs(image_size), _calls(before, image_size)
    layers = list(calls.items())
    bar = tqdm(layers, desc="factor", unit="layer", leave=False, disable=None if progress else True)
    moments = {} if images is None else _moments(before, calls, images)
    candidates = [
        candidate
        for name, positions in bar
        if (candidate := _candidate(before, name, positions, moments.get(name)))
    ]
    candidates = _usable(before, candidates, image_size)
    notes: list[str] = []
    if config.max_macs is None:
        edits = [edit for candidate in candidates if (edit := _variational(candidate))]
    else:
        excess = costs.larger(before) - config.max_macs
        edits = _within_budget(candidates, excess)
        most = sum(int(candidate.saved.max()) for candidate in candidates)
        if most < excess:
            notes.append(
                f"{config.max_macs:,} MACs cannot be reached by factoring: rank 1 everywhere saves {most:,} of "
                f"{excess:,}"
            )
    if not edits:
        notes.append("no layer was factored: none gets cheaper at the rank that it needs")
    after = _apply(before, candidates, edits)
    if tune is not None and edits:
        after = tune(after, tuple(edits), 1).eval().cpu()
    return after, describe_change(
        before,
        after,
        method="lowrank",
        costs=costs,
        edits=edits,
        max_macs=config.max_macs,
        notes=notes,
    )


def _calls(model: nn.Module, image_size: int) -> dict[str, list[tuple[int, int]]]:
    """For each layer that could be factored: positions of input and output of each call for one image."""
    calls: dict[str, list[tuple[int, int]]] = {}
    users: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            users[id(parameter)] = users.get(id(parameter), 0) + 1
    handles = []
    for name, module in model.named_modules():
        if type(module) not in {nn.Conv2d, nn.Linear} or users[id(module.weight)] > 1:
            continue
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            continue

        def record(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor, name: str = name) -> None:
            axis = 1 if isinstance(layer, nn.Conv2d) else -1
            sizes = [
                tensor.numel() // tensor.shape[axis] // 2 for tensor in (inputs[0], output)
            ]  # two images
            calls.setdefault(name, []).append((sizes[0], sizes[1]))

        handles.append(module.register_forward_hook(record))
    try:
        with torch.no_grad():
            model(torch.zeros(2, 3, image_size, image_size))
    except Exception as error:  # the network's own code may raise anything
        reason = str(error).partition("\n")[0]
        raise ModelError(f"{type(model).__name__} cannot run on {image_size} px images ({reason})") from error
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _moments(model: nn.Module, names: Iterable[str], images: Images) -> dict[str, Tensor]:
    """The sum of x x^T over the inputs x of each linear layer and 1x1 convolution, inputs x inputs."""
    moments: dict[str, Tensor] = {}
    handles = []
    for name in names:
        layer = model.get_submodule(name)
        if isinstance(layer, nn.Conv2d) and not is_pointwise(layer):
            continue

        def record(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor, name: str = name) -> None:
            values = inputs[0].detach()
            if isinstance(layer, nn.Conv2d):
                values = values[..., :: layer.stride[0], :: layer.stride[1]].movedim(1, -1)
            rows = values.reshape(-1, values.shape[-1]).double()
            moments[name] = moments.get(name, 0) + rows.t() @ rows

        handles.append(layer.register_forward_hook(record))
    try:
        with torch.no_grad():
            for batch in images():
                model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return moments


def _candidate(
    model: nn.Module, name: str, positions: Sequence[tuple[int, int]], moment: Tensor | None = None
) -> _Candidate | None:
    layer = model.get_submodule(name)
    assert isinstance(layer, Factorable)  # noqa: S101  (only such have calls)
    seen, made = (sum(column) for column in zip(*positions, strict=True))
    outputs, inputs = layer.weight.shape[:2]
    area = layer.weight[0, 0].numel()
    lost = errors_by_rank(layer, moment)
    if lost.ndim == 1:
        ranks = torch.arange(len(lost))[:, None]
        cost = made * (inputs + outputs) * ranks[:, 0]
    else:
        ranks = torch.cartesian_prod(torch.arange(lost.shape[0]), torch.arange(lost.shape[1]))
        first, second = ranks.unbind(dim=1)
        cost = seen * inputs * first + made * (area * first * second + second * outputs)
        lost = lost.reshape(-1)
    saved = made * inputs * outputs * area - cost
    chosen = (saved > 0) & (ranks > 0).all(dim=1)
    if not chosen.any():
        return None
    whole = torch.zeros(1, dtype=torch.int64)
    return _Candidate(
        name=name,
        layer=layer,
        ranks=torch.cat((whole.expand(1, ranks.shape[1]), ranks[chosen])),
        saved=torch.cat((whole, saved[chosen])),
        lost=torch.cat((whole.double(), lost[chosen])),
        moment=moment,
    )


def _variational(candidate: _Candidate) -> Factor | None:
    """The ranks that stand out of the noise, if the layer gets cheaper with them."""
    weight = candidate.layer.weight.detach().numpy()
    if candidate.ranks.shape[1] == 1:
        ranks = [variational_rank(weight.reshape(len(weight), -1))]
    else:  # as Kim et al.: of the two unfoldings along the channels
        unfolded = (weight.swapaxes(0, 1).reshape(weight.shape[1], -1), weight.reshape(len(weight), -1))
        ranks = [variational_rank(matrix) for matrix in unfolded]
    wanted = torch.tensor([max(1, rank) for rank in ranks])
    cheaper = bool((candidate.ranks == wanted).all(dim=1).any())
    return Factor(layer=candidate.name, ranks=tuple(wanted.tolist())) if cheaper else None


def _within_budget(candidates: Sequence[_Candidate], excess: int) -> list[Factor]:
    """Ranks that save at least `excess` MACs, or all that can be, at nearly the least energy lost.

    A price for each MAC makes the layers independent; it is the smallest one that saves enough. Layers are then given
    back energy, one at a time, as long as enough is saved.
    """
    if excess <= 0 or not candidates:
        return []
    low, high = 0.0, 1.0

    def choose(price: float) -> list[int]:
        return [int((one.lost - price * one.saved).argmin()) for one in candidates]

    def saves(choice: Sequence[int]) -> int:
        return sum(int(one.saved[index]) for one, index in zip(candidates, choice, strict=True))

    for _ in range(200):
        price = (low + high) / 2
        low, high = (price, high) if saves(choose(price)) < excess else (low, price)
    choice = choose(high)
    if saves(choice) < excess:
        choice = [int(one.saved.argmax()) for one in candidates]
    for position, one in enumerate(candidates):
        spare = saves(choice) - excess
        enough = one.saved >= int(one.saved[choice[position]]) - max(spare, 0)
        choice[position] = int(torch.where(enough, one.lost, torch.inf).argmin())
    chosen = ((one.name, one.ranks[index].tolist()) for one, index in zip(candidates, choice, strict=True))
    return [Factor(layer=name, ranks=tuple(ranks)) for name, ranks in chosen if all(ranks)]


def _usable(model: nn.Module, candidates: list[_Candidate], image_size: int) -> list[_Candidate]:
    """Those whose layer can be replaced: some code looks into its layers."""

    def works(some: list[_Candidate]) -> bool:
        edits = [Factor(layer=one.name, ranks=tuple(one.ranks[-1].tolist())) for one in some]
        return _agrees(model, some, edits, image_size)

    if works(candidates):
        return candidates
    return [candidate for candidate in candidates if works([candidate])]


def _agrees(
    model: nn.Module, candidates: Sequence[_Candidate], edits: Sequence[Factor], image_size: int
) -> bool:
    """Whether the network of chains computes what the network with their products for weights does."""
    chains, products = deepcopy(model), deepcopy(model)
    for candidate, edit in zip(candidates, edits, strict=True):
        chain, product = candidate.factored(edit)
        replace_module(chains, chains.get_submodule(edit.layer), chain)
        replace_module(products, products.get_submodule(edit.layer), product)
    images = torch.randn(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            return torch.allclose(chains(images), products(images), rtol=1e-3, atol=1e-4)
    except Exception:  # the network's own code may raise anything
        return False


def _apply(model: nn.Module, candidates: Sequence[_Candidate], edits: Sequence[Factor]) -> nn.Module:
    after = deepcopy(model)
    by_name = {candidate.name: candidate for candidate in candidates}
    for edit in edits:
        replace_module(after, after.get_submodule(edit.layer), by_name[edit.layer].factored(edit)[0])
    return after
