"""What lies in a submission: the names of its members and the size that each may have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

MANIFEST = "manifest.json"
PREDICTIONS = "predictions.json"
MODEL = "model.onnx"
WEIGHTS = "weights.safetensors"
ARCH = "arch.json"
SOURCE = "model.py"
RECIPE = "recipe.toml"
DATA = "data.json"
SOURCE_FOLDER = "source/"

_MIB = 1 << 20
# In the order in which they are written; largest sizes in bytes.
MEMBERS: Mapping[str, int] = MappingProxyType(
    {
        MANIFEST: 2 * _MIB,
        PREDICTIONS: 32 * _MIB,
        MODEL: 256 * _MIB,
        WEIGHTS: 256 * _MIB,
        ARCH: _MIB,
        SOURCE: _MIB,
        RECIPE: _MIB // 16,
        DATA: 64 * _MIB,
    }
)
LARGEST_SOURCE_BYTES = _MIB  # of each further source file
LARGEST_TOTAL_BYTES = 640 * _MIB
MOST_MEMBERS = 256
ALWAYS = (MANIFEST, PREDICTIONS, MODEL, WEIGHTS, RECIPE, DATA)  # and either ARCH or SOURCE

_FURTHER_SOURCE = re.compile(r"source/(?:[A-Za-z_]\w{0,63}/){0,8}[A-Za-z_]\w{0,63}\.py", re.ASCII)


def largest_size(name: str) -> int | None:
    """The most bytes that a member of this name may have; None where no member has such a name."""
    if name in MEMBERS:
        return MEMBERS[name]
    return LARGEST_SOURCE_BYTES if _FURTHER_SOURCE.fullmatch(name) else None


def order(name: str) -> tuple[int, str]:
    """Sort key: the order in which members are written."""
    known = list(MEMBERS)
    return (known.index(name) if name in MEMBERS else len(known), name)
