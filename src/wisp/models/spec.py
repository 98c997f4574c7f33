"""`ArchSpec`: a network as data. Frozen, hashable, JSON; `build(spec)` makes the module."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from torch import nn

from wisp.errors import ModelError
from wisp.files import write_json
from wisp.models.edits import Edit, Edits, apply_edits, edits_to_json
from wisp.models.options import Record
from wisp.models.zoo.ghostnet import GhostNetOptions
from wisp.models.zoo.mobilenetv2 import MobileNetV2Options
from wisp.models.zoo.mobilenetv3 import MobileNetV3SmallOptions
from wisp.models.zoo.resnet8 import ResNet8Options
from wisp.models.zoo.shufflenetv2 import ShuffleNetV2Options
from wisp.models.zoo.squeezenet import SqueezeNetOptions
from wisp.models.zoo.wisp import WispOptions

# One record a family; `family` in the JSON says which.
Options = Annotated[
    WispOptions
    | MobileNetV2Options
    | MobileNetV3SmallOptions
    | ShuffleNetV2Options
    | SqueezeNetOptions
    | GhostNetOptions
    | ResNet8Options,
    Field(discriminator="family"),
]


class ArchSpec(Record):
    """A network without its weights: the family's options, the number of classes, and what compression changed.

    Two specs are equal, and hash alike, when they describe the same network.
    """

    num_classes: Annotated[int, Field(ge=2, le=100_000)]
    options: Options
    edits: Edits = ()

    @property
    def family(self) -> str:
        """The tag of the family, such as `wisp`."""
        return self.options.family

    def macs(self, image_size: int) -> int:
        """MACs of one `image_size` x `image_size` image, without building the network.

        Equal to `wisp.macs.count_macs` of the built network.

        Raises:
            ModelError: the image is too small for this network, or the network was compressed: that has no closed
                form, so build it and count it.
        """
        if self.edits:
            raise ModelError(
                "a compressed network has no closed form of its MACs; count them with: wisp macs"
            )
        return self.options.macs(self.num_classes, image_size)

    def with_classes(self, num_classes: int) -> ArchSpec:
        """The same network for another number of classes.

        Raises:
            ModelError: fewer than two classes.
        """
        return self.from_json({**self.to_json(), "num_classes": num_classes})

    def with_edits(self, edits: Sequence[Edit]) -> ArchSpec:
        """The network after further edits."""
        return self.model_copy(update={"edits": (*self.edits, *edits)})

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` takes; `edits` is in it where there are some."""
        value = self.model_dump(mode="json", exclude={"edits"})
        return {**value, "edits": edits_to_json(self.edits)} if self.edits else value

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, where: str = "architecture") -> ArchSpec:
        """The inverse of `to_json`.

        Raises:
            ModelError: an unknown family or field, or a bad value; `where` names the file in the message.
        """
        try:
            return cls.model_validate(dict(value) if isinstance(value, Mapping) else value)
        except ValidationError as error:
            raise ModelError(f"{where}: {explain(error)}") from error

    def save(self, path: Path) -> None:
        """Write the spec as JSON to `path`, whole or not at all."""
        write_json(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> ArchSpec:
        """Read a spec that `save` wrote, or that was written by hand.

        Raises:
            ModelError: the file is missing, is not JSON or describes no network.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
        except (ValueError, RecursionError) as error:  # the latter: nested thousands deep
            raise ModelError(f"{path}: not JSON ({error})") from error
        return cls.from_json(value, where=str(path))


def build(spec: ArchSpec) -> nn.Module:
    """The network that `spec` describes, freshly initialised from torch's random state.

    It takes normalised float images N x 3 x H x W and gives logits N x num_classes.

    Raises:
        ModelError: an edit does not fit the network.
    """
    model = spec.options.build(spec.num_classes)
    apply_edits(model, spec.edits)
    return model


def explain(error: ValidationError) -> str:
    """The first complaint in one line, with the path of its field: `options.stages[1].width: ...`."""
    first = error.errors(include_url=False)[0]
    location = list(first["loc"])
    tagged = "family" if location[:1] == ["options"] else "edit"
    if first["type"].startswith("union_tag"):
        location.append(tagged)
    elif location[:1] == ["options"] and len(location) > 1:
        del location[1]  # pydantic puts the family's tag into the path
    elif location[:1] == ["edits"] and len(location) > 2:
        del location[2]
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    match first["type"]:
        case "union_tag_invalid":
            context = first["ctx"]
            return f"{path}: unknown {tagged} {context['tag']!r}; known: {context['expected_tags']}"
        case "union_tag_not_found":
            return f"{path}: missing; it names the {'family of networks' if tagged == 'family' else 'edit'}"
        case "missing":
            message = "missing"
        case "extra_forbidden":
            message = "unknown field"
        case "value_error":
            message = str(first["ctx"]["error"])
        case _:
            message = first["msg"][0].lower() + first["msg"][1:]
    given = "" if isinstance(first["input"], dict | list) else f" (got {first['input']!r})"
    return f"{path}: {message}{given}" if path else f"{message}{given}"
