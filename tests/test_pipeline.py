"""The main job on tiny generated photos: two small networks at 16 px, two epochs each, in this process."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wisp import pipeline, rounds, trials
from wisp.cli.main import run as run_cli
from wisp.cli.outcome import outcome_as_text
from wisp.data.folders import load_dataset
from wisp.errors import DataError, InputError
from wisp.evaluation import evaluate
from wisp.models.starts import start_of_digest
from wisp.outcome import Outcome, Settings, find_notes, job_command, reproduction_command
from wisp.pipeline import optimize
from wisp.records import TEST, VAL, Measurement
from wisp.report.page import display_name
from wisp.runtime import Classifier
from wisp.score import Baseline
from wisp.search.ladder import ladder
from wisp.train.folder_lock import sole_use
from wisp.train.recipe import Recipe
from wisp.train.run import RUN_FILES, read_run

CLASSES = {"glass": (40, 160, 60), "metal": (120, 120, 130), "paper": (220, 210, 190)}
PRETRAINED = "pretrained: all trainings began with the weights that came with wisp (--init)"
SCRATCH = "from scratch: all trainings began with random weights"
RUNGS = (("wisp-500k", 16), ("wisp-1m", 16))

pytestmark = pytest.mark.usefixtures("graphs_exported_once")


def write_photos(folder: Path, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for index in range(count):
        noise = random.integers(-60, 60, (24, 24, 3))
        pixels = np.clip(np.array(CLASSES[folder.name]) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{folder.name}{seed}-{index}.png")


def write_data(root: Path) -> Path:
    for number, (split, count) in enumerate({"train": 12, "val": 5, "test": 4}.items()):
        for index, name in enumerate(CLASSES):
            write_photos(root / split / name, count, 10 * number + index)
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("pipeline") / "photos")


@pytest.fixture(scope="module", autouse=True)
def _tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A ladder of two tiny networks, trained for two epochs, however slow the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WISP_CACHE", str(tmp_path_factory.mktemp("pipeline-cache")))
        patch.setattr(pipeline, "ladder", lambda *args, **options: ladder(*args, rungs=RUNGS, **options))
        patch.setattr(rounds, "_MIN_EPOCHS", 2)
        patch.setattr(rounds, "_MAX_EPOCHS", 2)
        yield


def settings_for(data: Path, out: Path, **changes: Any) -> Settings:
    return replace(Settings(data, out, budget_seconds=3600.0, workers=1, strategy="ladder"), **changes)


@pytest.fixture(scope="module")
def job(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, list[str]]:
    """A finished job, and the splits that exported files were measured on, in order."""
    splits = []

    def spy(path: Path, dataset: Any, split: str, **options: Any) -> Any:
        splits.append(split)
        return trials.evaluate_artifact(path, dataset, split, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "evaluate_artifact", spy)
        out = tmp_path_factory.mktemp("job") / "out"
        return optimize(settings_for(data, out), progress=False), splits


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the run folders in which a training was begun or continued."""
    names: list[str] = []
    original = trials.train

    def spy(run: Any, *args: Any, **options: Any) -> Any:
        names.append(run.folder.name)
        return original(run, *args, **options)

    monkeypatch.setattr(trials, "train", spy)
    return names


# A finished job


def test_every_candidate_is_trained_and_measured(job: tuple[Outcome, list[str]]) -> None:
    outcome, _ = job
    assert [trial.candidate.name for trial in outcome.trials] == ["wisp-500k-16px", "wisp-1m-16px"]
    for trial in outcome.trials:
        measured = trial.measurement
        assert trial.epochs == 2
        assert measured.split == VAL
        assert measured.n_images == 15
        assert 0 < measured.macs < trial.candidate.macs == measured.macs_as_trained
        assert measured.params > 0
        assert measured.size_bytes is not None
        assert measured.size_bytes > 1000
        assert measured.latency_p50_ms is not None
        assert measured.latency_p99_ms is not None
        assert 0 < measured.latency_p50_ms <= measured.latency_p99_ms


def test_the_output_folder_is_the_chosen_run(job: tuple[Outcome, list[str]]) -> None:
    outcome, _ = job
    out = outcome.settings.out
    assert {path.name for path in out.iterdir()} == {
        *(name for name in RUN_FILES if name not in {"checkpoint.pt", "model.py", "compression.json"}),
        "optimize.json",
        "candidates",
        ".wisp.lock",
    }
    run = read_run(out)
    assert run.is_complete
    assert run.arch == outcome.chosen.candidate.arch
    assert run.recipe.image_size == 16
    assert run.recipe.epochs == 2
    assert outcome.chosen.folder is not None
    assert outcome.artifact.read_bytes() == (outcome.chosen.folder / "model.onnx").read_bytes()


def test_the_published_figures_are_those_of_the_published_file(
    job: tuple[Outcome, list[str]], data: Path
) -> None:
    outcome, _ = job
    again = evaluate(Classifier(outcome.artifact), load_dataset(data), TEST, progress=False)
    assert outcome.test is not None
    written = json.loads((outcome.settings.out / "measurement.json").read_text())
    for figures in (outcome.test.to_json(), written):
        assert figures["f1_macro"] == again.f1_macro
        assert figures["score"] == again.score
        assert figures["n_images"] == 12
        assert figures["split"] == TEST
        assert figures["latency_p50_ms"] > 0


def test_validation_is_as_the_trial_said(job: tuple[Outcome, list[str]]) -> None:
    outcome, _ = job
    assert outcome.validation.f1_macro == outcome.chosen.measurement.f1_macro


def test_test_photos_are_measured_once_and_last(job: tuple[Outcome, list[str]]) -> None:
    _, splits = job
    assert splits == [VAL, TEST]


def test_the_report_names_the_chosen(job: tuple[Outcome, list[str]]) -> None:
    outcome, _ = job
    page = outcome.report.read_text(encoding="utf-8")
    assert outcome.chosen.candidate.name in page
    assert "wisp train" in page


def test_time_is_counted(job: tuple[Outcome, list[str]]) -> None:
    outcome, _ = job
    state = json.loads((outcome.settings.out / "optimize.json").read_text())
    assert 0 < outcome.seconds <= state["spent_seconds"] < 3600
    assert [plan["epochs"] for plan in state["plans"]] == [2]


def test_the_folder_can_be_evaluated_and_used(
    job: tuple[Outcome, list[str]], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome, _ = job
    assert run_cli(["evaluate", str(outcome.settings.out), str(data), "--json"]) == 0
    assert outcome.test is not None
    assert json.loads(capsys.readouterr().out)["f1_macro"] == outcome.test.f1_macro
    photo = next((data / "test" / "glass").iterdir())
    assert run_cli(["classify", "--model", str(outcome.artifact), str(photo), "--json"]) == 0
    assert any(name in capsys.readouterr().out for name in CLASSES)


# Resuming


def test_resumed_it_repeats_no_training_and_chooses_the_same(
    job: tuple[Outcome, list[str]], trained: list[str]
) -> None:
    outcome, _ = job
    state = (outcome.settings.out / "optimize.json").read_text()
    again = optimize(outcome.settings, resume=True, progress=False)
    assert trained == []
    assert again.chosen.candidate == outcome.chosen.candidate
    assert again.chosen.measurement.f1_macro == outcome.chosen.measurement.f1_macro
    # So it takes none of the budget either, however often it is done.
    assert again.seconds == pytest.approx(json.loads(state)["spent_seconds"], abs=0.001)
    assert (outcome.settings.out / "optimize.json").read_text() == state


def test_after_an_interruption_only_the_rest_is_trained(
    data: Path, tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(data, tmp_path / "out")
    original, calls = rounds.run_trial, []

    def interrupted(task: Any) -> Any:
        calls.append(task)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(task)

    with monkeypatch.context() as patch:
        patch.setattr(rounds, "run_trial", interrupted)
        with pytest.raises(KeyboardInterrupt):
            optimize(settings, progress=False)
    assert len(trained) == 1
    state = json.loads((settings.out / "optimize.json").read_text())
    assert state["spent_seconds"] > 0
    assert not (settings.out / "model.onnx").exists()
    outcome = optimize(settings, resume=True, progress=False)
    assert sorted(trained) == ["wisp-1m-16px-2ep", "wisp-500k-16px-2ep"]
    assert outcome.seconds > state["spent_seconds"]
    assert len(outcome.trials) == 2


def test_resume_without_a_job_begins_one(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rounds, "run_trial", stop)
    with pytest.raises(KeyboardInterrupt):
        optimize(settings_for(data, tmp_path / "out"), resume=True, progress=False)
    assert (tmp_path / "out" / "optimize.json").is_file()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed = 0, not 1"),
        ({"max_macs": 10**9}, "max_macs = None, not 1000000000"),
        ({"init": "scratch"}, "init = 'pretrained', not 'scratch'"),
        ({"recipe": Recipe(learning_rate=0.001)}, r"recipe\.learning_rate = 0\.004, not 0\.001"),
        ({"baseline": Baseline(0.7, 10**6)}, "baseline = "),
    ],
)
def test_other_settings_cannot_resume(
    job: tuple[Outcome, list[str]], changes: dict[str, Any], named: str
) -> None:
    outcome, _ = job
    with pytest.raises(InputError, match=named):
        optimize(replace(outcome.settings, **changes), resume=True, progress=False)


# The output folder


def test_a_folder_that_is_not_empty_is_refused(job: tuple[Outcome, list[str]]) -> None:
    outcome, _ = job
    with pytest.raises(InputError, match=r"not empty; .*--resume.*--overwrite"):
        optimize(outcome.settings, progress=False)
    assert outcome.artifact.is_file()


def test_foreign_files_are_never_deleted(data: Path, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("mine")
    with pytest.raises(InputError, match=r"holiday\.jpg"):
        optimize(settings_for(data, tmp_path), overwrite=True, progress=False)
    assert (tmp_path / "holiday.jpg").read_text() == "mine"


def test_overwrite_replaces_an_earlier_job(
    job: tuple[Outcome, list[str]], data: Path, tmp_path: Path, trained: list[str]
) -> None:
    out = tmp_path / "out"
    (out / "candidates" / "old-3ep").mkdir(parents=True)
    (out / "optimize.json").write_text("{}")
    (out / "report.html").write_text("old")
    outcome = optimize(settings_for(data, out, target_f1=0.0), overwrite=True, progress=False)
    assert not (out / "candidates" / "old-3ep").exists()
    assert outcome.report.read_text() != "old"
    assert len(trained) == 2
    assert outcome.chosen.candidate.name == "wisp-500k-16px"  # the cheapest reaches F1 0


def test_overwrite_replaces_what_a_killed_search_left(data: Path, tmp_path: Path) -> None:
    """Killed in the middle of a transaction, SQLite leaves its journal; killed at its first file, half of one."""
    out = tmp_path / "out"
    out.mkdir()
    for name in ("trials.db", "trials.db-journal", ".part-0123456789abcdef.json"):
        (out / name).write_bytes(b"?")
    optimize(settings_for(data, out, target_f1=0.0), overwrite=True, progress=False)
    assert not list(out.glob("trials.db*")) + list(out.glob(".part-*"))


def test_half_a_file_is_nothing_to_go_on_with(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".part-0123456789abcdef.json").write_text("{")
    optimize(settings_for(data, out, target_f1=0.0), resume=True, progress=False)
    assert not list(out.glob(".part-*"))


def test_one_command_at_a_time_in_a_folder(
    job: tuple[Outcome, list[str]], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = job[0].settings.out
    before = (out / "optimize.json").read_bytes()
    with sole_use(out):
        for option in ("--resume", "--overwrite"):
            with pytest.raises(InputError, match=r"another wisp command is at work here; wait for it to end"):
                optimize(job[0].settings, **{option.strip("-"): True}, progress=False)
    assert (out / "optimize.json").read_bytes() == before
    run_folder = tmp_path / "run"
    with sole_use(run_folder):
        assert run_cli(["train", str(data), "--out", str(run_folder), "--epochs", "1"]) == 2
    assert "another wisp command is at work here" in capsys.readouterr().err
    assert [path.name for path in run_folder.iterdir()] == [".wisp.lock"]


def test_an_earlier_job_is_not_given_up_for_photos_that_cannot_be_used(data: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    shutil.copytree(data, photos)
    next((photos / "train").rglob("*.*g")).write_bytes(b"no photo")
    out.mkdir()
    (out / "optimize.json").write_text("{}")
    with pytest.raises(DataError, match="1 unreadable photos"):
        optimize(settings_for(photos, out), overwrite=True, progress=False)
    assert (out / "optimize.json").read_text() == "{}"


# What a user must know


def make_notes(outcome: Outcome, *, f1: float, target: float | None = None, **changes: Any) -> list[str]:
    measurement = replace(outcome.chosen.measurement, f1_macro=f1, f1_ci95=(f1 - 0.05, f1 + 0.05))
    given: dict[str, Any] = {
        "trials": outcome.trials,
        "chosen": replace(outcome.chosen, measurement=measurement),
        "test": outcome.test,
        "left_out": [],
        "settings": replace(outcome.settings, target_f1=target, init="scratch"),
        **changes,
    }
    notes = list(find_notes(**given))
    notes.remove(SCRATCH)
    return notes


def test_a_sound_result_needs_no_note(job: tuple[Outcome, list[str]]) -> None:
    assert make_notes(job[0], f1=0.8) == []
    assert make_notes(job[0], f1=0.8, target=0.8) == []


def test_notes_say_what_is_wrong(job: tuple[Outcome, list[str]]) -> None:
    outcome = job[0]
    (note,) = make_notes(outcome, f1=0.8, target=0.9)
    assert "no candidate reached F1 0.9 on validation" in note
    (note,) = make_notes(outcome, f1=0.4)
    assert "F1 0.5 (the floor of the score)" in note
    (note,) = make_notes(outcome, f1=0.8, test=None)
    assert "no labelled test photos" in note
    (note,) = make_notes(outcome, f1=0.8, left_out=["wisp-4m-64px"])
    assert "wisp-4m-64px" in note


def test_a_training_that_the_budget_ended_is_named(job: tuple[Outcome, list[str]], tmp_path: Path) -> None:
    outcome = job[0]
    run = read_run(outcome.settings.out)
    run.arch.save(tmp_path / "arch.json")
    (tmp_path / "data.json").write_text(json.dumps(run.data))
    run.recipe.replace(stop_after_epochs=1).save(tmp_path / "recipe.toml")
    (note,) = make_notes(outcome, f1=0.8, trials=[replace(outcome.chosen, folder=tmp_path, epochs=1)])
    assert "before their last epoch" in note
    assert "16px (1 of 2 epochs)" in note


def test_a_training_past_the_deadline_says_where_it_stopped(data: Path, tmp_path: Path) -> None:
    dataset = load_dataset(data)
    task = trials.TrialTask(
        candidate=ladder(3, rungs=RUNGS)[0],
        recipe=Recipe(image_size=16, epochs=50).resolved(36),
        data=data,
        folder=tmp_path / "trial",
        baseline=Baseline(0.8, 10**6),
        skip_unreadable=False,
        deadline=time.time(),
        described=pipeline.describe_data(dataset, progress=False),
    )
    assert not task.is_done
    measurement = trials.run_trial(task)
    assert task.is_done
    assert read_run(task.folder).recipe.stop_after_epochs == 1
    assert trials.run_trial(task) == measurement
    (task.folder / "measurement.json").write_text(
        '{"f1_macro": '
    )  # damaged: measured again, not trained again
    assert trials.run_trial(task) == measurement
    written = json.loads((task.folder / "measurement.json").read_text())
    assert Measurement.from_json(written) == measurement


# Distillation


def test_distilled(data: Path, tmp_path: Path, trained: list[str]) -> None:
    """Both rounds have two epochs here: what is taught is another training all the same."""
    outcome = optimize(settings_for(data, tmp_path / "out", distill=True), progress=False)
    taught = [trial for trial in outcome.trials if trial.teacher is not None]
    pupils = [name for name in trained if name.endswith("-taught")]
    assert pupils
    assert {trial.folder.name for trial in taught if trial.folder} == set(pupils)
    assert outcome_as_text(outcome).count(" (taught)") == len(taught)
    assert len({display_name(trial) for trial in outcome.trials}) == len(outcome.trials)
    for trial in taught:
        assert trial.folder is not None
        assert trial.teacher is not None
        said = read_run(trial.folder).data["teachers"]
        assert said == [hashlib.sha256((trial.teacher / "model.safetensors").read_bytes()).hexdigest()]
    page = outcome.report.read_text(encoding="utf-8")
    assert page.count(">taught</span>") == len(taught)
    as_chosen = replace(outcome, chosen=taught[0])
    assert f"--teacher {taught[0].teacher}" in reproduction_command(as_chosen)
    notes = list(find_notes(outcome.trials, taught[0], outcome.test, (), outcome.settings))
    assert any("wisp submit will not take it" in note for note in notes)
    with pytest.raises(InputError, match="was begun with distill = True, not False"):
        optimize(settings_for(data, tmp_path / "out"), resume=True, progress=False)


# Data of other kinds


def photos_of(data: Path, root: Path, splits: tuple[str, ...], *, flat: bool = False) -> Path:
    for split in splits:
        for photo in (data / split).rglob("*.png"):
            target = root / photo.relative_to(data / split if flat else data)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(photo.read_bytes())
    return root


def test_one_folder_a_class_without_a_word_about_splits(data: Path, tmp_path: Path) -> None:
    root = photos_of(data, tmp_path / "flat", ("train", "val", "test"), flat=True)
    outcome = optimize(settings_for(root, tmp_path / "out"), progress=False)
    assert not outcome.inspection.is_split
    assert outcome.test is not None
    assert outcome.test.n_images + outcome.validation.n_images < 63


def test_unlabelled_test_photos_and_an_unreadable_one(data: Path, tmp_path: Path) -> None:
    root = photos_of(data, tmp_path / "photos", ("train", "val"))
    nolabel = root / "test" / "NoLabel"
    nolabel.mkdir(parents=True)
    photo = next((data / "test" / "glass").iterdir())
    (nolabel / "one.png").write_bytes(photo.read_bytes())
    (root / "train" / "glass" / "broken.png").write_bytes(b"no photo")
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"1 unreadable photos .*broken\.png.*--skip-unreadable"):
        optimize(settings_for(root, out), progress=False)
    outcome = optimize(
        settings_for(root, out, skip_unreadable=True), progress=False
    )  # no leftovers in the way
    assert outcome.test is None
    assert any("no labelled test photos" in note for note in outcome.notes)
    written = json.loads((out / "measurement.json").read_text())
    assert written["split"] == VAL


def test_validation_photos_that_cannot_be_read(data: Path, tmp_path: Path) -> None:
    root = photos_of(data, tmp_path / "photos", ("train", "test"))
    for name in CLASSES:
        (root / "val" / name).mkdir(parents=True)
        (root / "val" / name / "broken.png").write_bytes(b"no photo")
    with pytest.raises(DataError, match="no photos in the val split"):
        optimize(settings_for(root, tmp_path / "out", skip_unreadable=True), progress=False)


def test_decoding_that_takes_long_leaves_sizes_out(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    decoded: list[int] = []

    def load(dataset: Any, recipe: Recipe, **options: Any) -> None:
        decoded.append(recipe.image_size)
        clock[0] += 10

    monkeypatch.setattr(pipeline, "load_photos", load)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    settings = settings_for(data, tmp_path / "out", budget_seconds=100.0)
    budget = pipeline.Budget.begin(tmp_path / "optimize.json", 100.0, {}, 0.0)
    every = ladder(3, rungs=[("wisp-500k", 16), ("wisp-1m", 24), ("wisp-500k", 24), ("wisp-2m", 32)])
    kept = pipeline._decode(every, load_dataset(data), settings, budget, progress=False)
    assert decoded == [16, 24]
    assert kept == every[:3]


def test_a_pretrained_start_is_named_everywhere(job: tuple[Outcome, list[str]]) -> None:
    outcome, _ = job
    run = read_run(outcome.settings.out)
    start = start_of_digest(run.data["pretrained"])
    assert start is not None
    assert PRETRAINED in outcome.notes
    assert "--init pretrained" in outcome.report.read_text(encoding="utf-8")


def test_from_scratch_is_said_too(data: Path, tmp_path: Path) -> None:
    outcome = optimize(settings_for(data, tmp_path / "out", init="scratch"), progress=False)
    assert "pretrained" not in read_run(tmp_path / "out").data
    assert SCRATCH in outcome.notes
    assert PRETRAINED not in outcome.notes
    assert SCRATCH in outcome.report.read_text(encoding="utf-8")
    assert "--init pretrained" not in outcome.report.read_text(encoding="utf-8")
    assert "--init" not in reproduction_command(outcome)
    assert "--init scratch" in job_command(outcome.settings)


# Refused before anything is written


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget_seconds": 5.0}, "--budget 5s: at least 30s"),
        ({"max_macs": 10}, "--max-macs 10: .*the cheapest, wisp-500k-16px"),
        ({"recipe": Recipe(train_on_val=True)}, "train_on_val"),
        ({"init": "nowhere"}, "--init nowhere: no such run"),
    ],
)
def test_impossible_wishes(data: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        optimize(settings_for(data, tmp_path / "out", **changes), progress=False)
    assert not (tmp_path / "out").exists()


def test_a_folder_among_the_photos_is_refused(data: Path) -> None:
    with pytest.raises(InputError, match="would count as a class"):
        optimize(settings_for(data, data / "out"), progress=False)
    assert not (data / "out").exists()


@pytest.mark.parametrize("make", [lambda root: None, lambda root: write_photos(root / "glass", 3, 0)])
def test_data_that_cannot_be_trained_on(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "photos")
    with pytest.raises(DataError):
        optimize(settings_for(tmp_path / "photos", tmp_path / "out"), progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_workers_end_to_end(data: Path, tmp_path: Path) -> None:
    outcome = optimize(settings_for(data, tmp_path / "out", workers=2), progress=False)
    assert len(outcome.trials) == 2
    assert outcome.artifact.is_file()
    assert outcome.report.is_file()
