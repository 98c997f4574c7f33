"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path` in one step, else it is removed.

    The folder is made where missing. The temporary name keeps the suffix, since some writers look at it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not mkstemp, which makes files private (0600): to undo that takes the umask, and reading it changes it for all
    # threads. 64 random bits do not meet, and `exist_ok=False` would tell.
    temporary = path.with_name(f".part-{secrets.token_hex(8)}{path.suffix}")
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON (UTF-8, NaN refused) to `path`, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
