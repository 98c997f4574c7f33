"""What is compressed: a run, or a network with weights beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from wisp.errors import ModelError, RecipeError
from wisp.files import file_sha256
from wisp.models import Network, SourceArch, build, load_source, read_weights, resolve
from wisp.train.run import ARCH, RECIPE, SOURCE, WEIGHTS, Run, read_run
from wisp.zoo import shipped_models

IMAGE_SIZE = 64


@dataclass(frozen=True)
class Subject:
    """A trained network and where it came from.

    Attributes:
        network: what builds it.
        model: it, with its weights, in evaluation mode on the CPU.
        weights: the file of the weights.
        image_size: pixels.
        run: the run it comes from, if it comes from one.
    """

    network: Network
    model: nn.Module
    weights: Path
    image_size: int
    run: Run | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the weights."""
        return file_sha256(self.weights)


def read_subject(
    model: str,
    *,
    weights: Path | None = None,
    image_size: int | None = None,
    num_classes: int | None = None,
) -> Subject:
    """Read the model that a user names.

    Args:
        model: a run folder; an arch.json or a Python file with `build()` or `build(num_classes)`, which is executed, or
            a folder that holds one of them; or the name of a network.
        weights: their file, .safetensors or .pth; None: the run's, or model.safetensors beside the file.
        image_size: side of the images in pixels; None: the run's, else 64.
        num_classes: classes of the network; None: the file's own.

    Raises:
        ModelError: there is no such model, its weights are missing or of another network, or it cannot run.
        RecipeError: options that a run decides.
    """
    path = Path(model)
    if path.suffix == ".onnx":
        raise ModelError(f"{path}: an exported model cannot be compressed; give its run folder")
    if path.is_dir() and (path / RECIPE).is_file():
        return _read_run(path, weights, image_size, num_classes)
    if path.is_dir() and (path / SOURCE).is_file():
        path /= SOURCE
    elif path.is_dir() and (path / ARCH).is_file():
        path /= ARCH
    size = image_size or IMAGE_SIZE
    if not path.is_file():
        _check_name(model)
    file = weights or (path.parent / WEIGHTS if path.is_file() else None)
    if file is None or (weights is None and not file.is_file()):
        raise ModelError(f"{model}: trained weights are needed; name their file with --weights")
    network: Network
    if path.suffix == ".py":
        classes = num_classes or _count_outputs(path, size)
        network = SourceArch.load(path, classes)
    else:
        network = resolve(str(path) if path.is_file() else model, num_classes)
    built = build(network)
    load_weights(built, read_weights(file), file)
    return Subject(network, built.eval(), file, size)


def _check_name(model: str) -> None:
    """Refuse what is neither a file nor the name of a network, before weights are asked for.

    Raises:
        ModelError: it says what there is.
    """
    if model in {shipped.name for shipped in shipped_models()}:
        raise ModelError(
            f"{model}: came with wisp as an exported model, which cannot be compressed; give a run folder of your own"
        )
    if Path(model).suffix == ".py":
        raise ModelError(f"{model}: no such file")
    resolve(model)


def load_weights(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Fill a network with exactly these weights.

    Raises:
        ModelError: names or shapes differ; `path` says whose.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(expected.keys() | given.keys()):
        if expected.get(name) != given.get(name):
            here, there = (shapes.get(name, "no such tensor") for shapes in (expected, given))
            raise ModelError(f"{path}: of another network: {name} is {there} there and {here} in the network")
    model.load_state_dict(weights)


def _read_run(folder: Path, weights: Path | None, image_size: int | None, num_classes: int | None) -> Subject:
    run = read_run(folder)
    for option, given in (("--weights", weights), ("--num-classes", num_classes)):
        if given is not None:
            raise RecipeError(f"{option}: {folder} is a run, which has its own; leave the option out")
    if image_size not in (None, run.recipe.image_size):
        raise RecipeError(
            f"--image-size {image_size}: the run was trained at {run.recipe.image_size} px; leave the option out"
        )
    return Subject(run.arch, run.load_model(), folder / WEIGHTS, run.recipe.image_size, run)


def _count_outputs(path: Path, image_size: int) -> int:
    """The number of logits of a source that decides it by itself."""
    try:
        model = load_source(path).eval()
        with torch.no_grad():
            logits = model(torch.zeros(2, 3, image_size, image_size))
    except ModelError as error:
        if "build() missing" in str(error):
            raise ModelError(
                f"{path}: build needs the number of classes; give it with --num-classes"
            ) from error
        raise
    except Exception as error:  # the network's own code may raise anything
        reason = str(error).partition("\n")[0]
        raise ModelError(f"{path}: cannot run on {image_size} px images ({reason})") from error
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise ModelError(f"{path}: gives no logits, images x classes")
    return int(logits.shape[1])
