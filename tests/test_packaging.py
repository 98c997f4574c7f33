"""What is installed: the wheel's content and metadata, and the runtime without the training extra."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest

import wisp

ROOT = Path(__file__).resolve().parents[1]
RUNTIME = {"click", "numpy", "onnxruntime", "pillow"}
# What `wisp[train]` brings: absent here, or the test below would prove nothing.
TRAINING = ("torch", "matplotlib", "pydantic", "tqdm", "filelock")
# Packages come in the pinned versions, also those that build the wheel.
PIP = {**os.environ, "PIP_CONSTRAINT": str(ROOT / "constraints.txt"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def _run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in PIP.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by way of the source archive: what is missing there is missing here too."""
    folder = tmp_path_factory.mktemp("dist")
    built = _run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    assert built.returncode == 0, built.stdout + built.stderr
    assert [path.suffix for path in sorted(folder.iterdir())] == [".whl", ".gz"]
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return BytesParser().parsebytes(archive.read(name))


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of an environment that holds the wheel and what it requires, nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = (sys.executable, "-m", "pip", "--python", scripts / "python")
    installed = _run(*pip, "install", "--quiet", "--no-compile", wheel, cwd=folder)
    assert installed.returncode == 0, installed.stderr
    return scripts


def test_the_wheel_holds_every_module_and_the_data_beside_them(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("wisp/")}
    source = ROOT / "src"
    expected = {
        path.relative_to(source).as_posix()
        for path in (source / "wisp").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"wisp/py.typed", "wisp/report/report.css", "wisp/data/taco_classes.toml"} <= held
    assert held == expected


def test_metadata(wheel: Path, metadata: Message) -> None:
    assert metadata["Name"] == "wisp"
    assert metadata["Version"] == wisp.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    with zipfile.ZipFile(wheel) as archive:
        entry_points = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "wisp = wisp.cli.main:main" in archive.read(entry_points).decode()
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_the_runtime_requires_four_packages_and_no_torch(metadata: Message) -> None:
    requirements = metadata.get_all("Requires-Dist") or []
    always = {
        re.split(r"[<>=!~ \[;]", line, maxsplit=1)[0] for line in requirements if "extra ==" not in line
    }
    assert always == RUNTIME
    assert any(re.match(r"torch\b.*extra == .train.", line) for line in requirements)
    assert set(metadata.get_all("Provides-Extra") or []) == {"train", "search", "cluster", "dev"}


def test_the_changelog_tells_of_this_version() -> None:
    assert f"## [{wisp.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_runtime_imports_without_the_training_extra(bare: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.util as u, sys, wisp.runtime;"
        f"print([name for name in {TRAINING!r} if u.find_spec(name)], 'site-packages' in wisp.__file__)"
    )
    result = _run(bare / "python", "-I", "-c", code, cwd=tmp_path)
    assert (result.stdout, result.stderr) == ("[] True\n", "")


def test_a_bare_installation_classifies_a_photo(bare: Path, tmp_path: Path) -> None:
    from PIL import Image  # noqa: PLC0415  (as in the model below: of this environment, not of the bare one)

    from tiny_onnx import write_colour_model  # noqa: PLC0415

    write_colour_model(tmp_path / "model.onnx")
    Image.new("RGB", (64, 48), "red").save(tmp_path / "photo.jpg")
    result = _run(bare / "wisp", "classify", "--model", "model.onnx", "photo.jpg", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[:2] == ["photo.jpg", "Red"]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photo.jpg").rename(tmp_path / "photos" / "photo.jpg")
    result = _run(bare / "wisp", "predict", "model.onnx", "photos", "--out", "submission.json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "submission.json").is_file()


def test_a_bare_installation_lists_every_command(bare: Path, tmp_path: Path) -> None:
    result = _run(bare / "wisp", "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert all(verb in result.stdout for verb in ("optimize", "train", "classify", "data"))
    assert _run(bare / "wisp", "score", "--f1", "0.6", "--macs", "1e6", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    "command",
    [
        ("train", "photos", "--out", "run"),
        ("optimize", "photos", "--out", "run"),
        ("evaluate", "model.onnx", "photos"),
        ("export", "run"),
        ("macs", "wisp-2m"),
        ("data", "inspect", "photos"),
    ],
    ids=" ".join,
)
def test_a_missing_extra_says_what_to_install(command: tuple[str, ...], bare: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    result = _run(bare / "wisp", *command, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1, result.stderr
    assert "pip install 'wisp[train]'" in result.stderr
