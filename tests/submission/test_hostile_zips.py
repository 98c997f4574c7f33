"""Zip files that tools understand in several ways, or that unpack to more than they seem: each is one clear line."""

from __future__ import annotations

import io
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tiny_submission import Parts
from wisp.errors import SubmissionError
from wisp.submission import extract_submission, open_submission, verify_submission

Change = Callable[[Path], None]


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(
    path: Path, extra: dict[str, bytes] | None = None, change: Callable[[zipfile.ZipInfo], None] | None = None
) -> None:
    """Write the members again, each header changed by `change`, and more members behind them."""
    contents = members(path)
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of names given twice
        for name, content in [*contents.items(), *(extra or {}).items()]:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            if change is not None and (extra is None or name in extra):
                change(info)
            archive.writestr(info, content)


def one(path: Path, rule: str, message: str, where: str | None = None) -> None:
    """The check finds `rule` with this message, and opening and extracting refuse with one line."""
    findings = [finding for finding in verify_submission(path) if finding.severity == "violation"]
    matching = [finding for finding in findings if finding.rule == rule and message in finding.message]
    assert matching, [str(finding) for finding in findings]
    if where is not None:
        assert where in {finding.path for finding in matching}
    assert all("\n" not in str(finding) and len(str(finding)) < 500 for finding in findings)
    with pytest.raises(SubmissionError) as caught:
        open_submission(path)
    assert "\n" not in str(caught.value)
    folder = path.parent / "out"
    with pytest.raises(SubmissionError):
        extract_submission(path, folder)
    assert not folder.exists()


def patch(
    path: Path, name: str, *, central: dict[int, bytes] | None = None, local: dict[int, bytes] | None = None
) -> None:
    """Overwrite bytes of a member's headers, at offsets inside each header."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo(name).header_offset
    at = data.rindex(name.encode()) - 46  # the last mention of the name is in the directory
    for start, changes in ((at, central or {}), (offset, local or {})):
        for index, value in changes.items():
            data[start + index : start + index + len(value)] = value
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "rule", "message"),
    [
        ("../evil.py", "path", "leads out of the folder"),
        ("source/../../evil.py", "path", "leads out of the folder"),
        ("/etc/passwd", "path", "an absolute path"),
        ("source\\evil.py", "path", "a backslash"),
        ("..\\..\\evil.py", "path", "a backslash"),
        ("C:/evil.py", "path", "drive letter"),
        ("c:evil.py", "path", "drive letter"),
        ("source//evil.py", "path", "empty parts"),
        ("source/./evil.py", "path", "empty parts"),
        ("evil\x1b[31m.py", "name", "control characters"),
        ("evil\n.py", "name", "control characters"),
        ("source/evil\u202egnp.py", "name", "control characters"),
        ("source/vi\u00e9w.py", "name", "several ways"),
        ("source/evil.so", "member", "no submission has a member of this name"),
        ("source/1.py", "member", "no submission has a member of this name"),
        ("inner.zip", "member", "no submission has a member of this name"),
        ("weights.pt", "member", "no submission has a member of this name"),
        ("source/extra.py", "member", "not in the manifest"),
        ("source/", "kind", "a folder"),
        ("", "name", "without a name"),
    ],
)
def test_names_that_lead_elsewhere(name: str, rule: str, message: str, team: Path) -> None:
    rewrite(team, {name: b""})
    one(team, rule, message)
    assert not (team.parent / "evil.py").exists()


def test_a_nul_byte_in_a_name(team: Path) -> None:
    # zipfile cuts names at a NUL itself, so the byte is put in afterwards, in both headers
    rewrite(team, {"source/a_b.py": b""})
    team.write_bytes(team.read_bytes().replace(b"source/a_b.py", b"source/a\0b.py"))
    one(team, "name", "control characters")


@pytest.mark.parametrize(
    ("twin", "message"),
    [
        ("model.onnx", "2 members have this name"),
        ("MODEL.ONNX", "the same file as model.onnx on some systems"),
        ("\uff4dodel.onnx", "the same file as model.onnx on some systems"),
    ],
)
def test_names_given_twice(twin: str, message: str, team: Path) -> None:
    rewrite(team, {twin: b"another model"})
    one(team, "duplicate", message)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        (stat.S_IFLNK | 0o777, "a symbolic link"),
        (stat.S_IFDIR | 0o755, "a folder"),
        (stat.S_IFIFO | 0o644, "a special file"),
        (stat.S_IFCHR | 0o644, "a special file"),
        (stat.S_IFBLK | 0o644, "a special file"),
        (stat.S_IFSOCK | 0o644, "a special file"),
        (stat.S_IFREG | stat.S_ISUID | 0o755, "another user's rights"),
    ],
)
@pytest.mark.parametrize("system", [0, 3, 19])
def test_members_that_are_no_plain_files(mode: int, message: str, system: int, team: Path) -> None:
    def special(info: zipfile.ZipInfo) -> None:
        info.create_system, info.external_attr = system, mode << 16

    rewrite(team, {"source/link.py": b"/etc/passwd"}, special)
    one(team, "kind", message, "source/link.py")


def test_a_bomb(team: Path) -> None:
    def deflate(info: zipfile.ZipInfo) -> None:
        info.compress_type = zipfile.ZIP_DEFLATED

    rewrite(team, {"source/bomb.py": bytes(1 << 20)}, deflate)
    one(team, "bomb", "fold when unpacked; at most 200-fold is believed", "source/bomb.py")


def test_a_bomb_that_lies_about_its_size(team: Path) -> None:
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    content = packed.compress(bytes(50 << 20)) + packed.flush()

    rewrite(team, {"source/bomb.py": content})  # stored, then called deflated, of modest size
    sizes = struct.pack("<LLL", 0, len(content), 1000)
    patch(team, "source/bomb.py", central={10: b"\x08\0", 16: sizes}, local={8: b"\x08\0", 14: sizes})
    one(team, "content", "unpacks to more than the 1,000 bytes it claims", "source/bomb.py")


def test_too_large_for_its_name_and_in_all(parts: Parts, team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(team, {"source/long.py": b"#" * ((1 << 20) + 1)})
    one(team, "size", "1,048,577 bytes; at most 1,048,576 are allowed", "source/long.py")
    parts.write(team)
    monkeypatch.setattr("wisp.submission.layout.LARGEST_TOTAL_BYTES", 1000)
    one(team, "size", "bytes unpacked; at most 1,000 are allowed")


def test_more_members_than_any_submission_has(team: Path) -> None:
    rewrite(team, {f"source/m{number}.py": b"" for number in range(300)})
    one(team, "members", "at most 256 are allowed")


def test_members_that_share_their_bytes(team: Path) -> None:
    """Two entries of the directory on one local file: how a small file unpacks to a huge one."""
    data = team.read_bytes()
    end = data.rindex(b"PK\5\6")
    count, length, start = struct.unpack_from("<HLL", data, end + 10)
    directory = data[start:end]
    at = directory.rindex(b"PK\1\2")
    twin = directory[at:].replace(b"data.json", b"model.pyy")
    grown = directory + twin
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count + 1, count + 1, length + len(twin), start, 0)
    team.write_bytes(data[:start] + grown + tail)
    one(team, "bomb", "overlaps with another member")


def test_a_zip_file_that_holds_itself(team: Path) -> None:
    """Nothing inside is ever unpacked as an archive, whatever it is called."""
    rewrite(team, {"source/again.py": team.read_bytes()})
    one(team, "member", "not in the manifest", "source/again.py")


def test_encrypted(team: Path) -> None:
    patch(team, "model.py", central={8: b"\1\0"}, local={6: b"\1\0"})
    one(team, "packing", "encrypted", "model.py")


def test_sizes_behind_the_data(team: Path) -> None:
    patch(team, "model.py", central={8: b"\x08\0"}, local={6: b"\x08\0"})
    one(team, "packing", "makes its end a guess", "model.py")


def test_a_later_version_of_the_format(team: Path) -> None:
    # Python's reader refuses it, others do not ask
    patch(team, "model.py", central={6: b"\x0a"})
    one(team, "layout", "contradict one another", "model.py")
    patch(team, "model.py", central={6: b"\xd1"}, local={4: b"\xd1"})
    one(team, "packing", "needs version 20.9", "model.py")


@pytest.mark.parametrize("method", [12, 14, 93, 99])
def test_other_ways_to_pack(method: int, team: Path) -> None:
    value = struct.pack("<H", method)
    patch(team, "model.py", central={10: value}, local={8: value})
    one(team, "packing", f"packed by method {method}", "model.py")


@pytest.mark.parametrize(
    ("at", "value"),
    [(6, b"\x02\0"), (8, b"\x08\0"), (14, b"abcd"), (18, b"\1\0\0\0"), (22, b"\xff\0\0\0"), (30, b"M")],
)
def test_headers_that_contradict_one_another(at: int, value: bytes, team: Path) -> None:
    patch(team, "model.py", local={at: value})
    one(team, "layout", "its two headers in the zip file contradict one another", "model.py")


def test_an_extra_field_that_gives_another_name(team: Path) -> None:
    def other_name(info: zipfile.ZipInfo) -> None:
        info.extra = struct.pack("<HHBL", 0x7075, 9, 1, 0) + b"evil"

    rewrite(team, {"source/a.py": b""}, other_name)
    one(team, "layout", "extra field of kind 0x7075", "source/a.py")


def test_an_extra_field_that_is_cut_short(team: Path) -> None:
    rewrite(team, {"source/a.py": b""}, lambda info: setattr(info, "extra", b"\x55\x54\xff\xff"))
    one(team, "layout", "an extra field that is cut short", "source/a.py")


def test_comments(team: Path) -> None:
    with zipfile.ZipFile(team, "a") as archive:
        archive.comment = b"hidden"
    one(team, "layout", "a comment of 6 bytes")


def test_a_comment_of_a_member(team: Path) -> None:
    rewrite(team, {"source/a.py": b""}, lambda info: setattr(info, "comment", b"hidden"))
    one(team, "layout", "a comment, where data can hide", "source/a.py")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"#!/bin/sh\n" + data, "10 bytes of other data lie before the zip file"),
        (lambda data: data + b"more", "4 bytes of other data lie behind the end of the zip file"),
        (lambda data: data[:-22] + b"hole" + data[-22:], "4 bytes of other data lie before the zip file"),
    ],
)
def test_data_outside_of_all_members(damage: Callable[[bytes], bytes], message: str, team: Path) -> None:
    team.write_bytes(damage(team.read_bytes()))
    one(team, "layout", message)


def test_data_between_the_members(team: Path) -> None:
    data = team.read_bytes()
    end = data.rindex(b"PK\5\6")
    count, length, start = struct.unpack_from("<HLL", data, end + 10)
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, length, start + 6, 0)
    team.write_bytes(data[:start] + b"hidden" + data[start:end] + tail)
    one(team, "layout", "6 bytes of no member lie before the zip file's directory")


def test_a_directory_that_lies_about_its_members(team: Path) -> None:
    data = team.read_bytes()
    end = data.rindex(b"PK\5\6")
    count = struct.unpack_from("<H", data, end + 10)[0]
    team.write_bytes(data[: end + 8] + struct.pack("<HH", count - 1, count - 1) + data[end + 12 :])
    one(team, "layout", f"has {count} members, and claims {count - 1}")


def test_a_member_that_points_nowhere(team: Path) -> None:
    patch(team, "model.py", central={42: b"\xff\xff\xff\x7f"})
    one(team, "layout", "points to a place without a member", "model.py")


def test_zip64(team: Path) -> None:
    patch(team, "model.py", central={24: b"\xff\xff\xff\xff"}, local={22: b"\xff\xff\xff\xff"})
    one(team, "size", "larger than a zip file without Zip64 can hold", "model.py")


def test_a_flipped_byte_is_noticed_in_every_member(team: Path) -> None:
    data = team.read_bytes()
    with zipfile.ZipFile(team) as archive:
        places = {info.filename: info.header_offset + 30 + len(info.filename) for info in archive.infolist()}
    for name, start in places.items():
        broken = bytearray(data)
        broken[start + 3] ^= 4
        team.write_bytes(broken)
        one(team, "content", "damaged (its checksum is wrong)", name)


def test_cut_short_anywhere(team: Path) -> None:
    data = team.read_bytes()
    for length in (0, 1, 10, 21, 22, len(data) // 2, len(data) - 22, len(data) - 1):
        team.write_bytes(data[:length])
        with pytest.raises(SubmissionError, match="not a zip file"):
            verify_submission(team)


def test_no_zip_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="no such file"):
        verify_submission(tmp_path / "team.zip")
    with pytest.raises(SubmissionError, match="is a folder"):
        verify_submission(tmp_path)
    (tmp_path / "team.zip").write_bytes(b"Rar!" + bytes(100))
    with pytest.raises(SubmissionError, match=r"not a zip file .* a submission is made with: wisp submit"):
        verify_submission(tmp_path / "team.zip")
    (tmp_path / "team.zip").write_bytes(struct.pack("<4s4H2LH", b"PK\5\6", 0, 1, 1, 1, 0, 0, 0))
    one(tmp_path / "team.zip", "layout", "one part of several")


def test_packed_again_by_another_tool(team: Path) -> None:
    """Harmless differences are a note: the contents are what counts."""
    contents = members(team)
    with zipfile.ZipFile(team, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in reversed(contents):
            info = zipfile.ZipInfo(name, (2026, 11, 25, 12, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.extra = struct.pack("<HHBL", 0x5455, 5, 1, 0)  # a time, as Info-ZIP writes it
            archive.writestr(info, contents[name])
    findings = verify_submission(team)
    assert {finding.severity for finding in findings} == {"note"}
    assert any("another tool packed its members again" in finding.message for finding in findings)
    assert open_submission(team).files == {
        name: contents[name] for name in contents if name != "manifest.json"
    }


def test_reading_takes_no_more_memory_than_the_members_claim(team: Path) -> None:
    """The deflated bomb above is stopped at its claimed size; the reader of one member never goes past it."""
    from wisp.submission.layout import DEFLATED, Entry, read_member  # noqa: PLC0415

    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(1 << 20)) + packer.flush()
    for claimed in (10, 1 << 21):
        entry = Entry("model.py", DEFLATED, 0, len(packed), claimed, 0, 0, plain=False)
        with pytest.raises(SubmissionError, match=r"model\.py"):
            read_member(io.BytesIO(packed), entry)
    entry = Entry("model.py", DEFLATED, zlib.crc32(bytes(1 << 20)), len(packed), 1 << 20, 0, 0, plain=False)
    assert read_member(io.BytesIO(packed), entry) == bytes(1 << 20)
    longer = packed + b"more"
    entry = Entry("model.py", DEFLATED, 0, len(longer), 1 << 20, 0, 0, plain=False)
    with pytest.raises(SubmissionError, match="does not end where the directory says"):
        read_member(io.BytesIO(longer), entry)
