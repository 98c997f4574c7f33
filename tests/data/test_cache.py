from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from wisp.data import cache
from wisp.data.cache import CachedImages, build_cache
from wisp.errors import DataError
from wisp.files import default_cache_dir
from wisp.images import preprocess
from wisp.records import GEOMETRIES, Geometry, ResizeRule, Sample

RULE = ResizeRule(16)


def photos(folder: Path, count: int = 20, size: tuple[int, int] = (40, 30)) -> list[Sample]:
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for index in range(count):
        path = folder / f"{index:03}.jpg"
        Image.new("RGB", size, (index * 12 % 256, 100, 200)).save(path)
        samples.append(Sample(path, path.name, index % 3))
    return samples


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "photos").iterdir() if path.is_dir())


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(cache, "preprocess", refuse)


# --- what comes out -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_rows_are_what_the_runtime_sees_of_every_odd_photo(geometry: Geometry, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = Image.fromarray(rng.integers(0, 256, (90, 120, 3), np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    palette = base.quantize(16)
    files = {
        "turned.jpg": (base, {"exif": turned}),
        "cmyk.jpg": (base.convert("CMYK"), {}),
        "grey.jpg": (base.convert("L"), {}),
        "alpha.png": (base.convert("RGBA"), {}),
        "palette.png": (palette, {"transparency": 3}),
        "deep.png": (Image.fromarray(rng.integers(0, 65536, (30, 40), np.uint16)), {}),
        "photo.webp": (base, {}),
        "photo.bmp": (base, {}),
        "film.gif": (base, {"save_all": True, "append_images": [base.convert("L").convert("RGB")]}),
        "thin.jpg": (base.resize((120, 1)), {}),
        "panorama.jpg": (base.resize((12_000, 40)), {}),
        "사진 été " + "x" * 200 + ".jpg": (base, {}),
    }
    samples = []
    for name, (image, options) in files.items():
        image.save(tmp_path / name, **options)
        samples.append(Sample(tmp_path / name, name, None))
    rule = ResizeRule(24, geometry)
    cached = build_cache(samples, rule)
    assert len(cached) == len(samples)
    for row, sample in zip(cached.images, samples, strict=True):
        np.testing.assert_array_equal(row, preprocess(sample.path, rule))
        np.testing.assert_array_equal(row, preprocess(sample.path.read_bytes(), rule))


def test_images_are_a_read_only_map_with_their_samples_and_labels(tmp_path: Path) -> None:
    samples = photos(tmp_path / "photos", 50)
    samples[3] = Sample(samples[3].path, samples[3].name, None)
    cached = build_cache(samples, RULE, workers=3)
    assert isinstance(cached.images, np.memmap)
    assert cached.images.shape == (50, 16, 16, 3)
    assert cached.images.dtype == np.uint8
    assert not cached.images.flags.writeable
    assert cached.samples == tuple(samples)
    assert cached.labels.dtype == np.int64
    assert cached.labels.tolist()[:5] == [0, 1, 2, -1, 1]
    assert cached.skipped == ()


def test_an_empty_set_is_an_empty_cache() -> None:
    cached = build_cache([], RULE)
    assert cached.images.shape == (0, 16, 16, 3)
    assert len(cached) == 0


# --- decoded once, and again when something changed ---------------------------------------------------------------


def test_the_second_time_nothing_is_decoded(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    samples = photos(tmp_path / "photos")
    first = build_cache(samples, RULE)
    request.getfixturevalue("no_decoding")
    again = build_cache(samples, RULE)
    np.testing.assert_array_equal(again.images, first.images)


def test_labels_are_the_callers_and_not_part_of_the_cache(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    samples = photos(tmp_path / "photos")
    build_cache(samples, RULE)
    request.getfixturevalue("no_decoding")
    relabelled = [Sample(sample.path, sample.name, 7) for sample in samples]
    assert set(build_cache(relabelled, RULE).labels.tolist()) == {7}


def test_a_moved_folder_keeps_its_cache(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    samples = photos(tmp_path / "photos")
    build_cache(samples, RULE)
    (tmp_path / "photos").rename(tmp_path / "moved")
    request.getfixturevalue("no_decoding")
    build_cache([Sample(tmp_path / "moved" / s.name, s.name, s.label) for s in samples], RULE)


def test_a_changed_file_is_decoded_again(tmp_path: Path) -> None:
    samples = photos(tmp_path / "photos")
    build_cache(samples, RULE)
    Image.new("RGB", (40, 30), (1, 2, 3)).save(samples[4].path)
    np.testing.assert_array_equal(build_cache(samples, RULE).images[4], preprocess(samples[4].path, RULE))


def test_every_setting_has_its_own_entry(tmp_path: Path) -> None:
    samples = photos(tmp_path / "photos", 3)
    for rule in (RULE, ResizeRule(16, "pad"), ResizeRule(16, "crop"), ResizeRule(8)):
        assert build_cache(samples, rule, cache_dir=tmp_path / "cache").images.shape[1] == rule.size
    assert len(entries(tmp_path / "cache")) == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / "entry.json").unlink(),
        lambda entry: (entry / "entry.json").write_text("{"),
        lambda entry: (entry / "entry.json").write_text('{"skipped": [["x"]]}'),
        lambda entry: (entry / "pixels.u8").unlink(),
        lambda entry: os.truncate(entry / "pixels.u8", 1000),
        lambda entry: (entry / "pixels.u8").write_bytes(bytes((entry / "pixels.u8").stat().st_size)),
    ],
)
def test_a_damaged_entry_is_built_again(damage: object, tmp_path: Path) -> None:
    samples = photos(tmp_path / "photos")
    expected = np.array(build_cache(samples, RULE, cache_dir=tmp_path / "cache").images)
    (entry,) = entries(tmp_path / "cache")
    damage(entry)  # type: ignore[operator]
    cached = build_cache(samples, RULE, cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(cached.images, expected)
    assert entries(tmp_path / "cache") == [entry]


def test_a_disk_that_does_not_read_back_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_load", lambda *_: None)
    with pytest.raises(DataError, match="does not read back"):
        build_cache(photos(tmp_path / "photos", 2), RULE)


# --- unreadable photos --------------------------------------------------------------------------------------------


def test_unreadable_photos_stop_it_with_one_line_or_are_skipped(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    samples = photos(tmp_path / "photos")
    samples[5].path.write_bytes(b"")
    samples[17].path.write_bytes(samples[16].path.read_bytes()[:200])
    with pytest.raises(DataError) as caught:
        build_cache(samples, RULE)
    assert str(caught.value) == (
        f"{samples[5].path}: the file is empty; 2 of 20 photos cannot be read: remove or repair them, "
        "or leave them out with --skip-unreadable"
    )
    request.getfixturevalue("no_decoding")  # deciding to skip them costs no second decoding
    cached = build_cache(samples, RULE, skip_unreadable=True)
    assert len(cached) == len(cached.images) == len(cached.labels) == 18
    assert [sample.name for sample, _ in cached.skipped] == ["005.jpg", "017.jpg"]
    assert cached.skipped[0][1] == "the file is empty"
    assert cached.samples == tuple(s for i, s in enumerate(samples) if i not in (5, 17))
    np.testing.assert_array_equal(cached.images[5], preprocess(samples[6].path, RULE))


def test_a_repaired_photo_is_seen(tmp_path: Path) -> None:
    samples = photos(tmp_path / "photos")
    intact = samples[5].path.read_bytes()
    samples[5].path.unlink()
    assert len(build_cache(samples, RULE, skip_unreadable=True)) == 19
    samples[5].path.write_bytes(intact)
    assert len(build_cache(samples, RULE)) == 20


@pytest.mark.parametrize("skip", [True, False])
def test_a_set_without_one_readable_photo_is_refused(skip: bool, tmp_path: Path) -> None:
    samples = photos(tmp_path / "photos", 3)
    for sample in samples:
        sample.path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="3 of 3 photos cannot be read: none is left"):
        build_cache(samples, RULE, skip_unreadable=skip)


# --- two processes, killed processes ------------------------------------------------------------------------------

BUILD = """
import sys
from pathlib import Path
from wisp.data.cache import build_cache
from wisp.records import ResizeRule, Sample
folder, where = map(Path, sys.argv[1:])
samples = [Sample(path, path.name, 0) for path in sorted(folder.iterdir())]
print(len(build_cache(samples, ResizeRule(16), cache_dir=where)))
"""


def start(tmp_path: Path) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", BUILD, str(tmp_path / "photos"), str(tmp_path / "cache")]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_build_one_entry(tmp_path: Path) -> None:
    photos(tmp_path / "photos", 200)
    running = [start(tmp_path) for _ in range(2)]
    for process in running:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out.strip()) == (0, "200"), err
    assert len(entries(tmp_path / "cache")) == 1


def test_a_killed_build_leaves_nothing_that_counts(tmp_path: Path) -> None:
    samples = photos(tmp_path / "photos", 40, size=(2000, 1500))
    process = start(tmp_path)
    try:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "cache").glob("photos/*.part/pixels.u8")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.005)
    finally:
        process.kill()
        process.communicate()
    cached = build_cache(samples, RULE, cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(cached.images[39], preprocess(samples[39].path, RULE))
    assert [path.suffix for path in entries(tmp_path / "cache")] == [""]


def test_a_second_process_waits_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = photos(tmp_path / "photos", 2)
    real = cache.FileLock

    class Impatient(real):  # type: ignore[misc, valid-type]
        def acquire(self, timeout: float | None = None, **options: object) -> object:
            if timeout == 1:
                raise cache.Timeout(self.lock_file)
            return super().acquire(timeout, **options)

    monkeypatch.setattr(cache, "FileLock", Impatient)
    assert len(build_cache(samples, RULE)) == 2
    assert "waiting" in capsys.readouterr().err
    assert len(build_cache(samples, ResizeRule(8), progress=False)) == 2
    assert capsys.readouterr().err == ""


def test_an_entry_finished_while_waiting_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    samples = photos(tmp_path / "photos", 2)
    build_cache(samples, RULE)
    answers: list[CachedImages | None] = [None]
    real = cache._load
    monkeypatch.setattr(cache, "_load", lambda *a: answers.pop() if answers else real(*a))
    request.getfixturevalue("no_decoding")
    assert len(build_cache(samples, RULE)) == 2


def test_ctrl_c_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path, rule: ResizeRule) -> np.ndarray:
        if path.name == "030.jpg":
            raise KeyboardInterrupt
        return preprocess(path, rule)

    monkeypatch.setattr(cache, "preprocess", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_cache(photos(tmp_path / "photos", 90), RULE, cache_dir=tmp_path / "cache", workers=1)
    assert entries(tmp_path / "cache") == []


# --- disk and memory ----------------------------------------------------------------------------------------------


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = photos(tmp_path / "photos")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.raises(DataError, match=r"No space left on device.*set WISP_CACHE"):
        build_cache(samples, RULE, cache_dir=tmp_path / "cache")
    assert entries(tmp_path / "cache") == []


def test_a_disk_too_small_is_known_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage(1, 1, 100))
    with pytest.raises(DataError, match=r"need 0\.0 GB and 0\.0 GB are free; free some space"):
        build_cache(photos(tmp_path / "photos"), RULE, cache_dir=tmp_path / "cache")


def test_a_cache_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"file.*cannot write the cache.*WISP_CACHE"):
        build_cache(photos(tmp_path / "photos", 2), RULE, cache_dir=tmp_path / "file")


def test_a_read_only_cache_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    samples = photos(tmp_path / "photos", 2)
    build_cache(samples, RULE)

    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(cache.os, "utime", read_only)
    request.getfixturevalue("no_decoding")
    assert len(build_cache(samples, RULE)) == 2


def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    # 1,200 rows of 196 kB are 236 MB on the disk.
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (256, 256), (10, 20, 30)).save(path, quality=50)
    program = f"""
import resource
from pathlib import Path
import numpy as np
from wisp.data import cache
from wisp.records import ResizeRule, Sample
cache._map = lambda path, shape: np.empty((0, 256, 256, 3), np.uint8)  # mapped pages are the kernel's to drop
samples = [Sample(Path({str(path)!r}), str(index), 0) for index in range(1200)]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
cache.build_cache(samples, ResizeRule(256), cache_dir=Path({str(tmp_path)!r}), workers=2)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 80  # MB


@pytest.fixture
def three_entries(tmp_path: Path) -> list[Path]:
    """Entries of 60 kB each, the first unused for longest."""
    folder = tmp_path / "cache"
    made = []
    for index in range(3):
        build_cache(photos(tmp_path / str(index), 20), ResizeRule(32), cache_dir=folder)
        (entry,) = set(entries(folder)) - set(made)
        os.utime(entry / "entry.json", (1000 + index, 1000 + index))
        made.append(entry)
    return made


def test_entries_unused_for_longest_make_room(
    three_entries: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WISP_CACHE_MAX_GB", str(200e3 / 1e9))
    build_cache(
        photos(tmp_path / "0", 20), ResizeRule(32), cache_dir=tmp_path / "cache"
    )  # rewritten: a new entry
    assert not three_entries[0].exists()
    assert three_entries[1].exists()
    assert three_entries[2].exists()
    assert len(entries(tmp_path / "cache")) == 3


def test_using_an_entry_keeps_it(
    three_entries: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [Sample(path, path.name, 0) for path in sorted((tmp_path / "0").iterdir())]
    monkeypatch.setenv("WISP_CACHE_MAX_GB", str(200e3 / 1e9))
    cached = build_cache(samples, ResizeRule(32), cache_dir=tmp_path / "cache")
    build_cache(samples[:19], ResizeRule(32), cache_dir=tmp_path / "cache")
    assert three_entries[0].exists()
    assert not three_entries[1].exists()
    assert cached.images.any()


def test_an_entry_being_built_and_an_open_map_are_safe(
    three_entries: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [Sample(path, path.name, 0) for path in sorted((tmp_path / "1").iterdir())]
    opened = build_cache(samples, ResizeRule(32), cache_dir=tmp_path / "cache")
    expected = np.array(opened.images)
    monkeypatch.setenv("WISP_CACHE_MAX_GB", "0")
    building = three_entries[2].with_suffix(".part")
    three_entries[2].rename(building)
    with FileLock(three_entries[2].with_suffix(".lock"), thread_local=False):
        build_cache(samples[:3], ResizeRule(32), cache_dir=tmp_path / "cache")
    assert building.exists()
    assert not three_entries[1].exists()
    np.testing.assert_array_equal(opened.images, expected)
    build_cache(samples[:4], ResizeRule(32), cache_dir=tmp_path / "cache")
    assert len(entries(tmp_path / "cache")) == 1  # its builder is gone now, and so is what it left


@pytest.mark.parametrize("limit", ["plenty", "-1", "nan"])
def test_a_limit_that_is_no_size_is_named(
    limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WISP_CACHE_MAX_GB", limit)
    with pytest.raises(DataError, match=f"WISP_CACHE_MAX_GB: '{limit}'"):
        build_cache(photos(tmp_path / "photos", 2), RULE)


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WISP_CACHE", "~/elsewhere")
    assert default_cache_dir() == tmp_path / "elsewhere"
    monkeypatch.delenv("WISP_CACHE")
    assert default_cache_dir() == tmp_path / ".cache" / "wisp"


def test_the_bar_counts_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = cache.tqdm

    class Counting(real):  # type: ignore[misc, valid-type]
        def close(self) -> None:
            seen.append(self.n)
            super().close()

        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **{**options, "disable": False, "file": io.StringIO()})

    monkeypatch.setattr(cache, "tqdm", Counting)
    build_cache(photos(tmp_path / "photos", 33), RULE)
    assert 33 in seen
