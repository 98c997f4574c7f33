from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from wisp.errors import ModelError
from wisp.models import ArchSpec, SourceArch, build, load_source, named

NET = """
from dataclasses import dataclass

from torch import nn


@dataclass
class Options:
    width: int = 4


def build(num_classes: int) -> nn.Module:
    width = Options().width
    layers = [nn.Conv2d(3, width, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(width, num_classes))
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "net.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_it_builds_what_the_file_says_for_these_classes(tmp_path: Path) -> None:
    source = SourceArch.load(write(tmp_path, NET), num_classes=5)
    source.check(16)
    torch.manual_seed(0)
    model = build(source)
    torch.manual_seed(0)
    again = build(source)
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 5)
    for ours, theirs in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_equal_texts_are_equal_networks_wherever_they_lie(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    one = SourceArch.load(write(tmp_path, NET), 5)
    two = SourceArch.load(write(tmp_path / "elsewhere", NET), 5)
    assert one == two
    assert hash(one) == hash(two)
    assert one.to_json() == two.to_json()
    assert one != SourceArch.load(write(tmp_path, NET), 6)
    other = SourceArch.load(write(tmp_path, NET + "\n# changed\n"), 5)
    assert one != other
    assert one.to_json()["sha256"] != other.to_json()["sha256"]


def test_it_saves_the_file_as_it_was(tmp_path: Path) -> None:
    SourceArch.load(write(tmp_path, NET), 5).save(tmp_path / "copy.py")
    assert (tmp_path / "copy.py").read_text(encoding="utf-8") == NET


def test_reading_does_not_execute(tmp_path: Path) -> None:
    source = SourceArch.load(write(tmp_path, "raise RuntimeError('executed')"), 5)
    with pytest.raises(ModelError, match=r"net\.py: cannot be used as a network \(RuntimeError: executed\)"):
        source.build()


def test_build_takes_arch_specs_too() -> None:
    spec = named("wisp-250k", 4)
    assert isinstance(spec, ArchSpec)
    assert build(spec)(torch.zeros(2, 3, 32, 32)).shape == (2, 4)


def test_a_file_by_itself_may_import_its_neighbours_a_source_of_a_run_may_not(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_net.py").write_text("from torch import nn\n", encoding="utf-8")
    path = write(tmp_path, "from neighbour_of_net import nn\n\ndef build():\n    return nn.Identity()\n")
    assert isinstance(load_source(path), nn.Identity)

    del sys.modules["neighbour_of_net"]
    with pytest.raises(ModelError, match=r"ModuleNotFoundError: No module named 'neighbour_of_net'"):
        SourceArch.load(path, 3).build()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", r"it has no function build\(\)"),
        ("def build(:", r"SyntaxError"),
        ("def build(n):\n    return 3", r"build\(\) returned int; it must return a torch\.nn\.Module"),
        ("import sys\nsys.exit(0)", r"SystemExit: 0"),
        ("import timm_does_not_exist", r"ModuleNotFoundError"),
        ("def build(n):\n    raise ValueError('first\\nsecond')", r"ValueError: first\)$"),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        SourceArch.load(write(tmp_path, text), 3).build()
    assert "\n" not in str(caught.value)
    assert "net.py" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (NET.replace("num_classes)", "7)"), r"gives \(2, 7\); it must give logits, \(2, 3\)"),
        ("from torch import nn\ndef build(n):\n    return nn.Linear(5, n)", r"RuntimeError: mat1 and mat2"),
    ],
)
def test_a_network_with_other_outputs_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        SourceArch.load(write(tmp_path, text), 3).check(16)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.py: no such file"):
        SourceArch.load(tmp_path / "absent.py", 3)
    (tmp_path / "latin.py").write_bytes(b"# caf\xe9\n")
    with pytest.raises(ModelError, match=r"latin\.py: not UTF-8 text"):
        load_source(tmp_path / "latin.py")
