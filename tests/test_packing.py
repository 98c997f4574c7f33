from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load, save
from torch import nn

from tiny_training import ARCH, CLASSES, EASY, open_in, paint_photos
from wisp.data.folders import load_dataset
from wisp.environment import describe_environment
from wisp.errors import DataError, ExportError, ModelError
from wisp.models import ArchSpec, SourceArch, build
from wisp.packing import Packed, pack_run
from wisp.records import Dataset, Violation
from wisp.submission import Manifest, Submission, open_submission, verify_submission, write_submission
from wisp.submission.network import check_network
from wisp.train.run import describe_data, open_run, read_run

pytestmark = pytest.mark.usefixtures("models_read_once", "graphs_exported_once")


def paint_tests(root: Path) -> None:
    """Plain test photos, with a label and without."""
    for number, (name, colour) in enumerate(CLASSES.items()):
        for folder in (name, "NoLabel"):
            path = root / "test" / folder / f"{folder}-{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (30, 28), colour).save(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = paint_photos(tmp_path_factory.mktemp("packing") / "photos", train=4, val=2)
    paint_tests(root)
    return root


@pytest.fixture(scope="module")
def run(photos: Path) -> Path:
    """A run whose training is complete, as far as its files tell: the weights are random ones."""
    torch.set_num_threads(1)
    begun = open_in(photos.parent / "run", photos, EASY)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        begun.save_model(build(ARCH))
    return begun.folder


@pytest.fixture(scope="module")
def packed(run: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Packed:
    path = tmp_path_factory.mktemp("packed") / "team.zip"
    return pack_run(read_run(run), data(photos), path, progress=False)


@pytest.fixture(scope="module")
def submission(packed: Packed) -> Submission:
    return open_submission(packed.path)


def data(photos: Path) -> Dataset:
    return load_dataset(photos, needs=(), progress=False)


def violations(findings: list[Violation]) -> list[str]:
    return [f"{finding.path}: {finding.message}" for finding in findings if finding.severity == "violation"]


def test_what_is_packed(packed: Packed, submission: Submission, run: Path, photos: Path) -> None:
    manifest = packed.manifest
    assert manifest.classes == tuple(CLASSES)
    assert (manifest.seed, manifest.image_size, packed.n_answers) == (EASY.seed, 16, 6)
    assert manifest.f1.keys() == {"train", "val", "test"}
    assert manifest.macs.official == ARCH.macs(16)
    assert manifest.macs.exact == manifest.macs.onnx < manifest.macs.deployed < manifest.macs.official
    assert manifest.environment.model_dump() == describe_environment()
    assert submission.files["model.onnx"] == (run / "model.onnx").read_bytes()
    assert submission.files["weights.safetensors"] == (run / "model.safetensors").read_bytes()
    assert submission.files["recipe.toml"] == (run / "recipe.toml").read_bytes()
    assert submission.arch == ARCH.to_json()
    assert submission.data["digest"] == json.loads((run / "data.json").read_text())["digest"]
    everything = b"".join(submission.files.values())
    assert str(photos.parent).encode() not in everything
    assert {name.partition("-")[0] for name in submission.predictions} == {*CLASSES, "NoLabel"}


def test_it_passes_its_own_check(packed: Packed, photos: Path) -> None:
    assert packed.findings == ()
    assert verify_submission(packed.path, data(photos)) == []


def test_the_same_run_gives_the_same_bytes(packed: Packed, run: Path, photos: Path, tmp_path: Path) -> None:
    """Also from another folder, with photos elsewhere, and where the model has to be exported again."""
    moved = shutil.copytree(run, tmp_path / "elsewhere")
    (moved / "model.onnx").unlink()
    (moved / "optimize.json").write_text("{}")  # the output of wisp optimize is a run with these beside it
    (moved / "candidates").mkdir()
    again = shutil.copytree(photos, tmp_path / "photos elsewhere")
    repeated = pack_run(read_run(moved), data(again), tmp_path / "again.zip", progress=False)
    assert repeated.path.read_bytes() == packed.path.read_bytes()
    assert (moved / "model.onnx").is_file()


def test_new_test_photos_are_answered_and_other_training_photos_refused(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(photos, tmp_path / "photos")
    Image.new("RGB", (20, 20), "red").save(root / "test" / "NoLabel" / "later.png")
    monkeypatch.setattr("wisp.packing.verify_submission", lambda *_, **__: [])
    later = pack_run(read_run(run), data(root), tmp_path / "team.zip", progress=False)
    assert "later.png" in open_submission(later.path).predictions
    Image.new("RGB", (20, 20), "red").save(root / "train" / "glass" / "more.png")
    with pytest.raises(DataError, match=r"its train photos are not those that .*run was trained with"):
        pack_run(read_run(run), data(root), tmp_path / "other.zip", progress=False)
    assert not (tmp_path / "other.zip").exists()


def test_without_test_photos(run: Path, photos: Path, tmp_path: Path) -> None:
    root = shutil.copytree(photos, tmp_path / "photos")
    shutil.rmtree(root / "test")
    with pytest.raises(DataError, match="no test photos to answer; put them into"):
        pack_run(read_run(run), data(root), tmp_path / "team.zip", progress=False)


def test_an_unreadable_test_photo_is_refused(run: Path, photos: Path, tmp_path: Path) -> None:
    root = shutil.copytree(photos, tmp_path / "photos")
    (root / "test" / "NoLabel" / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"broken\.png"):
        pack_run(read_run(run), data(root), tmp_path / "team.zip", skip_unreadable=True, progress=False)


def test_a_model_of_another_training(run: Path, photos: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(run, tmp_path / "run")
    recipe = (moved / "recipe.toml").read_text()
    (moved / "recipe.toml").write_text(recipe.replace("image_size = 16", "image_size = 24"))
    with pytest.raises(ModelError, match=r"model\.onnx: of another training; export the run again"):
        pack_run(read_run(moved), data(photos), tmp_path / "team.zip", progress=False)


def test_an_incomplete_run(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the training is not complete"):
        pack_run(open_in(tmp_path / "run", photos, EASY), data(photos), tmp_path / "team.zip", progress=False)


def test_weights_that_changed_since_the_export(run: Path, photos: Path, tmp_path: Path) -> None:
    """model.onnx is left from an earlier training: the check at the end compares it with the weights."""
    moved = shutil.copytree(run, tmp_path / "run")
    weights = {name: value.copy() for name, value in load((moved / "model.safetensors").read_bytes()).items()}
    for value in weights.values():
        if value.ndim == 4:
            value[:] = np.random.default_rng(0).normal(size=value.shape)
    (moved / "model.safetensors").write_bytes(save(weights))
    with pytest.raises(ExportError, match=r"not written, .* the weights do not give what model\.onnx gives"):
        pack_run(read_run(moved), data(photos), tmp_path / "team.zip", progress=False)
    assert not (tmp_path / "team.zip").exists()


def test_a_run_that_did_not_write_down_its_environment(run: Path, tmp_path: Path) -> None:
    from wisp.packing import _environment  # noqa: PLC0415

    moved = shutil.copytree(run, tmp_path / "run")
    (moved / "environment.json").unlink()
    assert _environment(read_run(moved)).model_dump() == describe_environment()
    for content in ("{", '{"cpu": 1}', "[]"):
        (moved / "environment.json").write_text(content)
        with pytest.raises(ModelError, match=r"environment\.json: damaged; remove it"):
            _environment(read_run(moved))


SOURCE = """
from torch import nn


def build(num_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes)
    )
"""


def test_a_network_with_a_source_of_its_own(photos: Path, tmp_path: Path) -> None:
    arch = SourceArch(SOURCE, len(CLASSES))
    dataset = data(photos)
    begun = open_run(tmp_path / "run", EASY, arch, describe_data(dataset, progress=False))
    begun.save_model(build(arch))
    packed = pack_run(read_run(tmp_path / "run"), dataset, tmp_path / "team.zip", progress=False)
    assert [finding.severity for finding in packed.findings] == ["note"]
    submission = open_submission(packed.path)
    assert submission.source == {"model.py": SOURCE}
    assert submission.arch is None
    assert packed.manifest.macs.exact == packed.manifest.macs.onnx == 4 * 49 * 27 + 4 * 3


# --- the network that is data -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arch: arch["options"].update(head=13), "does not build to the weights: head.0.weight is F32"),
        (lambda arch: arch["options"].update(head=0), "does not build to the weights"),
        (lambda arch: arch["options"]["stages"].append({"width": 8}), "there are no weights for"),
        (lambda arch: arch.update(num_classes=4), "4 classes, the manifest has 3"),
        (lambda arch: arch["options"].update(family="none"), "unknown family 'none'"),
        (lambda arch: arch["options"].update(code="import os"), "code: unknown field"),
        (lambda arch: arch["options"]["stages"][0].update(width=10**9), "options.stages[0].width"),
        (
            lambda arch: arch["options"]["stages"][0].update(width=8192, depth=64),
            "does not build to the weights",
        ),
        (lambda arch: arch["options"].update(stages=[]), "options.stages"),
        (
            lambda arch: arch.update(edits=[{"edit": "resize", "layer": "nowhere", "outputs": 2}]),
            "does not build to the weights",
        ),
        (
            lambda arch: arch.update(edits=[{"edit": "resize", "layer": "classifier", "inputs": 2}]),
            "does not build to the weights: classifier.weight is F32 (3, 2)",
        ),
        (lambda arch: arch.update(edits=[{"edit": "run", "code": "import os"}]), "edits"),
    ],
)
def test_an_arch_that_is_not_that_of_the_weights(
    change: Any, message: str, packed: Packed, submission: Submission
) -> None:
    arch = json.loads(submission.files["arch.json"])
    change(arch)
    found = check_network(json.dumps(arch).encode(), submission.files["weights.safetensors"], packed.manifest)
    (line,) = violations(list(found))
    assert line.startswith("arch.json: ")
    assert message in line


@pytest.mark.parametrize("text", [b"", b"[", b"[]", b"null", b'{"num_classes": 1e999}', b"\xff"])
def test_an_arch_that_is_none(text: bytes, packed: Packed, submission: Submission) -> None:
    found = check_network(text, submission.files["weights.safetensors"], packed.manifest)
    (line,) = violations(list(found))
    assert line.startswith("arch.json: ")


def test_weights_of_another_type(packed: Packed, submission: Submission) -> None:
    halves = {
        name: value.astype(np.float16) if value.dtype == np.float32 else value
        for name, value in load(submission.files["weights.safetensors"]).items()
    }
    (line,) = violations(list(check_network(submission.files["arch.json"], save(halves), packed.manifest)))
    assert "is F32" in line
    assert "the weights have F16" in line


def test_costs_that_are_not_those_of_the_network(packed: Packed, submission: Submission) -> None:
    manifest = packed.manifest
    macs = manifest.macs.model_copy(update={"official": 1, "deployed": 2, "exact": 3})
    lied = manifest.model_copy(update={"macs": macs, "params": 4})
    found = check_network(submission.files["arch.json"], submission.files["weights.safetensors"], lied)
    true = manifest.macs
    assert violations(list(found)) == [
        f"arch.json: {manifest.params:,} parameters; the manifest claims 4",
        f"arch.json: the manifest claims 1 MACs (official); counted are {true.official:,}",
        f"arch.json: the manifest claims 2 MACs (deployed); counted are {true.deployed:,}",
        f"arch.json: the manifest claims 3 MACs (exact); counted are {true.exact:,}",
    ]


def test_a_network_too_large_to_recount(
    packed: Packed, submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wisp.submission.network.LARGEST_RECOUNT", 10)
    found = check_network(
        submission.files["arch.json"], submission.files["weights.safetensors"], packed.manifest
    )
    assert "at most 10 are recounted" in violations(list(found))[0]


def test_edits_that_shrink_a_huge_network(packed: Packed, submission: Submission) -> None:
    """Before its edits the network would take gigabytes; the check never builds that one."""
    arch = json.loads(submission.files["arch.json"])
    arch["options"]["head"] = 8192
    arch["options"]["stages"] = 2 * [{"width": 8192, "stride": 2, "expansion": 64.0}]
    huge = ArchSpec.from_json(arch)
    with torch.device("meta"):
        before = build(huge)
    assert sum(parameter.numel() for parameter in before.parameters()) > 10**9
    names = {
        name: module
        for name, module in before.named_modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    }
    edits = []
    for name, module in names.items():
        if isinstance(module, nn.BatchNorm2d):
            edits.append({"edit": "resize", "layer": name, "outputs": 6})
        elif module.groups > 1:
            edits.append({"edit": "resize", "layer": name, "inputs": 6, "outputs": 6, "groups": 6})
        else:
            inputs = 3 if module.in_channels == 3 else 6
            edits.append({"edit": "resize", "layer": name, "inputs": inputs, "outputs": 6})
    edits.append({"edit": "resize", "layer": "classifier", "inputs": 6})
    spec = ArchSpec.from_json({**arch, "edits": edits})
    with torch.device("meta"):
        small = build(spec)
    weights = save(
        {
            name: np.ones(tensor.shape, np.float32 if tensor.is_floating_point() else np.int64)
            for name, tensor in small.state_dict().items()
        }
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = violations(list(check_network(json.dumps(spec.to_json()).encode(), weights, packed.manifest)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 500_000  # kB
    assert any("counted are" in line for line in found)
    assert not any("does not build" in line for line in found)


def test_checking_leaves_the_random_state_alone(packed: Packed, submission: Submission) -> None:
    before = torch.random.get_rng_state()
    assert not list(
        check_network(submission.files["arch.json"], submission.files["weights.safetensors"], packed.manifest)
    )
    assert torch.equal(torch.random.get_rng_state(), before)


def test_weights_of_somebody_else(
    packed: Packed, submission: Submission, photos: Path, tmp_path: Path
) -> None:
    """Everything fits and all digests are right, but the weights are not what model.onnx was made of."""
    weights = {name: value.copy() for name, value in load(submission.files["weights.safetensors"]).items()}
    weights["classifier.weight"][:] = 7.0
    files = {**submission.files, "weights.safetensors": save(weights)}
    write_submission(tmp_path / "team.zip", files, packed.manifest)
    assert violations(verify_submission(tmp_path / "team.zip")) == []
    (line,) = violations(verify_submission(tmp_path / "team.zip", data(photos)))
    assert line.startswith(
        "weights.safetensors: the weights do not give what model.onnx gives: probabilities differ"
    )


def test_the_manifest_is_its_own_source(packed: Packed) -> None:
    assert Manifest.from_json(packed.manifest.to_json()) == packed.manifest
