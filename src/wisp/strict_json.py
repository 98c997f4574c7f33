"""JSON from strangers: bounded in depth and number of containers, and read in one way only.

Python's reader takes more than JSON: `NaN`, keys given twice (the last wins), numbers of any length, nesting until the
stack ends. Two readers of such a text may see two things.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from wisp.errors import InputError

MAX_DEPTH = 32
MAX_CONTAINERS = 100_000
_LONGEST_NUMBER = 32  # characters; no count, size or share needs more
# A text that is never closed goes on to the end: else each quote in it would start another search, N of N characters.
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class StrictJsonError(InputError):
    """A text that is no JSON, or JSON that two readers may understand differently; the message has no file name."""


def loads(text: bytes, *, max_depth: int = MAX_DEPTH, max_containers: int = MAX_CONTAINERS) -> Any:
    """Read JSON in UTF-8, strictly.

    Memory is bounded by the text's length and the number of containers.

    Args:
        text: the bytes of the file.
        max_depth: objects and lists inside one another.
        max_containers: objects and lists together.

    Raises:
        StrictJsonError: no UTF-8, no JSON, nested too deep, a key given twice, NaN or infinity, a number of more than
            32 characters, half of a surrogate pair.
    """
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StrictJsonError(f"not UTF-8 (byte {error.start})") from error
    _check_nesting(decoded, max_depth, max_containers)
    try:
        value = json.loads(
            decoded,
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_int=_bounded_int,
            parse_float=_finite_float,
        )
    except json.JSONDecodeError as error:
        raise StrictJsonError(
            f"not JSON (line {error.lineno}: {error.msg[0].lower()}{error.msg[1:]})"
        ) from error
    except RecursionError as error:
        raise StrictJsonError("nested too deep") from error
    if _SURROGATE.search(decoded):
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise StrictJsonError("holds half of a surrogate pair, which is no text") from error
    return value


def dumps(value: Any) -> bytes:
    """`value` as indented UTF-8 that `loads` takes back; equal values give equal bytes where keys are in order."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def _check_nesting(text: str, max_depth: int, max_containers: int) -> None:
    """Refuse what would need a deep stack or much memory, before anything of it is built."""
    depth = containers = 0
    for bracket in re.finditer(r"[\[\]{}]", _TEXT.sub("", text)):
        if bracket[0] in "[{":
            depth += 1
            containers += 1
            if depth > max_depth:
                raise StrictJsonError(f"nested more than {max_depth} deep")
            if containers > max_containers:
                raise StrictJsonError(f"more than {max_containers:,} objects and lists")
        else:
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise StrictJsonError(f"the key {key[:80]!r} is given twice")
            seen.add(key)
    return value


def _refuse_constant(name: str) -> Any:
    raise StrictJsonError(f"{name} is no number of JSON")


def _bounded_int(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise StrictJsonError(f"a number of {len(digits):,} digits")
    return int(digits)


def _finite_float(digits: str) -> float:
    value = float(digits) if len(digits) <= _LONGEST_NUMBER else math.nan
    if not math.isfinite(value):
        raise StrictJsonError(f"the number {digits[:40]} is out of range")
    return value
