import pytest
import torch
from torch import nn

from wisp.macs import count_macs
from wisp.models.folding import fold_batchnorm

SIZE = 16


def lively(model, seed=0):
    """Random weights and statistics, so that a mistake in folding shows."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            if module.affine:
                module.weight.data.uniform_(0.5, 1.5, generator=generator)
                module.bias.data.normal_(generator=generator)
            if module.running_mean is not None:
                module.running_mean.normal_(generator=generator)
                module.running_var.uniform_(0.2, 2.0, generator=generator)
    return model.eval()


def norms(model):
    return [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]


def same_outputs(model, folded):
    images = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(folded(images), model(images), rtol=1e-5, atol=1e-5)


class Branches(nn.Module):
    """A residual block, a shuffle and control flow on shapes: what makes tracing hard."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        )
        self.depthwise = nn.Conv2d(8, 8, 3, padding="same", groups=8)
        self.norm = nn.BatchNorm2d(8, affine=False)
        self.head = nn.Linear(16, 5, bias=False)
        self.head_norm = nn.BatchNorm1d(5)

    def forward(self, x):
        x = self.stem(x)
        if x.shape[-1] < 2:
            raise ValueError("too small")
        y = self.norm(self.depthwise(x)) + x
        n, c, h, w = y.shape
        y = y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        y = torch.cat([y.mean((2, 3)), y.amax((2, 3))], dim=1)
        return self.head_norm(self.head(y))


def test_folds_convolutions_and_linear_layers_anywhere():
    model = lively(Branches())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded = fold_batchnorm(model, SIZE)
    assert norms(folded) == []
    same_outputs(model, folded)
    assert count_macs(folded, SIZE).total < count_macs(model, SIZE).total
    # the original is untouched and shares nothing
    assert len(norms(model)) == 3
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [name for name, _ in folded.named_modules()] == [name for name, _ in model.named_modules()]


def test_a_training_model_is_folded_in_evaluation_mode_and_left_training():
    model = lively(Branches()).train()
    folded = fold_batchnorm(model, SIZE)
    assert model.training
    assert model.norm.num_batches_tracked == 0
    assert not folded.training
    same_outputs(model.eval(), folded)


class Kept(nn.Module):
    """Four BatchNorms that must not be folded."""

    def __init__(self):
        super().__init__()
        self.first = nn.BatchNorm2d(3)  # nothing before it
        self.read_twice = nn.Conv2d(3, 4, 1)
        self.second = nn.BatchNorm2d(4)
        self.used_twice = nn.Conv2d(4, 4, 1)
        self.third = nn.BatchNorm2d(4)
        self.changed = nn.Conv2d(4, 4, 1)
        self.fourth = nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.read_twice(self.first(x))
        x = self.second(y) + y
        x = self.third(self.used_twice(self.used_twice(x)))
        y = self.changed(x)
        y.clamp_(min=0)
        return self.fourth(y).mean((2, 3))


def test_keeps_a_batchnorm_that_cannot_be_folded():
    model = lively(Kept())
    folded = fold_batchnorm(model, SIZE)
    assert len(norms(folded)) == 4
    same_outputs(model, folded)


class WrittenInPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv(x)
        y[:, 0] = 1.0
        return self.norm(y).mean((2, 3))


class Standardised(nn.Conv2d):
    def forward(self, x):
        weight = self.weight - self.weight.mean()
        return nn.functional.conv2d(x, weight, self.bias)


class ByKeyword(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.norm = nn.Parameter(torch.randn(4, 3, 1, 1)), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(nn.functional.conv2d(x, weight=self.weight)).mean((2, 3))


@pytest.mark.parametrize(
    "model",
    [
        WrittenInPlace(),
        nn.Sequential(Standardised(3, 4, 1), nn.BatchNorm2d(4)),
        ByKeyword(),
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)),
    ],
    ids=["written in place", "computed weight", "bare parameter", "batch statistics"],
)
def test_keeps_the_result_of_unusual_layers(model):
    torch.manual_seed(0)
    model = lively(model)
    folded = fold_batchnorm(model, SIZE)
    assert len(norms(folded)) == 1
    same_outputs(model, folded)


def test_a_batchnorm_used_for_two_layers_is_kept():
    norm = nn.BatchNorm2d(3)
    model = lively(nn.Sequential(nn.Conv2d(3, 3, 1), norm, nn.Conv2d(3, 3, 1), norm))
    folded = fold_batchnorm(model, SIZE)
    assert len(norms(folded)) == 1
    same_outputs(model, folded)


def test_weights_shared_by_two_layers_are_kept():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    model[2].weight = model[0].weight
    folded = fold_batchnorm(lively(model), SIZE)
    assert len(norms(folded)) == 2
    same_outputs(model, folded)


class Aliased(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.alias = self.norm

    def forward(self, x):
        return self.alias(self.conv(x)).mean((2, 3))


def test_a_batchnorm_with_two_names_that_runs_once_is_folded():
    model = lively(Aliased())
    folded = fold_batchnorm(model, SIZE)
    assert norms(folded) == []
    same_outputs(model, folded)


def test_half_precision_weights_are_folded_in_float32():
    model = lively(Branches()).bfloat16()
    folded = fold_batchnorm(model, SIZE)
    assert {p.dtype for p in folded.parameters()} == {torch.float32}
    same_outputs(model.float(), folded)
