"""Reading a submission that has been verified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wisp import strict_json
from wisp.errors import SubmissionError
from wisp.files import new_folder
from wisp.submission.contents import ARCH, DATA, MANIFEST, PREDICTIONS, RECIPE, SOURCE
from wisp.submission.manifest import Manifest
from wisp.submission.verification import verify_files


@dataclass(frozen=True)
class Submission:
    """An opened submission whose contents are what its manifest says. All of it is in memory.

    `files` maps each member but the manifest to its bytes.
    """

    path: Path
    manifest: Manifest
    files: Mapping[str, bytes]

    @property
    def predictions(self) -> dict[str, str]:
        """The answers: {file name: class}."""
        answers: dict[str, str] = strict_json.loads(self.files[PREDICTIONS])["submission"]
        return answers

    @property
    def data(self) -> dict[str, Any]:
        """The fingerprint of the photos: `classes`, `splits` ({split: {name: SHA-256}}) and `digest`."""
        value: dict[str, Any] = strict_json.loads(self.files[DATA])
        return value

    @property
    def arch(self) -> dict[str, Any] | None:
        """The content of arch.json; None where the network is source code."""
        if ARCH not in self.files:
            return None
        value: dict[str, Any] = strict_json.loads(self.files[ARCH])
        return value

    @property
    def recipe(self) -> str:
        """The resolved recipe, TOML."""
        return self.files[RECIPE].decode("utf-8")

    @property
    def source(self) -> dict[str, str]:
        """Python files by their name, `model.py` among them; empty where the network is an arch.json."""
        return {name: content.decode("utf-8") for name, content in self.files.items() if name.endswith(".py")}

    @property
    def has_source(self) -> bool:
        """Whether the network is Python code, which only a sandbox may run."""
        return SOURCE in self.files


def open_submission(path: Path) -> Submission:
    """Verify the file `path` (without photos) and read it.

    Raises:
        SubmissionError: it cannot be read, or the first of its violations; one line.
    """
    files, findings = verify_files(path)
    for finding in findings:
        if finding.severity == "violation":
            raise SubmissionError(f"{path}: {finding}")
    contents = dict(files)
    manifest = Manifest.parse(contents.pop(MANIFEST), where=f"{path}: {MANIFEST}")
    return Submission(path, manifest, contents)


def extract_submission(path: Path, folder: Path) -> Submission:
    """Verify the file `path` and write its members (the manifest too) into the new folder `folder`.

    The folder is missing or empty before; it appears whole or not at all. Nothing is written outside.

    Raises:
        SubmissionError: as `open_submission`; or the folder holds something already.
    """
    submission = open_submission(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SubmissionError(f"{folder}: not an empty folder; name another one")
    contents = {MANIFEST: strict_json.dumps(submission.manifest.to_json()), **submission.files}
    with new_folder(folder) as temporary:
        for name, content in contents.items():
            target = temporary / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    return submission
