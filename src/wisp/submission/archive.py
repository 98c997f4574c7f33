"""The bytes of a submission: a zip file that is the same whenever and wherever it is written."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

from wisp import strict_json
from wisp.errors import SubmissionError
from wisp.files import replacing
from wisp.submission.contents import MANIFEST, largest_size, order
from wisp.submission.manifest import Facts, Manifest, MemberDigest

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file can name
_REGULAR_FILE = 0o100644 << 16


def write_submission(path: Path, files: Mapping[str, bytes], facts: Facts) -> Manifest:
    """Write a submission; equal files and facts give equal bytes.

    Members are stored without compression (weights hardly shrink, and what a compressor writes depends on its
    version), in a fixed order, with one date and one permission.

    Args:
        path: the zip file to write; it appears whole or not at all.
        files: the content of every member but the manifest, by its name (`wisp.submission.contents`).
        facts: what the submission says of itself.

    Raises:
        SubmissionError: a name that no submission has, or a member that is too large.
    """
    for name, content in files.items():
        largest = largest_size(name)
        if largest is None or name == MANIFEST:
            raise SubmissionError(f"{path}: a submission has no member called {name!r}")
        if len(content) > largest:
            raise SubmissionError(
                f"{path}: {name} has {len(content):,} bytes; at most {largest:,} are allowed"
            )
    members = {
        name: MemberDigest(size_bytes=len(files[name]), sha256=hashlib.sha256(files[name]).hexdigest())
        for name in sorted(files, key=order)
    }
    said = facts.model_dump(include=set(Facts.model_fields))  # of a manifest, what is not its members
    manifest = Manifest(**said, members=members)
    contents = {MANIFEST: strict_json.dumps(manifest.to_json()), **files}
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents, key=order):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = 3, _REGULAR_FILE  # Unix, whatever wrote it
            archive.writestr(entry, contents[name])
    return manifest
