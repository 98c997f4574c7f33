"""The command: its words and exit codes, and a real process that is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tiny_training import EASY, paint_photos, train_in
from wisp.cli.main import run
from wisp.data.folders import load_dataset
from wisp.packing import pack_run
from wisp.reproduction.interval import Decision, prediction_interval
from wisp.reproduction.verdict import Reproduction, Retrained
from wisp.train.run import METRICS, WEIGHTS, read_run

EPOCHS = 100  # some seconds


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = paint_photos(tmp_path_factory.mktemp("data") / "photos")
    for path in sorted((root / "val").rglob("*.*")):
        target = root / "test" / path.parent.name
        target.mkdir(parents=True, exist_ok=True)
        (target / f"t{path.name}").write_bytes(path.read_bytes() + b"\0")
    return root


@pytest.fixture(scope="module")
def submission(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("team")
    train_in(folder / "run", photos, EASY.replace(epochs=EPOCHS))
    pack_run(read_run(folder / "run"), load_dataset(photos), folder / "team.zip", progress=False)
    return folder / "team.zip"


def start(submission: Path, photos: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    words = [
        sys.executable,
        "-m",
        "wisp",
        "reproduce",
        str(submission),
        "--data",
        str(photos),
        "--out",
        str(out),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*words, "--seeds", "1", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_interrupted_and_killed_it_goes_on_to_the_same_result(
    submission: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    log = out / f"seed-{EASY.seed}" / METRICS

    def wait_for_epochs(process: subprocess.Popen[str], least: int) -> None:
        while not log.is_file() or log.read_text().count("\n") < least:
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)

    with start(submission, photos, out) as process:
        wait_for_epochs(process, 3)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=300)
    assert process.returncode == 130
    assert f"{out}: stopped; go on with the same command" in error
    done = log.read_text().count("\n")
    assert done < EPOCHS
    with start(submission, photos, out, "--resume") as process:
        wait_for_epochs(process, done + 3)
        process.kill()
    assert not (log.parent / "done.json").exists()
    with start(submission, photos, out, "--resume", "--json") as process:
        output, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    result = json.loads(output)
    assert result["verdict"] == "reproduced"
    assert result["runs"][0]["same_weights"]
    assert result["runs"][0]["seed"] == EASY.seed
    assert (log.parent / WEIGHTS).is_file()


def reproduction(verdict: str, **changes: Any) -> Reproduction:
    runs = tuple(Retrained(seed, 0.8 + seed / 100, False, False, (), 61.2) for seed in (1, 2, 3))
    interval = prediction_interval([one.f1 for one in runs], resolution=0.001)
    values = {
        "verdict": verdict,
        "reasons": ("F1 says so",),
        "remarks": ("weights differ",),
        "split": "test",
        "f1": 0.82,
        "claimed_f1": 0.82,
        "runs": runs,
        "decision": Decision(verdict, interval, 4 if verdict == "undecided" else None),  # type: ignore[arg-type]
        "within": 0.05,
        "same_environment": False,
        **changes,
    }
    return Reproduction(**values)


@pytest.mark.parametrize(
    ("verdict", "code", "line"),
    [
        ("reproduced", 0, "\nreproduced: F1 says so\n"),
        ("not reproduced", 1, "\nnot reproduced: F1 says so\n"),
        ("undecided", 3, "\nundecided: needs 4 more seeds; F1 says so\n"),
    ],
)
def test_what_it_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verdict: str, code: int, line: str
) -> None:
    asked = []

    def answer(settings: Any, **options: Any) -> Reproduction:
        asked.append((settings, options))
        return reproduction(verdict)

    monkeypatch.setattr("wisp.reproduction.reproduce", answer)
    assert run(["reproduce", "team.zip", "--data", "photos", "--seeds", "3"]) == code
    out = capsys.readouterr().out
    assert line in out
    assert "F1 on test  0.8200 by the submitted model, 0.8200 claimed\n" in out
    assert "seed 2      0.8200 retrained in 61 s\n" in out
    assert "interval    0.7054 to 0.9346 for one more result (99%; 3 seeds, standard deviation 0.0100)" in out
    assert "note: weights differ\n" in out
    assert ("--seeds 7 --resume" in out) == (verdict == "undecided")
    settings, options = asked[0]
    assert settings.out == Path("team-reproduction")
    assert options == {"resume": False, "overwrite": False}


def test_a_hopeless_spread_asks_for_no_seeds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hopeless = reproduction("undecided", decision=Decision("undecided", None))
    monkeypatch.setattr("wisp.reproduction.reproduce", lambda *_, **__: hopeless)
    assert run(["reproduce", "team.zip", "--data", "photos"]) == 3
    out = capsys.readouterr().out
    assert "\nundecided: F1 says so" in out
    assert "--resume" not in out


def test_bad_options_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["reproduce", str(tmp_path / "team.zip"), "--data", str(tmp_path)]
    assert run([*words, "--resume", "--overwrite"]) == 2
    assert capsys.readouterr().err.startswith("wisp: --resume and --overwrite")
    assert run(words) == 2
    assert "no such file" in capsys.readouterr().err
    assert run([*words, "--within", "0"]) == 2
