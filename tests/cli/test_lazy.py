from __future__ import annotations

import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from wisp.cli.lazy import LazyGroup
from wisp.errors import MissingExtraError


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> click.Group:
    """A group with a sound verb, one that lacks an optional part, and one with a bug in its imports."""
    modules = {
        "lazy_sound": "",
        "lazy_extra": "import torch.nothing",
        "lazy_bug": "import no_such_module_anywhere",
    }
    for name, line in modules.items():
        text = f"{line}\nimport click\n\n@click.command()\ndef verb():\n    '''A line.'''\n    click.echo('ran')\n"
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)  # what an absent package looks like to `import`
    return LazyGroup("top", verbs={name.removeprefix("lazy_"): (name, "verb", "A line.") for name in modules})


def test_help_imports_no_verb(group: click.Group) -> None:
    result = CliRunner().invoke(group, ["--help"])
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.output.splitlines()[-3:]] == ["sound", "extra", "bug"]
    assert "lazy_sound" not in sys.modules


def test_verb_is_imported_and_run(group: click.Group) -> None:
    assert CliRunner().invoke(group, ["sound"]).output == "ran\n"


def test_unknown_verb(group: click.Group) -> None:
    result = CliRunner().invoke(group, ["nothing"])
    assert result.exit_code == 2
    assert "No such command 'nothing'" in result.output


def test_missing_extra_says_what_to_install(group: click.Group) -> None:
    with pytest.raises(MissingExtraError, match=r"`top extra` needs an optional part.*wisp\[train\]"):
        group.main(["extra"], prog_name="top", standalone_mode=False)


def test_a_bug_is_not_taken_for_a_missing_extra(group: click.Group) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        group.main(["bug"], prog_name="top", standalone_mode=False)
