"""The networks that wisp is held against, by name, with what their authors published of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from wisp.models import Network, SourceArch, named

SIZES = (32, 48, 64, 96)
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Published:
    """What is published of a network, and where: MACs without norms, biases and pools, as papers count."""

    params: int
    macs: int
    image_size: int
    where: str
    num_classes: int = 1000


@dataclass(frozen=True)
class Peer:
    """A network for any number of classes, and the published figures of its own task."""

    build: Callable[[int], Network]
    published: Published


def _named(name: str, published: Published) -> tuple[str, Peer]:
    return name, Peer(partial(named, name), published)


def _source(name: str, file: str, published: Published, *, ending: str = "") -> tuple[str, Peer]:
    """A network with a file of its own here; `ending` is added to it."""

    def load(num_classes: int) -> SourceArch:
        return SourceArch((_FOLDER / file).read_text(encoding="utf-8") + ending, num_classes, f"{name}.py")

    return name, Peer(load, published)


PEERS: Mapping[str, Peer] = MappingProxyType(
    dict(
        (
            _named(
                "shufflenet_v2-x0.5", Published(1_366_792, 41_000_000, 224, "Ma et al., 2018; torchvision")
            ),
            # timm's, whose first and last layers stay as wide as at 1.0
            _named("mobilenet_v3_small-0.5", Published(1_593_224, 30_000_000, 224, "timm 1.0")),
            _named(
                "mobilenet_v3_small",
                Published(2_542_856, 56_000_000, 224, "Howard et al., 2019; torchvision"),
            ),
            _named(
                "mobilenet_v2-0.35", Published(1_677_128, 59_000_000, 224, "Sandler et al., 2018; timm 1.0")
            ),
            _named(
                "squeezenet1_1", Published(1_235_496, 350_000_000, 224, "Iandola et al., 2016; torchvision")
            ),
            _named("ghostnet-0.5", Published(2_587_292, 42_000_000, 224, "Han et al., 2020; timm 1.0")),
            _named("resnet8", Published(78_000, 12_500_000, 32, "MLPerf Tiny, 2021", num_classes=10)),
            _source(
                "tinynet-e",
                "tinynet_e.py",
                Published(2_042_972, 24_000_000, 106, "Han et al., 2020; timm 1.0"),
            ),
            _source("micronet-m0", "micronet.py", Published(1_000_000, 4_000_000, 224, "Li et al., 2021")),
            _source(
                "micronet-m1",
                "micronet.py",
                Published(1_800_000, 6_000_000, 224, "Li et al., 2021"),
                ending="build = build_m1\n",
            ),
            _source("mcunet-in0", "mcunet_in0.py", Published(750_000, 6_400_000, 48, "Lin et al., 2020")),
        )
    )
)
