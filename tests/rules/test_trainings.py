"""Runs and submissions: their network, their photos and their file, held against one another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tiny_training import CLASSES, EASY, paint_photos, train_in
from wisp import strict_json
from wisp.cli.main import run as command
from wisp.data.folders import load_dataset
from wisp.errors import DataError, ModelError, RecipeError, SubmissionError
from wisp.files import file_sha256
from wisp.models import SourceArch
from wisp.models.starts import shipped_weights
from wisp.packing import pack_run
from wisp.records import Dataset, Violation
from wisp.rules import check, read_target
from wisp.rules.case import Case
from wisp.rules.reproducible import reproducible
from wisp.rules.target import Target
from wisp.rules.untouched_test_set import untouched_test_set
from wisp.submission import Facts, Manifest, open_submission, verify_submission, write_submission
from wisp.train.loop import train
from wisp.train.recipe import Recipe
from wisp.train.run import describe_data, open_run, read_run

pytestmark = pytest.mark.usefixtures("models_read_once")
SOURCE = """
from torch import nn


def build(num_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, num_classes),
    )
"""
RECIPE = EASY.replace(epochs=2)
FIELDS = frozenset(item.name for item in fields(Recipe))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = paint_photos(tmp_path_factory.mktemp("photos"))
    extra = paint_photos(tmp_path_factory.mktemp("more"), train=3, val=1, seed=9)
    (extra / "train").rename(root / "test")
    return root


@pytest.fixture(scope="module")
def dataset(photos: Path) -> Dataset:
    return load_dataset(photos)


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    train_in(folder, photos, RECIPE)
    return folder


@pytest.fixture(scope="module")
def team(run: Path, dataset: Dataset) -> Path:
    return pack_run(read_run(run), dataset, run.parent / "team.zip", progress=False).path


@pytest.fixture(scope="module")
def source_team(run: Path, dataset: Dataset) -> Path:
    torch.set_num_threads(1)
    network = SourceArch(SOURCE, len(CLASSES))
    described = describe_data(dataset, progress=False)
    own = open_run(run.parent / "own", RECIPE, network, described)
    train(own, dataset, progress=False)
    return pack_run(own, dataset, run.parent / "own.zip", progress=False).path


def _forged(team: Path, path: Path, files: Mapping[str, bytes] | None = None, **facts: Any) -> Path:
    """The submission with other members and claims; its digests fit."""
    opened = open_submission(team)
    said = opened.manifest.model_dump()
    for name in ("members", "format"):
        said.pop(name)
    write_submission(path, {**opened.files, **(files or {})}, Facts(**{**said, **facts}))
    return path


def _messages(findings: tuple[Violation, ...], severity: str = "violation") -> list[str]:
    return [str(item) for item in findings if item.severity == severity]


def test_an_honest_submission_is_clean(team: Path) -> None:
    verdict = check(read_target(str(team)), seed=2, recipe_fields=FIELDS, progress=False)
    assert verdict.result == "clean"
    assert verdict.not_judged == {}
    manifest = open_submission(team).manifest
    assert (verdict.counts["official"], verdict.counts["exact"]) == (
        manifest.macs.official,
        manifest.macs.exact,
    )
    assert [item.severity for item in verdict.findings] == ["note"]
    assert f"wisp reproduce {team} --data DATA --seeds 3" in verdict.findings[0].fix


def test_the_command_checks_a_submission_with_its_photos(
    team: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["check", str(team), "--data", str(photos)]) == 0
    assert f"{team}: clean" in capsys.readouterr().out
    wrong = dict(open_submission(team).predictions)
    name = next(iter(wrong))
    wrong[name] = next(label for label in CLASSES if label != wrong[name])
    answers = {"macs": open_submission(team).manifest.macs.deployed, "submission": wrong}
    forged = _forged(team, tmp_path / "forged.zip", {"predictions.json": strict_json.dumps(answers)})
    assert command(["check", str(forged), "--data", str(photos)]) == 1
    assert "the rules were not applied" in capsys.readouterr().out


def test_an_honest_run_is_clean(run: Path, team: Path, dataset: Dataset) -> None:
    assert team.is_file()  # it was exported for that
    verdict = check(read_target(str(run)), seed=2, dataset=dataset, recipe_fields=FIELDS, progress=False)
    assert verdict.result == "clean"
    assert verdict.findings == ()


@pytest.mark.parametrize(
    ("target", "size"),
    [("wisp-250k", 64), ("arch.json", 24)],
    ids=str,
)
def test_networks_of_ours_are_clean(target: str, size: int | None, run: Path) -> None:
    named = str(run / target) if target.endswith(".json") else target
    verdict = check(read_target(named, size), seed=2, progress=False)
    assert verdict.result == "clean", _messages(verdict.findings)
    assert _messages(verdict.findings, "warning") == []
    assert set(verdict.not_judged) == {"untouched-test-set", "reproducible"}


def test_another_model_in_the_file_is_found(
    team: Path, photos: Path, dataset: Dataset, tmp_path: Path
) -> None:
    """The same network with other weights: the file that answers is not the one that was trained."""
    train_in(tmp_path / "other", photos, RECIPE.replace(seed=5))
    other = pack_run(read_run(tmp_path / "other"), dataset, tmp_path / "other.zip", progress=False).path
    stolen = open_submission(other).files["model.onnx"]
    forged = _forged(team, tmp_path / "forged.zip", {"model.onnx": stolen})
    assert _messages(tuple(verify_submission(forged))) == []  # without photos it looks sound
    verdict = check(read_target(str(forged)), seed=2, progress=False)
    assert verdict.result == "violations"
    assert any(
        "another model than the network with its weights" in line for line in _messages(verdict.findings)
    )


@pytest.mark.slow
def test_a_submission_with_a_source_is_judged_by_running_it(source_team: Path, tmp_path: Path) -> None:
    unread = check(read_target(str(source_team)), seed=2, progress=False)
    assert unread.result == "not judged"
    verdict = check(
        read_target(str(source_team)), run_source=True, seed=2, recipe_fields=FIELDS, progress=False
    )
    assert verdict.result == "clean", _messages(verdict.findings)
    assert verdict.not_judged == {}
    manifest: Manifest = open_submission(source_team).manifest
    assert verdict.counts["official"] == manifest.macs.official
    # Claims of a source can only be held against a run of it.
    macs = manifest.macs.model_copy(update={"exact": manifest.macs.exact - 9})
    forged = _forged(source_team, tmp_path / "claims.zip", macs=macs)
    verdict = check(read_target(str(forged)), run_source=True, seed=2, progress=False)
    wanted = f"claims {macs.exact:,} MACs (exact); its source has {macs.exact + 9:,}"
    assert any(wanted in line for line in _messages(verdict.findings))


@pytest.mark.slow
def test_another_source_than_the_file_is_found(source_team: Path, tmp_path: Path) -> None:
    """The same weights in a network that does something else with them."""
    other = SOURCE.replace("nn.ReLU()", "nn.ReLU6(), nn.Hardswish()")
    text = other.replace("nn.AdaptiveAvgPool2d(1)", "nn.AdaptiveAvgPool2d(1)")
    renamed = open_submission(source_team).files["weights.safetensors"].replace(b'"5.', b'"6.')
    forged = _forged(
        source_team, tmp_path / "other.zip", {"model.py": text.encode(), "weights.safetensors": renamed}
    )
    verdict = check(read_target(str(forged)), run_source=True, seed=2, progress=False)
    assert any("another model than the network" in line for line in _messages(verdict.findings))


def _case(target: Target, dataset: Dataset | None = None, **changes: Any) -> Case:
    return Case(replace(target, **changes), (), None, 1, dataset, FIELDS, progress=False)


def test_a_test_photo_in_train_is_found(run: Path) -> None:
    target = read_target(str(run))
    assert target.data is not None
    assert untouched_test_set(_case(target)) == []
    splits = {split: dict(members) for split, members in target.data["splits"].items()}
    name, digest = next(iter(splits["test"].items()))
    splits["val"]["sneaky.png"] = digest
    (item,) = untouched_test_set(_case(target, data={**target.data, "splits": splits}))
    assert (item.severity, item.path) == ("violation", "data.json")
    assert f"sneaky.png = {name}" in item.message


def test_a_test_photo_that_was_changed_a_little_is_found(
    run: Path, photos: Path, tmp_path: Path, shared_photo: Image.Image
) -> None:
    """Another size, format and brightness: other bytes, the same shot."""
    root = tmp_path / "photos"
    for split in ("train", "val", "test"):
        for label in CLASSES:
            (root / split / label).mkdir(parents=True)
            for number in range(3):
                source = next((photos / split / label).glob(f"{number}.*"), None)
                if source is not None:
                    (root / split / label / source.name).write_bytes(source.read_bytes())
    shared_photo.save(root / "test" / "glass" / "shot.png")
    shared_photo.resize((150, 112)).point(lambda value: value * 0.9 + 10).save(
        root / "train" / "glass" / "copy.jpg"
    )
    dataset = load_dataset(root)
    data = describe_data(dataset, progress=False)
    found = untouched_test_set(_case(read_target(str(run)), dataset, data=data))
    (item,) = [item for item in found if item.severity == "violation"]
    assert "nearly the same picture" in item.message
    assert "train/glass/copy.jpg = test/glass/shot.png" in item.message


@pytest.fixture
def shared_photo() -> Image.Image:
    """Something with structure: blots of many sizes."""
    generator = torch.Generator().manual_seed(4)
    total = torch.zeros(1, 3, 144, 192)
    for side in (2, 4, 8, 16):
        blots = torch.rand(1, 3, side, side, generator=generator)
        total += torch.nn.functional.interpolate(blots, size=(144, 192), mode="bicubic") / 4
    pixels = (total[0].permute(1, 2, 0) * 255).clamp(0, 255).to(torch.uint8)
    return Image.fromarray(pixels.numpy())


def test_other_photos_say_nothing(run: Path, tmp_path: Path) -> None:
    other = load_dataset(paint_photos(tmp_path / "other", seed=77))
    found = untouched_test_set(_case(read_target(str(run)), other))
    assert any(
        "the train photos in" in item.message and "are not those of data.json" in item.message
        for item in found
    )


def test_data_that_is_not_named_is_found(run: Path) -> None:
    found = untouched_test_set(_case(read_target(str(run)), data={"splits": {}, "teachers": ["ab"]}))
    assert [item.severity for item in found] == ["violation", "warning"]
    assert "names no training photos" in found[0].message


@pytest.mark.parametrize(
    ("changes", "words", "severity"),
    [
        ({"recipe": {}}, "has no seed", "violation"),
        ({"recipe": {"seed": 1, "image_size": 16}}, "not resolved:", "warning"),
        ({"weights": None}, "no trained weights", "violation"),
        ({"data": {}}, "has no digest of the photos", "violation"),
        ({"data": {"digest": "x", "teachers": ["ab"]}}, "learned from a teacher", "violation"),
        ({"data": {"digest": "x", "pretrained": "ab"}}, "began with weights from a file", "violation"),
    ],
)
def test_what_a_repetition_needs(run: Path, changes: dict[str, Any], words: str, severity: str) -> None:
    target = read_target(str(run))
    assert reproducible(_case(target)) == []
    found = [item for item in reproducible(_case(target, **changes)) if words in item.message]
    assert [item.severity for item in found] == [severity]
    assert found[0].fix
    for public in ("download", file_sha256(shipped_weights()[0])):
        assert reproducible(_case(target, data={"digest": "x", "pretrained": public})) == []


def test_unusable_targets_are_one_line(tmp_path: Path, run: Path, team: Path) -> None:
    damaged = tmp_path / "run"
    damaged.mkdir()
    (damaged / "recipe.toml").write_text("image_size = 'large'", encoding="utf-8")
    with pytest.raises(RecipeError, match="image_size must be a whole number"):
        read_target(str(damaged))
    (damaged / "recipe.toml").write_text("image_size = 16", encoding="utf-8")
    with pytest.raises(DataError, match=r"data\.json: missing or damaged"):
        read_target(str(damaged))
    for name in ("model.onnx", "no-such-network", str(tmp_path / "none.py"), str(tmp_path)):
        with pytest.raises(ModelError):
            read_target(name)
    with pytest.raises(SubmissionError):
        read_target(str(tmp_path / "none.zip"))
    for target in (run, team):
        with pytest.raises(RecipeError, match=r"--image-size: .* has its own"):
            read_target(str(target), image_size=32)
