"""Fixtures for confined programs."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from confined import WAYS, Way, processes_with, require_linux


@pytest.fixture(params=WAYS, ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    """Every way to confine that works here; the others skip and say why."""
    return _usable(request.param)


@pytest.fixture(params=[way for way in WAYS if not way.as_other_user], ids=str)
def own_way(request: pytest.FixtureRequest) -> Way:
    """The same, started by this user alone: where it makes no difference who does."""
    return _usable(request.param)


def _usable(way: Way) -> Way:
    require_linux()
    problem = way.problem()
    if problem is not None:
        pytest.skip(f"NOT TESTED, confinement by {way}: {problem}")
    return way


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A folder that every user may pass through (pytest's own are closed to others)."""
    folder = tmp_path
    while folder != folder.parent and folder.stat().st_uid == os.geteuid():
        folder.chmod(folder.stat().st_mode | 0o055)
        folder = folder.parent
    return tmp_path


@pytest.fixture
def scratch(room: Path) -> Path:
    """The scratch folder of one program."""
    folder = room / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def marker() -> Iterator[str]:
    """A word for a program's command line, by which whatever survives it is found (and ended)."""
    word = f"marker-{secrets.token_hex(8)}"
    yield word
    for pid in processes_with(word):
        os.kill(pid, 9)
