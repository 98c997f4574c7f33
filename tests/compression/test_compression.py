"""From a run, a source or a name to a smaller run: with photos and without, interrupted and not."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from tiny_training import EASY, same_bits, weights
from wisp.compression import Options, compress, job, read_subject, tuning
from wisp.data.folders import load_dataset
from wisp.errors import DataError, InputError, ModelError, RecipeError
from wisp.evaluation import evaluate
from wisp.macs import count_macs, count_onnx
from wisp.models import SourceArch, build, named
from wisp.packing import pack_run
from wisp.runtime import Classifier
from wisp.train.folder_lock import LOCK, sole_use
from wisp.train.recipe import Recipe
from wisp.train.run import ARTIFACT, COMPRESSION, METRICS, RUN_FILES, WEIGHTS, read_run

pytestmark = pytest.mark.usefixtures("graphs_exported_once")

IN_STEPS = Options("prune", ratio=0.5, steps=2, epochs=1)
SOURCE = """
from torch import nn

def build(num_classes: int) -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, num_classes))
"""


def quiet(subject, options, **more):
    return compress(subject, options, progress=False, **more)


def test_a_run_becomes_a_smaller_run_that_works_like_any_other(trained, photos, tmp_path):
    subject = read_subject(str(trained))
    options = Options("prune", ratio=0.6, epochs=3)
    dataset = load_dataset(photos)
    result = quiet(subject, options, dataset=dataset, out=tmp_path / "small")
    change = result.change
    assert change.reached
    assert set(change.macs_after) == {"official", "exact", "onnx"}
    assert max(change.macs_after.values()) <= change.max_macs < change.macs_before["official"]
    assert change.f1_before > 0.9
    assert change.f1_after > 0.9

    run = read_run(tmp_path / "small")  # read back from nothing but its files
    model = run.load_model()
    assert count_macs(model, 16).total == change.macs_after["official"]
    assert len(run.metrics()) == 3
    assert run.recipe.epochs == 3
    assert run.recipe == EASY.replace(epochs=3)
    assert run.data["pretrained"] == run.data["teachers"][0] == subject.digest
    assert {path.name for path in run.folder.iterdir()} <= {*RUN_FILES, LOCK}
    assert count_onnx(run.artifact).total == change.macs_after["onnx"]
    measured = evaluate(Classifier(run.artifact), dataset, "val", progress=False)
    assert measured.f1_macro == pytest.approx(change.f1_after)
    told = json.loads((run.folder / COMPRESSION).read_text())
    assert told["macs_after"] == dict(change.macs_after)
    assert told["from"]["name"] == "trained"

    # and it can be compressed again
    again = quiet(read_subject(str(run.folder)), Options("fuse"), dataset=dataset, out=tmp_path / "fused")
    assert again.change.f1_after == again.change.f1_before == change.f1_after
    fused = read_run(tmp_path / "fused").load_model()
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(fused(images), model(images), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_compressed_run_can_be_submitted(trained, photos, tmp_path):
    data = tmp_path / "photos"
    shutil.copytree(photos, data)
    shutil.copytree(photos / "val", data / "test")
    dataset = load_dataset(data)
    subject = read_subject(str(trained))
    result = quiet(subject, Options("prune", ratio=0.5, epochs=1), dataset=dataset, out=tmp_path / "small")
    packed = pack_run(result.run, dataset, tmp_path / "team.zip", progress=False)
    assert packed.manifest.macs.official == result.change.macs_after["official"]
    assert packed.manifest.macs.onnx == result.change.macs_after["onnx"]


def test_nothing_of_the_run_is_pickled(trained, tmp_path):
    quiet(read_subject(str(trained)), Options("prune", ratio=0.5), out=tmp_path / "small")
    assert sorted(path.suffix for path in (tmp_path / "small").iterdir()) == [
        *(".json",) * 4,
        ".safetensors",
        ".toml",
    ]


def test_without_photos_nothing_is_tuned_and_that_is_said(trained, tmp_path):
    subject = read_subject(str(trained))
    result = quiet(subject, Options("lowrank", ratio=0.8), out=tmp_path / "small")
    assert result.change.f1_after is None
    assert any("no photos were given" in note for note in result.change.notes)
    assert read_run(tmp_path / "small").metrics() == []
    ours = weights(tmp_path / "small")
    untouched = [name for name in weights(trained) if name in ours]
    assert untouched
    assert all(torch.equal(weights(trained)[name], ours[name]) for name in untouched)


def test_a_preview_writes_nothing(trained, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    result = quiet(
        read_subject(str(trained)), Options("prune", max_macs=12_000), dataset=load_dataset(photos)
    )
    assert result.run is None
    assert result.change.f1_after is not None
    assert any("no --out" in note for note in result.change.notes)
    assert list(tmp_path.iterdir()) == []
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before


@pytest.mark.slow
def test_pruning_in_steps_goes_on_where_it_was_interrupted(trained, photos, tmp_path, monkeypatch):
    subject, dataset = read_subject(str(trained)), load_dataset(photos)
    options = Options("prune", ratio=0.4, steps=3, epochs=2)
    whole = quiet(subject, options, dataset=dataset, out=tmp_path / "whole")
    assert not (tmp_path / "whole.steps").exists()

    trainings = []
    real = tuning.train

    def interrupted(run, *args, **kwargs):
        trainings.append(run.folder.name)
        if len(trainings) == 3:
            raise KeyboardInterrupt
        return real(run, *args, **kwargs)

    monkeypatch.setattr(tuning, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quiet(subject, options, dataset=dataset, out=tmp_path / "parts")
    assert trainings == ["1", "2", "parts"]
    first = tmp_path / "parts.steps" / "1" / METRICS
    stamp = first.stat().st_mtime_ns

    def watched(run, *args, **kwargs):
        assert run.is_complete == (run.folder.name != "parts")
        if run.folder.name == "1":
            assert first.stat().st_mtime_ns == stamp
        return real(run, *args, **kwargs)

    monkeypatch.setattr(tuning, "train", watched)
    resumed = quiet(subject, options, dataset=dataset, out=tmp_path / "parts", resume=True)
    assert same_bits(tmp_path / "whole", tmp_path / "parts")
    assert resumed.change == whole.change
    assert not (tmp_path / "parts.steps").exists()
    assert read_run(tmp_path / "parts").arch == read_run(tmp_path / "whole").arch


@pytest.fixture(scope="module")
def in_steps(trained, photos, tmp_path_factory):
    """What an uninterrupted pruning in two steps leaves, and what it returns."""
    out = tmp_path_factory.mktemp("in-steps") / "whole"
    result = quiet(read_subject(str(trained)), IN_STEPS, dataset=load_dataset(photos), out=out)
    assert not out.with_name("whole.steps").exists()
    return out, result


def resume_without_training(trained, photos, out, in_steps, monkeypatch):
    """The resumed call opens what is there, trains nothing again, and ends as the uninterrupted one did."""
    whole, expected = in_steps
    real = tuning.train

    def complete(run, *args, **kwargs):
        assert run.is_complete
        return real(run, *args, **kwargs)

    monkeypatch.setattr(tuning, "train", complete)
    subject = read_subject(str(trained))
    resumed = quiet(subject, IN_STEPS, dataset=load_dataset(photos), out=out, resume=True)
    assert resumed.change == expected.change
    assert resumed.run.folder == out
    assert same_bits(whole, out)
    assert (out / COMPRESSION).read_bytes() == (whole / COMPRESSION).read_bytes()
    assert read_run(out).artifact.is_file()
    assert not out.with_name(f"{out.name}.steps").exists()
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(resumed.model(images), expected.model(images))


@pytest.mark.slow
@pytest.mark.parametrize("place", ["_notes", "export_run", "_count_graphs"])
def test_killed_after_the_last_step(trained, photos, tmp_path, in_steps, monkeypatch, place):
    """F1, export and counts come then: the runs of earlier steps must be there until all of it is written."""

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    out = tmp_path / "parts"
    with monkeypatch.context() as patch:
        patch.setattr(job, place, killed)
        with pytest.raises(KeyboardInterrupt):
            quiet(read_subject(str(trained)), IN_STEPS, dataset=load_dataset(photos), out=out)
    assert read_run(out).is_complete
    assert not (out / COMPRESSION).exists()
    resume_without_training(trained, photos, out, in_steps, monkeypatch)


def test_one_compression_at_a_time_in_a_folder(trained, photos, tmp_path):
    out = tmp_path / "small"
    subject, dataset = read_subject(str(trained)), load_dataset(photos)
    with sole_use(out), pytest.raises(InputError, match="another wisp command is at work here"):
        quiet(subject, Options("prune", ratio=0.6, epochs=1), dataset=dataset, out=out)
    assert [path.name for path in out.iterdir()] == [LOCK]
    with sole_use(out):  # it has let go
        pass


@pytest.mark.slow
def test_killed_while_the_earlier_steps_are_removed(trained, photos, tmp_path, in_steps, monkeypatch):
    """After every single file."""
    out, kept = tmp_path / "parts", tmp_path / "kept"
    subject, dataset = read_subject(str(trained)), load_dataset(photos)
    with monkeypatch.context() as patch:
        patch.setattr(tuning.Tuner, "remove_steps", lambda tuner: None)
        quiet(subject, IN_STEPS, dataset=dataset, out=out)
    steps = tmp_path / "parts.steps"
    shutil.copytree(steps, kept)
    files = len(list(kept.glob("*/*")))
    assert files >= 5
    unlink = Path.unlink
    for removed in range(files + 1):
        left = removed

        def killed(path, missing_ok=False):
            nonlocal left
            if path.exists() and steps in path.parents:
                if not left:
                    raise KeyboardInterrupt
                left -= 1
            unlink(path, missing_ok=missing_ok)

        shutil.copytree(kept, steps, dirs_exist_ok=True)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", killed)
            if removed < files:
                with pytest.raises(KeyboardInterrupt):
                    quiet(subject, IN_STEPS, dataset=dataset, out=out, resume=True)
                assert len(list(steps.glob("*/*"))) == files - removed
        resume_without_training(trained, photos, out, in_steps, monkeypatch)


@pytest.mark.slow
def test_a_finished_run_of_other_wishes_is_not_taken_for_this_one(trained, photos, tmp_path, in_steps):
    out, dataset = tmp_path / "parts", load_dataset(photos)
    shutil.copytree(in_steps[0], out)
    subject = read_subject(str(trained))
    with pytest.raises(ModelError, match="another network"):
        quiet(subject, replace(IN_STEPS, ratio=0.8), dataset=dataset, out=out, resume=True)
    recipe = EASY.replace(learning_rate=0.001)
    with pytest.raises(RecipeError, match="was begun with learning_rate"):
        quiet(subject, IN_STEPS, dataset=dataset, recipe=recipe, out=out, resume=True)


@pytest.mark.slow
def test_overwriting_that_was_interrupted_goes_on(trained, photos, tmp_path, in_steps, monkeypatch):
    """Over a finished run of other wishes, which the last step must not meet."""
    out = tmp_path / "parts"
    subject, dataset = read_subject(str(trained)), load_dataset(photos)
    quiet(subject, Options("lowrank", ratio=0.8), out=out)

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tuning, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            quiet(subject, IN_STEPS, dataset=dataset, out=out, overwrite=True)
    resumed = quiet(subject, IN_STEPS, dataset=dataset, out=out, resume=True)
    assert resumed.change == in_steps[1].change
    assert same_bits(in_steps[0], out)


@pytest.mark.slow
def test_where_nothing_had_to_go_a_resumed_call_says_the_same(trained, photos, tmp_path):
    subject, dataset = read_subject(str(trained)), load_dataset(photos)
    options = Options("prune", max_macs=10**9, steps=2)
    first = quiet(subject, options, dataset=dataset, out=tmp_path / "same")
    assert first.change.edits == ()
    again = quiet(subject, options, dataset=dataset, out=tmp_path / "same", resume=True)
    assert again.change == first.change


@pytest.mark.slow
def test_resuming_with_another_wish_is_refused(trained, photos, tmp_path):
    subject, dataset = read_subject(str(trained)), load_dataset(photos)
    quiet(subject, Options("prune", ratio=0.5, epochs=1), dataset=dataset, out=tmp_path / "small")
    with pytest.raises(ModelError, match="another network"):
        quiet(
            subject,
            Options("prune", ratio=0.3, epochs=1),
            dataset=dataset,
            out=tmp_path / "small",
            resume=True,
        )
    with pytest.raises(InputError, match="not empty"):
        quiet(subject, Options("prune", ratio=0.3, epochs=1), dataset=dataset, out=tmp_path / "small")
    result = quiet(
        subject,
        Options("prune", ratio=0.3, epochs=1),
        dataset=dataset,
        out=tmp_path / "small",
        overwrite=True,
    )
    assert result.change.reached


def test_a_source_with_weights_beside_it(photos, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "net.py").write_text(SOURCE)
    torch.manual_seed(0)
    model = SourceArch(SOURCE, 3).build()
    safetensors.torch.save_file(model.state_dict(), folder / WEIGHTS)
    with pytest.raises(ModelError, match="--num-classes"):
        read_subject(str(folder / "net.py"))
    subject = read_subject(str(folder / "net.py"), num_classes=3, image_size=16)
    result = quiet(subject, Options("prune", ratio=0.5), out=tmp_path / "small")
    assert result.run is None
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == [
        COMPRESSION,
        "model.py",
        WEIGHTS,
    ]
    # the folder is a model again, for every command and for compression
    again = read_subject(str(tmp_path / "small"), num_classes=3, image_size=16)
    assert count_macs(again.model, 16).total == result.change.macs_after["official"]
    assert [layer.out_features for layer in again.model if hasattr(layer, "out_features")] == [3]

    recipe = Recipe(image_size=16, epochs=4, batch_size=16)
    options = Options("lowrank", ratio=0.9, epochs=1)
    tuned = quiet(again, options, dataset=load_dataset(photos), recipe=recipe, out=tmp_path / "tuned")
    assert tuned.run.classes == load_dataset(photos).classes
    assert (tuned.run.folder / ARTIFACT).is_file()
    assert tuned.run.recipe.epochs == 1
    assert read_run(tmp_path / "tuned").load_model()(torch.zeros(1, 3, 16, 16)).shape == (1, 3)


def test_a_name_with_weights(tmp_path):
    torch.manual_seed(0)
    spec = named("wisp-250k", 4)
    safetensors.torch.save_file(build(spec).state_dict(), tmp_path / "weights.safetensors")
    subject = read_subject(
        "wisp-250k", weights=tmp_path / "weights.safetensors", num_classes=4, image_size=32
    )
    result = quiet(subject, Options("fuse"), out=tmp_path / "fused")
    assert result.change.macs_after["official"] < result.change.macs_before["official"]
    again = read_subject(str(tmp_path / "fused"))
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 32, 32))).float()
    with torch.no_grad():
        torch.testing.assert_close(again.model(images), subject.model(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "prune"}, "needs a target"),
        ({"method": "fuse", "ratio": 0.5}, "has no target"),
        ({"method": "prune", "max_macs": 5, "ratio": 0.5}, "give one of them"),
        ({"method": "prune", "ratio": 1.5}, "between 0 and 1"),
        ({"method": "lowrank"}, "--method lowrank needs a target.*--ranks variational"),
        ({"method": "lowrank", "ratio": 0.5, "ranks": "variational"}, "in place of a target"),
        ({"method": "lowrank", "ratio": 0.5, "steps": 2}, "--steps belongs to --method prune"),
        ({"method": "fuse", "importance": "taylor"}, "--importance belongs"),
        ({"method": "fuse", "epochs": 2}, "--epochs"),
    ],
    ids=str,
)
def test_wishes_that_do_not_go_together(options, words):
    with pytest.raises(InputError, match=words):
        Options(**options)


def test_models_that_cannot_be_read(trained, photos, tmp_path):
    torch.manual_seed(0)
    safetensors.torch.save_file(build(named("wisp-250k", 4)).state_dict(), tmp_path / "four.safetensors")
    (tmp_path / "net.py").write_text(SOURCE)
    with pytest.raises(ModelError, match=r"an exported model cannot be compressed"):
        read_subject("model.onnx")
    with pytest.raises(
        ModelError, match=r"^waste9-1m: came with wisp as an exported model.*give a run folder"
    ):
        read_subject("waste9-1m")
    with pytest.raises(ModelError, match=r"^no model is called 'wisp-3'.*no such file"):
        read_subject("wisp-3")
    with pytest.raises(ModelError, match=r"missing\.py: no such file"):
        read_subject(str(tmp_path / "missing.py"))
    with pytest.raises(ModelError, match="name their file with --weights"):
        read_subject("wisp-250k")
    with pytest.raises(ModelError, match=r"net\.py: trained weights are needed"):
        read_subject(str(tmp_path / "net.py"))
    with pytest.raises(ModelError, match=r"of another network: classifier\.bias is \(4,\) there and \(5,\)"):
        read_subject("wisp-250k", weights=tmp_path / "four.safetensors", num_classes=5)
    with pytest.raises(ModelError, match="no such weights file"):
        read_subject("wisp-250k", weights=Path("nowhere.safetensors"))
    for option in ({"weights": tmp_path / "four.safetensors"}, {"num_classes": 3}, {"image_size": 32}):
        with pytest.raises(RecipeError, match="leave the option out"):
            read_subject(str(trained), **option)
    subject = read_subject("wisp-250k", weights=tmp_path / "four.safetensors", num_classes=4)
    with pytest.raises(DataError, match="3 classes; the network tells 4 apart"):
        quiet(subject, Options("fuse"), dataset=load_dataset(photos))
    with pytest.raises(InputError, match="holds the model"):
        quiet(read_subject(str(trained)), Options("fuse"), out=trained, overwrite=True)
