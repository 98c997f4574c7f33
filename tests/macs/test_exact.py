"""The exact counter: right or "incomplete", never a silent miss, and no trace left behind."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from benchmarks.mac_cases import CASES, SIZE, Case, Function
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from network_families import cheapest_of_each_family
from wisp.errors import ModelError
from wisp.macs import count_exact, count_macs, differences
from wisp.models import ArchSpec, build, named


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_is_right_or_says_incomplete(case: Case) -> None:
    torch.manual_seed(0)
    report = count_exact(case.build(), SIZE)
    assert report.complete == case.decidable
    if case.decidable:
        assert report.total == case.macs
    else:
        assert all(item.reason for item in report.unknown)
    assert (
        report.total
        == sum(row.macs for row in report.operators)
        == sum(layer.macs for layer in report.layers)
    )
    assert report.elementwise == sum(row.elementwise for row in report.operators)
    assert all(row.macs or row.elementwise for row in report.operators)


def test_every_row_names_its_layer_and_source_line() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        Function(lambda m, x: F.conv2d(x, m.weight), weight=nn.Parameter(torch.ones(2, 4, 1, 1))),
    )
    report = count_exact(model, SIZE)
    assert [(row.operator, row.layer, row.macs) for row in report.operators] == [
        ("aten::convolution", "0", 36 * 4 * 27),
        ("aten::convolution", "1", 36 * 8),
    ]
    file, _, line = str(report.operators[1].source).rpartition(":")
    assert file == __file__
    assert "F.conv2d" in Path(file).read_text(encoding="utf-8").splitlines()[int(line) - 1]
    assert [(layer.name, layer.kind, layer.params) for layer in report.layers] == [
        ("0", "Conv2d", 112),
        ("1", "Function", 8),
    ]
    unknown = count_exact(
        next(case for case in CASES if case.name == "numpy inside forward").build(), SIZE
    ).unknown
    assert unknown[0].operator == "Tensor.numpy"
    assert "mac_cases.py:" in str(unknown[0].source)


def _norms_and_pools(model: nn.Module, image_size: int) -> Counter[str]:
    """The competition's MACs that are no MACs, from its own table and the modules' options."""
    found: Counter[str] = Counter()
    modules = dict(model.named_modules())
    for layer in count_macs(model, image_size).layers:
        module = modules[layer.name]
        if layer.kind.startswith("BatchNorm"):
            found["batch norm"] += layer.macs
        elif "Pool" in layer.kind:
            found["pooling"] += layer.macs
        elif getattr(module, "bias", None) is not None and layer.output_shape is not None:
            found["bias"] += int(np.prod(layer.output_shape))
    return +found


def test_there_are_families() -> None:
    assert len(cheapest_of_each_family(32)) >= 7


@pytest.mark.parametrize("name", cheapest_of_each_family(32))
def test_official_is_exact_and_the_itemised_rest(name: str) -> None:
    model = build(named(name, 9))
    exact, official = count_exact(model, 32), count_macs(model, 32)
    assert exact.complete
    assert exact.method == "export"
    items = {item.cause: item.macs for item in differences(official, exact)}
    assert items == _norms_and_pools(model, 32)
    assert official.total == exact.total + sum(items.values())


def _random_spec(generator: random.Random) -> ArchSpec:
    stages = [
        {
            "width": generator.randint(2, 9),
            "depth": 2 if generator.random() < 0.1 else 1,
            "kernel": generator.choice((1, 3, 5)),
            "expansion": generator.choice((1, 1.5, 3)),
            "stride": generator.choice((1, 2)),
            "squeeze_excite": generator.random() < 0.3,
        }
        for _ in range(2 if generator.random() < 0.1 else 1)
    ]
    return ArchSpec.from_json(
        {
            "num_classes": generator.randint(2, 12),
            "options": {
                "family": "wisp",
                "stem": {"width": generator.randint(2, 9), "kernel": generator.choice((3, 4)), "stride": 2},
                "stages": stages,
                "head": generator.choice((0, 16)),
                "activation": generator.choice(("relu", "relu6", "hardswish")),
            },
        }
    )


@pytest.mark.slow
def test_two_hundred_random_networks_equal_the_closed_form() -> None:
    generator = random.Random(0)  # noqa: S311
    for _ in range(200):
        spec = _random_spec(generator)
        image_size = generator.choice((16, 24, 33))
        model = build(spec)
        report = count_exact(model, image_size)
        assert report.complete
        assert report.total == spec.macs(image_size) - sum(_norms_and_pools(model, image_size).values()), spec


def test_counting_elementwise() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Hardswish(), nn.ReLU(), nn.MaxPool2d(2))
    report = count_exact(model, 8)
    assert (report.total, report.elementwise) == (0, 2 * 192)
    assert report.to_json()["complete"] is True
    gated = count_exact(Function(lambda _m, x: x + x * x.sigmoid()), 8)
    assert (gated.total, gated.elementwise) == (0, 2 * 192)


def _in_half_precision(_model: Any, images: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return images @ images


PROGRAMS: dict[str, tuple[Callable[[Any, Tensor], Tensor], int]] = {
    "two products are a blend": (lambda _m, x: x * 0.3 + x.flip(2) * 0.7, 0),
    "three are a sum": (lambda _m, x: x * 0.3 + x.flip(2) * 0.5 + x.flip(3) * 0.2, 3 * 192),
    "scaled addition": (lambda _m, x: x.add(x, alpha=0.5).add(x, alpha=0.3).add(x, alpha=0.2), 3 * 192),
    "addcmul": (lambda _m, x: torch.addcmul(torch.addcmul(torch.addcmul(x, x, x), x, x), x, x), 3 * 192),
    "division": (lambda _m, x: (x / (x.abs() + 1)).sum(3), 192),
    "squares": (lambda _m, x: x.pow(2).mean(), 192),
    "norm": (lambda _m, x: x.norm(dim=1), 192),
    "sum of a single element": (lambda _m, x: (x * x)[..., None].sum(-1), 0),
    "written to a part": (
        lambda _m, x: torch.zeros_like(x).index_put((torch.arange(1),), x * x, accumulate=True),
        192,
    ),
    "resized": (lambda _m, x: F.interpolate(x, scale_factor=2.0, mode="bilinear"), 4 * 4 * 192),
    "sampled": (lambda _m, x: F.grid_sample(x, torch.zeros(1, 4, 4, 2), align_corners=False), 4 * 48),
    "distances": (lambda _m, x: torch.cdist(x[0], x[0]), 3 * 8 * 8 * 8),
    "without gradients inside": (
        lambda _m, x: torch.no_grad()(lambda y: y @ y)(x) + torch.enable_grad()(lambda y: y @ y)(x),
        2 * 3 * 512,
    ),
    "autocast inside": (_in_half_precision, 3 * 512),
    "whole division of positions": (lambda _m, x: x[:, :, torch.arange(8) // 2], 0),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_products_that_are_added_up(name: str) -> None:
    forward, macs = PROGRAMS[name]
    report = count_exact(Function(forward), 8)
    assert (report.total, report.complete) == (macs, True)


@pytest.mark.parametrize(
    ("forward", "operator"),
    [
        (lambda m, x: torch.cond(x.sum() > 0, m.conv, lambda y: y[:, :1], (x,)), "torch.cond"),
        (lambda m, x: m.conv(x) * m.conv.weight.sum().item(), "aten::_local_scalar_dense"),
        (lambda m, x: (x.data_ptr(), m.conv(x))[1], "Tensor.data_ptr"),
        (lambda _m, x: torch.linalg.det(x), "aten::_linalg_det"),
    ],
)
def test_what_cannot_be_counted_is_named(forward: Callable[[Any, Tensor], Tensor], operator: str) -> None:
    report = count_exact(Function(forward, conv=nn.Conv2d(3, 1, 1)), 8)
    assert not report.complete
    assert operator in {item.operator for item in report.unknown}


class Mischief(nn.Module):
    """Changes whatever it reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(1))
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.kept: list[object] = [nn.Dropout(), "kept"]
        self.memory: dict[str, object] = {}

    def forward(self, images: Tensor) -> Tensor:
        self.steps.add_(1)
        self.conv.weight.data.mul_(0.5)
        self.conv.weight.requires_grad_(False)
        if self.conv.bias is not None and self.conv.bias.grad is not None:
            self.conv.bias.grad.zero_()
        self.conv.register_forward_hook(lambda *_: None)
        self.extra = nn.Identity()
        self.kept.append(images)
        self.memory["last"] = images
        self.norm.train()
        random.random()  # noqa: S311
        np.random.rand()  # noqa: NPY002
        torch.rand(1)
        torch.set_default_dtype(torch.float64)
        return F.dropout(self.norm(self.conv(images)), 0.5, training=True)


def _state(model: nn.Module) -> dict[str, object]:
    mischief = next((module for module in model.modules() if isinstance(module, Mischief)), None)
    return {
        "training": [module.training for module in model.modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "hooks": [[*module._forward_hooks, *module._forward_pre_hooks] for module in model.modules()],
        "names": [*dict(model.named_buffers()), *dict(model.named_parameters())],
        "tensors": [
            (id(tensor), tensor.detach().tolist(), tensor.requires_grad)
            for tensor in (*model.parameters(), *model.buffers())
        ],
        "gradients": [(id(p.grad), None if p.grad is None else p.grad.tolist()) for p in model.parameters()],
        "kept": mischief and (list(mischief.kept), dict(mischief.memory)),
        "random": (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()),  # noqa: NPY002
        "defaults": (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
    }


@settings(max_examples=10, deadline=None)
@given(
    flags=st.lists(st.booleans(), min_size=8, max_size=8), name=st.sampled_from(("resnet8-0.5", "mischief"))
)
def test_leaves_no_trace(flags: list[bool], name: str) -> None:
    model = nn.Sequential(Mischief()) if name == "mischief" else build(named(name, 3))
    for index, module in enumerate(model.modules()):
        module.training = flags[index % len(flags)]
    for index, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(flags[index % len(flags)])
        parameter.grad = torch.full_like(parameter, 0.5) if index % 2 else None
    before = _state(model)
    count_exact(model, 16)
    assert _state(model) == before


def test_leaves_no_trace_after_an_error() -> None:
    model = nn.Sequential(Mischief(), nn.Conv2d(4, 2, 5))
    before = _state(model)
    with pytest.raises(ModelError, match=r"Sequential cannot run on a 4 x 4 image .* try a larger size"):
        count_exact(model, 4)
    assert _state(model) == before


def test_works_without_weights() -> None:
    spec = named("wisp-250k", 3)
    with torch.device("meta"):
        empty = build(spec)
    assert count_exact(empty, 32).total == count_exact(build(spec), 32).total


def test_refuses() -> None:
    with pytest.raises(ModelError, match="must be at least 1"):
        count_exact(nn.Conv2d(3, 2, 1), 0)
    with pytest.raises(ModelError, match="lazy layers"):
        count_exact(nn.Sequential(nn.Flatten(), nn.LazyLinear(2)), 8)
    with pytest.raises(ModelError, match="with 1 channels"):
        count_exact(nn.Conv2d(3, 2, 1), 8, channels=1)


def test_official_differences_name_what_is_hidden() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        Function(lambda m, x: F.conv2d(x, m.weight), weight=nn.Parameter(torch.ones(2, 4, 1, 1))),
    )
    items = {item.cause: item.macs for item in differences(count_macs(model, 8), count_exact(model, 8))}
    assert items == {"bias": 36 * 4, "not seen: 1": -36 * 8}


def test_constants_from_anywhere_are_known() -> None:
    """Tensors of closures, lists and literals are no strangers, and other tensors in the process do no harm."""
    weight, kept = torch.ones(4, 3, 1, 1), [torch.ones(1)]
    strangers = [nn.LazyLinear(2), torch.eye(2).to_sparse()]
    report = count_exact(Function(lambda _m, x: F.conv2d(x, weight) + kept[0] + torch.tensor(1.0)), 8)
    assert (report.total, report.unknown) == (64 * 12, ())
    del strangers
