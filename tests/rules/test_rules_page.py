"""docs/RULES.md tells the truth: every rule is there, and its examples pass and fail as it says."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from collection import findings

from wisp.records import Violation
from wisp.rules import RULES, read_target
from wisp.rules.case import Case
from wisp.rules.checking import CHECKS
from wisp.rules.libraries import DATA_LIBRARIES
from wisp.rules.target import Target

PAGE = Path(__file__).parents[2] / "docs" / "RULES.md"
TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^Rule `([\w-]+)`\.\n(.*?)(?=^## )", TEXT, re.M | re.S))
_EXAMPLE = r"^%s:\n\n```(\w+)\n(.*?)^```$"


def _example(rule: str, kind: str) -> tuple[str, str]:
    match = re.search(_EXAMPLE % kind, SECTIONS[rule], re.M | re.S)
    assert match is not None
    return match[1], match[2]


def _found(rule: str, language: str, text: str, folder: Path) -> list[Violation]:
    """What all rules say of an example."""
    if language == "py":
        path = folder / "model.py"
        run = "importlib" not in text and "cv2" not in text  # libraries that are not here
        path.write_text(text, encoding="utf-8")
        return findings(path, run=run)
    target: Target = read_target("wisp-250k")
    parts = {"data": json.loads(text)} if language == "json" else {"recipe": tomllib.loads(text)}
    held = {"kind": "run", "weights": b"1", "data": {"digest": "0"}, "recipe": {"seed": 1}, **parts}
    case = Case(Target(**{**vars(target), **held}), (), None, 1)
    return CHECKS[rule](case)


def test_every_rule_is_on_the_page() -> None:
    assert set(SECTIONS) == set(RULES) == set(CHECKS)
    assert len(RULES) == 5
    for rule, section in SECTIONS.items():
        assert "\n> " in section, f"{rule} is not quoted"
    listed = re.search(r"^\| data, outside of layers \| also (.*?) \|$", TEXT, re.M)
    assert listed is not None
    assert set(listed[1].split(", ")) == DATA_LIBRARIES


@pytest.mark.parametrize("rule", RULES)
def test_the_example_that_passes_is_clean(rule: str, tmp_path: Path) -> None:
    language, text = _example(rule, "Passes")
    found = _found(rule, language, text, tmp_path)
    assert [str(item) for item in found if item.severity != "note"] == []


@pytest.mark.parametrize("rule", RULES)
def test_the_example_that_fails_is_caught(rule: str, tmp_path: Path) -> None:
    language, text = _example(rule, "Fails")
    found = [item for item in _found(rule, language, text, tmp_path) if item.severity == "violation"]
    assert {item.rule for item in found} == {rule}
    if language == "py":
        lines = [number for number, line in enumerate(text.splitlines(), start=1) if "# fails here" in line]
        assert len(lines) == 1
        assert lines[0] in {item.line for item in found}
