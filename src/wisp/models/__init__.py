"""Networks: as data (`ArchSpec`), by name (`named`, `names`, `resolve`), as modules (`build`), with weights."""

from wisp.models.pretrained import load_pretrained, pretrained_names, read_weights
from wisp.models.registry import named, names, resolve
from wisp.models.source import Network, SourceArch, build, load_source
from wisp.models.spec import ArchSpec
from wisp.models.starts import Start, find_start

__all__ = [
    "ArchSpec",
    "Network",
    "SourceArch",
    "Start",
    "build",
    "find_start",
    "load_pretrained",
    "load_source",
    "named",
    "names",
    "pretrained_names",
    "read_weights",
    "resolve",
]
