"""Photos by name, from a folder or straight from a zip archive.

Nothing is ever unpacked under a name that an archive chose: members are read into memory, size-limited, and links
in archives are not followed, so an archive can neither write outside a folder nor fill the memory.
"""

from __future__ import annotations

import os
import stat
import unicodedata
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath

from wisp.errors import DataError

# The largest member that is read; the largest photos of today's phones take about 100 MB as PNG.
MAX_MEMBER_BYTES = 256 << 20


class PhotoStore(ABC):
    """A read-only set of named files; safe to read from several threads.

    Args:
        root: the folder or the archive.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @abstractmethod
    def names(self) -> Iterable[str]:
        """Every file's name: POSIX, relative to the root."""

    @abstractmethod
    def open(self, name: str) -> Path | bytes:
        """What `wisp.images.open_photo` takes for one of `names()`."""

    def read(self, name: str) -> bytes:
        """The bytes of one of `names()`."""
        content = self.open(name)
        return content if isinstance(content, bytes) else content.read_bytes()

    def find(self, wanted: str) -> str | None:
        """The name of the file that `wanted` means; None where there is none, or more than one.

        Annotations and photos often travel apart: `wanted` matches a name exactly, or else the one name that ends
        in it, whatever its case (`batch_1/7.JPG` finds `TACO/data/batch_1/7.jpg`). Names that leave the root
        never match.
        """
        wanted = wanted.replace("\\", "/")
        if not stays_inside(wanted):
            return None
        wanted = str(PurePosixPath(wanted))
        tail = _folded(wanted)
        candidates = [
            (name, folded)
            for name, folded in self._by_file_name.get(tail.rpartition("/")[2], ())
            if f"/{folded}".endswith(f"/{tail}")
        ]
        for match in (
            [name for name, _ in candidates if name == wanted],
            [name for name, folded in candidates if folded == tail],
            [name for name, _ in candidates],
        ):
            if len(match) == 1:
                return match[0]
        return None

    @cached_property
    def _by_file_name(self) -> dict[str, list[tuple[str, str]]]:
        index: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for name in self.names():
            folded = _folded(name)
            index[folded.rpartition("/")[2]].append((name, folded))
        return dict(index)


class FolderStore(PhotoStore):
    """The files below a folder."""

    def names(self) -> Iterator[str]:
        """Every file's name; hidden folders and archive litter are passed over."""
        for folder, folders, files in os.walk(self.root, followlinks=False):
            folders[:] = sorted(name for name in folders if not _is_litter(name))
            relative = Path(folder).relative_to(self.root)
            yield from ((relative / name).as_posix() for name in sorted(files) if not _is_litter(name))

    def find(self, wanted: str) -> str | None:
        """As in every store; a name that is right needs no walk through the folder (and may pass links)."""
        wanted = wanted.replace("\\", "/")
        if stays_inside(wanted) and (self.root / wanted).is_file():
            return str(PurePosixPath(wanted))
        return super().find(wanted)

    def open(self, name: str) -> Path:
        """The path of one of `names()`."""
        return self.root / name


class ZipStore(PhotoStore):
    """The members of a zip archive.

    Raises:
        DataError: the archive is missing or damaged.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        with self._readable(root.name):
            self._zip = zipfile.ZipFile(root)
        self._members = {
            member.filename: member
            for member in self._zip.infolist()
            if not member.is_dir() and stays_inside(member.filename) and not _is_link(member)
        }

    def names(self) -> list[str]:
        """Every member's name, without folders, links, and names that would leave the archive's folder."""
        return [name for name in self._members if not any(map(_is_litter, name.split("/")))]

    def open(self, name: str) -> bytes:
        """The bytes of one of `names()`.

        Raises:
            DataError: damaged, encrypted, or larger than `MAX_MEMBER_BYTES`.
        """
        member = self._members[name]
        if member.file_size > MAX_MEMBER_BYTES:
            raise DataError(
                f"{self.root}: {name}: {member.file_size:,} bytes unpacked, over the limit of {MAX_MEMBER_BYTES:,}"
            )
        with self._readable(name), self._zip.open(member) as file:
            # Bounded although the size is known: the entry's size may be a lie, and CRC is checked at its end.
            return file.read(MAX_MEMBER_BYTES + 1)

    @contextmanager
    def _readable(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise DataError(f"{self.root}: no such file") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise DataError(f"{self.root}: {name}: damaged archive ({error})") from error
        except (RuntimeError, NotImplementedError) as error:  # encrypted, or packed in an unknown way
            raise DataError(f"{self.root}: {name}: cannot be unpacked ({error})") from error


def open_store(path: Path) -> PhotoStore:
    """A folder or a zip archive of photos.

    Raises:
        DataError: neither of the two.
    """
    if path.is_dir():
        return FolderStore(path)
    if not path.exists():
        raise DataError(f"{path}: no such folder or archive")
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: neither a folder nor a zip archive (unpack other kinds of archives first)")
    return ZipStore(path)


def _folded(name: str) -> str:
    """How names are compared: macOS stores accents decomposed, Windows and cameras write .JPG."""
    return unicodedata.normalize("NFC", name).casefold()


def stays_inside(name: str) -> bool:
    """Whether a name from an archive or an annotation file is relative and leads nowhere above its root."""
    return bool(name) and not (name.startswith("/") or ".." in name.split("/") or ":" in name or "\0" in name)


def _is_litter(part: str) -> bool:
    return part == "__MACOSX" or part.startswith(".")


def _is_link(member: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(member.external_attr >> 16)
