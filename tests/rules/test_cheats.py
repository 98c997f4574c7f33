"""Every trick in the collection is caught, by the rule, the line and the module that its file names."""

from __future__ import annotations

from pathlib import Path

import pytest
from collection import CHEATS, expected, findings


def test_the_collection_is_there() -> None:
    assert len(CHEATS) >= 50
    assert all(expected(path) for path in CHEATS)


@pytest.mark.parametrize("path", CHEATS, ids=lambda path: path.stem)
def test_is_caught(path: Path) -> None:
    found = findings(path)
    for wanted in expected(path):
        assert any(wanted.is_met_by(item) for item in found), [str(item) for item in found]
    for item in found:
        if item.severity == "violation":
            assert item.path
            assert item.fix
