"""What the process that runs a source says, line by line, on a way that the source does not hold.

Each line is a secret word, a space and one JSON record. The word is given to the process before the source is loaded;
a line without it was written by somebody else. What was said stays said: the reader has it already. The last record
tells how many there were, so nothing can be left out either.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wisp import strict_json
from wisp.records import Violation

REQUEST, PROGRAM, TENSORS = "request.json", "program.json", "program.safetensors"
FINDING, LOADED, COUNTS, ANSWERS, PROVED, FAILED, DONE = (
    "finding",
    "loaded",
    "counts",
    "answers",
    "proved",
    "failed",
    "done",
)
_SEVERITIES = ("violation", "warning", "note")
_MOST_RECORDS = 10_000


class Witness:
    """The side that speaks.

    Args:
        descriptor: an open file that nobody else writes to.
        word: the secret word.
    """

    def __init__(self, descriptor: int, word: str) -> None:
        self._descriptor = descriptor
        self._word = word
        self._count = 0
        self._write = os.write  # as it is before the source is loaded
        self._dumps = json.dumps

    def say(self, kind: str, value: Any) -> None:
        """Write one record, at once."""
        line = f"{self._word} {self._dumps({'kind': kind, 'value': value})}\n".encode()
        self._count += 1
        while line:
            line = line[self._write(self._descriptor, line) :]

    def finish(self) -> None:
        """Say that this is all."""
        self.say(DONE, self._count)


@dataclass
class Testimony:
    """What was said.

    Attributes:
        findings: in order, those found while the source ran first.
        loaded: libraries that the source brought in, {top-level name: `file:line`}.
        counts: `official`, `exact` (MACs) and `params`; empty if it did not come to that.
        answers: the network's outputs, a row an image.
        unproved: why there is no program to check the answers with; None if there is one.
        failure: why the judge stopped early; None if it did not.
        complete: whether everything that was said arrived.
        forged: whether somebody else spoke, too.
    """

    findings: list[Violation] = field(default_factory=list)
    loaded: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    answers: list[list[float]] = field(default_factory=list)
    unproved: str | None = None
    failure: str | None = None
    complete: bool = False
    forged: bool = False


def read_testimony(text: bytes, word: str) -> Testimony:
    """What stands in the output of the process; whatever does not look like a record of ours makes it `forged`."""
    testimony = Testimony()
    prefix = f"{word} ".encode()
    for number, line in enumerate(text.splitlines()):
        if testimony.complete or number > _MOST_RECORDS or not line.startswith(prefix):
            testimony.forged = True
            break
        try:
            record = strict_json.loads(line[len(prefix) :], max_depth=8)
            if record["kind"] == DONE:
                testimony.complete = record["value"] == number
            else:
                _take(testimony, record["kind"], record["value"])
        except (strict_json.StrictJsonError, KeyError, TypeError, ValueError):
            testimony.forged = True
            break
    return testimony


def _take(testimony: Testimony, kind: str, value: Any) -> None:
    if kind == FINDING:
        testimony.findings.append(_violation(value))
    elif kind == LOADED:
        testimony.loaded = {str(name): str(where) for name, where in value.items()}
    elif kind == COUNTS:
        testimony.counts = {str(name): int(number) for name, number in value.items()}
    elif kind == ANSWERS:
        testimony.answers = [[float(number) for number in row] for row in value]
    elif kind == PROVED:
        testimony.unproved = None if value is None else str(value)
    elif kind == FAILED:
        testimony.failure = str(value)
    else:
        raise ValueError(kind)


def _violation(value: Mapping[str, Any]) -> Violation:
    if value["severity"] not in _SEVERITIES or not isinstance(value["line"], int | None):
        raise ValueError(value)
    texts = (str(value[name]) for name in ("path", "message", "fix"))
    path, message, fix = texts
    return Violation(str(value["rule"]), value["severity"], path, value["line"], message, fix)
