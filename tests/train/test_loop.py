from __future__ import annotations

import json
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tiny_training import ARCH, BUSY, EASY, log_rows, open_in, paint_photos, same_bits, train_in, weights
from wisp.data.folders import load_dataset
from wisp.errors import DataError, ModelError, RecipeError, TrainingError
from wisp.models import ArchSpec
from wisp.records import VAL, Dataset
from wisp.train import loop
from wisp.train.averaging import AveragedTensors
from wisp.train.loop import train
from wisp.train.photos import epoch_order, load_photos, predict_classes
from wisp.train.run import ARCH as ARCH_FILE
from wisp.train.run import CHECKPOINT, DATA, ENVIRONMENT, METRICS, RECIPE, WEIGHTS, read_run

STEPS = 48 // BUSY.batch_size


def test_it_learns(photos: Path, tmp_path: Path) -> None:
    result = train_in(tmp_path / "run", photos, EASY)
    rows = read_run(tmp_path / "run").metrics()
    assert [row["epoch"] for row in rows] == list(range(1, EASY.epochs + 1))
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert result.f1_val == rows[-1]["f1_val"] > 0.85  # chance is 0.33
    assert result.loss == rows[-1]["loss"]
    assert result.epochs == EASY.epochs
    assert result.seconds == rows[-1]["seconds"] > 0
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_the_weights_are_those_that_were_measured(photos: Path, reference: Path) -> None:
    run, dataset = read_run(reference), load_dataset(photos)
    model = run.load_model()
    assert not model.training
    _, val = load_photos(dataset, run.recipe, skip_unreadable=False, progress=False)
    predicted = predict_classes(model, val, torch.device("cpu"), batch_size=4)
    f1 = [
        2 * int(((predicted == label) & (val.labels == label)).sum())
        / max(1, int((predicted == label).sum() + (val.labels == label).sum()))
        for label in range(3)
    ]  # fmt: skip
    assert np.mean(f1) == pytest.approx(run.metrics()[-1]["f1_val"])


def test_the_same_seed_gives_the_same_bits(photos: Path, reference: Path, tmp_path: Path) -> None:
    torch.manual_seed(99)  # what happened before does not matter
    train_in(tmp_path / "again", photos)
    assert same_bits(reference, tmp_path / "again")
    assert log_rows(reference) == log_rows(tmp_path / "again")
    train_in(tmp_path / "other", photos, BUSY.replace(seed=4))
    assert not same_bits(reference, tmp_path / "other")


@pytest.mark.parametrize(
    ("after_steps", "number"), [(1, signal.SIGINT), (STEPS, signal.SIGINT), (STEPS + 2, signal.SIGTERM)]
)
def test_interrupted_and_resumed(
    photos: Path, reference: Path, tmp_path: Path, interrupt: Callable[[int, int], None], after_steps: int, number: int
) -> None:  # fmt: skip
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    interrupt(after_steps, number)
    with pytest.raises(KeyboardInterrupt):
        train_in(tmp_path / "run", photos)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    progress = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)["progress"]
    assert progress["epoch"] * STEPS + progress["step"] == after_steps
    assert progress["step"] > 0  # in the middle of an epoch, or with its last step done and nothing written
    result = train_in(tmp_path / "run", photos)
    assert same_bits(reference, tmp_path / "run")
    assert log_rows(reference) == log_rows(tmp_path / "run")
    assert result.seconds > progress["seconds"]


def test_a_second_ctrl_c_acts_at_once(
    photos: Path, tmp_path: Path, interrupt: Callable[[int, int], None]
) -> None:
    interrupt(2, signal.SIGINT)
    interrupt(2, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train_in(tmp_path / "run", photos)
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_ctrl_c_while_photos_are_decoded_acts_at_once(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the decoding went on")

    monkeypatch.setattr(loop, "load_photos", decode)
    with pytest.raises(KeyboardInterrupt):
        train_in(tmp_path / "run", photos)


@pytest.mark.parametrize("write", range(1, 11))
def test_a_crash_before_any_write(
    photos: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    folder, replace, calls = tmp_path / "run", Path.replace, []

    def crash(self: Path, target: Path) -> Path:
        if target.parent == folder:
            calls.append(target.name)
            if len(calls) == write:
                raise _KilledError
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(_KilledError):
        train_in(folder, photos)
    assert calls == [DATA, ARCH_FILE, ENVIRONMENT, RECIPE, METRICS, *[CHECKPOINT] * 4, WEIGHTS][:write]
    assert not (folder / WEIGHTS).exists()
    train_in(folder, photos)
    assert same_bits(reference, folder)
    assert log_rows(reference) == log_rows(folder)


class _KilledError(BaseException):
    pass


def test_a_log_line_cut_short_is_written_again(
    photos: Path, reference: Path, tmp_path: Path, interrupt: Callable[[int, int], None]
) -> None:
    interrupt(2 * STEPS + 1, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train_in(tmp_path / "run", photos)
    log = tmp_path / "run" / METRICS
    with log.open(
        "a"
    ) as file:  # the line of epoch 3 that the checkpoint does not know of, and half of another
        file.write(json.dumps({"epoch": 3, "loss": 9.0, "seconds": 9.0}) + '\n{"epoch": 4, "lo')
    assert [row["epoch"] for row in read_run(tmp_path / "run").metrics()] == [1, 2, 3]
    train_in(tmp_path / "run", photos)
    assert log_rows(reference) == log_rows(tmp_path / "run")


def test_a_complete_run_is_left_as_it_is(photos: Path, reference: Path, tmp_path: Path) -> None:
    shutil.copytree(reference, tmp_path / "run")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    result = train_in(tmp_path / "run", photos)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()} == before
    assert result.epochs == BUSY.epochs
    (tmp_path / "run" / METRICS).unlink()
    assert math.isnan(train_in(tmp_path / "run", photos).loss)


def test_a_loss_that_is_no_number_stops_with_advice(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"not a number any more \(epoch 1, step 2\); lower learning_rate"
    ):
        train_in(tmp_path / "run", photos, EASY.replace(learning_rate=1e30))
    assert not (tmp_path / "run" / WEIGHTS).exists()


def test_a_deadline_ends_a_run_that_its_own_files_repeat(photos: Path, tmp_path: Path) -> None:
    result = train_in(tmp_path / "run", photos, deadline=time.time())
    assert result.epochs == 1
    assert result.f1_val is not None
    stopped = read_run(tmp_path / "run")
    assert stopped.recipe == BUSY.replace(stop_after_epochs=1)
    train_in(tmp_path / "again", photos, stopped.recipe, stopped.arch)
    assert same_bits(tmp_path / "run", tmp_path / "again")
    assert log_rows(tmp_path / "run") == log_rows(tmp_path / "again")
    # A resumed run asks with the recipe that it was begun with.
    assert train_in(tmp_path / "run", photos) == result


def test_a_deadline_far_away_changes_nothing(photos: Path, reference: Path, tmp_path: Path) -> None:
    train_in(tmp_path / "run", photos, deadline=time.time() + 3600)
    assert same_bits(reference, tmp_path / "run")
    assert read_run(tmp_path / "run").recipe == BUSY


def test_stopping_after_the_end_is_stopping_at_the_end(photos: Path, tmp_path: Path) -> None:
    assert train_in(tmp_path / "run", photos, EASY.replace(epochs=1, stop_after_epochs=3)).epochs == 1


def test_a_validation_split_is_not_needed(photos: Path, tmp_path: Path) -> None:
    whole = load_dataset(photos)
    dataset = Dataset(whole.root, whole.classes, {"train": whole.split("train")})
    run = open_in(tmp_path / "run", photos, EASY.replace(epochs=1))
    assert train(run, dataset, progress=False).f1_val is None


def test_long_trainings_are_validated_about_fifty_times(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wisp.train.photos.predict_classes", lambda model, val, device: val.labels)
    recipe = EASY.replace(epochs=110, batch_size=48, image_size=8, stop_after_epochs=7)
    train_in(tmp_path / "run", photos, recipe, checkpoint_seconds=100)
    rows = read_run(tmp_path / "run").metrics()
    assert [row["epoch"] for row in rows if "f1_val" in row] == [2, 4, 6, 7]


def test_training_on_val_uses_every_photo(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = EASY.replace(epochs=1, train_on_val=True)
    train_photos, val = load_photos(load_dataset(photos), recipe, skip_unreadable=False, progress=False)
    assert len(train_photos) == 63
    assert len(val) == 15
    assert torch.bincount(train_photos.labels).tolist() == [21, 21, 21]
    train_in(tmp_path / "run", photos, recipe)
    train_in(tmp_path / "without", photos, recipe.replace(train_on_val=False))
    assert not same_bits(tmp_path / "run", tmp_path / "without")


def test_balanced_sampling_draws_all_classes_alike() -> None:
    labels = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    counts = torch.bincount(labels)
    generator = torch.Generator().manual_seed(0)
    plain = epoch_order(labels, counts, 0.0, generator)
    assert torch.equal(plain.sort().values, torch.arange(1000))
    drawn = torch.bincount(labels[epoch_order(labels, counts, 1.0, generator)])
    assert drawn.sum() == 1000
    assert all(280 < count < 390 for count in drawn.tolist())
    half = torch.bincount(labels[epoch_order(labels, counts, 0.5, generator)]).tolist()
    assert half[0] > half[1] > half[2] > 40  # 30 : 9.5 : 3.2 of 42.6


@pytest.mark.parametrize("geometry", ["pad", "crop"])
def test_other_geometries(photos: Path, tmp_path: Path, geometry: str) -> None:
    recipe = EASY.replace(geometry=geometry, cache_scale=1.0)
    result = train_in(tmp_path / "run", photos, recipe)
    assert result.f1_val is not None
    assert result.f1_val > 0.6
    dataset = load_dataset(photos)
    ours, _ = load_photos(dataset, recipe, skip_unreadable=False, progress=False)
    other, _ = load_photos(dataset, EASY.replace(cache_scale=1.0), skip_unreadable=False, progress=False)
    assert ours.images.shape == (48, 16, 16, 3)
    assert not np.array_equal(ours.images, other.images)


def test_batches_larger_than_the_photos(photos: Path, tmp_path: Path) -> None:
    result = train_in(tmp_path / "run", photos, EASY.replace(batch_size=64, epochs=2))
    assert result.epochs == 2
    assert math.isfinite(result.loss)


def test_unreadable_photos_stop_or_are_left_out(tmp_path: Path) -> None:
    root = paint_photos(tmp_path / "photos", train=5, val=2)
    (root / "train" / "metal" / "0.png").write_bytes(b"no photo")
    recipe = EASY.replace(epochs=1)
    with pytest.raises(DataError, match=r"0\.png.*--skip-unreadable"):
        train_in(tmp_path / "run", root, recipe)
    assert train_in(tmp_path / "run", root, recipe, skip_unreadable=True).epochs == 1
    for path in (root / "train" / "metal").iterdir():
        path.write_bytes(b"no photo")
    with pytest.raises(DataError, match="no training photo of class 'metal'; add some"):
        train_in(tmp_path / "other", root, recipe, skip_unreadable=True)


def test_photos_that_are_too_few(photos: Path, tmp_path: Path) -> None:
    whole = load_dataset(photos)
    single = Dataset(whole.root, ("glass",), {"train": whole.split("train")[:1]})
    with pytest.raises(DataError, match="1 training photo; at least 2 are needed"):
        load_photos(single, EASY, skip_unreadable=False, progress=False)
    empty = Dataset(whole.root, whole.classes, {VAL: whole.split(VAL)})
    with pytest.raises(DataError, match="no training photo of class 'glass'"):
        load_photos(empty, EASY, skip_unreadable=False, progress=False)


def test_epochs_must_be_decided(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="not everything is decided yet"):
        train_in(tmp_path / "run", photos, EASY.replace(epochs=0))


def test_a_network_that_starts_from_other_weights(photos: Path, reference: Path, tmp_path: Path) -> None:
    start = weights(reference)
    recipe = BUSY.replace(epochs=1, learning_rate=1e-12, ema_decay=0.0, weight_decay=0.0)
    train_in(tmp_path / "run", photos, recipe, initialize=lambda model: model.load_state_dict(start))
    for name, value in weights(tmp_path / "run").items():
        if name.endswith("weight"):
            torch.testing.assert_close(value, start[name], rtol=0, atol=1e-6)


def test_a_damaged_checkpoint(photos: Path, tmp_path: Path, interrupt: Callable[[int, int], None]) -> None:
    interrupt(2, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train_in(tmp_path / "run", photos)
    path = tmp_path / "run" / CHECKPOINT
    whole = path.read_bytes()
    for damaged in (b"", b"nothing that torch wrote", whole[: len(whole) // 2], b"\x80\x02" + whole[:100]):
        path.write_bytes(damaged)
        with pytest.raises(ModelError) as caught:
            train_in(tmp_path / "run", photos)
        assert str(caught.value).startswith(f"{path}: damaged checkpoint (")
        assert str(caught.value).endswith("); start again with --overwrite")
        assert "()" not in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "weights_only" not in str(caught.value)  # torch's advice to read it all the same
    torch.save({"model": {}}, path)
    with pytest.raises(ModelError, match="damaged checkpoint"):
        train_in(tmp_path / "run", photos)


def test_training_beside_the_main_thread(photos: Path, reference: Path, tmp_path: Path) -> None:
    """Signals only reach the main thread; elsewhere the loop must not try to catch them."""
    thread = threading.Thread(target=train_in, args=(tmp_path / "run", photos))
    thread.start()
    thread.join()
    assert same_bits(reference, tmp_path / "run")


def test_progress_bars_only_on_a_terminal(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train_in(tmp_path / "run", photos, EASY.replace(epochs=1), progress=True)
    assert capfd.readouterr() == ("", "")


def test_weights_that_do_not_fit(photos: Path, reference: Path, tmp_path: Path) -> None:
    shutil.copytree(reference, tmp_path / "run")
    wider = ARCH.to_json()
    wider["options"]["head"] = 20
    ArchSpec.from_json(wider).save(tmp_path / "run" / "arch.json")
    with pytest.raises(ModelError, match=r"model\.safetensors: weights do not fit arch\.json"):
        read_run(tmp_path / "run").load_model()
    (tmp_path / "run" / WEIGHTS).write_bytes(b"half")
    with pytest.raises(ModelError, match=r"model\.safetensors: weights do not fit"):
        read_run(tmp_path / "run").load_model()
    (tmp_path / "run" / WEIGHTS).unlink()
    with pytest.raises(ModelError, match="not complete; continue it with --resume"):
        read_run(tmp_path / "run").load_model()


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Sends this process a signal during a step, counted over the whole training."""

    def arm(after_steps: int, number: int) -> None:
        original, counted = loop.update_average, []

        def update(*args: AveragedTensors, **kwargs: object) -> None:
            counted.append(1)
            if len(counted) == after_steps:
                signal.raise_signal(number)
            original(*args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(loop, "update_average", update)

    return arm
