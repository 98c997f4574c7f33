"""Where a training begins: with random weights, with those that came with wisp, or with those of another run.

The shipped weights are networks of the wisp family that were trained on photos of everyday things; any other network
of the family takes from one of them what fits (`wisp.models.transfer`). Features that are learned from many photos of
anything help where there are few photos of waste (Yosinski et al., 2014).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from wisp.errors import ModelError
from wisp.files import file_sha256
from wisp.models.pretrained import DOWNLOAD, read_weights
from wisp.models.registry import ARCH_FILE
from wisp.models.source import Network, build
from wisp.models.spec import ArchSpec
from wisp.models.transfer import Transfer, transfer_weights
from wisp.models.zoo.wisp import WispOptions

SCRATCH, PRETRAINED = "scratch", "pretrained"
_FOLDER = Path(__file__).parent / "weights"
_RUN_WEIGHTS = "model.safetensors"
_METADATA = "wisp"  # one entry of the weights' metadata: the order of several would not be certain


@dataclass(frozen=True)
class Start:
    """Weights to begin with.

    Attributes:
        name: of the shipped network, or the folder of the run.
        arch: the network that they belong to.
        weights: its state dict.
        digest: SHA-256 of the file that holds them.
        shipped: whether they came with wisp, so that whoever has wisp can repeat the training.
    """

    name: str
    arch: ArchSpec
    weights: Mapping[str, Tensor] = field(repr=False, compare=False)
    digest: str
    shipped: bool

    def fill(self, model: nn.Module, arch: Network) -> Transfer:
        """Give `model`, as `build(arch)` makes it, what fits of these weights, in place.

        The last layer is taken only from a run with as many classes: those of the shipped weights are no waste.
        """
        assert isinstance(arch, ArchSpec)  # noqa: S101  (`find_start` made sure of it)
        return transfer_weights(
            self.weights, self.arch, model, arch, choose="importance", classifier=not self.shipped
        )


def initializer(start: Start | None, arch: Network) -> Callable[[nn.Module], object] | None:
    """What fills a new network `build(arch)` before its training; None leaves it its random weights."""
    return None if start is None else functools.partial(start.fill, arch=arch)


def find_start(init: str, arch: Network) -> Start | None:
    """What `--init` names, for the network `arch`; None for random weights.

    Args:
        init: `scratch`, `pretrained` (of the shipped weights with an activation of the same kind those of which `arch`
            can take the most), or the folder of a finished run.
        arch: the network that will be trained.

    Raises:
        ModelError: there is nothing of this name, or the network cannot begin with other weights.
    """
    if init == SCRATCH:
        return None
    if not isinstance(arch, ArchSpec):
        raise ModelError(
            f"--init {init}: a network of your own source begins with the weights that its build() gives; "
            f"leave --init out"
        )
    if init == PRETRAINED:
        return _nearest(arch)
    return _of_run(Path(init))


def shipped_weights() -> tuple[Path, ...]:
    """The files of pretrained weights that came with wisp; beside each lies its card (.md)."""
    return tuple(sorted(_FOLDER.glob("*.safetensors")))


def start_of_digest(digest: str) -> Start | None:
    """The shipped weights with this SHA-256; None where there are none (they came with another version, say)."""
    return next((start for start in map(_shipped, shipped_weights()) if start.digest == digest), None)


def name_start(pretrained: str | None) -> str:
    """What a run began with, as its data.json has it: `scratch`, `pretrained` (shipped), or the head of a digest."""
    if pretrained is None:
        return SCRATCH
    return PRETRAINED if start_of_digest(pretrained) is not None else pretrained[:12]


def is_public(pretrained: str | None) -> bool:
    """Whether everybody has what data.json names as a run's start: nothing, torchvision's weights, or shipped ones."""
    return pretrained in (None, DOWNLOAD) or start_of_digest(str(pretrained)) is not None


@functools.cache
def _shipped(path: Path) -> Start:
    state, arch, _ = unpack_weights(path.read_bytes())
    return Start(
        path.stem, arch, {name: tensor.float() for name, tensor in state.items()}, file_sha256(path), True
    )


@functools.lru_cache(maxsize=4096)
def _nearest(arch: ArchSpec) -> Start:
    if not isinstance(arch.options, WispOptions) or arch.edits:
        kind = "a compressed network" if arch.edits else f"the family {arch.family}"
        raise ModelError(
            f"--init pretrained: no weights came with wisp for {kind}; use --init scratch, or --pretrained for "
            "torchvision's own"
        )
    with torch.random.fork_rng(devices=[]):
        model = build(arch)
    # To a network with hardswish, slices of weights made with hardswish were worth more than whole layers made with
    # ReLU: 0.036 of F1 (docs/records/2026-11-26-pretraining.md).
    candidates = [
        start
        for start in map(_shipped, shipped_weights())
        if _has_hardswish(start.arch) == _has_hardswish(arch)
    ]
    return max(candidates, key=lambda start: (_taken(start, model, arch), start.name))


def _has_hardswish(arch: ArchSpec) -> bool:
    return isinstance(arch.options, WispOptions) and arch.options.activation == "hardswish"


def _taken(start: Start, model: nn.Module, arch: ArchSpec) -> float:
    """The share of the network's layers that are filled; whole ones count double."""
    transfer = start.fill(model, arch)
    count = len(transfer.whole) + len(transfer.partial) + len(transfer.left)
    return (2 * len(transfer.whole) + len(transfer.partial)) / (2 * count)


def _of_run(folder: Path) -> Start:
    path = folder / _RUN_WEIGHTS
    if not folder.is_dir():
        raise ModelError(
            f"--init {folder}: no such run; give scratch, pretrained, or the folder of a finished run"
        )
    if not (folder / ARCH_FILE).is_file():
        raise ModelError(f"--init {folder}: no run folder: it holds no {ARCH_FILE}")
    if not path.is_file():
        raise ModelError(f"--init {folder}: the run is not finished; go on with it with --resume first")
    return Start(str(folder), ArchSpec.load(folder / ARCH_FILE), read_weights(path), file_sha256(path), False)


# A network and its weights in one file


def pack_weights(state: Mapping[str, Tensor], arch: ArchSpec, *, elastic: bool = False) -> bytes:
    """A network with its weights, in the safetensors format.

    Args:
        state: the state dict.
        arch: the network.
        elastic: it is a supernet.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    metadata = {"arch": arch.to_json(), "elastic": elastic}
    return safetensors.torch.save(tensors, metadata={_METADATA: json.dumps(metadata)})


def unpack_weights(data: bytes) -> tuple[dict[str, Tensor], ArchSpec, bool]:
    """The inverse of `pack_weights`: weights, network, whether it is a supernet.

    Raises:
        ModelError: it is something else.
    """
    try:
        length = int.from_bytes(
            data[:8], "little"
        )  # the format: length of the header, header (JSON), tensors
        metadata = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_METADATA])
        arch = ArchSpec.from_json(metadata["arch"], where="weights")
        return safetensors.torch.load(data), arch, bool(metadata["elastic"])
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise ModelError(f"packed weights: damaged ({error})") from error
