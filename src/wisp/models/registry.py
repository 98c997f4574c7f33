"""Networks by name: `mobilenet_v2-0.35`, `shufflenet_v2-x0.5`, `squeezenet1_1`, `wisp-2m`, ...

A name is a base, and behind a dash a width that multiplies the channels (with or without an `x`); no width means 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from wisp.errors import ModelError
from wisp.models.spec import ArchSpec, Options, explain
from wisp.models.zoo import wisp
from wisp.models.zoo.ghostnet import GhostNetOptions
from wisp.models.zoo.mobilenetv2 import MobileNetV2Options
from wisp.models.zoo.mobilenetv3 import MobileNetV3SmallOptions
from wisp.models.zoo.resnet8 import ResNet8Options
from wisp.models.zoo.shufflenetv2 import ShuffleNetV2Options
from wisp.models.zoo.squeezenet import SqueezeNetOptions

ARCH_FILE = "arch.json"
COMPETITION_CLASSES = 9

_BASES: Mapping[str, Callable[[float], Options]] = MappingProxyType(
    {
        **{name: options.scaled for name, options in wisp.NAMED.items()},
        "mobilenet_v2": lambda width: MobileNetV2Options(width=width),
        "mobilenet_v3_small": lambda width: MobileNetV3SmallOptions(width=width),
        "shufflenet_v2": ShuffleNetV2Options.of_width,
        "squeezenet1_0": lambda width: SqueezeNetOptions(version="1.0", width=width),
        "squeezenet1_1": lambda width: SqueezeNetOptions(version="1.1", width=width),
        "ghostnet": lambda width: GhostNetOptions(width=width),
        "resnet8": lambda width: ResNet8Options(filters=max(1, round(16 * width))),
    }
)
# Widths worth listing; any other may be asked for. The bare base comes first.
_LISTED = {
    "mobilenet_v2": ("0.1", "0.35", "0.5"),
    "mobilenet_v3_small": ("0.25", "0.5"),
    "shufflenet_v2": ("x0.25", "x0.5", "x1.5", "x2.0"),
    "squeezenet1_1": ("0.25", "0.5"),
    "ghostnet": ("0.1", "0.5"),
    "resnet8": ("0.5",),
}
_WIDTH = re.compile(r"x?(\d+(?:\.\d*)?|\.\d+)", re.ASCII)


def names() -> tuple[str, ...]:
    """Names of networks for `named`: every base, and some of the widths that it takes."""
    return tuple(
        name for base in _BASES for name in (base, *(f"{base}-{width}" for width in _LISTED.get(base, ())))
    )


def named(name: str, num_classes: int) -> ArchSpec:
    """The network called `name`, such as `wisp-2m` or `mobilenet_v2-0.35`, for `num_classes` classes.

    Raises:
        ModelError: no such name (close ones are suggested), a width out of range, fewer than two classes.
    """
    base, width = _split(name)
    try:
        return ArchSpec(num_classes=num_classes, options=_BASES[base](width))
    except ValidationError as error:
        raise ModelError(f"model {name!r}: {explain(error)}") from error


def resolve(model: str | Path, num_classes: int | None = None) -> ArchSpec:
    """The network that a user names on the command line: a name, an arch.json, or a folder that holds an arch.json.

    Args:
        model: A name wins over a file of that name; write `./NAME` for the file.
        num_classes: Classes of the network. None keeps the file's own, and means the competition's nine for a name.

    Raises:
        ModelError: no such name or file, or the file describes no network.
    """
    path = Path(model)
    if path.is_dir() and str(model) not in _BASES:
        path /= ARCH_FILE
        if not path.is_file():
            raise ModelError(f"{path.parent}: no run folder: it holds no {ARCH_FILE}")
    if path.suffix == ".onnx":
        raise ModelError(f"{path}: an exported model; give its run folder, or the {ARCH_FILE} inside it")
    if path.suffix == ".json" or (path.is_file() and str(model) not in _BASES):
        spec = ArchSpec.load(path)
        return spec if num_classes is None else spec.with_classes(num_classes)
    return named(str(model), COMPETITION_CLASSES if num_classes is None else num_classes)


def _split(name: str) -> tuple[str, float]:
    if name in _BASES:
        return name, 1.0
    base, _, text = name.rpartition("-")
    if base not in _BASES:
        close = get_close_matches(name, names(), n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(_BASES)}"
        raise ModelError(f"no model is called {name!r}, and there is no such file; {hint}")
    match = _WIDTH.fullmatch(text)
    width = float(match[1]) if match else 0.0
    if not 0.01 <= width <= 10:
        raise ModelError(
            f"model {name!r}: the width {text!r} must be a number from 0.01 to 10, as in {base}-0.5"
        )
    return base, width
