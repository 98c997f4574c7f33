"""Verifying a submission without running anything of it."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from wisp.errors import SubmissionError
from wisp.records import Dataset, Violation
from wisp.submission.contents import MANIFEST
from wisp.submission.manifest import Manifest

_PACK_AGAIN = "pack the run again with: wisp submit"


def verify_submission(path: Path, dataset: Dataset | None = None) -> list[Violation]:
    """Check everything that can be checked without executing code of the submission.

    Args:
        path: the zip file.
        dataset: the photos it is about; with them the test files and the predictions are checked too.

    Returns:
        The findings, worst first where one leads to others; empty for a sound submission.

    Raises:
        SubmissionError: there is no such file, or it is no zip file with a manifest.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = Manifest.parse(archive.read(MANIFEST), where=f"{path}: {MANIFEST}")
            return [
                Violation("member-hash", "violation", name, None, "not the file that was packed", _PACK_AGAIN)
                for name, member in manifest.members.items()
                if hashlib.sha256(archive.read(name)).hexdigest() != member.sha256
            ]
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise SubmissionError(f"{path}: not a submission ({error})") from error
