"""Small networks with a known number of MACs, each of them a way to multiply that some counter does not see.

All take one image of 3 x 8 x 8. `macs` is the closed form: products that are added up, without biases, norms and
single multiplications. `decidable` is False where the truth depends on values or lies outside torch: there the only
right answer is "incomplete". The tests hold the exact counter to them; `benchmarks.macs_counters` shows its peers.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

SIZE = 8
_WORKER = ThreadPoolExecutor(1)
_WORKER.submit(int).result()  # its thread runs from now on
PIXELS = SIZE * SIZE


@dataclass(frozen=True)
class Case:
    """One network, its true MACs, and whether these can be known without knowing the image."""

    name: str
    build: Callable[[], nn.Module]
    macs: int
    decidable: bool = True


class Function(nn.Module):
    """A network whose forward is a function of itself and the image."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, images: Tensor) -> Tensor:
        """Whatever the function does."""
        return self.function(self, images)


class SubclassedConv(nn.Conv2d):
    """A convolution that counters which compare types do not know."""


class StandardisedConv(nn.Conv2d):
    """Weight standardisation (Qiao et al., 2019): the squares of the variance are MACs as well."""

    def forward(self, images: Tensor) -> Tensor:
        """Standardise the weights at each call."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        return F.conv2d(images, (self.weight - mean) / (variance + 1e-5).sqrt(), self.bias)


class Halved(nn.Module):
    """A parametrization that multiplies the weights."""

    def forward(self, weight: Tensor) -> Tensor:
        """Half of it."""
        return weight * 0.5


class Scripted(nn.Module):
    """What `torch.jit.script` compiles."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """A convolution."""
        out: Tensor = self.conv(images)
        return out.relu()


@torch.library.custom_op("wisp_cases::opaque", mutates_args=())
def _opaque(images: Tensor) -> Tensor:
    return F.conv2d(images, torch.ones(4, 3, 3, 3))


@_opaque.register_fake
def _(images: Tensor) -> Tensor:
    return images.new_empty(images.shape[0], 4, images.shape[2] - 2, images.shape[3] - 2)


def _weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.full(shape, 0.1))


def _tokens(images: Tensor) -> Tensor:
    return images.flatten(2).transpose(1, 2)


def _two_parents() -> nn.Module:
    shared = nn.Conv2d(3, 3, 3, padding=1)
    return nn.Sequential(nn.Sequential(shared, nn.ReLU()), nn.Sequential(shared, nn.ReLU()))


def _scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted: nn.Module = torch.jit.script(Scripted())
    return nn.Sequential(scripted)


def _hooked() -> nn.Module:
    model = nn.Sequential(nn.Identity())
    weight = torch.full((4, 3, 1, 1), 0.1)
    model[0].register_forward_hook(lambda _module, inputs, _out: F.conv2d(inputs[0], weight))
    return model


def _pre_hooked() -> nn.Module:
    model = nn.Sequential(nn.Identity())
    weight = torch.full((4, 3, 1, 1), 0.1)
    model[0].register_forward_pre_hook(lambda _module, inputs: (F.conv2d(inputs[0], weight),))
    return model


def _parametrized() -> nn.Module:
    conv = nn.Conv2d(3, 4, 3)
    torch.nn.utils.parametrize.register_parametrization(conv, "weight", Halved())
    return conv


def _quantized() -> nn.Module:
    quantization: Any = torch.ao.quantization  # has no types
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(quantization.QuantStub(), nn.Conv2d(3, 4, 3), quantization.DeQuantStub())
        model.eval()
        model.qconfig = quantization.get_default_qconfig("fbgemm")
        quantization.prepare(model, inplace=True)
        model(torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)))
        quantization.convert(model, inplace=True)
    return model


def _until_small(model: Any, images: Tensor) -> Tensor:
    while bool(images.abs().amax() > 1e-3):
        images = model.conv(images) * 0.1
    return images


def _shifts(model: Any, images: Tensor) -> Tensor:
    out = torch.zeros_like(images)
    for turn in range(9):
        out = out + model.weight[turn] * images.roll((turn % 3 - 1, turn // 3 - 1), (2, 3))
    return out


def _fft(model: Any, images: Tensor) -> Tensor:
    out: Tensor = torch.fft.irfft2(
        torch.fft.rfft2(images) * torch.fft.rfft2(model.weight, s=(SIZE, SIZE))
    ).sum(1)
    return out


def _numpy(_model: Any, images: Tensor) -> Tensor:
    return torch.from_numpy(images.detach().numpy() @ np.full((SIZE, 4), 0.1, np.float32))


def _numpy_array(_model: Any, images: Tensor) -> Tensor:
    return torch.tensor(np.asarray(images.detach()) @ np.full((SIZE, 4), 0.1, np.float32))


def _python(_model: Any, images: Tensor) -> Tensor:
    return torch.tensor([0.5 * value for value in images.flatten().tolist()])


def _thread(model: Any, images: Tensor) -> Tensor:
    found: list[Tensor] = []
    thread = threading.Thread(target=lambda: found.append(F.conv2d(images, model.weight)))
    thread.start()
    thread.join()
    return found[0]


def _pool(model: Any, images: Tensor) -> Tensor:
    return _WORKER.submit(F.conv2d, images, model.weight).result().relu()


def _out_of_sight(model: Any, images: Tensor) -> Tensor:
    with _disable_current_modes():
        hidden = F.conv2d(images, model.weight)
    return hidden.relu()


def _process(_model: Any, images: Tensor) -> Tensor:
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return images


def _inference(model: Any, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return F.conv2d(images, model.weight)


def _attend(shape: tuple[int, ...], swap: bool = False) -> Callable[[Any, Tensor], Tensor]:
    def forward(_model: Any, images: Tensor) -> Tensor:
        query = images.reshape(shape)
        query = query.transpose(1, 2) if swap else query
        return F.scaled_dot_product_attention(query, query, query)

    return forward


def _self_attention(model: Any, images: Tensor) -> Tensor:
    tokens = _tokens(images)
    out: Tensor = model.attention(tokens, tokens, tokens)[0]
    return out


def _recurrent(model: Any, images: Tensor) -> Tensor:
    out: Tensor = model.cell(_tokens(images))[0]
    return out


CONV = PIXELS * 4 * 3 * 9  # 3 x 3, padded, 3 to 4 channels
INNER = 36 * 4 * 3 * 9  # the same without padding: 6 x 6 outputs
ATTENTION = 2 * PIXELS * PIXELS * 3  # 64 positions of width 3
MHA = PIXELS * 3 * 9 + ATTENTION + PIXELS * 9

CASES: tuple[Case, ...] = (
    Case("Conv2d", lambda: nn.Conv2d(3, 4, 3, padding=1), CONV),
    Case("depthwise", lambda: nn.Conv2d(3, 6, 3, groups=3), 36 * 6 * 9),
    Case(
        "grouped",
        lambda: nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 4, 3, groups=2)),
        PIXELS * 18 + 36 * 4 * 27,
    ),
    Case("dilated, strided", lambda: nn.Conv2d(3, 4, 3, stride=2, dilation=2), 4 * 4 * 27),
    Case(
        "ConvTranspose2d, grouped",
        lambda: nn.ConvTranspose2d(3, 6, 3, stride=2, groups=3),
        PIXELS * 3 * 2 * 9,
    ),
    Case("conv + BN + ReLU", lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), INNER),
    Case("Linear", lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * PIXELS, 5)), 3 * PIXELS * 5),
    Case("F.conv2d", lambda: Function(lambda m, x: F.conv2d(x, m.weight), weight=_weight(4, 3, 3, 3)), INNER),
    Case(
        "F.linear",
        lambda: Function(lambda m, x: F.linear(x, m.weight), weight=_weight(5, SIZE)),
        3 * PIXELS * 5,
    ),
    Case(
        "module.forward()", lambda: Function(lambda m, x: m.conv.forward(x), conv=nn.Conv2d(3, 4, 3)), INNER
    ),
    Case("subclass of Conv2d", lambda: SubclassedConv(3, 4, 3), INNER),
    Case("@", lambda: Function(lambda m, x: x @ m.weight, weight=_weight(SIZE, 5)), 3 * PIXELS * 5),
    Case(
        "einsum",
        lambda: Function(lambda m, x: torch.einsum("nchw,dc->ndhw", x, m.weight), weight=_weight(4, 3)),
        PIXELS * 12,
    ),
    Case(
        "bmm",
        lambda: Function(lambda m, x: torch.bmm(x[0], m.weight), weight=_weight(3, SIZE, 5)),
        3 * PIXELS * 5,
    ),
    Case(
        "baddbmm",
        lambda: Function(lambda m, x: torch.baddbmm(x[0], x[0], m.weight), weight=_weight(3, SIZE, SIZE)),
        3 * PIXELS * SIZE,
    ),
    Case(
        "unfold x weight, .sum()",
        lambda: Function(
            lambda m, x: (F.unfold(x, 3)[:, None] * m.weight[None, :, :, None]).sum(2), weight=_weight(4, 27)
        ),
        INNER,
    ),
    Case(
        "multiply and sum",
        lambda: Function(
            lambda m, x: (x.flatten(1)[:, None] * m.weight).sum(-1), weight=_weight(5, 3 * PIXELS)
        ),
        3 * PIXELS * 5,
    ),
    Case(
        "multiply, clamp, mean in place",
        lambda: Function(
            lambda m, x: x.clone().mul_(m.weight).clamp_(-1, 1).mean((2, 3)), weight=_weight(SIZE, SIZE)
        ),
        3 * PIXELS,
    ),
    Case("shifts, multiplied and added", lambda: Function(_shifts, weight=_weight(9)), 9 * 3 * PIXELS),
    Case(
        "complex product",
        lambda: Function(lambda _m, x: (torch.complex(x, x) @ torch.complex(x, x)).real),
        4 * 3 * 512,
    ),
    Case("numpy inside forward", lambda: Function(_numpy), 3 * PIXELS * 4, decidable=False),
    Case("numpy through np.asarray", lambda: Function(_numpy_array), 3 * PIXELS * 4, decidable=False),
    Case("Python numbers", lambda: Function(_python), 0, decidable=False),
    Case("FFT convolution", lambda: Function(_fft, weight=_weight(3, 3, 3)), 0, decidable=False),
    Case("scripted submodule", _scripted, CONV),
    Case(
        "module used twice",
        lambda: Function(lambda m, x: m.conv(m.conv(x)), conv=nn.Conv2d(3, 3, 1)),
        2 * PIXELS * 9,
    ),
    Case("module shared by two parents", _two_parents, 2 * PIXELS * 81),
    Case(
        "attention, batch x heads x positions x width",
        lambda: Function(_attend((1, 3, 16, 4))),
        2 * 3 * 16 * 16 * 4,
    ),
    Case(
        "attention, transposed heads",
        lambda: Function(_attend((1, 16, 3, 4), swap=True)),
        2 * 3 * 16 * 16 * 4,
    ),
    Case("attention, batch x positions x width", lambda: Function(_attend((3, 16, 4))), 2 * 3 * 16 * 16 * 4),
    Case("attention, positions x width", lambda: Function(_attend((48, 4))), 2 * 48 * 48 * 4),
    Case(
        "MultiheadAttention",
        lambda: Function(_self_attention, attention=nn.MultiheadAttention(3, 1, batch_first=True)),
        MHA,
    ),
    Case(
        "TransformerEncoderLayer",
        lambda: Function(
            lambda m, x: m.layer(_tokens(x)),
            layer=nn.TransformerEncoderLayer(3, 1, dim_feedforward=8, batch_first=True),
        ),
        MHA + 2 * PIXELS * 3 * 8,
    ),
    Case(
        "LSTM", lambda: Function(_recurrent, cell=nn.LSTM(3, 5, batch_first=True)), PIXELS * 4 * 5 * (3 + 5)
    ),
    Case("GRU", lambda: Function(_recurrent, cell=nn.GRU(3, 5, batch_first=True)), PIXELS * 3 * 5 * (3 + 5)),
    Case("weight standardisation", lambda: StandardisedConv(3, 4, 3), INNER + 4 * 27),
    Case("parametrized weight", _parametrized, INNER),
    Case("hook that computes", _hooked, PIXELS * 12),
    Case("pre-hook that computes", _pre_hooked, PIXELS * 12),
    Case(
        "data-dependent loop",
        lambda: Function(_until_small, conv=nn.Conv2d(3, 3, 1, bias=False)),
        0,
        decidable=False,
    ),
    Case(
        "data-dependent rows",
        lambda: Function(lambda _m, x: (y := x[x > 0])[:, None] @ y[None]),
        0,
        decidable=False,
    ),
    Case("in inference mode", lambda: Function(_inference, weight=_weight(4, 3, 3, 3)), INNER),
    Case("in another thread", lambda: Function(_thread, weight=_weight(4, 3, 3, 3)), INNER, decidable=False),
    Case("in a pool of threads", lambda: Function(_pool, weight=_weight(4, 3, 3, 3)), INNER, decidable=False),
    Case("in another process", lambda: Function(_process), 0, decidable=False),
    Case(
        "dispatch turned off",
        lambda: Function(_out_of_sight, weight=_weight(4, 3, 3, 3)),
        INNER,
        decidable=False,
    ),
    Case("custom operator", lambda: Function(lambda _m, x: _opaque(x)), INNER, decidable=False),
    Case("quantized modules", _quantized, INNER, decidable=False),
    Case(
        "other when traced",
        lambda: Function(
            lambda m, x: x if torch.compiler.is_exporting() else m.conv(x), conv=nn.Conv2d(3, 4, 3)
        ),
        INNER,
        decidable=False,
    ),
)
