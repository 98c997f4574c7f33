"""What is said arrives whole, or is known not to."""

from __future__ import annotations

import os
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.records import Violation
from wisp.rules.testimony import ANSWERS, COUNTS, FAILED, FINDING, LOADED, PROVED, Witness, read_testimony

WORD = "secret"
ITEM = Violation("hidden-computation", "violation", "model.py", 3, "why", "mend")


def _said(*records: tuple[str, object], finish: bool = True) -> bytes:
    reading, writing = os.pipe()
    witness = Witness(writing, WORD)
    for kind, value in records:
        witness.say(kind, value)
    if finish:
        witness.finish()
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        return file.read()


WHOLE = (
    (FINDING, asdict(ITEM)),
    (LOADED, {"timm": "model.py:3"}),
    (COUNTS, {"official": 5, "exact": 4, "params": 3}),
    (ANSWERS, [[1.5, -2.0]]),
    (PROVED, None),
)


def test_what_is_said_arrives() -> None:
    found = read_testimony(_said(*WHOLE), WORD)
    assert found.complete
    assert not found.forged
    assert found.findings == [ITEM]
    assert found.loaded == {"timm": "model.py:3"}
    assert found.counts == {"official": 5, "exact": 4, "params": 3}
    assert found.answers == [[1.5, -2.0]]
    assert found.unproved is None
    assert read_testimony(_said((FAILED, "why"), (PROVED, "because")), WORD).failure == "why"


def test_an_end_that_is_missing_is_noticed() -> None:
    found = read_testimony(_said(*WHOLE, finish=False), WORD)
    assert not found.complete
    assert not found.forged
    assert found.findings == [ITEM]


@pytest.mark.parametrize("dropped", range(5))
def test_a_record_that_is_left_out_is_noticed(dropped: int) -> None:
    lines = _said(*WHOLE).splitlines(keepends=True)
    del lines[dropped]
    assert not read_testimony(b"".join(lines), WORD).complete


@pytest.mark.parametrize(
    "line",
    [
        b'{"kind": "done", "value": 0}\n',
        b'wrong {"kind": "done", "value": 0}\n',
        b"secret not json\n",
        b'secret {"kind": "unheard of", "value": 0}\n',
        b'secret {"kind": "finding", "value": {"severity": "fine"}}\n',
        b'secret {"kind": "counts", "value": {"official": "many"}}\n',
        b'secret {"kind": "answers", "value": [[NaN]]}\n',
        b"\xff\xfe\n",
        b"\n",
    ],
)
def test_other_voices_are_noticed(line: bytes) -> None:
    text = _said(*WHOLE)
    assert read_testimony(line + text, WORD).forged
    assert read_testimony(text + line, WORD).forged  # nothing comes after the end


@given(st.binary(max_size=200))
def test_noise_is_never_whole(noise: bytes) -> None:
    found = read_testimony(noise, WORD)
    assert not found.complete
    assert found.forged == bool(noise.splitlines())
