"""`wisp macs --counter`: other counters, exported graphs and Python files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tiny_onnx import write_colour_model
from wisp.cli.main import run
from wisp.models import named

NETWORK = """
import torch.nn.functional as F
from torch import nn
from neighbour import WIDTH

class Hidden(nn.Module):
    def forward(self, x):
        return F.conv2d(x, x.new_ones(WIDTH, 3, 1, 1))

def build():
    return nn.Sequential(nn.Conv2d(3, 3, 1), Hidden())
"""


def _network(folder: Path, text: str = NETWORK) -> str:
    (folder / "neighbour.py").write_text("WIDTH = 4\n", encoding="utf-8")
    path = folder / "network.py"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_exact_lists_layers_and_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["macs", "mobilenet_v3_small-0.25", "--image-size", "32", "--counter", "exact"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "MACs", "params"]
    total = next(line for line in lines if line.startswith("total")).split()
    assert int(total[1].replace(",", "")) == sum(
        int(line.split()[-2].replace(",", "")) for line in lines[2 : lines.index("-" * len(lines[1]), 2)]
    )
    assert lines[-1].startswith("besides, on single values: ")
    assert "aten::native_batch_norm" in lines[-1]
    assert "INCOMPLETE" not in "".join(lines)


def test_python_file_with_all_counters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _network(tmp_path)
    assert run(["macs", path, "--image-size", "8", "--counter", "all"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["official", "768", "-", "-"] in lines
    assert ["exact", "1,344", "0", "yes"] in lines
    assert ["not", "seen:", "1", "-768"] in lines
    assert ["bias", "+192"] in lines
    assert run(["macs", path, "--image-size", "8", "--counter", "all", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["exact"]["complete"] is True
    assert values["official_minus_exact"] == [
        {"cause": "not seen: 1", "macs": -768},
        {"cause": "bias", "macs": 192},
    ]
    assert "num_classes" not in values


def test_incomplete_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = NETWORK.replace("return F.conv2d", "x = x * float(x.sum())\n        return F.conv2d")
    path = _network(tmp_path, text)
    assert run(["macs", path, "--image-size", "8", "--counter", "exact"]) == 0
    shown = capsys.readouterr().out
    assert "INCOMPLETE: the total is a lower bound" in shown
    assert "network.py:8" in shown


def test_onnx_file_and_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named("wisp-250k", 4).save(tmp_path / "arch.json")
    model = write_colour_model(tmp_path / "model.onnx")
    for arguments in ([str(model)], [str(model), "--counter", "all"], [str(tmp_path), "--counter", "onnx"]):
        assert run(["macs", *arguments, "--json"]) == 0
        values = json.loads(capsys.readouterr().out)
        count = values.get("onnx", values)
        # nine weights, and 768 values that are scaled and then averaged
        assert (count["total"], count["params"], count["complete"]) == (9 + 768, 10, True)
    assert run(["macs", str(model)]) == 0
    assert "Gemm" in capsys.readouterr().out
    assert run(["macs", str(tmp_path), "--counter", "all", "--image-size", "16", "--json"]) == 0
    assert {"official", "exact", "onnx"} <= set(json.loads(capsys.readouterr().out))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("def build(): return 3", "build() returned int"),
        ("", "has no function build()"),
        ("def build(: pass", "SyntaxError"),
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("raise SystemExit(3)", "SystemExit"),
        ("def build(): raise ValueError('no\\nweights')", "ValueError: no)"),
    ],
)
def test_refuses_python_files(
    text: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["macs", _network(tmp_path, text)]) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["no.py"], "no such file"),
        (["network.py", "--num-classes", "3"], "build() in network.py decides"),
        (["no.onnx"], "cannot be read"),
        (["no.onnx", "--counter", "exact"], "only --counter onnx can read it"),
        (["no.onnx", "--num-classes", "3"], "--num-classes"),
        (["wisp-2m", "--counter", "onnx"], "no exported graph"),
        (["wisp-2m", "--counter", "guess"], "guess"),
    ],
)
def test_refuses(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["macs", *arguments]) == 2
    assert complaint in capsys.readouterr().err
