"""The records of a zip file as they stand in its bytes, before anything is believed of them.

Source of the structures: APPNOTE.TXT 6.3.10, PKWARE 2022.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from wisp.errors import SubmissionError

_END = struct.Struct("<4s4H2LH")
_CENTRAL = struct.Struct("<4s4B4HL2L5H2L")
_LOCAL = struct.Struct("<4s2B4HL2L2H")
_END_SIGNATURE, _CENTRAL_SIGNATURE, _LOCAL_SIGNATURE = b"PK\5\6", b"PK\1\2", b"PK\3\4"
_LONGEST_COMMENT = 0xFFFF


class LayoutError(SubmissionError):
    """The records contradict one another; the message has no file name."""


@dataclass(frozen=True, slots=True)
class Directory:
    """What the record at the end of the file says: how many members there are, and where they are described."""

    count: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Described:
    """What is said of a member twice, in the directory and in front of its content.

    `version` is that of the format that a reader must know, times ten.
    """

    version: int
    name: bytes
    flags: int
    method: int
    crc: int
    packed_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Header:
    """A member in the directory. `moment` is (date, time) in MS-DOS form."""

    described: Described
    moment: tuple[int, int]
    extra: bytes
    comment_bytes: int
    attributes: int
    disk: int
    offset: int


@dataclass(frozen=True, slots=True)
class LocalHeader:
    """The same in front of the content, which begins at `start`."""

    described: Described
    moment: tuple[int, int]
    extra: bytes
    start: int


def find_directory(file: BinaryIO, size_bytes: int) -> Directory:
    """Read the end record, and make sure that nothing lies behind it, and nothing before it but the directory.

    Raises:
        SubmissionError: no zip file at all.
        LayoutError: a zip file with more in it than a reader of its directory sees.
    """
    reach = min(size_bytes, _END.size + _LONGEST_COMMENT)
    file.seek(size_bytes - reach)
    tail = file.read(reach)
    latest = len(tail) - _END.size
    at = tail.rfind(_END_SIGNATURE, 0, latest + len(_END_SIGNATURE)) if latest >= 0 else -1
    if at < 0:
        raise SubmissionError("not a zip file (it has no end record); a submission is made with: wisp submit")
    _, disk, first_disk, here, count, length, start, comment = _END.unpack_from(tail, at)
    behind = latest - at
    if (disk, first_disk) != (0, 0) or here != count:
        raise LayoutError("one part of several; a submission is one file")
    if behind != comment:
        raise LayoutError(
            f"{behind - comment:,} bytes of other data lie behind the end of the zip file"
            if behind > comment
            else "the zip file ends inside its comment"
        )
    if comment:
        raise LayoutError(f"the zip file has a comment of {comment:,} bytes, where data can hide")
    end = size_bytes - reach + at
    if start + length > end:
        raise LayoutError("the directory of the zip file reaches past its end (or the file is cut short)")
    if start + length < end:
        raise LayoutError(
            f"{end - start - length:,} bytes of other data lie before the zip file, or inside it"
        )
    return Directory(count, start, length)


def read_headers(directory: bytes, count: int) -> tuple[Header, ...]:
    """The members that the bytes of a directory describe.

    Raises:
        LayoutError: it does not hold exactly `count` of them.
    """
    headers: list[Header] = []
    at = 0
    while at < len(directory):
        if len(directory) - at < _CENTRAL.size or directory[at : at + 4] != _CENTRAL_SIGNATURE:
            raise LayoutError(f"the directory of the zip file is damaged behind {len(headers)} members")
        (_, _, _, version, _, flags, method, time, date, crc, packed, size, name, extra, comment, disk, _, attributes,
         offset) = _CENTRAL.unpack_from(directory, at)  # fmt: skip
        first = at + _CENTRAL.size
        at = first + name + extra + comment
        if at > len(directory):
            raise LayoutError(f"the directory of the zip file is damaged behind {len(headers)} members")
        described = Described(version, directory[first : first + name], flags, method, crc, packed, size)
        extra_field = directory[first + name : first + name + extra]
        headers.append(Header(described, (date, time), extra_field, comment, attributes, disk, offset))
    if len(headers) != count:
        raise LayoutError(f"the directory of the zip file has {len(headers)} members, and claims {count}")
    return tuple(headers)


def read_local_header(file: BinaryIO, offset: int) -> LocalHeader | None:
    """What stands in front of a member's content; None where there is no such thing."""
    file.seek(offset)
    record = file.read(_LOCAL.size)
    if len(record) < _LOCAL.size or record[:4] != _LOCAL_SIGNATURE:
        return None
    _, version, _, flags, method, time, date, crc, packed, size, name_bytes, extra_bytes = _LOCAL.unpack(
        record
    )
    described = Described(version, file.read(name_bytes), flags, method, crc, packed, size)
    extra = file.read(extra_bytes)
    start = offset + _LOCAL.size + name_bytes + extra_bytes
    return LocalHeader(described, (date, time), extra, start)
