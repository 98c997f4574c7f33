"""Aligning names of every script in a terminal's columns."""

from __future__ import annotations

import unicodedata


def width(text: str) -> int:
    """Columns that `text` takes: wide East Asian characters two, combining marks none."""
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def pad(text: str, columns: int) -> str:
    """`text`, filled up with spaces to so many columns."""
    return text + " " * (columns - width(text))
