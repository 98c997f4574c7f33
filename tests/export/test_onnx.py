import logging
import os

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from wisp.artifact import ArtifactInfo
from wisp.errors import DataError, ExportError, ModelError
from wisp.export import export_onnx, fold_batchnorm
from wisp.macs import count_macs
from wisp.records import ResizeRule

SIZE = 16
LABELS = ("유리", "Metal", "Paper")
# Noise around a colour of its own each: plain noise averages out, and all images would get one answer.
_RNG = np.random.default_rng(0)
IMAGES = np.clip(
    _RNG.integers(0, 256, (70, 1, 1, 3)) + _RNG.integers(-60, 60, (70, SIZE, SIZE, 3)), 0, 255
).astype(np.uint8)


class Small(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.Hardswish(inplace=True),
            nn.Conv2d(8, 8, 3, 2, 1, groups=8, bias=False),
            nn.BatchNorm2d(8),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        return self.head(self.pool(self.body(x)).flatten(1))


def trained(model=None, seed=0):
    torch.manual_seed(seed)
    model = Small() if model is None else model
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=0.4)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.2, 2.0)
    return model


def export(model, path, **options):
    defaults = {
        "labels": LABELS,
        "resize": ResizeRule(SIZE, "pad"),
        "macs_as_trained": 123,
        "provenance": {"seed": 7},
        "check_images": IMAGES,
    }
    return export_onnx(model, path=path, **(defaults | options))


def run(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"image": images})[0]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    return path, export(trained(), path)


def test_the_file_computes_what_the_trained_network_computes(exported):
    path, report = exported
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = (torch.from_numpy(IMAGES).float() / 255 - mean) / std
    with torch.inference_mode():
        expected = trained().eval()(pixels.permute(0, 3, 1, 2)).softmax(dim=1).numpy()
    written = run(path, IMAGES)
    assert written.dtype == np.float32
    np.testing.assert_allclose(written, expected, atol=1e-5)
    assert len(set(written.argmax(axis=1))) > 1  # the comparison is not one of constants,
    assert (written.max(axis=1) < 0.99).sum() > 20  # nor of ones and zeros
    assert report.n_images == 70
    assert report.max_abs_diff < 1e-5
    assert report.max_abs_diff_folded < 1e-5
    assert report.top1_agreement == 1.0
    assert "agrees with torch on 70 images" in str(report)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_any_number_of_images(exported, n):
    path, _ = exported
    np.testing.assert_allclose(run(path, IMAGES[:n]), run(path, IMAGES)[:n], atol=1e-6)


def test_the_metadata_describe_the_deployed_network(exported):
    path, _ = exported
    model = onnx.load(path)
    info = ArtifactInfo.from_metadata({p.key: p.value for p in model.metadata_props}, where=path.name)
    folded = count_macs(fold_batchnorm(trained(), SIZE), SIZE)
    assert info == ArtifactInfo(
        LABELS, ResizeRule(SIZE, "pad"), folded.total, folded.params, 123, {"seed": 7}
    )
    assert info.macs < count_macs(trained(), SIZE).total


def test_the_graph_is_lean_and_readable_by_older_runtimes(exported):
    path, _ = exported
    model = onnx.load(path)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    assert model.ir_version <= 10
    kinds = [node.op_type for node in model.graph.node]
    assert kinds[:5] == ["Transpose", "Cast", "Mul", "Add", "Conv"]
    assert not {"BatchNormalization", "Gather", "Shape", "Range"} & set(kinds)
    assert model.producer_name == "wisp"
    assert os.listdir(path.parent) == ["model.onnx"]  # noqa: PTH208  (weights inside, nothing beside it)


def test_the_bytes_depend_on_the_weights_alone(exported, tmp_path):
    path, _ = exported
    data = path.read_bytes()
    export(trained(), tmp_path / "again" / "other name.onnx", check_images=IMAGES[:1])
    assert (tmp_path / "again" / "other name.onnx").read_bytes() == data
    for trace in (b"site-packages", b".py", os.getcwd().encode(), b"forward"):  # noqa: PTH109
        assert trace not in data
    export(trained(seed=1), tmp_path / "b.onnx", check_images=IMAGES[:1])
    assert (tmp_path / "b.onnx").read_bytes() != data


def test_the_model_is_left_as_it_was_and_nothing_is_printed(tmp_path, capfd, caplog):
    model = trained().train().to(memory_format=torch.channels_last)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    level = logging.getLogger("torch.onnx").level
    with caplog.at_level(logging.WARNING):
        export(model, tmp_path / "model.onnx")
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert logging.getLogger("torch.onnx").level == level


class Twofaced(Small):
    """Computes something else while it is being exported."""

    def forward(self, x):
        logits = super().forward(x)
        return logits.flip(1) if torch.compiler.is_exporting() else logits


def test_a_mismatch_fails_and_leaves_no_file(tmp_path):
    path = tmp_path / "run" / "model.onnx"
    with pytest.raises(ExportError, match=r"model\.onnx: not written.*differ by up to [01]"):
        export(trained(Twofaced()), path)
    assert list(path.parent.iterdir()) == []


def test_a_failure_keeps_the_file_that_was_there(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"an earlier export")
    with pytest.raises(ExportError):
        export(trained(Twofaced()), path)
    assert path.read_bytes() == b"an earlier export"


def test_nan_never_counts_as_agreement(tmp_path):
    model = trained()
    model.head.weight.data[0, 0] = torch.nan
    with pytest.raises(ExportError, match="nan"):
        export(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


class Undecided(Small):
    def forward(self, x):
        logits = super().forward(x)
        return logits if logits.sum() > 0 else -logits


def test_a_network_that_torch_cannot_export(tmp_path):
    with pytest.raises(ExportError, match="cannot export this network to ONNX: ") as error:
        export(trained(Undecided()), tmp_path / "model.onnx")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "images",
    [
        IMAGES[:0],
        IMAGES.astype(np.float32),
        IMAGES[:, :8],
        IMAGES[0],
        np.zeros((2, 3, SIZE, SIZE), dtype=np.uint8),
    ],
    ids=["none", "float", "size", "one", "NCHW"],
)
def test_check_images_must_fit(tmp_path, images):
    with pytest.raises(DataError, match=r"check images: need .*\(16, 16, 3\)"):
        export(trained(), tmp_path / "model.onnx", check_images=images)


def test_labels_must_fit(tmp_path):
    with pytest.raises(ModelError, match="3 outputs for 2 labels"):
        export(trained(), tmp_path / "model.onnx", labels=("a", "b"))
    assert list(tmp_path.iterdir()) == []
