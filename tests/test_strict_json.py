from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp import strict_json
from wisp.strict_json import StrictJsonError, dumps, loads

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_it_reads_what_is_json(value: object) -> None:
    try:
        text = json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return
    assert loads(text) == value
    assert loads(dumps(value)) == value
    assert loads(json.dumps(value).encode()) == value  # with escapes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON (line 1: expecting value)"),
        (b"{", "not JSON"),
        (b"\xff", "not UTF-8 (byte 0)"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"NaN", "NaN is no number"),
        (b"[Infinity]", "Infinity is no number"),
        (b"-Infinity", "-Infinity is no number"),
        (b"1e999", "the number 1e999 is out of range"),
        (b"1" + b"0" * 40 + b".5", "out of range"),
        (b"9" * 33, "a number of 33 digits"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' is given twice"),
        (b'{"a": 1, "\\u0061": 2}', "the key 'a' is given twice"),
        (b'"\\ud800"', "half of a surrogate pair"),
        (b'{"\\udc00": 1}', "half of a surrogate pair"),
        (b"[" * 33 + b"]" * 33, "nested more than 32 deep"),
        (b'{"a":' * 100_000, "nested more than 32 deep"),
        (b"[" + b"{}," * 100_001 + b"{}]", "more than 100,000 objects and lists"),
    ],
)
def test_it_refuses(text: bytes, message: str) -> None:
    with pytest.raises(StrictJsonError) as caught:
        loads(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_brackets_inside_texts_are_no_nesting() -> None:
    names = {"photo [1] {2}" * 40: "[" * 500, 'quote " and \\ [': '\\"[['}
    assert loads(json.dumps(names).encode()) == names


def test_pairs_of_surrogates_are_text() -> None:
    assert loads(b'"\\ud83d\\ude00"') == "\U0001f600"


@pytest.mark.parametrize(
    "text",
    [
        b'"' + b'\\"' * 500_000,
        b'"\\' * 500_000,
        b'"' * 1_000_001,
        b"[" + b'"a",' * 300_000,
        b'{"' + b"\\" * 1_000_001,
    ],
)
def test_hostile_texts_take_no_longer_than_long_ones(text: bytes) -> None:
    """A text that is never closed must not be looked for again from each of its quotes."""
    started = time.process_time()
    with pytest.raises(StrictJsonError):
        loads(text)
    assert time.process_time() - started < 5


def test_limits_may_be_narrower() -> None:
    with pytest.raises(StrictJsonError, match="nested more than 1 deep"):
        loads(b"[[]]", max_depth=1)
    with pytest.raises(StrictJsonError, match="more than 1 objects"):
        loads(b"[[]]", max_containers=1)
    assert strict_json.MAX_DEPTH == 32
