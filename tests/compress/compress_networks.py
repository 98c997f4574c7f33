"""Networks for compression: each family's first member, hand-made difficulties, and random ones."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import nn

from network_families import cheapest_of_each_family
from wisp.models import build, named

CLASSES = 5


def families():
    """The cheapest listed name of each family, found by discovery."""
    return cheapest_of_each_family(64)


def lively(model, seed=0):
    """Random statistics and scales, so that a mistake shows."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(std=0.3, generator=generator)
            module.running_mean.normal_(std=0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def family(name, seed=0):
    torch.manual_seed(seed)
    return lively(build(named(name, CLASSES)), seed)


def images(size, count=3):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def conv(inputs, outputs, kernel=3, **options):
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **options)


class Net(nn.Module):
    """A stem, something difficult made of `channels` channels, a classifier of its `outputs` channels."""

    outputs = 8

    def __init__(self):
        super().__init__()
        self.stem, self.norm = conv(3, 8), nn.BatchNorm2d(8)
        self.make()
        self.last = nn.Linear(self.outputs, CLASSES)

    def make(self):
        """The layers of the difficult part."""

    def forward(self, x):
        x = self.difficult(F.relu(self.norm(self.stem(x))))
        return self.last(x.mean((2, 3)))


class Concatenated(Net):
    outputs = 20

    def make(self):
        self.one, self.two = conv(8, 8), conv(16, 4)
        self.over = nn.BatchNorm2d(20)

    def difficult(self, x):
        x = torch.cat((x, self.one(x)), 1)
        return self.over(torch.cat((x, self.two(x)), 1))


class Shuffled(Net):
    def make(self):
        self.inner = conv(4, 4)

    def difficult(self, x):
        kept, other = x.chunk(2, dim=1)
        x = torch.cat((kept, F.relu(self.inner(other))), 1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Gated(Net):
    """Squeeze-excite with linear layers, views and a sigmoid."""

    def make(self):
        self.down, self.up = nn.Linear(8, 3), nn.Linear(3, 8)

    def difficult(self, x):
        n, c = x.shape[:2]
        gate = F.adaptive_avg_pool2d(x, 1).view(n, c)
        return x * torch.sigmoid(self.up(F.relu(self.down(gate)))).view(n, c, 1, 1)


class Scaled(Net):
    """A scale of the network's own, a PReLU and a residual connection."""

    def make(self):
        self.gain = nn.Parameter(torch.rand(8, 1, 1))
        self.act = nn.PReLU(8)
        self.inner, self.back = conv(8, 6), conv(6, 8)

    def difficult(self, x):
        return x + self.gain * self.back(F.silu(self.inner(self.act(x))))


class Flattened(Net):
    outputs = 6

    def make(self):
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.wide = nn.Linear(32, 6)

    def difficult(self, x):
        return self.wide(self.pool(x).flatten(1))[:, :, None, None]


class Multiplied(Net):
    """A depthwise convolution with two outputs for each input."""

    outputs = 16

    def make(self):
        self.depthwise = conv(8, 16, groups=8)

    def difficult(self, x):
        return self.depthwise(x)


class Grouped(Net):
    def make(self):
        self.grouped = conv(8, 8, groups=4)

    def difficult(self, x):
        return F.elu(self.grouped(x))


class Upsampled(Net):
    outputs = 2

    def make(self):
        self.more = conv(8, 8)

    def difficult(self, x):
        x = F.interpolate(self.more(F.pad(x, (1, 1, 1, 1), mode="reflect")), scale_factor=2)
        return F.pixel_shuffle(F.max_pool2d(x, 2), 2)


class SpaceToDepth(Net):
    outputs = 6

    def make(self):
        self.deep = conv(32, 6, 1)

    def difficult(self, x):
        return self.deep(F.pixel_unshuffle(x, 2))


class UsedTwice(Net):
    def make(self):
        self.again = conv(8, 8)

    def difficult(self, x):
        return self.again(F.relu(self.again(x)))


class Attended(Net):
    """A map over the pixels, from a mean over the channels, weighs all channels (as in CBAM)."""

    def make(self):
        self.look, self.inner, self.back = conv(1, 1), conv(8, 6), conv(6, 8)

    def difficult(self, x):
        x = x * torch.sigmoid(self.look(x.mean(1, keepdim=True)))
        return self.back(F.gelu(self.inner(x)))


class Normed(Net):
    """A norm over all channels: they stay, those inside the block go (as in ConvNeXt)."""

    def make(self):
        self.layer_norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 12), nn.Linear(12, 8)

    def difficult(self, x):
        y = self.layer_norm(x.permute(0, 2, 3, 1))
        return x + self.down(F.gelu(self.up(y))).permute(0, 3, 1, 2)


class Counting(Net):
    """Code that counts on a number of channels: nothing of `stem` can go, what `inner` makes can."""

    def make(self):
        self.inner, self.back = conv(8, 6), conv(6, 8)

    def difficult(self, x):
        first, second = torch.split(x, [3, 5], dim=1)
        return self.back(self.inner(torch.cat((second, first), 1)))


class Written(Net):
    def make(self):
        self.inner, self.back = conv(8, 6), conv(6, 8)

    def difficult(self, x):
        x[:, 3] = 1.0
        return self.back(self.inner(x))


class Tied(Net):
    """Two layers with one weight."""

    def make(self):
        self.one, self.two = conv(8, 8), conv(8, 8)
        self.two.weight = self.one.weight

    def difficult(self, x):
        return self.two(F.relu(self.one(x)))


class Computed(Net):
    """A weight that is computed on the fly (weight standardisation)."""

    def make(self):
        self.standard, self.inner, self.back = conv(8, 8), conv(8, 6), conv(6, 8)

    def difficult(self, x):
        weight = self.standard.weight - self.standard.weight.mean((1, 2, 3), keepdim=True)
        return self.back(self.inner(F.conv2d(x, weight, padding=1)))


# network -> how many groups of channels can shrink
DIFFICULT = {
    Concatenated: 3,
    Shuffled: 1,
    Gated: 2,
    Scaled: 2,
    Flattened: 2,
    Multiplied: 1,
    Grouped: 2,
    Upsampled: 2,
    SpaceToDepth: 2,
    UsedTwice: 1,
    Attended: 2,
    Normed: 1,
    Counting: 2,
    Written: 2,
    Tied: 0,
    Computed: 2,
}


class _Random(nn.Module):
    """Blocks that a seed draws: residual, concatenated, shuffled, gated, depthwise, strided."""

    def __init__(self, seed):
        super().__init__()
        draw = random.Random(seed)  # noqa: S311
        channels = draw.choice((4, 6, 8, 12))
        self.stem = nn.Sequential(conv(3, channels, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
        self.kinds = [draw.choice(("residual", "concat", "shuffle", "gate", "down")) for _ in range(4)]
        self.blocks = nn.ModuleList()
        for kind in self.kinds:
            hidden = draw.randint(3, 10)
            block, channels = getattr(self, f"_{kind}")(channels, hidden, draw)
            self.blocks.append(block)
        self.head = nn.Linear(channels, CLASSES)

    def _residual(self, channels, hidden, draw):
        depthwise = conv(hidden, hidden, draw.choice((3, 5)), groups=hidden, bias=False)
        layers = [conv(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.Hardswish(), depthwise]
        return nn.Sequential(*layers, nn.BatchNorm2d(hidden), conv(hidden, channels, 1)), channels

    def _concat(self, channels, hidden, draw):
        return nn.Sequential(conv(channels, hidden), nn.BatchNorm2d(hidden), nn.ReLU()), channels + hidden

    def _shuffle(self, channels, hidden, draw):
        if channels % 2:
            return nn.Identity(), channels
        return nn.Sequential(conv(channels // 2, channels // 2, 1), nn.ReLU6()), channels

    def _gate(self, channels, hidden, draw):
        return nn.Sequential(
            nn.AdaptiveAvgPool2d(1), conv(channels, hidden, 1), nn.ReLU(), conv(hidden, channels, 1)
        ), channels

    def _down(self, channels, hidden, draw):
        return nn.Sequential(
            conv(channels, 2 * hidden, 3, stride=2, bias=False), nn.BatchNorm2d(2 * hidden)
        ), 2 * hidden

    def forward(self, x):
        x = self.stem(x)
        for kind, block in zip(self.kinds, self.blocks, strict=True):
            match kind:
                case "residual":
                    x = x + block(x)
                case "concat":
                    x = torch.cat((x, block(x)), 1)
                case "shuffle" if x.shape[1] % 2 == 0 and not isinstance(block, nn.Identity):
                    kept, other = x.chunk(2, 1)
                    x = torch.stack((kept, block(other)), dim=2).flatten(1, 2)
                case "gate":
                    x = x * F.hardsigmoid(block(x))
                case _:
                    x = block(x)
        return self.head(x.mean((2, 3)))


def random_network(seed):
    torch.manual_seed(seed)
    return lively(_Random(seed), seed)
