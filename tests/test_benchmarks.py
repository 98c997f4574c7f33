from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from benchmarks import __main__ as bench

MET = {"name": "median, ms", "measured": 1.0, "required": 1.5, "at_most": True, "met": True}
MISSED = {"name": "times as fast", "measured": 2.0, "required": 3.0, "at_most": False, "met": False}


def test_discovery_finds_the_benchmarks_and_nothing_else() -> None:
    assert {"startup", "cache_build", "photo_to_label"} <= set(bench.fast())
    assert set(bench.LONG) <= set(bench.discover())
    assert not {"__main__", "outcome", "photographs"} & set(bench.discover())


def test_long_benchmarks_are_named_with_their_own_commands() -> None:
    for name, commands in bench.LONG.items():
        assert commands
        assert all(command.startswith(f"python -m benchmarks.{name} ") for command in commands)


def _pretend(
    monkeypatch: pytest.MonkeyPatch, bars: dict[str, list[dict[str, Any]] | None]
) -> list[list[str]]:
    """Processes that write the given bars instead of measuring; None: one that dies without a result."""
    calls: list[list[str]] = []

    def start(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        calls.append(command)
        name = command[2].removeprefix("benchmarks.")
        if bars[name] is not None:
            Path(command[command.index("--out") + 1]).write_text(json.dumps({"bars": bars[name]}))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(bench, "fast", lambda: tuple(bars))
    monkeypatch.setattr(bench.subprocess, "run", start)
    return calls


def test_all_met(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    calls = _pretend(monkeypatch, {"one": [MET], "two": [MET, MET]})
    assert bench.main(["--data", "photos", "--out", str(tmp_path / "kept")]) == 0
    shown = capsys.readouterr().out
    assert shown.count(" met") == 3
    assert "benchmarks.accuracy trashnet" in shown
    assert [path.name for path in sorted((tmp_path / "kept").iterdir())] == ["one.json", "two.json"]
    assert all(command[-2:] == ["--data", "photos"] for command in calls)


@pytest.mark.parametrize(("bars", "word"), [([MET, MISSED], "MISSED"), (None, "FAILED")])
def test_missed_or_failed_is_exit_code_1(
    bars: list[dict[str, Any]] | None,
    word: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _pretend(monkeypatch, {"good": [MET], "bad": bars})
    assert bench.main([]) == 1
    assert word in capsys.readouterr().out


def test_one_by_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls = _pretend(monkeypatch, {"one": [MET], "two": [MISSED]})
    assert bench.main(["one"]) == 0
    assert [command[2] for command in calls] == ["benchmarks.one"]
    with pytest.raises(SystemExit, match="2"):
        bench.main(["three"])
    assert "no fast benchmark is called three; there are one, two" in capsys.readouterr().err
