"""A source is run confined, and cannot talk its judge into anything: each of these takes two or three processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from collection import FOLDER

from wisp.errors import ModelError
from wisp.rules import Verdict, check, read_target
from wisp.rules.hearing import LIMITS
from wisp.sandbox import Limits

pytestmark = pytest.mark.slow

_NETWORK = """
from __future__ import annotations
import {imports}torch
from torch import Tensor, nn

class Net(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.head = nn.Linear(4, num_classes)
        {init}

    def forward(self, images: Tensor) -> Tensor:
        {forward}
        return self.head(self.stem(images).relu().mean((2, 3)))

def build(num_classes: int) -> nn.Module:
    {build}
    return Net(num_classes)
"""


def _write(path: Path, **parts: str) -> Path:
    filled = {"imports": "", "init": "pass", "forward": "pass", "build": "pass", **parts}
    text = _NETWORK
    for name, part in filled.items():
        text = text.replace("{" + name + "}", part)
    path.write_text(text, encoding="utf-8")
    return path


def _check(path: Path, limits: Limits = LIMITS) -> Verdict:
    return check(read_target(str(path), 16, 5), run_source=True, seed=1, limits=limits, progress=False)


def _messages(verdict: Verdict, severity: str = "violation") -> list[str]:
    return [str(item) for item in verdict.findings if item.severity == severity]


def test_an_honest_source_is_clean(tmp_path: Path) -> None:
    verdict = _check(_write(tmp_path / "model.py"))
    assert verdict.result == "clean"
    assert verdict.findings == ()
    assert set(verdict.not_judged) == {"untouched-test-set", "reproducible"}
    pixels = 7 * 7
    macs = pixels * 4 * 27 + 4 * 5
    assert verdict.counts["exact"] == macs
    assert verdict.counts["official"] == macs + pixels * 4 + 5
    assert verdict.counts["params"] == 4 * 27 + 4 + 4 * 5 + 5
    assert json.loads(json.dumps(verdict.to_json()))["result"] == "clean"


def test_a_neighbour_comes_along_and_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "__init__.py").write_text("", encoding="utf-8")
    (folder / "layers.py").write_text(
        "from torch import nn\nimport torch.nn.functional as F\n\nclass Stem(nn.Conv2d):\n"
        "    def forward(self, images):\n        return F.conv2d(images, self.weight)\n",
        encoding="utf-8",
    )
    path = _write(
        tmp_path / "model.py", imports="parts.layers, ", init="self.stem = parts.layers.Stem(3, 4, 3)"
    )
    verdict = _check(path)
    assert verdict.result == "violations"
    item = next(item for item in verdict.findings if item.severity == "violation")
    assert (item.path, item.line) == (str(folder / "layers.py"), 6)
    assert "module stem" in item.message


@pytest.mark.parametrize(
    "parts",
    [
        {"imports": "os, ", "build": "os._exit(0)"},
        {"imports": "os, ", "forward": "os._exit(0)"},
        {"imports": "sys, ", "forward": "sys.exit(0)"},
        {
            "imports": "os, ",
            "build": 'print(\'{"kind": "done", "value": 0}\', flush=True); os.write(1, b"done"); os._exit(0)',
        },
    ],
    ids=["while it is built", "while it runs", "politely", "with a result of its own"],
)
def test_who_ends_the_judge_is_a_cheat(tmp_path: Path, parts: dict[str, str]) -> None:
    verdict = _check(_write(tmp_path / "model.py", **parts))
    assert verdict.result == "violations"
    assert any("ends the process that judges it" in line for line in _messages(verdict))


def test_who_speaks_for_the_judge_is_a_cheat(tmp_path: Path) -> None:
    """Writing to every open descriptor reaches the judge's own, and does not know its word."""
    forge = (
        '[os.write(number, b\'word {"kind": "done", "value": 0}\\\\n\') for number in range(3, 64) '
        "if os.path.exists(f'/proc/self/fd/{number}') and not os.isatty(number) and "
        "os.readlink(f'/proc/self/fd/{number}').startswith('pipe')]"
    )
    verdict = _check(_write(tmp_path / "model.py", imports="os, ", build=forge.replace("\\\\n", "\\n")))
    assert verdict.result == "violations"
    assert any("speaks in the name of its judge" in line for line in _messages(verdict))


def test_a_build_that_never_ends_is_not_clean(tmp_path: Path) -> None:
    limits = Limits(wall_seconds=60, cpu_seconds=6, memory_bytes=LIMITS.memory_bytes)
    verdict = _check(_write(tmp_path / "model.py", build="\n    while True: pass"), limits)
    assert verdict.result == "not judged"
    assert "could not be judged: it stopped at its limit of" in verdict.not_judged["hidden-computation"]


def test_a_build_that_fails_is_not_clean(tmp_path: Path) -> None:
    verdict = _check(_write(tmp_path / "model.py", build="raise RuntimeError('broken')"))
    assert verdict.result == "not judged"
    assert "broken" in verdict.not_judged["hidden-computation"]


def test_acts_beside_computing_are_told_at_once(tmp_path: Path) -> None:
    """Also where the process dies later: what was said stays said. The lines are those of the file."""
    build = "open('notes', 'w').close()\n    inspect.currentframe()\n    exec('1')\n    os._exit(3)"
    path = _write(tmp_path / "model.py", imports="inspect, os, ", build=build)
    verdict = _check(path)
    assert verdict.result == "violations"
    lines = path.read_text(encoding="utf-8").splitlines()
    for words in ("opens 'notes'", "sys._getframe looks at its callers", "exec runs code"):
        item = next(item for item in verdict.findings if words in item.message)
        assert item.line is not None
        assert {"opens": "open(", "sys._": "currentframe", "exec ": "exec("}[words[:5]] in lines[
            item.line - 1
        ]


def test_a_judge_that_is_changed_from_inside_is_found_out(tmp_path: Path) -> None:
    """The source makes its own process say that nothing is hidden. Its program, run elsewhere, says otherwise."""
    build = (
        "\n    import wisp.rules.examination as judge\n"
        "    judge.hidden_work.uncounted_work = lambda *arguments: ()\n"
        "    judge._patched = lambda *arguments: ()"
    )
    hidden = _write(tmp_path / "hidden.py", build=build, init="pass")
    text = hidden.read_text(encoding="utf-8").replace(
        "self.stem(images)", "nn.functional.conv2d(images, self.stem.weight)"
    )
    hidden.write_text(text, encoding="utf-8")
    verdict = _check(hidden)
    said = _messages(verdict)
    assert not any("that the counter does not see" in line for line in said)  # the lie
    assert any("beside its source the competition's counter gave" in line for line in said)
    assert any("imports wisp.rules.examination" in line for line in said)


def test_without_leave_nothing_runs(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = _write(tmp_path / "model.py", build=f"open({str(marker)!r}, 'w').close()")
    verdict = check(read_target(str(path), 16, 5), seed=1, progress=False)
    assert not marker.exists()
    assert verdict.result == "not judged"
    assert verdict.counts == {}
    assert "--run-source" in verdict.not_judged["hidden-computation"]


def test_a_source_that_is_no_python_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text("def build(:\n", encoding="utf-8")
    with pytest.raises(ModelError, match=r"model\.py:1: not Python"):
        read_target(str(path))
    assert FOLDER.is_dir()
