from __future__ import annotations

import errno
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from PIL import Image

from tiny_onnx import write_colour_model
from wisp import __version__
from wisp.cli.lazy import TRAIN_EXTRA
from wisp.cli.main import VERBS, cli, main, run
from wisp.errors import DownloadError, InputError, MissingExtraError, TrainingError, WispError
from wisp.files import write_text

# Stands before a program: the modules named in BLOCKED are not installed.
BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
from wisp.cli.main import run
"""


def run_python(program: str, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COVERAGE_PROCESS_START": ""}
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=120,
        **options,  # type: ignore[call-overload]
    )


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> object:
    """Add a verb `do` that calls the function given."""

    def add(body: object) -> None:
        command = click.Command("do", callback=body, help="Do it.")  # type: ignore[arg-type]
        monkeypatch.setitem(cli.commands, "do", command)

    return add


# The verbs


def test_there_are_verbs_and_the_main_job_comes_first() -> None:
    assert len(VERBS) >= 9
    assert next(iter(VERBS)) == "optimize"
    assert cli.list_commands(click.Context(cli))[: len(VERBS)] == list(VERBS)


@pytest.mark.parametrize("verb_name", VERBS)
def test_every_verb_exists_and_its_line_is_its_own_short_help(verb_name: str) -> None:
    module, attribute, line = VERBS[verb_name]
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    assert command.get_short_help_str(limit=1000) == line
    assert command.help is not None
    assert command.help.splitlines()[0] == line


@pytest.mark.parametrize("verb_name", VERBS)
def test_every_option_of_a_verb_says_what_it_does(verb_name: str) -> None:
    command = cli.get_command(click.Context(cli, info_name="wisp"), verb_name)
    assert command is not None
    nameless = [
        option.name
        for option in command.params
        if isinstance(option, click.Option) and not option.help and not option.hidden
    ]
    assert nameless == []


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name}" in printed for name in VERBS)
    assert run(["-h"]) == 0
    assert capsys.readouterr().out == printed


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"wisp, version {__version__}\n"


def test_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["optimise"]) == 2
    assert "No such command 'optimise'" in capsys.readouterr().err


def test_unknown_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", "--nothing"]) == 2
    assert "No such option" in capsys.readouterr().err


def test_help_of_a_fresh_process_imports_nothing_heavy() -> None:
    program = (
        "import sys; from wisp.cli.main import run; code = run(['--help']);"
        "print([name for name in ('torch', 'numpy', 'onnxruntime', 'PIL', 'pydantic') if name in sys.modules]);"
        "sys.exit(code)"
    )
    done = run_python(program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_path_that_cannot_be_used_is_one_line(
    verb: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    verb(lambda: write_text(tmp_path / "file" / "out.json", "x"))  # type: ignore[operator]
    assert run(["do"]) == 2
    assert capsys.readouterr().err == f"wisp: {tmp_path / 'file'}: File exists\n"
    (tmp_path / "folder").mkdir()
    verb(lambda: write_text(tmp_path / "folder", "x"))  # type: ignore[operator]
    assert run(["do"]) == 2
    assert capsys.readouterr().err == f"wisp: {tmp_path / 'folder'}: Is a directory\n"


def test_a_full_disk_is_one_line(verb: object, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    verb(fail)  # type: ignore[operator]
    assert run(["do"]) == 1
    assert capsys.readouterr().err == "wisp: No space left on device\n"


def test_an_error_that_is_not_the_systems_is_a_bug(verb: object) -> None:
    def fail() -> None:
        raise OSError("odd")

    verb(fail)  # type: ignore[operator]
    with pytest.raises(OSError, match="odd"):
        run(["do"])


def test_module_can_be_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wisp", "--version"], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == f"wisp, version {__version__}\n"


# Optional parts


@pytest.mark.parametrize(
    "arguments", [["train", "photos", "--out", "run"], ["optimize", "photos", "--out", "run"]]
)
def test_without_torch_the_training_verbs_say_what_to_install(arguments: list[str]) -> None:
    done = run_python(f"BLOCKED = {{'torch'}}\n{BLOCKER}\nsys.exit(run({arguments!r}))")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "wisp: this command needs an optional part; install it with: pip install 'wisp[train]'"
    ]


@pytest.mark.parametrize(
    "arguments", [["classify", "--help"], ["predict", "--help"], ["score", "--f1", "0.8", "--macs", "1e6"]]
)
def test_without_the_training_extra_the_runtime_verbs_work(arguments: list[str]) -> None:
    done = run_python(f"BLOCKED = {set(TRAIN_EXTRA)!r}\n{BLOCKER}\nsys.exit(run({arguments!r}))")
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_without_the_training_extra_a_photo_is_classified(tmp_path: Path) -> None:
    model = write_colour_model(tmp_path / "model.onnx")
    Image.new("RGB", (20, 20), (200, 10, 10)).save(tmp_path / "photo.png")
    arguments = ["classify", "--model", str(model), str(tmp_path / "photo.png")]
    done = run_python(f"BLOCKED = {set(TRAIN_EXTRA)!r}\n{BLOCKER}\nsys.exit(run({arguments!r}))")
    assert done.returncode == 0, done.stderr
    assert "photo.png" in done.stdout


def test_a_missing_module_of_another_kind_is_a_bug(verb: object) -> None:
    def body() -> None:
        raise ModuleNotFoundError("No module named 'nothing'", name="nothing")

    verb(body)  # type: ignore[operator]
    with pytest.raises(ModuleNotFoundError):
        run(["do"])


def test_a_missing_extra_found_late(verb: object, capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> None:
        raise ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")

    verb(body)  # type: ignore[operator]
    assert run(["do"]) == 2
    assert "pip install 'wisp[train]'" in capsys.readouterr().err


# How a command ends


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (WispError("it failed"), 1),
        (TrainingError("the loss is NaN"), 1),
        (DownloadError("gave up"), 1),
        (InputError("photos: no such folder"), 2),
        (MissingExtraError("That", "train"), 2),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    verb: object, capsys: pytest.CaptureFixture[str], error: WispError, code: int
) -> None:
    def body() -> None:
        raise error

    verb(body)  # type: ignore[operator]
    assert run(["do"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"wisp: {error}\n"


def test_control_characters_of_a_strangers_file_stay_off_the_terminal(
    verb: object, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        raise InputError("model.onnx: \x1b[31mred")

    verb(body)  # type: ignore[operator]
    assert run(["do"]) == 2
    assert capsys.readouterr().err == "wisp: model.onnx: \\x1b[31mred\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt, click.Abort])
def test_interrupted(verb: object, capsys: pytest.CaptureFixture[str], error: type[BaseException]) -> None:
    def body() -> None:
        raise error

    verb(body)  # type: ignore[operator]
    assert run(["do"]) == 130
    assert capsys.readouterr().err.strip() == "wisp: interrupted"


def test_a_command_may_give_its_own_exit_code(verb: object) -> None:
    verb(lambda: 3)  # type: ignore[operator]
    assert run(["do"]) == 3


def test_main_exits_with_the_code_and_takes_sigterm_for_ctrl_c(
    verb: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    verb(body)  # type: ignore[operator]
    monkeypatch.setattr(sys, "argv", ["wisp", "do"])
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error() -> None:
    program = (
        "import os, sys; from wisp.cli.main import run\n"
        "reader, writer = os.pipe(); os.dup2(writer, 1); os.close(writer); os.close(reader)\n"
        "sys.exit(run(['--help']))"
    )
    done = run_python(program)
    assert done.returncode == 0
    assert done.stderr == ""
