"""Every family and every name, found by discovery: builds, runs, learns, round-trips, and costs what it says."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wisp.errors import ModelError
from wisp.macs import count_macs
from wisp.models import ArchSpec, build, named, names, zoo
from wisp.models.options import FamilyOptions
from wisp.models.spec import Options
from wisp.models.zoo.mobilenetv2 import MobileNetV2Options
from wisp.models.zoo.shufflenetv2 import ShuffleNetV2Options
from wisp.models.zoo.squeezenet import SqueezeNetOptions
from wisp.models.zoo.wisp import NAMED, Stage, Stem, WispOptions, wisp_options


def _families() -> list[type[FamilyOptions]]:
    modules = [
        importlib.import_module(f"{zoo.__name__}.{found.name}")
        for found in pkgutil.iter_modules(zoo.__path__)
    ]
    return [
        member
        for module in modules
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, FamilyOptions) and member.__module__ == module.__name__
    ]


FAMILIES = _families()
NAMES = names()


def test_discovery_finds_the_families() -> None:
    assert len(FAMILIES) >= 7
    assert len(NAMES) >= 20
    assert len(set(NAMES)) == len(NAMES)
    # each file of the zoo is readable from JSON and reachable by name
    assert set(get_args(get_args(Options)[0])) == set(FAMILIES)
    assert {type(named(name, 9).options) for name in NAMES} == set(FAMILIES)


@pytest.mark.parametrize("name", NAMES)
def test_named_network_builds_runs_and_round_trips(name: str) -> None:
    spec = named(name, 5)
    again = ArchSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    assert hash(again) == hash(spec)
    assert len({spec, again, named(name, 6)}) == 2

    network = build(spec).eval()
    with torch.inference_mode():
        logits = network(torch.randn(2, 3, 64, 64))
    assert logits.shape == (2, 5)
    assert bool(torch.isfinite(logits).all())
    # nothing in the network mixes the images of a batch
    with torch.inference_mode():
        images = torch.randn(2, 3, 48, 48)
        torch.testing.assert_close(network(images)[1:], network(images[1:]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("image_size", [32, 47, 64])
def test_closed_form_is_the_counter(name: str, image_size: int) -> None:
    spec = named(name, 9)
    with torch.device("meta"):
        network = build(spec)
    assert spec.macs(image_size) == count_macs(network, image_size).total


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name: str) -> None:
    torch.manual_seed(0)
    network = build(named(name, 3))
    network(torch.randn(4, 3, 64, 64)).square().sum().backward()
    idle = [path for path, parameter in network.named_parameters() if parameter.grad is None]
    assert idle == []


def test_building_is_seeded() -> None:
    spec = named("wisp-250k", 4)
    torch.manual_seed(3)
    first = build(spec).state_dict()
    torch.manual_seed(3)
    second = build(spec).state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_known_costs() -> None:
    # counted by hand-written arithmetic and by ptflops 0.6.5 before this package existed
    rows = ((12, 1, 2, 2, 3), (12, 1, 1, 3, 3), (24, 2, 2, 3, 5), (48, 3, 2, 3, 5))
    strided = ArchSpec(num_classes=6, options=wisp_options(stem=8, stages=rows, head=128))
    assert (strided.macs(64), strided.macs(32)) == (2_348_422, 587_686)
    assert sum(parameter.numel() for parameter in build(strided).parameters()) == 60_854
    patches = ArchSpec(num_classes=6, options=NAMED["wisp-2m"])
    assert (patches.macs(64), patches.macs(48), patches.macs(32)) == (2_322_310, 1_306_638, 581_158)
    # MLPerf Tiny's reference has 78,666 parameters, 480 of them running statistics: buffers here.
    resnet8 = build(named("resnet8", 10))
    assert sum(parameter.numel() for parameter in resnet8.parameters()) == 78_666 - 480
    # the paper says 5.2 M; timm 1.0's ghostnet_100 has exactly this many
    assert sum(parameter.numel() for parameter in build(named("ghostnet", 1000)).parameters()) == 5_182_508


def test_names_of_the_wisp_family_say_their_cost() -> None:
    units = {"k": 1e3, "m": 1e6}
    for name in NAMED:
        size = name.removeprefix("wisp-").removesuffix("-se")
        assert named(name, 9).macs(64) == pytest.approx(float(size[:-1]) * units[size[-1]], rel=0.2)


@pytest.mark.parametrize(
    "family", ["wisp-2m", "mobilenet_v3_small", "mobilenet_v2", "shufflenet_v2", "ghostnet"]
)
def test_a_width_gives_networks_of_the_intended_costs(family: str) -> None:
    costs = [named(f"{family}-{width}", 9).macs(64) for width in (0.1, 0.3, 0.5, 1, 2)]
    assert costs == sorted(costs)
    assert costs[0] < 2.5e6


@pytest.mark.parametrize("name", ["wisp-250k", "resnet8-0.25", "mobilenet_v3_small-0.25"])
def test_a_small_network_learns_a_small_task(name: str) -> None:
    torch.manual_seed(0)
    labels = torch.arange(24) % 3
    images = 0.3 * torch.randn(24, 3, 32, 32)
    for image, label in zip(images, labels, strict=True):
        image[label, 8:24, 8:24] += 1  # the class is the colour of a square
    network = build(named(name, 3))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    for _ in range(25):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    assert (network(images).argmax(1) == labels).float().mean() == 1


stages = st.builds(
    Stage,
    width=st.integers(1, 12),
    depth=st.integers(1, 3),
    kernel=st.sampled_from((1, 3, 5, 7)),
    expansion=st.floats(1, 4) | st.integers(1, 4).map(float),
    stride=st.integers(1, 3),
    squeeze_excite=st.booleans(),
)
wisps = st.builds(
    WispOptions,
    stem=st.builds(Stem, width=st.integers(1, 12), kernel=st.integers(1, 6), stride=st.integers(1, 5)),
    stages=st.lists(stages, min_size=1, max_size=3).map(tuple),
    head=st.just(0) | st.integers(1, 32),
    activation=st.sampled_from(("relu", "relu6", "hardswish")),
    dropout=st.floats(0, 0.9),
)


@settings(max_examples=60, deadline=None)
@given(options=wisps, num_classes=st.integers(2, 12), image_size=st.integers(1, 40))
def test_wisp_is_free_and_its_closed_form_exact(
    options: WispOptions, num_classes: int, image_size: int
) -> None:
    spec = ArchSpec(num_classes=num_classes, options=options)
    assert ArchSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    network = build(spec)
    try:
        macs = spec.macs(image_size)
    except ModelError as error:
        assert "too small" in str(error)  # noqa: PT017  (both sides of the equivalence are checked)
        with pytest.raises(ModelError):
            count_macs(network, image_size)
    else:
        assert macs == count_macs(network, image_size).total


@pytest.mark.parametrize("image_size", range(1, 40))
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_squeezenet_says_when_an_image_is_too_small(version: str, image_size: int) -> None:
    options = SqueezeNetOptions.model_validate({"version": version, "width": 0.1})
    spec = ArchSpec(num_classes=3, options=options)
    with torch.device("meta"):
        network = build(spec)
    try:
        macs = spec.macs(image_size)
    except ModelError:
        with pytest.raises(ModelError):
            count_macs(network, image_size)
    else:
        assert macs == count_macs(network, image_size).total


def test_wisp_structure() -> None:
    patches = wisp_options(stem=8, stem_kernel=4, stem_stride=4, stages=((8, 2, 1, 1, 3),), head=0)
    network = build(ArchSpec(num_classes=2, options=patches))
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert [conv.kernel_size for conv in convolutions] == [
        (4, 4),
        (3, 3),
        (1, 1),
        (3, 3),
        (1, 1),
    ]  # nothing expands
    assert convolutions[0].padding == (1, 1)
    features = network.stem(torch.zeros(1, 3, 64, 64))
    assert features.shape == (1, 8, 16, 16)
    assert all(block.residual for block in network.blocks)

    changing = wisp_options(stem=8, stages=((8, 1, 2, 2, 3), (12, 1, 1, 2, 3)), head=16)
    assert [block.residual for block in changing.blocks()] == [False, False]
    assert [block.hidden for block in changing.blocks()] == [16, 16]


def test_scaling_keeps_the_shape() -> None:
    scaled = NAMED["wisp-2m"].scaled(0.5)
    assert (scaled.stem.width, [stage.width for stage in scaled.stages], scaled.head) == (
        7,
        [6, 12, 24],
        64,
    )
    assert [stage.depth for stage in scaled.stages] == [1, 3, 3]
    assert NAMED["wisp-2m"].scaled(1) == NAMED["wisp-2m"]
    headless = wisp_options(stem=8, stages=((8, 1, 2, 2, 3),), head=0)
    assert headless.scaled(0.01).stem.width == 1
    assert headless.scaled(2).head == 0


def test_options_of_the_published_families() -> None:
    assert MobileNetV2Options(width=0.35).head_channels == 1280
    assert MobileNetV2Options(width=0.35, head=256).head_channels == 256
    assert ShuffleNetV2Options.of_width(0.5).stages == (48, 96, 192)
    assert ShuffleNetV2Options.of_width(0.25).head == 512
    assert ShuffleNetV2Options.of_width(0.8).head == 1024
    assert ShuffleNetV2Options.of_width(3.0).head == 2048
