"""Real kills of real processes. (`test_loop` crashes before every single write, which no timing can.)"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny_training import ARCH, BUSY, log_rows, same_bits, train_in
from wisp.cli.main import run
from wisp.train import loop
from wisp.train.run import CHECKPOINT, METRICS, WEIGHTS

RECIPE = BUSY.replace(epochs=8)


def _state(folder: Path) -> list[tuple[str, int]]:
    try:
        return sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())
    except FileNotFoundError:
        return []  # no folder yet, or a temporary file that is gone again


def _train_and_halt(folder: Path, photos: Path, mark: Path, checkpoints: int, **options: Any) -> None:
    """Train, and stand still after so many checkpoints, to be killed there."""
    save = loop.save_checkpoint
    left = checkpoints

    def save_and_halt(*args: Any, **state: Any) -> None:
        nonlocal left
        save(*args, **state)
        left -= 1
        if not left:
            mark.touch()
            time.sleep(900)

    loop.save_checkpoint = save_and_halt  # in a process of its own
    train_in(folder, photos, **options)


@pytest.mark.slow
@pytest.mark.timeout(900)  # starts many processes, which wait long for their turn on a busy machine
def test_killed_at_any_moment(photos: Path, tmp_path: Path) -> None:
    """First twice where there is a checkpoint for sure, then at random moments until it ends."""
    seconds = train_in(tmp_path / "reference", photos, RECIPE, cache_dir=tmp_path / "cache").seconds
    processes = multiprocessing.get_context("forkserver")  # starts in no time, since torch is loaded already
    processes.set_forkserver_preload(["wisp.train.loop"])
    folder, moments = tmp_path / "run", random.Random(0)  # noqa: S311
    options = {"recipe": RECIPE, "cache_dir": tmp_path / "cache"}
    for checkpoints in (1, 2):
        mark = tmp_path / f"halted-{checkpoints}"
        arguments = (folder, photos, mark, checkpoints)
        process = processes.Process(target=_train_and_halt, args=arguments, kwargs=options, daemon=True)
        process.start()
        while process.is_alive() and not mark.exists():
            time.sleep(0.002)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert mark.exists()
        assert (folder / CHECKPOINT).is_file()
    assert len(log_rows(folder)) == 3  # the second one went on after the first epoch
    for attempt in range(100):
        before = _state(folder)
        process = processes.Process(target=train_in, args=(folder, photos), kwargs=options, daemon=True)
        process.start()
        while process.is_alive() and _state(folder) == before:
            time.sleep(0.002)
        # a fraction of what it takes, ever longer, so that it ends on every machine
        process.join(moments.random() * seconds * (0.2 + 0.1 * attempt))
        if not (folder / WEIGHTS).is_file():
            process.kill()
        process.join()
        if process.exitcode == 0:  # perhaps just before it would have been killed
            break
        assert process.exitcode == -signal.SIGKILL
    assert process.exitcode == 0
    assert same_bits(tmp_path / "reference", folder)
    assert log_rows(tmp_path / "reference") == log_rows(folder)
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".part-")]


@pytest.mark.slow
@pytest.mark.timeout(900)  # starts many processes, which wait long for their turn on a busy machine
def test_ctrl_c_on_the_command_line(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ARCH.save(tmp_path / "arch.json")
    BUSY.replace(epochs=60).save(tmp_path / "recipe.toml")
    command = ["train", str(photos), "--model", str(tmp_path / "arch.json"), "--device", "cpu"]
    command += ["--recipe", str(tmp_path / "recipe.toml")]
    folder, log = tmp_path / "run", tmp_path / "run" / METRICS
    process = subprocess.Popen(
        [sys.executable, "-m", "wisp", *command, "--out", str(folder)],
        env={**os.environ, "PYTHONWARNINGS": "error"},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not (log.is_file() and log.read_text().count("\n") >= 2):
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert err.split("\n") == [f"{folder}: saved; go on with --resume", "", "wisp: interrupted", ""]
    assert out == ""
    assert process.returncode == 130
    assert torch.load(folder / CHECKPOINT, weights_only=True)["progress"]["epoch"] < 60
    assert run([*command, "--out", str(folder), "--resume"]) == 0
    assert "60 epochs" in capsys.readouterr().out
    assert run([*command, "--out", str(tmp_path / "whole")]) == 0
    assert same_bits(folder, tmp_path / "whole")
    assert log_rows(folder) == log_rows(tmp_path / "whole")
