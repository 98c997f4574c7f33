"""The layout of a zip file, read strictly: whatever two readers could understand differently is refused.

Zip files are read from their end (the directory), but hold everything a second time in front of each member. Tools
differ in which of the two they believe, in what they do with bytes that belong to neither, and with names given twice.
Here every byte of the file belongs to exactly one member or to the directory, and both descriptions agree.
"""

from __future__ import annotations

import re
import stat
import struct
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from wisp import errors
from wisp.errors import SubmissionError
from wisp.records import Violation
from wisp.submission.contents import LARGEST_TOTAL_BYTES, MOST_MEMBERS, largest_size
from wisp.submission.zip_records import (
    Header,
    LayoutError,
    find_directory,
    read_headers,
    read_local_header,
)

STORED, DEFLATED = 0, 8
_VERSION = 20  # of the format, times ten: what stored and deflated members need
LARGEST_RATIO = 200  # text shrinks to a twentieth; deflate's own limit, which bombs reach, is 1,032
PACK_AGAIN = "pack the run again with: wisp submit"

_LARGEST_DIRECTORY_BYTES = 1 << 20
_FIRST_OF_1980 = (0x0021, 0)
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_SIZES_BEHIND = 0x0008
_HARMLESS_FLAGS = 0x0006 | 0x0800  # how hard deflate tried; the name is UTF-8
_HARMLESS_EXTRAS = frozenset(
    {0x5455, 0x5855, 0x7855, 0x7875, 0x000A}
)  # times and owners, written by other tools
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of a sound layout.

    `start` is where its content begins in the file, `packed_bytes` how long it is there, `size_bytes` how long it is
    unpacked, `plain` whether it is described as `write_submission` describes it.
    """

    name: str
    method: int
    crc: int
    packed_bytes: int
    size_bytes: int
    offset: int
    start: int
    plain: bool


def read_layout(file: BinaryIO, size_bytes: int) -> tuple[tuple[Entry, ...], list[Violation]]:
    """The members of a zip file, in the order of its directory, and what is wrong with its layout.

    Nothing is unpacked. The members may be used only where no violation is found.

    Args:
        file: the file, open and seekable.
        size_bytes: its size.

    Raises:
        SubmissionError: no zip file; the message has no file name.
    """
    try:
        directory = find_directory(file, size_bytes)
        if directory.length > _LARGEST_DIRECTORY_BYTES or directory.count > MOST_MEMBERS:
            message = f"{directory.count:,} members; at most {MOST_MEMBERS} are allowed"
            return (), [_violation("members", "", message)]
        file.seek(directory.start)
        headers = read_headers(file.read(directory.length), directory.count)
    except LayoutError as error:
        return (), [_violation("layout", "", str(error))]
    entries: list[Entry] = []
    findings: list[Violation] = []
    for header in headers:
        findings += _check_header(header)
        entry = _locate(file, header, findings)
        if entry is not None:
            entries.append(entry)
    findings += _check_names([_name(header) for header in headers])
    if len(entries) == len(headers):
        findings += _check_places(entries, directory.start)
    total = sum(header.described.size_bytes for header in headers)
    if total > LARGEST_TOTAL_BYTES:
        message = f"{total:,} bytes unpacked; at most {LARGEST_TOTAL_BYTES:,} are allowed"
        findings.append(_violation("size", "", message))
    return tuple(entries), findings


def read_member(file: BinaryIO, entry: Entry) -> bytes:
    """The content of a member of a sound layout, with no more memory than it says it needs.

    Raises:
        SubmissionError: it does not unpack to what the directory says; the message names the member.
    """
    file.seek(entry.start)
    packed = file.read(entry.packed_bytes)
    content = packed
    if entry.method == DEFLATED:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = unpacker.decompress(packed, entry.size_bytes + 1)
        except zlib.error as error:
            raise SubmissionError(f"{entry.name}: cannot be unpacked ({error})") from error
        if len(content) > entry.size_bytes:
            raise SubmissionError(
                f"{entry.name}: unpacks to more than the {entry.size_bytes:,} bytes it claims"
            )
        if not unpacker.eof or unpacker.unused_data:
            raise SubmissionError(f"{entry.name}: its packed data does not end where the directory says")
    if len(content) != entry.size_bytes:
        raise SubmissionError(
            f"{entry.name}: has {len(content):,} bytes instead of the {entry.size_bytes:,} it claims"
        )
    if zlib.crc32(content) != entry.crc:
        raise SubmissionError(f"{entry.name}: damaged (its checksum is wrong)")
    return content


def printable(name: str) -> str:
    """A name that is safe on a terminal: one line, no control characters, not endless."""
    text = errors.printable(name)
    return text if len(text) <= 120 else text[:117] + "..."


def _violation(rule: str, path: str, message: str) -> Violation:
    return Violation(rule, "violation", path, None, message, PACK_AGAIN)


def _name(header: Header) -> str:
    return header.described.name.decode("utf-8", "replace")


def _locate(file: BinaryIO, header: Header, findings: list[Violation]) -> Entry | None:
    """The member's place; what contradicts the directory there is added to `findings`."""
    said = header.described
    shown = printable(_name(header))
    local = read_local_header(file, header.offset)
    if local is None:
        findings.append(_violation("layout", shown, "the directory points to a place without a member"))
        return None
    if local.described != said:
        findings.append(_violation("layout", shown, "its two headers in the zip file contradict one another"))
    for extra in (header.extra, local.extra):
        findings += [_violation("layout", shown, problem) for problem in _extra_problems(extra)]
    plain = (
        said.method == STORED
        and header.moment == local.moment == _FIRST_OF_1980
        and not (header.extra or local.extra or said.flags)
    )
    return Entry(
        name=_name(header),
        method=said.method,
        crc=said.crc,
        packed_bytes=said.packed_bytes,
        size_bytes=said.size_bytes,
        offset=header.offset,
        start=local.start,
        plain=plain,
    )


def _check_header(header: Header) -> Iterator[Violation]:
    name = _name(header)
    for problems in (
        _name_problems(name),
        _kind_problems(header, name),
        _packing_problems(header),
        _size_problems(header, name),
    ):
        for rule, message in problems:
            yield _violation(rule, printable(name), message)


def _name_problems(name: str) -> Iterator[tuple[str, str]]:
    """The first way in which a name could lead elsewhere, or be read as another one."""
    parts = name.removesuffix("/").split("/")
    if not name:
        yield "name", "a member without a name"
    elif any(unicodedata.category(character) in {"Cc", "Cf"} for character in name):
        yield "name", "control characters in its name"
    elif name.startswith("/"):
        yield "path", "an absolute path"
    elif _DRIVE.match(name):
        yield "path", "its name begins with a drive letter"
    elif "\\" in name:
        yield "path", "a backslash in its name, which some systems take for a folder"
    elif ".." in parts:
        yield "path", "its path leads out of the folder ('..')"
    elif "." in parts or "" in parts:
        yield "path", "empty parts in its path"
    elif not name.isascii():
        yield "name", "characters in its name that systems write in several ways"
    elif not name.endswith("/") and largest_size(name) is None:
        yield "member", "no submission has a member of this name"


def _kind_problems(header: Header, name: str) -> Iterator[tuple[str, str]]:
    mode = header.attributes >> 16  # whatever system the header names: some tools do not ask
    if stat.S_ISLNK(mode):
        yield "kind", "a symbolic link"
    elif name.endswith("/") or stat.S_ISDIR(mode) or header.attributes & 0x10:
        yield "kind", "a folder; a submission holds files alone"
    elif stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
        yield "kind", "a special file (device, pipe or socket)"
    elif mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX):
        yield "kind", "a file that would run with another user's rights"


def _packing_problems(header: Header) -> Iterator[tuple[str, str]]:
    flags, method = header.described.flags, header.described.method
    if flags & _ENCRYPTED:
        yield "packing", "encrypted"
    elif flags & _SIZES_BEHIND:
        yield "packing", "its sizes stand behind its data, which makes its end a guess"
    elif flags & ~_HARMLESS_FLAGS:
        yield "packing", f"flags {flags:#06x} that no submission needs"
    if method not in {STORED, DEFLATED}:
        yield "packing", f"packed by method {method}; only stored and deflated members are read"
    if header.described.version > _VERSION:
        yield (
            "packing",
            f"says it needs version {header.described.version / 10:g} of the zip format; 2.0 is read",
        )
    if header.comment_bytes:
        yield "layout", "a comment, where data can hide"
    if header.disk:
        yield "layout", "said to lie on another disk"


def _size_problems(header: Header, name: str) -> Iterator[tuple[str, str]]:
    said = header.described
    largest = largest_size(name)
    if 0xFFFFFFFF in (said.size_bytes, said.packed_bytes, header.offset):
        yield "size", "larger than a zip file without Zip64 can hold"
    elif largest is not None and said.size_bytes > largest:
        yield "size", f"{said.size_bytes:,} bytes; at most {largest:,} are allowed"
    elif said.method == STORED and said.size_bytes != said.packed_bytes:
        yield "size", "stored, but with two different sizes"
    elif said.size_bytes > max(1 << 16, LARGEST_RATIO * said.packed_bytes):
        ratio = said.size_bytes // max(1, said.packed_bytes)
        yield "bomb", f"would grow {ratio:,}-fold when unpacked; at most {LARGEST_RATIO}-fold is believed"


def _extra_problems(extra: bytes) -> Iterator[str]:
    at = 0
    while at < len(extra):
        kind, length = struct.unpack_from("<2H", extra, at) if len(extra) - at >= 4 else (0, len(extra))
        at += 4 + length
        if at > len(extra):
            yield "an extra field that is cut short"
        elif kind not in _HARMLESS_EXTRAS:
            yield f"an extra field of kind {kind:#06x}, which may change its name or size"


def _check_names(names: Sequence[str]) -> Iterator[Violation]:
    """No two members that are one file on some system."""
    first_of: dict[str, str] = {}
    for name, times in Counter(names).items():
        shown = printable(name)
        if times > 1:
            yield _violation("duplicate", shown, f"{times} members have this name")
        other = first_of.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
        if other != name:
            yield _violation("duplicate", shown, f"the same file as {printable(other)} on some systems")


def _check_places(entries: Sequence[Entry], directory_start: int) -> Iterator[Violation]:
    """Every byte before the directory belongs to exactly one member.

    Members that share bytes are how a small file unpacks to a huge one (Fifield, "A better zip bomb", 2019).
    """
    at = 0
    for entry in sorted(entries, key=lambda entry: entry.offset):
        shown = printable(entry.name)
        if entry.offset > at:
            yield _violation("layout", shown, f"{entry.offset - at:,} bytes of no member lie before it")
        elif entry.offset < at:
            yield _violation("bomb", shown, "overlaps with another member")
        at = max(at, entry.start + entry.packed_bytes)
    if at > directory_start:
        yield _violation("layout", "", "a member reaches into the zip file's directory")
    elif at < directory_start:
        message = f"{directory_start - at:,} bytes of no member lie before the zip file's directory"
        yield _violation("layout", "", message)
