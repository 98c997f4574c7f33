"""Networks: as data (`ArchSpec`), by name (`named`, `names`) and as modules (`build`)."""

from wisp.models.registry import named, names
from wisp.models.spec import ArchSpec, build

__all__ = ["ArchSpec", "build", "named", "names"]
