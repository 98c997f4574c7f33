from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.cli.duration import Duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("90s", 90.0),
        ("10m", 600.0),
        ("1.5h", 5400.0),
        ("1h30m", 5400.0),
        ("2d", 172800.0),
        (" 10M ", 600.0),
        ("0.5", 0.5),
        (30, 30.0),
        (1.5, 1.5),
    ],
)
def test_time_spans(text: object, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize(
    "text", ["", "fast", "10x", "m", "-5m", "0", "0s", "10 m", "1e3", "nan", "1:30", "5m!", 0, -3.0]
)
def test_what_is_no_time_span_is_told_how_to_write_one(text: object) -> None:
    with pytest.raises(click.BadParameter, match=r"write it like 90s, 10m or 1\.5h"):
        Duration().convert(text, None, None)


@given(st.integers(0, 50), st.integers(0, 59), st.integers(1, 59))
def test_parts_add_up(hours: int, minutes: int, seconds: int) -> None:
    text = f"{hours}h{minutes}m{seconds}s"
    assert Duration().convert(text, None, None) == 3600 * hours + 60 * minutes + seconds
