"""The counter against ptflops 0.6.5 itself, integer for integer, and the promise to leave no trace."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ptflops import get_model_complexity_info
from torch import Tensor, nn

from wisp.errors import ModelError
from wisp.macs import count_macs
from wisp.models import build, named, names

IGNORED = [nn.ReLU, nn.PReLU, nn.ELU, nn.LeakyReLU, nn.ReLU6]


def _ptflops(model: nn.Module, image_size: int, channels: int = 3) -> int:
    macs, _ = get_model_complexity_info(
        model,
        (channels, image_size, image_size),
        print_per_layer_stat=False,
        as_strings=False,
        ignore_modules=IGNORED,
        ost=io.StringIO(),
    )
    assert macs == int(macs)
    return int(macs)


@pytest.mark.parametrize("name", names())
def test_equals_ptflops_on_every_named_network(name: str) -> None:
    network = build(named(name, 9))
    for image_size in (32, 50, 96):
        report = count_macs(network, image_size)
        assert report.total == _ptflops(network, image_size)
        assert report.total == sum(layer.macs for layer in report.layers)
        assert report.params == sum(parameter.numel() for parameter in network.parameters())
        assert report.params == sum(layer.params for layer in report.layers)


class Tokens(nn.Module):
    """Turns an image into a sequence (batch x positions x channels) for what follows."""

    def __init__(self, inner: nn.Module, *, time_first: bool = False) -> None:
        super().__init__()
        self.inner = inner
        self.time_first = time_first

    def forward(self, images: Tensor) -> Tensor:
        tokens = images.flatten(2).transpose(1, 2)
        if self.time_first:
            tokens = tokens.transpose(0, 1)
        if isinstance(self.inner, nn.MultiheadAttention):
            return self.inner(tokens, tokens, tokens)[0]
        if isinstance(self.inner, nn.RNNCell | nn.GRUCell | nn.LSTMCell):
            out = self.inner(tokens[0])
            return out[0] if isinstance(out, tuple) else out
        out = self.inner(tokens)
        return out[0] if isinstance(out, tuple) else out


class Line(nn.Module):
    """Gives a one-dimensional layer a row of pixels per channel."""

    def __init__(self, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images.flatten(2))


class Volume(Line):
    """Gives a three-dimensional layer a stack of one image."""

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images[:, :, None])


class SharedUnderTwoParents(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        conv = nn.Conv2d(3, 3, 3, padding=1)
        self.first = nn.Sequential(conv, nn.ReLU())
        self.second = nn.Sequential(conv, nn.BatchNorm2d(3))

    def forward(self, images: Tensor) -> Tensor:
        return self.second(self.first(images))


class CalledThreeTimes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.alias = self.conv  # the same parent twice: counted once

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(self.alias(self.conv(images)))


class Unseen(nn.Module):
    """What the counter cannot see: functions, products of tensors, subclasses, layers that are never called."""

    class SubclassedConv(nn.Conv2d):
        pass

    def __init__(self) -> None:
        super().__init__()
        self.subclassed = self.SubclassedConv(3, 4, 3)
        self.idle = nn.Linear(10, 10)
        self.weight = nn.Parameter(torch.ones(4, 4))
        self.parts = nn.ModuleList([nn.Conv2d(4, 2, 1, bias=False)])

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.einsum("nchw,dc->ndhw", self.subclassed(images), self.weight)
        return nn.functional.conv2d(self.parts[0](hidden).sigmoid(), torch.ones(1, 2, 3, 3))


CASES: dict[str, Callable[[], nn.Module]] = {
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(3, 6, (3, 2), stride=(2, 1), dilation=2, groups=3), nn.ConvTranspose2d(6, 4, 3, 2, groups=2)
    ),
    "transposed": lambda: nn.ConvTranspose2d(3, 5, 4, stride=3, bias=False),
    "one dimension": lambda: Line(
        nn.Conv1d(3, 4, 3),
        nn.BatchNorm1d(4),
        nn.MaxPool1d(2),
        nn.AvgPool1d(2),
        nn.ConvTranspose1d(4, 2, 2),
        nn.AdaptiveMaxPool1d(4),
        nn.AdaptiveAvgPool1d(2),
    ),
    "three dimensions": lambda: Volume(
        nn.Conv3d(3, 4, (1, 3, 3)),
        nn.BatchNorm3d(4),
        nn.MaxPool3d((1, 2, 2)),
        nn.AvgPool3d((1, 2, 2)),
        nn.ConvTranspose3d(4, 2, 2),
        nn.AdaptiveMaxPool3d(2),
        nn.AdaptiveAvgPool3d(1),
    ),
    "pools": lambda: nn.Sequential(
        nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveMaxPool2d(3), nn.AdaptiveAvgPool2d(1)
    ),
    "norms": lambda: nn.Sequential(
        nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False), nn.BatchNorm2d(3, track_running_stats=False)
    ),
    "activations": lambda: nn.Sequential(
        nn.ReLU(), nn.PReLU(), nn.ELU(), nn.LeakyReLU(), nn.ReLU6(), nn.Hardswish(), nn.GELU(), nn.Softmax(1)
    ),
    "linear": lambda: Tokens(nn.Sequential(nn.Linear(3, 7), nn.ReLU(), nn.Linear(7, 2, bias=False))),
    "upsample": lambda: nn.Sequential(nn.Upsample(scale_factor=3), nn.Upsample(size=5)),
    "rnn": lambda: Tokens(nn.RNN(3, 5, num_layers=3, batch_first=True)),
    "rnn time first": lambda: Tokens(nn.RNN(3, 5, bias=False), time_first=True),
    "gru": lambda: Tokens(nn.GRU(3, 5, num_layers=2, bidirectional=True, batch_first=True)),
    "lstm": lambda: Tokens(nn.LSTM(3, 5, bias=False, bidirectional=True, batch_first=True)),
    "rnn cell": lambda: Tokens(nn.RNNCell(3, 4)),
    "gru cell": lambda: Tokens(nn.GRUCell(3, 4, bias=False)),
    "lstm cell": lambda: Tokens(nn.LSTMCell(3, 4)),
    "attention": lambda: Tokens(nn.MultiheadAttention(3, 3), time_first=True),
    "attention without bias": lambda: Tokens(nn.MultiheadAttention(3, 1, bias=False, batch_first=True)),
    "attention of other widths": lambda: Tokens(nn.MultiheadAttention(3, 1, kdim=3, vdim=3)),
    "transformer layer": lambda: Tokens(nn.TransformerEncoderLayer(3, 1, 8, batch_first=True)),
    "shared under two parents": SharedUnderTwoParents,
    "called three times": CalledThreeTimes,
    "unseen": Unseen,
    "a lone layer": lambda: nn.Conv2d(3, 2, 1),
    "a lone activation": nn.ReLU,
    "no layer": nn.Identity,
    "double precision": lambda: nn.Conv2d(3, 2, 1).double(),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("image_size", [8, 13])
def test_equals_ptflops(case: str, image_size: int) -> None:
    report = count_macs(CASES[case](), image_size)
    assert report.total == _ptflops(CASES[case](), image_size)
    assert report.total == sum(layer.macs for layer in report.layers)


@settings(max_examples=40, deadline=None)
@given(
    channels=st.integers(1, 4),
    width=st.integers(1, 4),
    groups=st.integers(1, 3),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    bias=st.booleans(),
    image_size=st.integers(6, 20),
)
def test_equals_ptflops_on_random_convolutions(
    channels: int, width: int, groups: int, kernel: int, stride: int, bias: bool, image_size: int
) -> None:
    model = nn.Sequential(
        nn.Conv2d(channels, width * groups, kernel, stride, bias=bias),
        nn.Conv2d(width * groups, 2 * groups, 1, groups=groups),
        nn.Flatten(),
        nn.LazyLinear(3),
    )
    model(torch.zeros(1, channels, image_size, image_size))
    assert count_macs(model, image_size, channels).total == _ptflops(model, image_size, channels)


def test_rows() -> None:
    shared = count_macs(SharedUnderTwoParents(), 8)
    assert [(layer.name, layer.kind) for layer in shared.layers] == [
        ("first.0", "Conv2d"),
        ("second.0", "Conv2d"),
        ("second.1", "BatchNorm2d"),
    ]
    assert shared.params == 3 * 3 * 9 + 3 + 6  # the shared layer once

    unseen = count_macs(Unseen(), 8)
    assert {layer.name: (layer.macs, layer.params, layer.output_shape) for layer in unseen.layers} == {
        "": (0, 16, None),
        "subclassed": (0, 112, None),
        "idle": (0, 110, None),
        "parts.0": (8 * 36, 8, (2, 6, 6)),
    }
    assert unseen.uncounted == {"SubclassedConv": 1}
    assert count_macs(CASES["activations"](), 8).uncounted == {"GELU": 1, "Hardswish": 1, "Softmax": 1}


class Mischief(nn.Module):
    """Changes itself at every call, as badly behaved networks do."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))
        self.register_buffer("replaced", torch.ones(2))
        self.register_buffer("empty", None)
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        self.count += 1
        self.last = images
        self.replaced = torch.zeros(3)
        self.register_buffer("new", torch.zeros(1), persistent=False)
        self.norm.train()  # keeps updating its running statistics
        return nn.functional.dropout(self.norm(self.conv(images)), 0.5, training=True)


def _state(model: nn.Module) -> dict[str, object]:
    return {
        "training": [module.training for module in model.modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "hooks": [
            len(module._forward_hooks)
            + len(module._forward_pre_hooks)
            + len(module._forward_hooks_always_called)
            for module in model.modules()
        ],
        "names": [*dict(model.named_buffers()), *dict(model.named_parameters())],
        "tensors": [
            (id(tensor), tensor.detach().clone().tolist(), tensor.requires_grad)
            for tensor in (*model.parameters(), *model.buffers())
        ],
        "gradients": [None if p.grad is None else p.grad.clone().tolist() for p in model.parameters()],
        "random": torch.get_rng_state().tolist(),
        "grad mode": torch.is_grad_enabled(),
    }


@settings(max_examples=15, deadline=None)
@given(flags=st.lists(st.booleans(), min_size=8, max_size=8), name=st.sampled_from(("wisp-250k", "mischief")))
def test_leaves_no_trace(flags: list[bool], name: str) -> None:
    model = Mischief() if name == "mischief" else build(named(name, 3))
    seen: list[int] = []
    handle = next(m for m in model.modules() if type(m) is nn.Conv2d).register_forward_hook(
        lambda *_: seen.append(1)
    )
    for index, module in enumerate(model.modules()):
        module.training = flags[index % len(flags)]
    for index, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(index % 3 != 0)
        parameter.grad = torch.full_like(parameter, 0.5) if index % 2 else None
    before = _state(model)
    count_macs(model, 32)
    assert _state(model) == before
    assert seen == [1]  # a user's own hook stays
    handle.remove()


def test_leaves_no_trace_after_an_error() -> None:
    model = nn.Sequential(Mischief(), nn.Conv2d(4, 2, 5))
    before = _state(model)
    with pytest.raises(ModelError, match=r"Sequential cannot run on a 4 x 4 image .* try a larger size"):
        count_macs(model, 4)
    assert _state(model) == before


def test_training_after_a_count_still_learns_its_statistics() -> None:
    model = nn.BatchNorm2d(3)
    count_macs(model, 8)
    model(torch.full((2, 3, 4, 4), 5.0))
    assert model.running_mean is not None
    assert float(model.running_mean[0]) == pytest.approx(0.5)


def test_works_without_weights_and_without_gradients() -> None:
    spec = named("mobilenet_v2-0.35", 9)
    with torch.device("meta"):
        empty = build(spec)
    with torch.inference_mode():
        assert count_macs(empty, 64).total == count_macs(build(spec), 64).total


@pytest.mark.parametrize(("image_size", "channels"), [(0, 3), (-4, 3), (8, 0)])
def test_refuses_no_image(image_size: int, channels: int) -> None:
    with pytest.raises(ModelError, match="must be at least 1"):
        count_macs(nn.Conv2d(3, 2, 1), image_size, channels)


def test_refuses_a_wrong_number_of_channels_and_lazy_layers() -> None:
    with pytest.raises(ModelError, match="with 1 channels"):
        count_macs(nn.Conv2d(3, 2, 1), 8, channels=1)
    with pytest.raises(ModelError, match="lazy layers"):
        count_macs(nn.Sequential(nn.Flatten(), nn.LazyLinear(2)), 8)
