"""Whole reproductions: of an honest submission, and of every way to lie with one."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from forgery import NAMES, RECIPE, fingerprint, forge, member, pack, paint
from PIL import Image

from tiny_training import ARCH, train_in
from wisp.data.folders import load_dataset
from wisp.data.synthetic import render_dataset
from wisp.errors import DataError, InputError, SubmissionError
from wisp.files import file_sha256
from wisp.models import ArchSpec
from wisp.models.starts import shipped_weights
from wisp.reproduction import Reproduction, Settings, reproduce
from wisp.reproduction.claim import deciding_split, read_claim
from wisp.reproduction.reproduce import retraining_seeds
from wisp.search.executors import InlineExecutor
from wisp.submission import Manifest
from wisp.train.folder_lock import LOCK, sole_use
from wisp.train.run import RECIPE as RECIPE_FILE
from wisp.train.run import WEIGHTS


def run(submission: Path, photos: Path, out: Path, **options: Any) -> Reproduction:
    """In this process: what processes add is tested with the command."""
    flags = {name: options.pop(name) for name in ("resume", "overwrite") if name in options}
    settings = Settings(submission, photos, out, progress=False, **options)
    return reproduce(settings, executor=InlineExecutor(), **flags)


def with_weights(submission: Path, path: Path, factor: float) -> Path:
    """A forgery whose weights are so many times the real ones."""
    weights = safetensors.torch.load(member(submission, "weights.safetensors"))
    changed = {
        name: value * factor if value.is_floating_point() else value for name, value in weights.items()
    }
    return forge(submission, path, {"weights.safetensors": safetensors.torch.save(changed)})


@pytest.mark.slow
def test_an_honest_submission_is_reproduced_bit_for_bit(honest: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(honest, photos, out, seeds=2)
    assert (result.verdict, result.exit_code) == ("reproduced", 0)
    assert result.f1 == result.claimed_f1 == 1.0
    first, second = result.runs
    assert (first.seed, first.same_weights, first.same_answers, first.differences) == (1, True, True, ())
    assert not second.same_weights
    assert second.f1 == 1.0
    assert result.same_environment
    assert "bit for bit" in result.reasons[0]
    state = json.loads((out / "reproduction.json").read_text())
    assert state["result"] == json.loads(json.dumps(result.to_json()))
    # One seed less: what is there is not trained again.
    before = (out / "seed-1" / WEIGHTS).stat().st_mtime_ns
    again = run(honest, photos, out, seeds=1, resume=True)
    assert again.runs == result.runs[:1]
    assert (out / "seed-1" / WEIGHTS).stat().st_mtime_ns == before


@pytest.mark.slow
def test_where_bits_differ_the_seeds_decide(honest: Path, photos: Path, tmp_path: Path) -> None:
    """As from another machine: weights that no seed here gives to the last bit.

    The submitter did not know the labels of test, and so claims nothing there.
    """
    blind = tmp_path / "blind"
    for split in ("train", "val"):
        shutil.copytree(photos / split, blind / split)
    (blind / "test" / "NoLabel").mkdir(parents=True)
    for path in (photos / "test").rglob("*.png"):
        shutil.copyfile(path, blind / "test" / "NoLabel" / path.name)
    blindly = forge(honest, tmp_path / "blind.zip", {"data.json": fingerprint(blind)}, f1={"val": 1.0})
    elsewhere = with_weights(blindly, tmp_path / "team.zip", 1 + 1e-6)
    result = run(elsewhere, photos, tmp_path / "out", seeds=2, within=0.3)
    assert (result.verdict, result.split, result.claimed_f1, result.f1) == ("reproduced", "test", None, 1.0)
    assert not any(one.same_weights for one in result.runs)
    assert result.decision is not None
    assert result.decision.interval is not None
    assert result.decision.interval.n == 2
    assert "lies inside" in result.reasons[0]


def test_a_claimed_f1_that_the_model_does_not_reach(honest: Path, tmp_path: Path) -> None:
    photos = paint(tmp_path / "photos", swapped=("test",))
    boasting = forge(honest, tmp_path / "team.zip", {"data.json": fingerprint(photos)}, f1={"test": 0.95})
    result = run(boasting, photos, tmp_path / "out")
    assert (result.verdict, result.exit_code) == ("not reproduced", 1)
    claimed = "manifest.json: claims a macro F1 of 0.9500 on test; it is 0.33"
    assert any(reason.startswith(claimed) for reason in result.reasons)
    assert result.runs == ()  # nothing needed to be trained


@pytest.mark.slow
def test_weights_that_were_trained_on_the_test_photos(honest: Path, tmp_path: Path) -> None:
    """All that such a submission says of itself is true, except where its weights come from."""
    photos = paint(tmp_path / "photos", swapped=("train", "val"))
    forged = forge(honest, tmp_path / "team.zip", {"data.json": fingerprint(photos)}, f1={"test": 1.0})
    result = run(forged, photos, tmp_path / "out", seeds=2)
    assert result.f1 == result.claimed_f1 == 1.0
    assert (result.verdict, result.exit_code) == ("not reproduced", 1)
    assert all(one.f1 == pytest.approx(1 / 3, abs=0.02) for one in result.runs)
    assert "F1 1.0000 lies outside" in result.reasons[0]
    assert "those that it names; expected only if" in result.remarks[0]


@pytest.mark.slow
def test_weights_of_a_longer_training(honest: Path, photos: Path, tmp_path: Path) -> None:
    """The recipe names a training too gentle to learn anything; the weights come from one that did."""
    recipe = member(honest, RECIPE_FILE).decode()
    gentle = re.sub(r"learning_rate = .*", "learning_rate = 1e-7", recipe).replace("epochs = 6", "epochs = 1")
    forged = forge(honest, tmp_path / "team.zip", {RECIPE_FILE: gentle.encode()})
    result = run(forged, photos, tmp_path / "out", seeds=6)  # what learned nothing spreads widely
    assert result.verdict == "not reproduced"
    assert max(one.f1 for one in result.runs) < 0.6


def test_a_model_that_is_not_the_export_of_the_weights(honest: Path, photos: Path, tmp_path: Path) -> None:
    result = run(with_weights(honest, tmp_path / "team.zip", 0.5), photos, tmp_path / "out")
    assert result.verdict == "not reproduced"
    assert "the weights do not give what model.onnx gives" in result.reasons[0]


@pytest.mark.parametrize("counter", ["official", "exact", "onnx"])
def test_a_wrong_claim_of_macs(honest: Path, photos: Path, tmp_path: Path, counter: str) -> None:
    macs = Manifest.parse(member(honest, "manifest.json")).macs.model_dump()
    forged = forge(honest, tmp_path / "team.zip", macs={**macs, counter: macs[counter] // 2})
    result = run(forged, photos, tmp_path / "out")
    assert (result.verdict, result.runs) == ("not reproduced", ())
    assert "MACs" in result.reasons[0]


def test_another_architecture(honest: Path, photos: Path, tmp_path: Path) -> None:
    spec = ARCH.to_json()
    spec["options"]["head"] = 8
    other = json.dumps(ArchSpec.from_json(spec).to_json()).encode()
    result = run(forge(honest, tmp_path / "team.zip", {"arch.json": other}), photos, tmp_path / "out")
    assert result.verdict == "not reproduced"
    assert "does not build to the weights" in result.reasons[0]


def test_one_reproduction_at_a_time_in_a_folder(honest: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with sole_use(out), pytest.raises(InputError, match="another wisp command is at work here"):
        run(honest, photos, out, resume=True)
    assert [path.name for path in out.iterdir()] == [LOCK]


def test_other_photos_are_refused(honest: Path, photos: Path, tmp_path: Path) -> None:
    def refused(match: str) -> None:
        with pytest.raises(DataError, match=match) as raised:
            run(honest, copy, tmp_path / "out")
        assert "\n" not in str(raised.value)
        assert "retraining on others proves nothing" in str(raised.value)

    copy = shutil.copytree(photos, tmp_path / "copy")
    glass = copy / "train" / NAMES[0]
    first = min(glass.iterdir())
    content = first.read_bytes()
    Image.new("RGB", (30, 30)).save(first)
    refused(f"1 train photo changed .first: train/{NAMES[0]}/{first.name}.")
    first.unlink()
    refused("1 train photo missing")
    first.write_bytes(content)
    shutil.copyfile(first, glass / "zzz.png")
    refused(r"1 train photo new .first: .*zzz\.png")
    (glass / "zzz.png").unlink()
    for path in sorted((copy / "test" / NAMES[0]).iterdir())[:3]:
        path.unlink()
    refused("3 test photos missing")
    for split in ("train", "val", "test"):
        (copy / split / NAMES[0]).rename(copy / split / "Glas")
    refused(f"the class '{NAMES[0]}' is missing")
    assert not (tmp_path / "out").exists()


def test_a_folder_holds_one_reproduction(honest: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    forged = forge(honest, tmp_path / "team.zip", params=7)
    result = run(forged, photos, out)
    assert result.verdict == "not reproduced"
    assert "parameters; the manifest claims 7" in result.reasons[0]
    with pytest.raises(InputError, match="--resume"):
        run(forged, photos, out)
    with pytest.raises(InputError, match="of another submission"):
        run(honest, photos, out, resume=True)
    (out / "reproduction.json").write_text("{}")
    with pytest.raises(InputError, match="damaged"):
        run(forged, photos, out, resume=True)
    (out / "seed-5").mkdir()
    assert run(forged, photos, out, overwrite=True) == result
    assert not (out / "seed-5").exists()
    (out / "diary.txt").write_text("mine")
    with pytest.raises(InputError, match=r"diary\.txt"):
        run(forged, photos, out, overwrite=True)


def test_seeds_follow_from_the_submission(honest: Path, tmp_path: Path) -> None:
    claim = read_claim(honest, run_source=False)
    seeds = retraining_seeds(claim, 6)
    assert seeds[0] == RECIPE.seed
    assert len(set(seeds)) == 6
    assert retraining_seeds(claim, 3) == seeds[:3]
    other = read_claim(forge(honest, tmp_path / "other.zip", params=7), run_source=False)
    assert retraining_seeds(other, 6)[1:] != seeds[1:]


def test_what_a_submission_does_not_hold_cannot_be_retrained(honest: Path, tmp_path: Path) -> None:
    for name, value in (("teachers", ["0" * 64]), ("pretrained", "0" * 64)):
        data = json.loads(member(honest, "data.json")) | {name: value}
        forged = forge(honest, tmp_path / f"{name}.zip", {"data.json": json.dumps(data).encode()})
        with pytest.raises(SubmissionError, match="does not hold"):
            read_claim(forged, run_source=False)
    for public in ("download", file_sha256(shipped_weights()[0])):  # everybody has these
        data["pretrained"] = public
        open_to_all = forge(honest, tmp_path / "public.zip", {"data.json": json.dumps(data).encode()})
        assert read_claim(open_to_all, run_source=False).begins_with == public


def test_what_cannot_be_read_is_refused(honest: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="no such file"):
        run(tmp_path / "missing.zip", photos, tmp_path / "out")
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(honest.read_bytes()[:-100])
    with pytest.raises(SubmissionError, match=r"damaged\.zip"):
        run(damaged, photos, tmp_path / "out")
    odd = member(honest, RECIPE_FILE) + b"future = 1\n"
    with pytest.raises(InputError, match="future"):
        run(forge(honest, tmp_path / "odd.zip", {RECIPE_FILE: odd}), photos, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_split_that_decides(honest: Path, photos: Path) -> None:
    claim, dataset = read_claim(honest, run_source=False), load_dataset(photos)
    assert deciding_split(claim, dataset) == "test"
    without_test = replace(dataset, splits={name: dataset.split(name) for name in ("train", "val")})
    assert deciding_split(claim, without_test) == "val"
    on_val = replace(claim, recipe=claim.recipe.replace(train_on_val=True))
    assert deciding_split(on_val, dataset) == "test"
    with pytest.raises(DataError, match="its recipe trains on val"):
        deciding_split(on_val, without_test)


@pytest.mark.slow
def test_the_rendered_photos_that_come_with_wisp(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    render_dataset(photos, images=90, seed=0, workers=1, progress=False)
    spec = ArchSpec.from_json({**ARCH.to_json(), "num_classes": 9})
    train_in(tmp_path / "run", photos, RECIPE.replace(epochs=2), spec)
    submission = pack(tmp_path / "run", photos, tmp_path / "team.zip")
    result = run(submission, photos, tmp_path / "out", seeds=1)
    assert result.verdict == "reproduced"
    assert result.runs[0].same_weights
    assert result.f1 == pytest.approx(result.claimed_f1)
