"""A trained network made smaller: each method is (network, its config) -> (smaller network, `Change`)."""

from wisp.compress.change import Change, LayerChange
from wisp.compress.fusion import FuseConfig, fuse
from wisp.compress.lowrank import LowRankConfig, factorize
from wisp.compress.pruning import PruneConfig, Tune, prune

__all__ = [
    "Change",
    "FuseConfig",
    "LayerChange",
    "LowRankConfig",
    "PruneConfig",
    "Tune",
    "factorize",
    "fuse",
    "prune",
]
