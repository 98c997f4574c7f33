"""Costs in closed form against the network itself: counted, folded, traced and exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from wisp.errors import ModelError
from wisp.export.onnx import export_onnx
from wisp.macs import count_macs
from wisp.models import ArchSpec, build, named
from wisp.models.cost import cost
from wisp.models.layers import SqueezeExcite
from wisp.models.zoo.wisp import NAMED, Stage, Stem, WispOptions
from wisp.records import ResizeRule

WRITES_OVER_ITS_INPUT = (
    nn.ReLU,
    nn.ReLU6,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.BatchNorm2d,
    nn.Dropout,
    nn.Flatten,
    nn.Sequential,  # an empty one, in place of a head; others are no leaves
)

stages = st.builds(
    Stage,
    width=st.integers(1, 12),
    depth=st.integers(1, 3),
    kernel=st.sampled_from((1, 3, 5, 7)),
    expansion=st.sampled_from((1.0, 1.5, 2.0, 3.0)),
    stride=st.integers(1, 2),
    squeeze_excite=st.booleans(),
)
networks = st.builds(
    WispOptions,
    stem=st.builds(Stem, width=st.integers(1, 12), kernel=st.integers(1, 12), stride=st.integers(1, 5)),
    stages=st.lists(stages, min_size=1, max_size=4).map(tuple),
    head=st.just(0) | st.integers(1, 40),
    activation=st.sampled_from(("relu", "relu6", "hardswish")),
    dropout=st.sampled_from((0.0, 0.1)),
)


class _Leaves(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not any(True for _ in m.children())


def peak_values(network: nn.Module, image_size: int) -> int:
    """The most values alive at once, by walking the traced graph: the slow way."""
    tracer = _Leaves()
    graph = fx.GraphModule(network, tracer.trace(network.eval()))
    ShapeProp(graph).propagate(torch.zeros(1, 3, image_size, image_size))
    nodes = [node for node in graph.graph.nodes if node.op != "output"]
    last_read = {
        node: max((nodes.index(user) for user in node.users if user in nodes), default=len(nodes))
        for node in nodes
    }
    buffer: dict[fx.Node, fx.Node] = {}  # a tensor -> the tensor whose memory it lies in

    def values(node: fx.Node) -> int:
        return int(node.meta["tensor_meta"].shape.numel())

    peak = 0
    for index, node in enumerate(nodes):
        inputs = node.all_input_nodes
        over = node.op == "call_module" and isinstance(
            graph.get_submodule(node.target), WRITES_OVER_ITS_INPUT
        )
        if over or node.op == "call_function":  # an addition or a product of equal shapes
            ends = [each for each in inputs if last_read[each] == index and values(each) == values(node)]
            buffer[node] = buffer[ends[-1]]
        else:
            buffer[node] = node
        alive = {
            buffer[each]
            for position, each in enumerate(nodes)
            if position <= index and (each is node or last_read[each] >= index)
        }
        peak = max(peak, sum(map(values, alive)))
    return peak


@settings(max_examples=40, deadline=None)
@given(options=networks, num_classes=st.integers(2, 9), image_size=st.integers(8, 40))
def test_closed_forms_are_those_of_the_network(
    options: WispOptions, num_classes: int, image_size: int
) -> None:
    try:
        expected = cost(options, num_classes, image_size)
    except ModelError:
        with pytest.raises(ModelError):
            options.macs(num_classes, image_size)
        assume(False)
    network = build(ArchSpec(num_classes=num_classes, options=options))
    as_trained = count_macs(network, image_size)
    assert expected.macs_as_trained == as_trained.total
    # Folding gives each convolution a bias in place of a BatchNorm: one MAC a value less, one parameter a channel less.
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert expected.params == as_trained.params - sum(norm.num_features for norm in norms)
    folded = (
        as_trained.total - sum(layer.macs for layer in as_trained.layers if layer.kind == "BatchNorm2d") // 2
    )
    assert expected.macs == folded
    before_pool = nn.Sequential(network.stem, network.blocks, network.head).eval()
    with torch.no_grad():
        assert before_pool(torch.zeros(1, 3, image_size, image_size)).shape[-1] == expected.last_map
    assert expected.memory_bytes == 4 * peak_values(network, image_size)


def test_squeeze_excite_is_seen_by_the_slow_way() -> None:
    """The test above would pass over a gate that the tracer hid."""
    network = build(
        ArchSpec(
            num_classes=2,
            options=WispOptions(stem=Stem(width=4), stages=(Stage(width=4, squeeze_excite=True),), head=0),
        )
    )
    assert any(isinstance(module, SqueezeExcite) for module in network.modules())
    kinds = {node.target for node in _Leaves().trace(network.eval()).nodes if node.op == "call_module"}
    assert any("scale_activation" in str(kind) for kind in kinds)


@pytest.mark.parametrize("name", NAMED)
def test_named_networks(name: str) -> None:
    spec = named(name, 9)
    assert cost(NAMED[name], 9, 64).macs_as_trained == spec.macs(64)
    assert cost(NAMED[name], 9, 64).macs < spec.macs(64)


def test_memory_of_a_network_by_hand() -> None:
    options = WispOptions(
        stem=Stem(width=4, kernel=3, stride=2), stages=(Stage(width=4, expansion=2.0),), head=0
    )
    # 8 x 8 after the stem; the shortcut (4) waits while the depthwise layer reads 8 and writes 8 channels.
    assert cost(options, 2, 16).memory_bytes == 4 * (4 + 8 + 8) * 8 * 8


def test_space_to_depth_is_a_convolution() -> None:
    """Space-to-depth by b and a k x k convolution is one of kernel k b, stride b: no layer is needed."""
    torch.manual_seed(0)
    images = torch.randn(2, 3, 16, 16)
    stem = nn.Conv2d(12, 5, 3, padding=1, bias=False)
    rearranged = nn.Conv2d(3, 5, 6, 2, (6 - 1) // 2, bias=False)  # as conv_bn_act pads
    with torch.no_grad():
        # pixel_unshuffle's channel c * 4 + i * 2 + j holds pixel (i, j) of each 2 x 2 block of channel c
        kernels = stem.weight.reshape(5, 3, 2, 2, 3, 3).permute(0, 1, 4, 2, 5, 3).reshape(5, 3, 6, 6)
        rearranged.weight.copy_(kernels)
        torch.testing.assert_close(rearranged(images), stem(nn.functional.pixel_unshuffle(images, 2)))


def test_the_file_is_no_larger_than_said(tmp_path: Path) -> None:
    options = WispOptions(
        stem=Stem(width=8, kernel=6, stride=2),
        stages=(Stage(width=8, squeeze_excite=True), Stage(width=12, stride=2)),
        head=32,
        activation="hardswish",
    )
    spec = ArchSpec(num_classes=3, options=options)
    torch.manual_seed(0)
    network = build(spec).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # biases that differ, so that the file cannot share them
            nn.init.normal_(module.bias)
    path = tmp_path / "model.onnx"
    export_onnx(
        network,
        labels=("glass", "metal", "paper"),
        resize=ResizeRule(24),
        macs_as_trained=spec.macs(24),
        provenance={"arch": spec.to_json()},
        check_images=np.zeros((1, 24, 24, 3), np.uint8),
        path=path,
    )
    said = cost(options, 3, 24).size_bytes
    assert said - 5000 < path.stat().st_size <= said
