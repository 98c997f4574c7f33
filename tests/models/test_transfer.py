"""Weights that move between networks: the function stays where it can, and what is lost is said."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from wisp.errors import ModelError
from wisp.models import ArchSpec, build, named
from wisp.models.transfer import shared_weights, transfer_weights
from wisp.models.zoo.wisp import Stage, Stem, WispOptions

BASE = WispOptions(
    stem=Stem(width=8, kernel=3, stride=2),
    stages=(
        Stage(width=8, depth=2, kernel=3, expansion=2.0, stride=1),
        Stage(width=12, depth=2, kernel=5, expansion=3.0, stride=2, squeeze_excite=True),
    ),
    head=24,
)
IMAGES = torch.randn(3, 3, 24, 24, generator=torch.Generator().manual_seed(1))


def spec(options: WispOptions, num_classes: int = 4) -> ArchSpec:
    return ArchSpec(num_classes=num_classes, options=options)


def changed(stage: int | None = None, **changes: Any) -> WispOptions:
    if stage is None:
        return WispOptions.model_validate({**BASE.model_dump(), **changes})
    stages = [each.model_dump() for each in BASE.stages]
    stages[stage] |= changes
    return WispOptions.model_validate({**BASE.model_dump(), "stages": stages})


def trained(options: WispOptions = BASE, seed: int = 0) -> nn.Module:
    """A network whose every tensor is far from its start, as training leaves it."""
    torch.manual_seed(seed)
    network = build(spec(options)).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
            elif tensor.is_floating_point() and tensor.dim() == 1:
                tensor.normal_(0.3, 0.5)
    return network


def moved(source: nn.Module, theirs: WispOptions, ours: WispOptions, **options: Any) -> tuple[nn.Module, Any]:
    torch.manual_seed(7)
    network = build(spec(ours)).eval()
    transfer = transfer_weights(source.state_dict(), spec(theirs), network, spec(ours), **options)
    return network, transfer


def logits(network: nn.Module) -> Tensor:
    with torch.inference_mode():
        return network(IMAGES)


def same(one: nn.Module, other: nn.Module) -> None:
    torch.testing.assert_close(logits(one), logits(other), rtol=1e-4, atol=1e-4)


def test_the_same_network_is_copied_whole() -> None:
    source = trained()
    network, transfer = moved(source, BASE, BASE)
    assert all(
        torch.equal(a, b)
        for a, b in zip(source.state_dict().values(), network.state_dict().values(), strict=True)
    )
    assert transfer.partial == transfer.left == ()
    assert len(transfer.whole) == sum("num_batches" not in name for name in network.state_dict())


LARGER = {
    "deeper": changed(0, depth=4),
    "a larger kernel": changed(0, kernel=7),
    "a larger expansion": changed(1, expansion=4.0),
    "a wider stage": changed(1, width=20),
    "a wider stage with a shortcut from the stem": changed(0, width=8, depth=3),
    "a wider head": changed(head=48),
    "a gate": changed(0, squeeze_excite=True),
    "a larger stem kernel": changed(stem={"width": 8, "kernel": 5, "stride": 2}),
    "a stem of space-to-depth": changed(stem={"width": 8, "kernel": 6, "stride": 2}),
    "one stage more": changed(stages=[*BASE.model_dump()["stages"], Stage(width=12, depth=2).model_dump()]),
}


@pytest.mark.parametrize("name", LARGER)
def test_a_larger_network_computes_the_same(name: str) -> None:
    source = trained()
    network, transfer = moved(source, BASE, LARGER[name])
    same(source, network)
    assert transfer.partial or transfer.left


def test_a_larger_network_can_learn_with_all_it_has() -> None:
    """Nothing that is new is stuck at zero: after two steps every tensor has moved."""
    network, _ = moved(trained(), BASE, LARGER["a wider stage"])
    before = {name: value.clone() for name, value in network.named_parameters()}
    optimizer = torch.optim.SGD(network.train().parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        network(IMAGES).square().sum().backward()
        optimizer.step()
    stuck = [
        name for name, value in network.named_parameters() if not bool(((value - before[name]) != 0).any())
    ]
    assert stuck == []


def dead_channels(network: nn.Module, norms: list[str], channels: list[int]) -> None:
    """Channels that are zero behind their norm."""
    with torch.no_grad():
        for norm in norms:
            module = network.get_submodule(norm)
            module.weight[channels] = 0
            module.bias[channels] = 0


def test_importance_drops_the_channels_that_do_nothing() -> None:
    source = trained()
    # the hidden channels of the last block, the head's, and the last stage's in both blocks
    dead_channels(source, ["blocks.3.block.1.1"], list(range(0, 36, 3)))
    dead_channels(source, ["head.1"], [0, 1, 5, 9])
    dead_channels(source, ["blocks.2.block.3.1", "blocks.3.block.3.1"], [2, 3])
    smaller = WispOptions.model_validate({**changed(1, width=10).model_dump(), "head": 20})
    # hidden widths follow the stage's: 10 * 3 = 30 of 36, and 24 of them are alive
    network, transfer = moved(source, BASE, smaller, choose="importance")
    gates = [name for name, module in network.named_modules() if type(module).__name__ == "SqueezeExcite"]
    assert gates
    assert transfer.left == ()
    # the gates are narrower (a quarter of the hidden channels), so compare without them
    for each in (source, network):
        for gate in (module for module in each.modules() if type(module).__name__ == "SqueezeExcite"):
            nn.init.zeros_(gate.fc2.weight)
            nn.init.constant_(gate.fc2.bias, 3.0)
    same(source, network)
    leading, _ = moved(source, BASE, smaller)
    assert (logits(leading) - logits(source)).abs().max() > 0.01


def test_leading_channels_are_what_a_supernet_shares() -> None:
    source = trained()
    smaller = changed(1, width=8, kernel=3)
    network, _ = moved(source, BASE, smaller)
    big, small = source.state_dict(), network.state_dict()
    name = "blocks.3.block.3.0.weight"  # hidden 36 -> 12 channels, now 24 -> 8
    assert torch.equal(small[name], big[name][:8, :24])
    name = "blocks.3.block.1.0.weight"  # 5 x 5, now 3 x 3
    assert torch.equal(small[name], big[name][:24, :, 1:4, 1:4])
    assert torch.equal(small["head.0.weight"], big["head.0.weight"][:, :8])


def test_a_sub_network_shares_what_would_be_copied_and_teaches_the_large_one() -> None:
    big = changed(head=32)
    small = WispOptions.model_validate(
        {
            **changed(1, width=8, kernel=3, depth=1, expansion=2.0).model_dump(),
            "stem": {"width": 6, "kernel": 3, "stride": 2},
        }
    )
    source = trained(big)
    network, transfer = moved(source, big, small)
    assert transfer.left == ()
    views = shared_weights(dict(source.named_parameters()), spec(big), spec(small))
    copied = dict(network.named_parameters())
    assert views.keys() == copied.keys()
    assert all(torch.equal(views[name], copied[name]) for name in copied)
    torch.func.functional_call(network.train(), views, (IMAGES,)).square().sum().backward()
    touched = source.head[0].weight.grad
    assert touched is not None
    assert bool(touched[:24, :8].abs().sum() > 0)
    assert bool(touched[24:].abs().sum() == 0)
    assert source.blocks[1].block[0][0].weight.grad is not None
    assert source.blocks[3].block[0][0].weight.grad is None  # a block that the small one does not have


def test_what_is_no_sub_network_is_refused() -> None:
    parameters = dict(trained().named_parameters())
    with pytest.raises(ModelError, match=r"a layer \(0\.2\.expand\) that the larger one lacks"):
        shared_weights(parameters, spec(BASE), spec(changed(0, depth=3)))
    with pytest.raises(ModelError, match="wisp family"):
        shared_weights(parameters, spec(BASE), named("resnet8", 4))


def test_shortcuts_choose_the_same_channels() -> None:
    options = changed(stem={"width": 8, "kernel": 3, "stride": 2})
    source = trained(options)
    dead_channels(source, ["stem.1", "blocks.0.block.2.1", "blocks.1.block.2.1"], [1, 4])
    smaller = WispOptions.model_validate(
        {**changed(0, width=6).model_dump(), "stem": {"width": 6, "kernel": 3, "stride": 2}}
    )
    network, _ = moved(source, options, smaller, choose="importance")
    stem = source.state_dict()["stem.0.weight"]
    assert torch.equal(network.state_dict()["stem.0.weight"], stem[[0, 2, 3, 5, 6, 7]])


def test_other_classes_leave_the_classifier_fresh() -> None:
    source = trained()
    torch.manual_seed(3)
    network = build(spec(BASE, 9)).eval()
    fresh = network.classifier.weight.clone()
    transfer = transfer_weights(source.state_dict(), spec(BASE), network, spec(BASE, 9))
    assert transfer.left == ("classifier.weight", "classifier.bias")
    assert torch.equal(network.classifier.weight, fresh)
    same_number, transfer = moved(source, BASE, BASE, classifier=False)
    assert transfer.left == ("classifier.weight", "classifier.bias")
    assert not torch.equal(same_number.classifier.weight, source.classifier.weight)


def test_what_cannot_be_taken_is_named() -> None:
    _, transfer = moved(trained(), BASE, changed(head=0))
    assert transfer.left == ("classifier.weight", "classifier.bias")
    fewer = WispOptions.model_validate({**BASE.model_dump(), "stages": [BASE.stages[0].model_dump()]})
    _, transfer = moved(trained(), BASE, fewer)
    assert "head.0.weight" in transfer.left
    assert "classifier.weight" in transfer.whole
    _, transfer = moved(trained(), BASE, changed(0, expansion=1.0))
    assert {name for name in transfer.left if name.startswith("blocks.0")}
    assert "blocks.2.block.0.0.weight" in transfer.whole


stages = st.builds(
    Stage,
    width=st.integers(1, 10),
    depth=st.integers(1, 3),
    kernel=st.sampled_from((1, 3, 5)),
    expansion=st.sampled_from((1.0, 1.5, 3.0)),
    stride=st.integers(1, 2),
    squeeze_excite=st.booleans(),
)
networks = st.builds(
    WispOptions,
    stem=st.builds(Stem, width=st.integers(1, 10), kernel=st.integers(1, 6), stride=st.integers(1, 4)),
    stages=st.lists(stages, min_size=1, max_size=3).map(tuple),
    head=st.just(0) | st.integers(1, 20),
)


@settings(max_examples=30, deadline=None)
@given(networks, networks, st.sampled_from(("leading", "importance")))
def test_any_network_can_start_from_any_other(theirs: WispOptions, ours: WispOptions, choose: Any) -> None:
    source = trained(theirs)
    network, transfer = moved(source, theirs, ours, choose=choose)
    names = [name for name in network.state_dict() if "num_batches" not in name]
    assert sorted([*transfer.whole, *transfer.partial, *transfer.left]) == sorted(names)
    assert all(bool(value.isfinite().all()) for value in network.state_dict().values())
    assert any(name.startswith("stem") for name in (*transfer.whole, *transfer.partial))


def test_other_families_go_by_name() -> None:
    torch.manual_seed(0)
    wide, narrow = (named(f"mobilenet_v2-{width}", 5) for width in ("0.35", "0.1"))
    source, network = build(wide), build(narrow)
    transfer = transfer_weights(source.state_dict(), wide, network, narrow)
    assert len(transfer.whole) + len(transfer.partial) > 0.9 * (
        len(transfer.whole) + len(transfer.partial) + len(transfer.left)
    )
    same_net = build(wide)
    assert transfer_weights(source.state_dict(), wide, same_net, wide).partial == ()
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(source.eval()(images), same_net.eval()(images))
    other = named("mobilenet_v2-0.35", 7)
    left = transfer_weights(source.state_dict(), wide, build(other), other).left
    assert left == ("classifier.1.weight", "classifier.1.bias")
