from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wisp.files import new_folder, replacing, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_whole_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "model.onnx"
    with replacing(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".onnx"
        temporary.write_text("half")
        assert not target.exists()
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert names(target.parent) == ["model.onnx"]


def test_the_content_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "state.json"
    real, seen = os.fsync, []

    def fsync(number: int) -> None:
        seen.append((os.fstat(number).st_size, target.exists()))
        real(number)

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(target, "whole")
    assert seen == [(5, False)]


def test_the_old_file_stays_until_then(tmp_path: Path) -> None:
    target = tmp_path / "state.json"
    target.write_text("old")
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


def write_half_and_fail(target: Path, error: BaseException) -> None:
    with replacing(target) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), ValueError("bad")])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "state.json"
    target.write_text("old")
    with pytest.raises(type(error)):
        write_half_and_fail(target, error)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["state.json"]


def test_a_writer_may_remove_its_temporary_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "x") as temporary:
        temporary.unlink()
    assert names(tmp_path) == []


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_an_ordinary_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "ours", "x")
        (tmp_path / "plain").write_text("x")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "plain")]
    assert modes[0] == modes[1] == 0o666 & ~mask


def test_writing_leaves_the_umask_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The umask belongs to the whole process: what other threads create meanwhile would be open to everyone."""
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("changed"))
    write_text(tmp_path / "x", "x")


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    target = tmp_path / "state.json"
    write_json(target, [0] * 2000)
    stop = threading.Event()

    def write() -> None:
        for value in range(1, 60):
            write_json(target, [value] * 2000)
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not stop.is_set():
        value = json.loads(target.read_text())
        assert len(value) == 2000
        assert len(set(value)) == 1
        seen.add(value[0])
    writer.join()
    assert seen


def test_a_folder_in_the_way_is_an_error_without_leftovers(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_text(tmp_path / "taken", "x")
    assert names(tmp_path) == ["taken"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")], {"x": object()}])
def test_what_json_cannot_hold_is_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "x.json", value)
    assert names(tmp_path) == []


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "Müll 垃圾")
    assert (tmp_path / "x").read_bytes() == "Müll 垃圾".encode()
    write_json(tmp_path / "x.json", {"Müll": 1})
    assert "Müll" in (tmp_path / "x.json").read_text(encoding="utf-8")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(values.filter(lambda value: "\\ud" not in json.dumps(value)))
def test_json_round_trip(tmp_path: Path, value: object) -> None:
    write_json(tmp_path / "x.json", value)
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == value


def test_a_new_folder_appears_whole(tmp_path):
    target = tmp_path / "deep" / "folder"
    with new_folder(target) as folder:
        (folder / "a.txt").write_text("a", encoding="utf-8")
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["a.txt"]
    assert [path.name for path in target.parent.iterdir()] == ["folder"]
    plain = tmp_path / "plain"
    plain.mkdir()
    assert target.stat().st_mode == plain.stat().st_mode


def test_a_new_folder_takes_the_place_of_an_empty_one_only(tmp_path):
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    with new_folder(empty) as folder:
        (folder / "a.txt").touch()
    assert (empty / "a.txt").is_file()
    full.mkdir()
    (full / "kept.txt").touch()
    with pytest.raises(OSError, match="full"), new_folder(full):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full"]
    assert (full / "kept.txt").is_file()


def test_a_new_folder_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), new_folder(tmp_path / "folder") as folder:
        folder.joinpath("a.txt").write_text({}["text"])
    assert list(tmp_path.iterdir()) == []
