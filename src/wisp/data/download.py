"""Fetch one file over HTTP so that it arrives whole or not at all.

A download grows in `NAME.part` beside its target and takes the target's name only when its length and checksum are
right. An interrupted one goes on where it stopped (RFC 9110: Range, If-Range), also in a later process:
`NAME.part.json` remembers which version of the file the first part belongs to.
"""

from __future__ import annotations

import email.utils
import json
import random
import re
import shutil
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
from tqdm import tqdm

from wisp import __version__
from wisp.errors import DataError, DownloadError
from wisp.files import file_sha256, replacing, write_json

_CHUNK = 1 << 16
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


class AddressGoneError(DownloadError):
    """The server answered, and the answer will not change: the file is not there, or not for us."""


class _Transient(Exception):  # noqa: N818  (never leaves this module)
    """One attempt failed in a way that another may not. `wait_s` is what the server asked for."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class _Mismatch(Exception):  # noqa: N818
    """The file arrived, with another checksum."""


@dataclass(frozen=True)
class Downloader:
    """Fetches files; safe to share between threads (not two threads on one target).

    Args:
        attempts: attempts in a row that bring no new bytes before giving up.
        backoff_s: the first pause in seconds; each further one doubles, up to `max_wait_s`, with jitter.
        timeout_s: the longest silence on a connection, in seconds.
        max_wait_s: the longest pause; a server that asks for more (Retry-After) is given up.
        max_bytes: larger files are refused.
        sleep: how to pause (tests pass their own).
    """

    attempts: int = 6
    backoff_s: float = 0.5
    timeout_s: float = 30.0
    max_wait_s: float = 120.0
    max_bytes: int = 8 << 30
    sleep: Callable[[float], None] = time.sleep
    _pool: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(
            maxsize=16, headers={"User-Agent": f"wisp/{__version__}", "Accept-Encoding": "identity"}
        ),
        repr=False,
    )

    def fetch(self, source: str, target: Path, *, sha256: str | None = None, progress: bool = False) -> Path:
        """Bring `source` (http, https or file address, or a path) to `target`.

        A target that is already there, with the right checksum where one is given, is left alone.

        Args:
            source: where the file is.
            target: where it shall be; its folder is made.
            sha256: the expected digest in hexadecimal. A mismatch is tried once more from the start.
            progress: show a bar of bytes (on a terminal).

        Returns:
            `target`.

        Raises:
            AddressGoneError: the server says that the file is not there.
            DownloadError: the network or the server gave up, or the checksum stayed wrong.
            DataError: the address makes no sense, or a local source is missing or has another checksum.
        """
        if target.is_file() and (sha256 is None or file_sha256(target) == sha256):
            return target
        local = local_path(source)
        try:
            if local is not None:
                self._copy(local, target, sha256)
                return target
            target.parent.mkdir(parents=True, exist_ok=True)
            with suppress(_Mismatch):
                return self._download(source, target, sha256, progress)
            return self._download(source, target, sha256, progress)
        except _Mismatch as mismatch:
            raise DownloadError(f"{source}: {mismatch}; removed, tried twice") from mismatch
        except (OSError, shutil.Error) as error:
            raise DownloadError(f"{target}: cannot be written ({error.strerror or error})") from error

    def _copy(self, local: Path, target: Path, sha256: str | None) -> None:
        if not local.is_file():
            raise DataError(f"{local}: no such file")
        if local.stat().st_size > self.max_bytes:
            raise DataError(f"{local}: larger than the limit of {self.max_bytes:,} bytes")
        with replacing(target) as temporary:
            shutil.copyfile(local, temporary)
            if sha256 is not None and (got := file_sha256(temporary)) != sha256:
                raise DataError(f"{local}: wrong checksum (sha256 expected {sha256}, got {got})")

    def _download(self, url: str, target: Path, sha256: str | None, progress: bool) -> Path:
        part = _Part(target.with_name(target.name + ".part"), url, trusted=sha256 is not None)
        failures, furthest = 0, part.size
        hidden = None if progress else True  # None: shown on a terminal only
        bar: tqdm[Any] = tqdm(unit="B", unit_scale=True, desc=target.name, disable=hidden)
        with bar:
            while True:
                try:
                    self._attempt(url, part, bar)
                    break
                except _Transient as problem:
                    # Progress excuses a failure, or a large file over a bad line would never arrive.
                    failures = 1 if part.size > furthest + _CHUNK else failures + 1
                    furthest = max(furthest, part.size)
                    if failures >= self.attempts:
                        raise DownloadError(
                            f"{url}: gave up after {failures} attempts ({problem}); run again to go on"
                        ) from problem
                    self.sleep(self._pause_s(url, failures, problem))
        got = file_sha256(part.path) if sha256 is not None else None
        if got != sha256:
            part.discard()
            raise _Mismatch(f"wrong checksum (sha256 expected {sha256}, got {got})")
        part.path.replace(target)
        part.discard()
        return target

    def _pause_s(self, url: str, failures: int, problem: _Transient) -> float:
        """Exponential backoff with jitter, or what the server asked for."""
        if problem.wait_s is not None:
            if problem.wait_s > self.max_wait_s:
                raise DownloadError(
                    f"{url}: the server asks to come back in {problem.wait_s:.0f} s ({problem}); run again then"
                ) from problem
            return problem.wait_s
        # The jitter keeps many clients from coming back in the same instant; it needs no cryptography.
        jitter = random.uniform(0.5, 1.0)  # noqa: S311
        return min(self.max_wait_s, self.backoff_s * 2.0 ** (failures - 1)) * jitter

    def _attempt(self, url: str, part: _Part, bar: tqdm[Any]) -> None:
        """One request; returns when the part is complete."""
        offset = part.resumable_size()
        headers = dict(self._pool.headers)
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if part.validator:
                headers["If-Range"] = part.validator
        try:
            response = self._pool.request(
                "GET",
                url,
                headers=headers,
                timeout=urllib3.Timeout(connect=self.timeout_s, read=self.timeout_s),
                # Only redirects are followed here; retrying is ours, since it must keep the first part.
                retries=urllib3.Retry(
                    None, connect=0, read=0, status=0, other=0, redirect=10, respect_retry_after_header=False
                ),
                preload_content=False,
            )
        except (urllib3.exceptions.LocationValueError, urllib3.exceptions.URLSchemeUnknown) as error:
            raise DataError(f"{url}: not an address that can be fetched ({error})") from error
        except urllib3.exceptions.HTTPError as error:
            raise _as_reason(url, error) from error
        try:
            total = self._start(url, response, part, offset)
            self._refuse_oversize(url, total or 0, part)
            bar.total, bar.n = total, part.size
            bar.refresh()
            self._receive(url, response, part, bar)
        finally:
            response.close()
        if total is not None and part.size != total:
            size = part.size
            if size > total:
                part.discard()
            raise _Transient(f"got {size:,} of {total:,} bytes")

    def _start(self, url: str, response: urllib3.BaseHTTPResponse, part: _Part, offset: int) -> int | None:
        """Look at the answer's head: the whole length where it is known, with `part` ready for the body."""
        status, headers = response.status, response.headers
        if status == 206:
            found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "").strip())
            if not offset or found is None or int(found[1]) != offset:
                part.discard()
                raise _Transient(f"a wrong range: {headers.get('Content-Range', 'none')}")
            return None if found[2] == "*" else int(found[2])
        if status == 200:
            encoded = headers.get("Content-Encoding", "identity") != "identity"
            part.begin(None if encoded else _validator(headers))
            length = headers.get("Content-Length", "")
            return int(length) if length.isdigit() and not encoded else None
        if status == 416:  # the part is as long as the file, or longer: it is not known which
            part.discard()
            raise _Transient("the server refused to go on")
        reason = f"HTTP {status} {response.reason or ''}".strip()
        if status in _TRANSIENT:
            raise _Transient(reason, _retry_after_s(headers.get("Retry-After")))
        raise AddressGoneError(f"{url}: {reason}")

    def _receive(self, url: str, response: urllib3.BaseHTTPResponse, part: _Part, bar: tqdm[Any]) -> None:
        try:
            with part.path.open("ab") as file:
                for chunk in response.stream(_CHUNK, decode_content=True):
                    self._refuse_oversize(url, file.tell() + len(chunk), part)
                    file.write(chunk)
                    bar.update(len(chunk))
        except urllib3.exceptions.HTTPError as error:
            raise _as_reason(url, error) from error

    def _refuse_oversize(self, url: str, size: int, part: _Part) -> None:
        if size > self.max_bytes:
            part.discard()
            raise DownloadError(f"{url}: {size:,} bytes or more, over the limit of {self.max_bytes:,}")


@dataclass
class _Part:
    """The unfinished file and what is known of the version it belongs to."""

    path: Path
    url: str
    trusted: bool  # a checksum will judge the whole, so that a first part of unknown version may be continued
    validator: str | None = None

    def __post_init__(self) -> None:
        with suppress(OSError, ValueError, AttributeError):
            note = json.loads(self._note.read_text(encoding="utf-8"))
            if note.get("url") == self.url and isinstance(note.get("validator"), str):
                self.validator = note["validator"]

    @property
    def _note(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    @property
    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def resumable_size(self) -> int:
        """Bytes that may be kept: all where the version is known, or a checksum follows; else none."""
        return self.size if self.validator or self.trusted else 0

    def begin(self, validator: str | None) -> None:
        """Start from zero with the version that the server sends now."""
        self.path.write_bytes(b"")
        self.validator = validator
        if validator:
            write_json(self._note, {"url": self.url, "validator": validator})
        else:
            self._note.unlink(missing_ok=True)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self.validator = None


def local_path(source: str) -> Path | None:
    """The path that `source` means where it is a path or a file:// address; None for http and https.

    Raises:
        DataError: an address of another kind.
    """
    scheme, separator, _ = source.partition("://")
    if not separator:
        return Path(source).expanduser()
    if scheme.lower() == "file":
        return Path(urllib.request.url2pathname(urllib.parse.urlsplit(source).path))
    if scheme.lower() not in {"http", "https"}:
        raise DataError(f"{source}: not an address that can be fetched (http, https, file or a path)")
    return None


def _validator(headers: urllib3.HTTPHeaderDict) -> str | None:
    """What names this version of the file: a strong ETag, else the date (RFC 9110, 13.1.5)."""
    tag = headers.get("ETag")
    if tag and not tag.startswith("W/"):
        return tag
    return headers.get("Last-Modified")


def _retry_after_s(value: str | None) -> float | None:
    """Seconds asked for by a Retry-After header, which is a number or a date."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _as_reason(url: str, error: urllib3.exceptions.HTTPError) -> Exception:
    """What an exception of urllib3 means: give up, or try again."""
    reason = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) else error
    if isinstance(reason, urllib3.exceptions.ResponseError):
        return AddressGoneError(f"{url}: too many redirects")
    if isinstance(reason, urllib3.exceptions.SSLError) and "CERTIFICATE" in str(reason).upper():
        return DownloadError(f"{url}: the server's certificate is not trusted")
    if isinstance(reason, urllib3.exceptions.NameResolutionError):
        return _Transient("the name cannot be resolved; is this machine online?")
    if isinstance(reason, urllib3.exceptions.TimeoutError):
        return _Transient("no answer in time")
    if isinstance(reason, urllib3.exceptions.IncompleteRead | urllib3.exceptions.ProtocolError):
        return _Transient("the connection broke")
    return _Transient("no connection")
