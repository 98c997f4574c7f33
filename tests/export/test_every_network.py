"""Folding and export hold for every network that wisp can build, found by discovery."""

import numpy as np
import pytest
import torch
from torch import nn

from network_families import cheapest_of_each_family
from wisp.export import export_onnx, fold_batchnorm
from wisp.macs import contradiction, count_exact, count_macs, count_onnx
from wisp.models import build, named, names
from wisp.records import ResizeRule

SIZE = 64


def lively(name):
    torch.manual_seed(0)
    model = build(named(name, 5))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def test_there_are_networks_to_test():
    assert len(names()) >= 7


@pytest.mark.parametrize("name", names())
def test_every_batchnorm_folds_without_changing_the_outputs(name):
    model = lively(name)
    folded = fold_batchnorm(model, SIZE)
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    images = torch.randn(2, 3, SIZE, SIZE)
    with torch.inference_mode():
        expected = model(images)
        assert expected.std() > 0
        torch.testing.assert_close(folded(images), expected, rtol=1e-4, atol=1e-5)
    before, after = count_macs(model, SIZE), count_macs(folded, SIZE)
    has_norms = any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert (after.total < before.total) == has_norms


@pytest.mark.slow
@pytest.mark.parametrize("name", cheapest_of_each_family(SIZE))
def test_every_family_exports(name, tmp_path):
    model = lively(name)
    images = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    report = export_onnx(
        model,
        labels=tuple("abcde"),
        resize=ResizeRule(SIZE),
        macs_as_trained=count_macs(model, SIZE).total,
        provenance={},
        check_images=images,
        path=tmp_path / "model.onnx",
    )
    assert report.max_abs_diff < 1e-5
    assert report.top1_agreement == 1.0
    # What the file states about itself is what its graph says, up to a mean that is or is not a pooling module.
    graph = count_onnx(tmp_path / "model.onnx")
    stated = count_macs(fold_batchnorm(model, SIZE), SIZE).total
    assert graph.complete
    assert graph.total == count_exact(model, SIZE).total
    least, most = graph.official
    assert least <= stated <= most
    assert most - least < 0.05 * stated
    assert contradiction(stated, graph) is None
    assert contradiction(least - 1, graph) is not None
