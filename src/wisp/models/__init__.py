"""Networks: as data (`ArchSpec`), by name (`named`, `names`, `resolve`), as modules (`build`), with weights."""

from wisp.models.pretrained import load_pretrained, pretrained_names, read_weights
from wisp.models.registry import named, names, resolve
from wisp.models.spec import ArchSpec, build

__all__ = [
    "ArchSpec",
    "build",
    "load_pretrained",
    "named",
    "names",
    "pretrained_names",
    "read_weights",
    "resolve",
]
