"""Where a public set comes from: its public address, a mirror, or a copy on this machine."""

from __future__ import annotations

import hashlib
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock

from wisp.data.download import Downloader, local_path
from wisp.data.photo_store import PhotoStore, open_store
from wisp.files import default_cache_dir


@dataclass(frozen=True)
class Origin:
    """A copy that can be read (`store`), or the address of a mirror's folder (`base`), or neither: the public one.

    `downloads` is the folder for what has to be fetched, apart for each mirror.
    """

    downloads: Path
    store: PhotoStore | None = None
    base: str | None = None
    archive: Path | None = None  # where `store` was fetched to: removed when it turns out wrong

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold `downloads` for this process: another one that fetches the same waits, and then finds it done."""
        self.downloads.mkdir(parents=True, exist_ok=True)
        with FileLock(self.downloads / ".wisp.lock"):
            yield

    def address(self, name: str, public: str) -> str:
        """Where to fetch the file `name` from; `public` is its public address."""
        return public if self.base is None else self.base + urllib.parse.quote(name)


def find_origin(name: str, source: str | None, downloader: Downloader, *, progress: bool) -> Origin:
    """What `--from SOURCE` means for the set `name`.

    Args:
        name: the set; names its folder below the cache's `downloads`.
        source: a folder or zip archive here, the address of a zip archive, or of a folder with the set's files.
        downloader: fetches an archive.
        progress: show a bar while it does.

    Raises:
        DataError: no such folder or archive, or not an address.
        DownloadError: the archive cannot be fetched.
    """
    downloads = default_cache_dir() / "downloads" / name
    if source is None:
        return Origin(downloads)
    local = local_path(source)
    if local is not None:
        return Origin(downloads, store=open_store(local))
    downloads = downloads.with_name(f"{name}-{hashlib.sha256(source.encode()).hexdigest()[:8]}")
    path = urllib.parse.urlsplit(source).path
    if path.lower().endswith(".zip"):
        archive = downloads / Path(urllib.parse.unquote(path)).name
        origin = Origin(downloads, base=urllib.parse.urljoin(source, "."), archive=archive)
        with origin.locked():
            downloader.fetch(source, archive, progress=progress)
        return replace(origin, store=open_store(archive))
    return Origin(downloads, base=source.rstrip("/") + "/")
