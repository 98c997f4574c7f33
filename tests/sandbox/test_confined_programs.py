"""What an honest program needs, and what its caller is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from confined import SMALL, Way, processes_with, require_linux

from wisp.errors import SandboxError
from wisp.sandbox import Confinement, Limits, confinement, read_result, run_python
from wisp.sandbox.confinement import _missing
from wisp.sandbox.process_tree import descendants

TRAINING = """
import sys, torch
from torch import nn
import wisp.models
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
photos, labels = torch.randn(8, 3, 8, 8), torch.tensor([0, 1] * 4)
model(photos)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
losses = []
for _ in range(20):
    loss = nn.functional.cross_entropy(model(photos), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
torch.save(model.state_dict(), "weights.pt")
print(losses[0] > losses[-1], open(sys.argv[1]).read())
"""


def test_a_training_with_torch_goes_through(own_way: Way, scratch: Path, room: Path) -> None:
    data = room / "data"
    data.mkdir()
    (data / "photo").write_text("a photo")
    data.chmod(0o700)  # as a folder of root's may be
    limits = Limits(wall_seconds=200, cpu_seconds=100, memory_bytes=2 * 2**30)
    outcome = own_way.run(TRAINING, scratch, str(data / "photo"), limits=limits, read_only=(data,))
    assert outcome.ok, outcome
    assert outcome.stdout == b"True a photo\n"
    assert len(read_result(scratch, "weights.pt", limit_bytes=10**6)) > 1000
    assert 50e6 < outcome.peak_memory_bytes < 2e9
    assert outcome.mode == own_way.mode


def test_a_program_has_files_processes_and_threads_of_its_own(way: Way, scratch: Path) -> None:
    program = """
import os, shutil, subprocess, sys, tempfile, threading
os.makedirs("a/b")
open("a/b/c", "w").write("c" * 10)
shutil.copy2("a/b/c", "d")
os.rename("a/b/c", "e")
os.symlink("e", "link")
with tempfile.TemporaryDirectory() as folder:
    open(folder + "/x", "w").write("x")
thread = threading.Thread(target=print, args=("thread", ), kwargs={"flush": True})
thread.start(); thread.join()
print(subprocess.run([sys.executable, "-I", "-c", "print(6 * 7)"], capture_output=True, text=True).stdout.strip())
shutil.rmtree("a")
print(sorted(os.listdir()), open("link").read(), os.path.expanduser("~") == os.getcwd(), sys.stdin.read())
"""
    outcome = way.run(program, scratch)
    assert outcome.ok, outcome
    assert outcome.stdout.decode().splitlines() == ["thread", "42", "['d', 'e', 'link'] cccccccccc True "]


@pytest.mark.parametrize(
    ("program", "exit_code", "number", "reason"),
    [
        ("print('fine')", 0, None, "ended well"),
        ("raise SystemExit(7)", 7, None, "failed (exit code 7)"),
        ("1 / 0", 1, None, "ZeroDivisionError"),
        ("import os; os.abort()", None, signal.SIGABRT, "SIGABRT"),
        ("import ctypes; ctypes.string_at(0)", None, signal.SIGSEGV, "SIGSEGV"),
    ],
)
def test_how_it_ended_is_told(
    own_way: Way, scratch: Path, program: str, exit_code: int | None, number: int | None, reason: str
) -> None:
    outcome = own_way.run(program, scratch)
    assert (outcome.exit_code, outcome.signal, outcome.limit) == (exit_code, number, None)
    assert outcome.ok == (exit_code == 0)
    assert reason in outcome.reason


def test_a_limit_is_named_in_words(own_way: Way, scratch: Path) -> None:
    opened = "kept = [open('/dev/null') for _ in range(300)]"
    assert own_way.run(opened, scratch).limit == "open files"
    outcome = own_way.run("import time; time.sleep(60)", scratch, limits=replace(SMALL, wall_seconds=0.3))
    assert outcome.reason == "stopped at its limit of wall time"


def test_a_second_program_goes_on_in_the_same_folder(way: Way, scratch: Path) -> None:
    assert way.run("open('progress', 'w').write('half')", scratch).ok
    assert way.run("open('progress', 'a').write(', done')", scratch).ok
    assert read_result(scratch, "progress", limit_bytes=100) == b"half, done"


def test_progress_can_be_watched(scratch: Path) -> None:
    require_linux()
    seen = []
    program = "import time\nfor n in range(4):\n    open('n', 'w').write(str(n))\n    time.sleep(0.3)"

    def tick() -> None:
        if (scratch / "n").exists():
            seen.append(read_result(scratch, "n", limit_bytes=10))

    assert run_python(["-c", program], scratch=scratch, limits=SMALL, tick=tick).ok
    assert len(set(seen)) >= 3


def test_a_failing_watcher_ends_the_program(scratch: Path, marker: str) -> None:
    require_linux()

    def tick() -> None:
        raise ValueError("seen enough")

    with pytest.raises(ValueError, match="seen enough"):
        run_python(
            ["-c", "import time; time.sleep(60)", marker], scratch=scratch, tick=tick, grace_seconds=60
        )
    assert not list(processes_with(marker))


CALLER = """
import sys
from pathlib import Path
from wisp.sandbox import run_python
program = '''
import pathlib, signal, sys, time
def save(number, frame):
    pathlib.Path("saved").write_text("saved")
    sys.exit(3)
signal.signal(signal.SIGTERM, save)
pathlib.Path("started").write_text("")
time.sleep(60)
'''
try:
    run_python(["-c", program, sys.argv[2]], scratch=Path(sys.argv[1]), mode=sys.argv[3], grace_seconds=20)
except KeyboardInterrupt:
    print("interrupted")
"""


def start_caller(way: Way, scratch: Path, marker: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", CALLER, str(scratch), marker, way.mode]
    caller = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    wait_for((scratch / "started").exists)
    return caller


def wait_for(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ctrl_c_lets_it_save_where_it_stands(own_way: Way, scratch: Path, marker: str) -> None:
    with start_caller(own_way, scratch, marker) as caller:
        caller.send_signal(signal.SIGINT)
        out, _ = caller.communicate(timeout=60)
    assert out == "interrupted\n"
    assert (scratch / "saved").read_text() == "saved"
    assert not list(processes_with(marker))


def test_it_does_not_outlive_a_caller_that_is_killed(own_way: Way, scratch: Path, marker: str) -> None:
    with start_caller(own_way, scratch, marker) as caller:
        assert len(list(processes_with(marker))) >= 2
        caller.kill()
    wait_for(lambda: not list(processes_with(marker)), 20)


def test_only_plain_files_of_a_known_size_are_read_back(scratch: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (scratch / "link").symlink_to(secret)
    (scratch / "folder-link").symlink_to(tmp_path)
    (scratch / "folder").mkdir()
    (scratch / "folder" / "plain").write_bytes(b"content")
    os.mkfifo(scratch / "pipe")
    assert read_result(scratch, "folder/plain", limit_bytes=7) == b"content"
    for name in (
        "link",
        "folder-link/secret",
        "pipe",
        "folder",
        "missing",
        "../secret",
        "folder/../../secret",
    ):
        with pytest.raises(SandboxError, match=name):
            read_result(scratch, name, limit_bytes=100)
    with pytest.raises(SandboxError, match="reasonable size"):
        read_result(scratch, "folder/plain", limit_bytes=6)


def test_two_programs_do_not_share_a_folder(own_way: Way, scratch: Path, marker: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only as root does each program have a user of its own")
    with start_caller(own_way, scratch, marker) as caller:
        with pytest.raises(SandboxError, match="another confined program is running in this folder"):
            run_python(["-c", "pass"], scratch=scratch, mode=own_way.mode)
        caller.kill()


def test_what_cannot_be_guaranteed_is_said() -> None:
    require_linux()
    limited = confinement("limits")
    assert limited.warning is not None
    assert "\n" not in limited.warning
    assert all(phrase in limited.warning for phrase in limited.missing)
    assert limited.missing
    bare = Confinement("limits", 0, filtered=False, own_user=False, missing=("a", "b"), reason="c")
    assert bare.warning is not None
    assert "since c; not guaranteed: a; b." in bare.warning
    assert Confinement("bubblewrap", 1, filtered=True, own_user=True).warning is None


def test_the_fewer_means_the_longer_the_warning() -> None:
    full = _missing(7, filtered=True, own_user=True)
    assert len(full) == 1
    assert any("Landlock" in phrase for phrase in _missing(0, filtered=True, own_user=True))
    assert any("network" in phrase for phrase in _missing(7, filtered=False, own_user=True))
    assert any("signals" in phrase for phrase in _missing(3, filtered=True, own_user=False))
    assert not any("signals" in phrase for phrase in _missing(6, filtered=True, own_user=False))


def test_other_systems_refuse_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    confinement.cache_clear()
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(SandboxError, match="on Linux only"):
        confinement()
    confinement.cache_clear()


def test_a_program_that_cannot_be_confined_is_not_started(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_linux()
    monkeypatch.setattr("wisp.sandbox.run._rlimits", lambda *_: {"RLIMIT_NOFILE": (-5, -7)})
    with pytest.raises(SandboxError, match="could not be confined, so it was not started"):
        run_python(["-c", "open('started', 'w')"], scratch=scratch)
    assert not (scratch / "started").exists()


def test_the_quick_look_at_processes_sees_what_the_thorough_one_does() -> None:
    require_linux()
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    with subprocess.Popen([sys.executable, "-c", program], start_new_session=True) as child:
        try:
            wait_for(lambda: len(list(below(child.pid, thorough=True))) == 2)
            assert list(below(child.pid, thorough=False)) == list(below(child.pid, thorough=True))
        finally:
            os.killpg(child.pid, signal.SIGKILL)


def below(pid: int, *, thorough: bool) -> list[tuple[int, int]]:
    """Pid and depth of a child of this process, and of its children."""
    found = [(process.pid, process.depth) for process in descendants(thorough=thorough)]
    start = next((at for at, (number, _) in enumerate(found) if number == pid), None)
    return [] if start is None else [found[start], *(pair for pair in found if pair[1] == 2)]
