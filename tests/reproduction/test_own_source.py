"""Submissions that bring Python code: refused, or run in the sandbox and believed in nothing."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from forgery import RECIPE, pack

from tiny_training import train_in
from wisp.errors import SandboxError, SubmissionError, TrainingError
from wisp.models import SourceArch
from wisp.reproduction import Settings, reproduce
from wisp.reproduction.retraining import Retraining, epochs_done, retrain
from wisp.sandbox import Limits, confinement
from wisp.search.executors import InlineExecutor

LIMITS = Limits(
    wall_seconds=250,
    cpu_seconds=250,
    memory_bytes=3 * 2**30,
    processes=256,
    disk_bytes=2**30,
    open_files=1024,
)
# It looks around before it builds its network, and fails where it sees more than it should.
NETWORK = """
import os
import socket
from pathlib import Path

from torch import nn


def look_around():
    photos = [path for path in Path({photos!r}).parent.rglob("*.png")]
    assert not photos, photos[0]
    for path in ({photos!r}, {home!r}, "/etc/passwd"):
        try:
            print(os.listdir(path) if os.path.isdir(path) else open(path).read())
        except OSError:
            continue
        raise RuntimeError(f"{{path}} can be read")
    try:
        socket.create_connection(("127.0.0.1", 9), timeout=1)
    except ConnectionError:
        raise RuntimeError("there is a network")
    except OSError:
        pass


def build(num_classes):
    if os.environ.get("USER") == "sandbox":
        look_around()
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, num_classes),
    )
"""


@pytest.fixture(autouse=True)
def _confined() -> None:
    try:
        confinement()
    except SandboxError as error:
        pytest.skip(f"NOT TESTED, own source: {error}")


@pytest.fixture(scope="module")
def submission(room: Path, photos: Path) -> Path:
    text = NETWORK.format(photos=str(photos / "test"), home=str(Path.home()))
    train_in(room / "source-run", photos, RECIPE, SourceArch(text, 3))  # type: ignore[arg-type]
    return pack(room / "source-run", photos, room / "source.zip")


def test_without_permission_nothing_of_it_runs(submission: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="allow it, confined, with --run-source") as raised:
        reproduce(Settings(submission, photos, tmp_path / "out", progress=False))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_honest_source_is_reproduced_in_the_sandbox(submission: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = Settings(submission, photos, out, seeds=1, run_source=True, limits=LIMITS, progress=False)
    result = reproduce(settings, executor=InlineExecutor())
    assert (result.verdict, result.f1) == ("reproduced", 1.0), result
    assert result.runs[0].same_weights
    assert result.runs[0].differences == ()
    assert not (out / "photos").exists()  # the copies that it was shown


def task(folder: Path, text: str, **limits: Any) -> Retraining:
    photos = folder / "photos"
    photos.mkdir()
    return Retraining(
        folder=folder / "seed-1",
        data=photos,
        recipe=RECIPE,
        network=SourceArch(text, 3),
        sources={"model.py": text},
        described={},
        begins_with=None,
        skip_unreadable=False,
        limits=replace(LIMITS, **limits),
    )


def test_source_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    endless = task(tmp_path, "while True: pass", wall_seconds=1.0)
    with pytest.raises(TrainingError, match="stopped at its limit of wall time"):
        retrain(endless)
    assert epochs_done(endless) == 0
    assert not endless.is_done


def test_source_that_starts_from_downloaded_weights_has_no_network_for_it(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no network"):
        retrain(replace(task(tmp_path, "x = 1"), begins_with="download"))


def test_its_log_is_not_followed_out_of_the_scratch_folder(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text("a\nb\n")
    one = task(tmp_path, "x = 1")
    folder, name = one.log
    (folder / name).parent.mkdir(parents=True)
    (folder / name).symlink_to(lines)
    assert epochs_done(one) == 0
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert epochs_done(one) == 0
    (folder / name).unlink()
    (folder / name).write_text("a\nb\nc\n")
    assert epochs_done(one) == 3
    assert sys.platform == "linux"
