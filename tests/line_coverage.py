"""Which lines of wisp a run of the tests reaches, in every one of its processes, at hardly any cost (slipcover).

slipcover's own plugin takes its instructions out again while tests run. That replaces code objects, and those are what
`wisp.rules` watches over; here they stay in.

`LINE_COVERAGE` names the folder to write to; `make unit` sets it, and judges what lies there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import slipcover
from slipcover.importer import FileMatcher, ImportManager

VARIABLE = "LINE_COVERAGE"
SOURCE = Path(__file__).parents[1] / "src" / "wisp"
_NEVER = 2**31 - 1  # passes over seen lines before their instructions are taken out
_NO_LINES = ("if TYPE_CHECKING:", r"\.\.\.$", "if __name__ == .__main__.:")


class LineCoverage:
    """From now on the lines that run of modules imported from now on."""

    def __init__(self, folder: Path) -> None:
        self._file = folder.absolute() / f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}.json"
        source = [str(SOURCE)]
        self._lines = slipcover.Slipcover(source=source, exclude_also=_NO_LINES, d_miss_threshold=_NEVER)
        ImportManager(self._lines, FileMatcher(sources=source)).__enter__()  # until the process ends

    def write(self) -> None:
        """What was seen in this process."""
        self._file.write_text(json.dumps(self._lines.get_coverage()), encoding="utf-8")


def begin() -> LineCoverage | None:
    """Begin to watch, if this is asked for; before wisp is imported."""
    folder = os.environ.get(VARIABLE, "")
    return LineCoverage(Path(folder)) if folder else None
