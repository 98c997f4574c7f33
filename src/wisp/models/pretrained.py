"""Starting from published weights: torchvision's ImageNet files, or a local file with the same names."""

from __future__ import annotations

import pickle
import re
import sys
import warnings
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from wisp.errors import DownloadError, ModelError
from wisp.files import default_cache_dir, file_sha256
from wisp.models.registry import named
from wisp.models.spec import build

ADDRESS = "https://download.pytorch.org/models/"
DOWNLOAD = "download"

# torchvision's default weights; the hexadecimal part of a name is the start of the file's SHA-256.
_FILES: Mapping[str, str] = MappingProxyType(
    {
        "mobilenet_v2": "mobilenet_v2-7ebf99e0.pth",
        "mobilenet_v3_small": "mobilenet_v3_small-047dcff4.pth",
        "shufflenet_v2-x0.5": "shufflenetv2_x0.5-f707e7126e.pth",
        "shufflenet_v2": "shufflenetv2_x1-5666bf0f80.pth",
        "shufflenet_v2-x1.5": "shufflenetv2_x1_5-3c479a10.pth",
        "shufflenet_v2-x2.0": "shufflenetv2_x2_0-8be3c8ee.pth",
        "squeezenet1_0": "squeezenet1_0-b66bff10.pth",
        "squeezenet1_1": "squeezenet1_1-b8a52dc0.pth",
    }
)


def pretrained_names() -> tuple[str, ...]:
    """Names of the networks whose ImageNet weights can be downloaded."""
    return tuple(_FILES)


def load_pretrained(model: nn.Module, source: str | Path, *, address: str = ADDRESS) -> tuple[str, ...]:
    """Fill `model` with published weights, in place.

    Args:
        model: A network of `build`; with torchvision's equivalents, weights fit when the names and shapes agree.
        source: A local .pth or .safetensors file, or `download`: torchvision's ImageNet weights of this network, by
            way of the cache folder (`$WISP_CACHE/weights`, else `~/.cache/wisp/weights`).
        address: Where the files are downloaded from.

    Returns:
        Names of the tensors left out: those of the classifier, where it has another number of classes.

    Raises:
        DownloadError: no network, the server does not have the file, or the file arrived with another hash.
        ModelError: there are no weights for this network, or the file is missing, damaged, or of another network.
    """
    path = _downloaded(model, address) if str(source) == DOWNLOAD else Path(source)
    weights = read_weights(path)
    expected = model.state_dict()
    left_out = _other_classes(model, expected, weights)
    kept = {name: tensor for name, tensor in weights.items() if name not in left_out}
    for name, tensor in kept.items():
        if name in expected and expected[name].shape != tensor.shape:
            raise ModelError(
                f"{path}: of another network: {name} has shape {tuple(tensor.shape)}, "
                f"this network needs {tuple(expected[name].shape)}"
            )
    unknown = kept.keys() - expected.keys()
    # A norm's batch counter is missing in files from before it existed, and not used.
    missing = {name for name in expected.keys() - weights.keys() if not name.endswith("num_batches_tracked")}
    if unknown or missing:
        raise ModelError(
            f"{path}: of another network: "
            + "; ".join(
                f"{len(names)} tensors {what}, such as {min(names)}"
                for names, what in ((missing, "missing"), (unknown, "unknown"))
                if names
            )
        )
    model.load_state_dict(kept, strict=False)
    return left_out


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a .pth file (read without running any code in it), on the CPU.

    Raises:
        ModelError: the file is missing, damaged, or holds something else than named tensors.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such weights file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch comments on files that it then refuses, or reads
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        # torch's own words for a refused pickle advise to read the file without this protection.
        refused = isinstance(error, pickle.UnpicklingError)
        reason = "damaged, or more than tensors in it" if refused else str(error).partition("\n")[0]
        raise ModelError(f"{path}: no readable weights file, .pth or .safetensors ({reason})") from error
    if isinstance(weights, dict) and isinstance(weights.get("state_dict"), dict):
        weights = weights["state_dict"]  # a checkpoint around the weights
    if not isinstance(weights, dict) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise ModelError(f"{path}: holds no named tensors; give the state dict of a network")
    return {str(name): tensor for name, tensor in weights.items()}


def _classifier(model: nn.Module) -> str:
    """Name of the layer that makes the logits: in all families the last convolution or linear layer."""
    layers: list[str] = [
        name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    return layers[-1]


def _other_classes(
    model: nn.Module, expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> tuple[str, ...]:
    """The classifier's tensors if they differ in the number of classes and in nothing else, otherwise none."""
    names = tuple(name for name in expected if name.rpartition(".")[0] == _classifier(model))
    pairs = [(expected[name].shape, weights[name].shape) for name in names if name in weights]
    differ = len(pairs) == len(names) and all(
        here[1:] == there[1:] and here[:1] != there[:1] for here, there in pairs
    )
    return names if differ else ()


def _published_name(model: nn.Module) -> str | None:
    """The name of the downloadable weights whose tensors fit `model`, the classifier aside."""

    def shapes(network: nn.Module) -> dict[str, torch.Size]:
        head = _classifier(network)
        return {
            name: tensor.shape
            for name, tensor in network.state_dict().items()
            if name.rpartition(".")[0] != head
        }

    wanted = shapes(model)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return next((name for name in _FILES if shapes(build(named(name, 1000))) == wanted), None)


def _downloaded(model: nn.Module, address: str) -> Path:
    name = _published_name(model)
    if name is None:
        raise ModelError(
            f"no published weights fit this {type(model).__name__}; there are some for: "
            f"{', '.join(pretrained_names())} (or give a local file: --pretrained FILE)"
        )
    file_name = _FILES[name]
    match = re.search(r"-([0-9a-f]+)\.", file_name)
    assert match is not None  # noqa: S101  (the table above is ours)
    prefix = match[1]
    folder = default_cache_dir() / "weights"
    path = folder / file_name
    if path.is_file() and file_sha256(path).startswith(prefix):
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Writes beside the target, checks the hash, and only then takes the target's name.
        torch.hub.download_url_to_file(
            address + file_name, str(path), hash_prefix=prefix, progress=sys.stderr.isatty()
        )
    except (OSError, HTTPException, RuntimeError) as error:
        reason = str(error).partition("\n")[0].removeprefix("<urlopen error ").removesuffix(">")
        raise DownloadError(
            f"{address}{file_name}: cannot be downloaded ({reason}); without a network, give a local file: "
            "--pretrained FILE"
        ) from error
    return path
