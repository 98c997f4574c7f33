"""A short fuzzing run, and proof that the long one would notice what it looks for."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from benchmarks import mutations
from benchmarks.mutations import Random

from tiny_submission import Parts, colour_model, paint_test_photos, tiny_submission

ROOT = Path(__file__).resolve().parents[1]
CASES = 120

# Each way in which a case may fail, as a target that does it; run in a process of its own, since each case is a fork.
PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path
from benchmarks import fuzz_cases
from benchmarks.fuzz_cases import Target, attempt
from wisp.errors import ModelError

root = Path(sys.argv[1])
os.environ["WISP_CACHE"] = str(root / "cache")
fuzz_cases.CPU_SECONDS = 2
fuzz_cases.MEMORY_BYTES = 400_000_000

def two_lines(path): raise ModelError("one\\ntwo")
def foreign(path): raise ValueError("not ours")
def crash(path): os.kill(os.getpid(), signal.SIGSEGV)
def outside(path): (root / "outside.txt").write_text("x")
def beside(path): (path.parent.parent / "beside.txt").write_text("x")
def left(path): (path.parent / "left.txt").write_text("x")
def changed(path): path.write_bytes(b"other")
def greedy(path): return str(len(b"x" * 500_000_000))[:0]
def slow(path):
    while True: pass
def refused(path): raise ModelError(f"{path}: not a model (really)")
def rule(path): return "layout"
def sound(path): return ""

for name in ("two_lines foreign crash outside beside left changed greedy slow refused rule sound").split():
    place = root / "watched" / "case"
    place.mkdir(parents=True)
    (place / "file.x").write_bytes(b"x")
    outcome = attempt(0, Target(name, 1, (), ".x", globals()[name]), place)
    for path in [*root.glob("*.txt"), *place.parent.glob("*.txt"), *place.iterdir()]:
        path.unlink()
    place.rmdir()
    print(json.dumps([name, outcome.kind, outcome.words]))
"""


def test_what_the_runner_notices(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    found = {name: (kind, words) for name, kind, words in map(json.loads, done.stdout.splitlines())}
    for name, words in (
        ("two_lines", "two lines"),
        ("foreign", "ValueError: not ours"),
        ("crash", "ended by signal 11"),
        ("outside", "wrote outside: open"),
        ("beside", "left behind or changed"),
        ("left", "left behind or changed"),
        ("changed", "left behind or changed"),
        ("greedy", "bytes of memory"),
        ("slow", "ended by signal"),
    ):
        assert found[name][0] == "FAILED", name
        assert words in found[name][1], name
    assert found["refused"] == ("refused", "not a model")
    assert found["rule"] == ("violations", "layout")
    assert found["sound"] == ("accepted", "")


@pytest.mark.slow
def test_a_short_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.fuzz_submissions", "--small"]
    options = ["--cases", str(CASES), "--seed", "2026", "--kept", str(tmp_path / "kept.jsonl")]
    record = ["--out", str(tmp_path / "out.json"), "--record", str(tmp_path / "record.md")]
    done = subprocess.run(
        [*command, *options, *record], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-3000:]
    numbers = json.loads((tmp_path / "out.json").read_text())
    assert numbers["cases"] == CASES
    kinds = {kind for counts in numbers["targets"].values() for kind in counts}
    assert kinds == {"refused", "violations", "accepted", "mean_cpu_s"}
    assert len(numbers["targets"]) == 9
    rows = [json.loads(line) for line in (tmp_path / "kept.jsonl").read_text().splitlines()]
    assert [row["case"] for row in rows] == list(range(CASES))
    assert len({row["words"] for row in rows if row["kind"] == "violations"}) >= 4  # layers, not one wall
    assert "Failed: none." in (tmp_path / "record.md").read_text()


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return tiny_submission(paint_test_photos(tmp_path_factory.mktemp("photos")))


def test_equal_seeds_are_equal_damage(parts: Parts, tmp_path: Path) -> None:
    team, model = parts.write(tmp_path / "team.zip").read_bytes(), colour_model()
    changes = {
        team: (
            mutations.flip_bytes,
            mutations.cut,
            mutations.insert,
            mutations.change_zip_field,
            mutations.change_zip_members,
            mutations.change_content,
        ),
        model: (mutations.change_onnx,),
    }
    for data, mutators in changes.items():
        for mutate in mutators:
            first = [mutate(data, Random(seed)) for seed in range(20)]
            assert first == [mutate(data, Random(seed)) for seed in range(20)]
            assert len(set(first)) > 10


def test_contents_are_changed_with_their_digests(parts: Parts, tmp_path: Path) -> None:
    """Otherwise every change would end at the digests, and nothing behind them be tried."""
    team = parts.write(tmp_path / "team.zip").read_bytes()
    reached = 0
    for seed in range(30):
        changed = mutations.change_content(team, Random(seed))
        with zipfile.ZipFile(BytesIO(changed)) as archive:
            contents = {name: archive.read(name) for name in archive.namelist()}
        try:
            members = json.loads(contents["manifest.json"])["members"]
            fits = all(members[name]["size_bytes"] == len(contents[name]) for name in members)
        except (ValueError, KeyError, TypeError):
            continue  # the manifest itself was changed
        reached += fits
    assert reached > 15
