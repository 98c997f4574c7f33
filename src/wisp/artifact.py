"""What a deployed model says about itself: the metadata inside a wisp `.onnx`, shared by exporter and runtime.

The graph takes `image` (uint8, N x size x size x 3, RGB) and gives `probabilities` (float32, N x classes).

The file ends with a digest of everything before it, the seal: a weight with one flipped bit is a valid weight, so
nothing else would notice. The seal is one more metadata entry, appended as protobuf allows (what is concatenated is
merged), so every ONNX reader takes a sealed file as it takes any other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from wisp.errors import ModelError
from wisp.records import GEOMETRIES, ResizeRule

INPUT_NAME = "image"
OUTPUT_NAME = "probabilities"
FORMAT_VERSION = 1
_PREFIX = "wisp."
LARGEST_SIZE = 4096  # pixels a side: one such image takes 50 MB, and a larger number would be a mistake
SEAL_KEY = "wisp.sha256"
# ModelProto.metadata_props is field 14, a StringStringEntryProto of key (1) and value (2); each with its length.
_SEAL = b"\x72\x4f\x0a\x0b" + SEAL_KEY.encode() + b"\x12\x40"
_SEAL_BYTES = len(_SEAL) + 64
_ANEW = "copy the file again, or export the run again"


@dataclass(frozen=True)
class ArtifactInfo:
    """Labels, resize rule, counted costs and provenance of one `.onnx` file.

    `macs` is the competition's count of the network as deployed (BatchNorm folded), `params` its parameters.
    `provenance` is free JSON: the wisp version, the recipe, the data fingerprint, the seed, the epoch.
    """

    labels: tuple[str, ...]
    resize: ResizeRule
    macs: int
    params: int
    macs_as_trained: int
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_metadata(self) -> dict[str, str]:
        """Strings for the ONNX model's `metadata_props`."""
        values: dict[str, Any] = {
            "format": FORMAT_VERSION,
            "labels": list(self.labels),
            "resize": {"size": self.resize.size, "geometry": self.resize.geometry},
            "macs": self.macs,
            "params": self.params,
            "macs_as_trained": self.macs_as_trained,
            "provenance": dict(self.provenance),
        }
        return {
            _PREFIX + key: json.dumps(value, ensure_ascii=False, sort_keys=True)
            for key, value in values.items()
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], *, where: str) -> Self:
        """Read back what `to_metadata` wrote.

        Raises:
            ModelError: a field is missing or damaged; `where` names the file in the message.
        """
        if _PREFIX + "format" not in metadata:
            raise ModelError(
                f"{where}: not a wisp model (no wisp metadata inside); make one with: wisp export RUN"
            )
        try:
            version = int(json.loads(metadata[_PREFIX + "format"]))
            if version > FORMAT_VERSION:
                raise ModelError(
                    f"{where}: written by a newer wisp (format {version}); upgrade wisp to read it"
                )
            values = {
                key: json.loads(metadata[_PREFIX + key])
                for key in ("labels", "resize", "macs", "params", "macs_as_trained", "provenance")
            }
            resize = ResizeRule(int(values["resize"]["size"]), values["resize"]["geometry"])
            info = cls(
                labels=tuple(str(label) for label in values["labels"]),
                resize=resize,
                macs=int(values["macs"]),
                params=int(values["params"]),
                macs_as_trained=int(values["macs_as_trained"]),
                provenance=dict(values["provenance"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ModelError(f"{where}: damaged wisp metadata ({error}); export the run again") from error
        if resize.geometry not in GEOMETRIES or not 1 <= resize.size <= LARGEST_SIZE or not info.labels:
            raise ModelError(f"{where}: damaged wisp metadata (labels or resize rule); export the run again")
        if min(info.macs, info.params, info.macs_as_trained) < 0:
            raise ModelError(f"{where}: damaged wisp metadata (a count below 0); export the run again")
        return info


def seal(model: bytes) -> bytes:
    """The serialized ONNX model with the digest of its bytes at its end."""
    return model + _SEAL + hashlib.sha256(model).hexdigest().encode()


def check_seal(model: bytes, *, where: str) -> bool:
    """Whether a model file ends with a seal, as those of older versions do not.

    Raises:
        ModelError: it does, and the bytes before it are not those that were sealed; `where` names the file.
    """
    body, end = model[:-_SEAL_BYTES], model[-_SEAL_BYTES:]
    if not end.startswith(_SEAL):
        return False
    if hashlib.sha256(body).hexdigest().encode() != end[len(_SEAL) :]:
        raise ModelError(f"{where}: damaged (its bytes are not those that were exported); {_ANEW}")
    return True
