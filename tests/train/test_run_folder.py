from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from tiny_training import ARCH, BUSY, EASY, open_in, paint_photos, train_in
from wisp.data.folders import load_dataset
from wisp.errors import DataError, InputError, ModelError, RecipeError
from wisp.models import ArchSpec, named
from wisp.train.run import ARCH as ARCH_FILE
from wisp.train.run import (
    DATA,
    ENVIRONMENT,
    METRICS,
    RECIPE,
    WEIGHTS,
    create_run,
    describe_data,
    open_run,
    read_run,
    remove_run,
)


def test_what_a_run_says_of_itself(photos: Path, tmp_path: Path) -> None:
    run = open_in(tmp_path / "run", photos)
    assert read_run(tmp_path / "run") == run
    assert run.classes == ("glass", "metal", "종이")
    assert run.data["root"] == str(photos.resolve())
    assert len(run.data["splits"]["train"]) == 48
    assert not run.is_complete
    assert run.metrics() == []
    assert run.artifact == tmp_path / "run" / "model.onnx"


def test_resuming_with_something_else(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    open_in(folder, photos)
    with pytest.raises(RecipeError, match=r"was begun with epochs = 4, not 5; resume .* --overwrite"):
        open_in(folder, photos, BUSY.replace(epochs=5))
    with pytest.raises(ModelError, match=r"arch\.json: is another network than the one given"):
        open_in(folder, photos, BUSY, named("resnet8", 3))
    other = paint_photos(tmp_path / "other", seed=1)
    with pytest.raises(DataError, match=r"other: the photos changed since .* was begun"):
        open_in(folder, other)
    assert open_in(folder, photos, BUSY.replace(stop_after_epochs=2)).recipe == BUSY


def test_resuming_with_other_weights_to_learn_from(photos: Path, reference: Path, tmp_path: Path) -> None:
    dataset = load_dataset(photos)
    plain = describe_data(dataset, progress=False)
    taught = describe_data(dataset, teachers=[reference], progress=False)
    started = describe_data(dataset, pretrained=str(reference / WEIGHTS), progress=False)
    downloaded = describe_data(dataset, pretrained="download", progress=False)
    assert taught["teachers"] == [started["pretrained"]]
    assert len(started["pretrained"]) == 64
    for begun, given, message in (
        (taught, plain, "with other weights for --teacher"),
        (plain, taught, "with no weights for --teacher"),
        (started, downloaded, "with other weights for --init or --pretrained"),
        (plain, started, "with no weights for --init or --pretrained"),
    ):
        folder = tmp_path / message.replace(" ", "")
        open_run(folder, BUSY, ARCH, begun)
        with pytest.raises(ModelError, match=message):
            open_run(folder, BUSY, ARCH, given, resume=True)
        assert open_run(folder, BUSY, ARCH, begun, resume=True).data == begun
    with pytest.raises(ModelError, match=r"none\.pth: cannot read these weights \(No such file"):
        describe_data(dataset, pretrained=str(tmp_path / "none.pth"), progress=False)


def test_overwriting_never_removes_what_no_run_wrote(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    data = describe_data(load_dataset(photos), progress=False)
    train_in(folder, photos, EASY.replace(epochs=1))
    with pytest.raises(InputError, match="not empty; continue it with --resume, replace it with --overwrite"):
        create_run(folder, EASY, ARCH, data)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'notes\.txt', which no run of wisp wrote"):
        create_run(folder, EASY, ARCH, data, overwrite=True)
    assert (folder / WEIGHTS).is_file()
    (folder / "notes.txt").unlink()
    (folder / ".part-x.pt").touch()
    create_run(folder, EASY, ARCH, data, overwrite=True)
    assert {path.name for path in folder.iterdir()} == {RECIPE, ARCH_FILE, DATA, ENVIRONMENT}


def test_folders_named_like_run_files_are_replaced(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / METRICS).mkdir(parents=True)
    create_run(folder, EASY, ARCH, describe_data(load_dataset(photos), progress=False), overwrite=True)
    assert not (folder / METRICS).exists()


def test_places_where_no_folder_can_be(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: is a file; give a folder with --out"):
        open_in(tmp_path / "file", photos)
    with pytest.raises(InputError, match="cannot be made \\(Not a directory\\); choose another --out"):
        open_in(tmp_path / "file" / "run", photos)
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize("left", [(), (DATA,), (DATA, ARCH_FILE), (DATA, ARCH_FILE, ENVIRONMENT)])
def test_a_start_that_was_killed_half_way(photos: Path, tmp_path: Path, left: tuple[str, ...]) -> None:
    whole = open_in(tmp_path / "whole", photos)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".part-abc.toml").write_text("ima")
    for name in left:
        (folder / name).write_bytes((whole.folder / name).read_bytes())
    assert open_in(folder, photos).recipe == BUSY
    assert {path.name for path in folder.iterdir()} == {RECIPE, ARCH_FILE, DATA, ENVIRONMENT}


@pytest.mark.parametrize("removed", range(7))
def test_a_removal_that_was_killed_half_way(
    photos: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: int
) -> None:
    """At whatever file: the run begins anew or goes on, and ends as the whole one did."""
    folder = tmp_path / "run"
    shutil.copytree(reference, folder)
    real, left = Path.unlink, removed
    gone: list[str] = []

    def killed(path: Path, missing_ok: bool = False) -> None:
        nonlocal left
        if path.exists():
            if not left:
                raise KeyboardInterrupt
            left -= 1
            gone.append(path.name)
        real(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with suppress(KeyboardInterrupt):
            remove_run(folder)
    assert len(gone) == min(removed, 6)
    assert folder.exists() == (removed < 6)
    train_in(folder, photos, cache_dir=tmp_path / "cache")
    assert (folder / WEIGHTS).read_bytes() == (reference / WEIGHTS).read_bytes()


def test_resuming_in_a_folder_of_something_else(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    ARCH.save(folder / ARCH_FILE)  # written by hand, before any run
    with pytest.raises(InputError, match="not empty"):
        open_in(folder, photos)
    assert ArchSpec.load(folder / ARCH_FILE) == ARCH


def test_damaged_run_folders(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not a run folder \(recipe\.toml or arch\.json is missing\)"):
        read_run(tmp_path)
    folder = open_in(tmp_path / "run", photos).folder
    data = (folder / DATA).read_text(encoding="utf-8")
    for text in ("{", "[]", "{}"):
        (folder / DATA).write_text(text)
        with pytest.raises(ModelError, match=r"data\.json: missing or damaged"):
            read_run(folder)
    (folder / DATA).write_text(json.dumps({**json.loads(data), "classes": ["a", "b"]}))
    with pytest.raises(ModelError, match=r"arch\.json: 3 classes, but data\.json names 2"):
        read_run(folder)
    (folder / DATA).write_text(data, encoding="utf-8")
    (folder / RECIPE).write_text("epochs = -1")
    with pytest.raises(RecipeError, match=r"recipe\.toml: field 'epochs'"):
        read_run(folder)


def test_an_epoch_takes_as_long_as_those_after_the_first(reference: Path, tmp_path: Path) -> None:
    shutil.copytree(reference, tmp_path / "run")
    run, log = read_run(tmp_path / "run"), tmp_path / "run" / METRICS

    def logged(*seconds: float) -> float | None:
        rows = [{"epoch": number, "loss": 1.0, "seconds": taken} for number, taken in enumerate(seconds, 1)]
        log.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return run.epoch_seconds()

    assert logged() is None
    assert logged(5.0) == 5.0
    assert logged(5.0, 5.5, 6.5) == pytest.approx(0.75)
