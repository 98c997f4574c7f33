"""Verifying a submission without running anything of it.

From the outside in: the layout of the zip file, the manifest, the digests, then what each member says. What lies
further in is looked at only where everything around it is sound.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from wisp.errors import SubmissionError
from wisp.records import Dataset, ResizeRule, Violation
from wisp.submission.claims import (
    Fingerprint,
    check_data,
    check_predictions,
    check_recipe,
    check_source,
    read_predictions,
)
from wisp.submission.contents import (
    ALWAYS,
    ARCH,
    DATA,
    LARGEST_TOTAL_BYTES,
    MANIFEST,
    MODEL,
    PREDICTIONS,
    RECIPE,
    SOURCE,
    WEIGHTS,
)
from wisp.submission.layout import PACK_AGAIN, printable, read_layout, read_member
from wisp.submission.manifest import Manifest

if TYPE_CHECKING:
    from wisp.submission.photos import SplitAnswers

_Content = TypeVar("_Content")
_LARGEST_FILE_BYTES = LARGEST_TOTAL_BYTES + (4 << 20)  # with headers and directory
PARITY_IMAGES = 32
PARITY_TOLERANCE = 1e-3  # between torch and ONNX Runtime, on whatever processors


def verify_submission(
    path: Path, dataset: Dataset | None = None, *, progress: bool = False
) -> list[Violation]:
    """Check everything that can be checked without executing code of the submission.

    Args:
        path: the zip file.
        dataset: the photos it is about; with them the test files, the answers and the claimed F1 are checked too. That
            runs model.onnx, as data: standard operators only, in a process with bounded memory and time.
        progress: show progress bars on a terminal.

    Returns:
        The findings, from the outside in; those of severity `violation` mean that it must not be believed.

    Raises:
        SubmissionError: there is no such file, or it is no zip file.
        DataError: the photos of `dataset` cannot be used.
    """
    return verify_files(path, dataset, progress=progress)[1]


def verify_files(
    path: Path, dataset: Dataset | None = None, *, progress: bool = False
) -> tuple[Mapping[str, bytes], list[Violation]]:
    """As `verify_submission`, with the members that were verified: {name: content}, to be used where nothing is wrong.

    Raises:
        SubmissionError, DataError: as `verify_submission`.
    """
    files, findings = read_files(path)
    if files is None:
        return {}, findings
    manifest, problems = _check_manifest(files)
    findings += problems
    if manifest is None or _is_broken(findings):
        return files, findings
    with tempfile.TemporaryDirectory(prefix="wisp-") as folder:
        model = Path(folder) / MODEL
        model.write_bytes(files[MODEL])
        findings += _check_members(files, manifest, model)
        if dataset is not None and not _is_broken(findings):
            findings += _check_photos(files, manifest, model, dataset, progress)
    return files, findings


def read_files(path: Path) -> tuple[dict[str, bytes] | None, list[Violation]]:
    """The content of every member, and what is wrong with the zip file; None where that is too much to read it.

    Raises:
        SubmissionError: there is no such file, or it is no zip file.
    """
    try:
        if not path.is_file():
            problem = "is a folder or a special file" if path.exists() else "no such file"
            raise SubmissionError(f"{path}: {problem}; name the zip file that wisp submit wrote")
        size_bytes = path.stat().st_size
        if size_bytes > _LARGEST_FILE_BYTES:
            raise SubmissionError(f"{path}: {size_bytes:,} bytes; at most {_LARGEST_FILE_BYTES:,} are read")
        with path.open("rb") as file:
            try:
                entries, findings = read_layout(file, size_bytes)
            except SubmissionError as error:
                raise SubmissionError(f"{path}: {error}") from error
            if _is_broken(findings):
                return None, findings
            files: dict[str, bytes] = {}
            for entry in entries:
                try:
                    files[entry.name] = read_member(file, entry)
                except SubmissionError as error:
                    message = str(error).removeprefix(f"{entry.name}: ")
                    findings.append(_violation("content", entry.name, message))
    except OSError as error:
        raise SubmissionError(f"{path}: cannot be read ({error.strerror})") from error
    if not all(entry.plain for entry in entries):
        message = "not the bytes that wisp submit writes: another tool packed its members again"
        findings.append(Violation("layout", "note", str(path.name), None, message, ""))
    return (None if _is_broken(findings) else files), findings


def _check_manifest(files: Mapping[str, bytes]) -> tuple[Manifest | None, list[Violation]]:
    """The manifest, and whether the members are those that it names, byte for byte."""
    if MANIFEST not in files:
        return None, [_violation("member", MANIFEST, "missing")]
    try:
        manifest = Manifest.parse(files[MANIFEST], where="")
    except SubmissionError as error:
        return None, [_violation("manifest", MANIFEST, printable(str(error).removeprefix(": ")))]
    findings = [
        _violation("member", name, "missing; every submission has it") for name in ALWAYS if name not in files
    ]
    networks = [name for name in (ARCH, SOURCE) if name in files]
    if len(networks) != 1:
        message = (
            f"{'both' if networks else 'neither'} of {ARCH} and {SOURCE} in it; the network is one of them"
        )
        findings.append(_violation("member", "", message))
    strangers = sorted(set(files) - set(manifest.members) - {MANIFEST})
    findings += [_violation("member", name, "not in the manifest") for name in strangers]
    for name, member in manifest.members.items():
        shown = printable(name)
        if name not in files:
            findings.append(_violation("member", shown, "in the manifest, but not in the zip file"))
        elif len(files[name]) != member.size_bytes:
            sizes = f"{len(files[name]):,} bytes; the manifest says {member.size_bytes:,}"
            findings.append(_violation("member-size", shown, sizes))
        elif hashlib.sha256(files[name]).hexdigest() != member.sha256:
            findings.append(_violation("member-hash", shown, "its SHA-256 is not that of the manifest"))
    return manifest, findings


def _check_members(files: Mapping[str, bytes], manifest: Manifest, model: Path) -> list[Violation]:
    # Imported here: onnx and what counts are not needed to read the sound ones.
    from wisp.submission.graph import check_graph  # noqa: PLC0415
    from wisp.submission.network import check_network, check_weights  # noqa: PLC0415

    findings: list[Violation] = []
    found = _read(PREDICTIONS, lambda: read_predictions(files[PREDICTIONS]), findings)
    data = _read(DATA, lambda: Fingerprint.parse(files[DATA]), findings)
    if found is not None:
        findings += check_predictions(found, manifest)
        if data is not None:
            findings += check_data(data, found, manifest)
    findings += check_recipe(files[RECIPE], manifest)
    for name, content in files.items():
        if name.endswith(".py"):
            findings += check_source(name, content)
    findings += check_weights(files[WEIGHTS])
    findings += check_graph(model, manifest)
    if ARCH in files:
        findings += check_network(files[ARCH], files[WEIGHTS], manifest)
    else:
        message = "the network is source code: its official and exact MACs and its weights need it to be run"
        findings.append(
            Violation("source", "note", SOURCE, None, message, "see: wisp reproduce, in a sandbox")
        )
    return findings


def _check_photos(
    files: Mapping[str, bytes], manifest: Manifest, model: Path, dataset: Dataset, progress: bool
) -> list[Violation]:
    from wisp.submission.graph import describe_model  # noqa: PLC0415
    from wisp.submission.photos import check_answers, check_test_files  # noqa: PLC0415

    found = read_predictions(files[PREDICTIONS])
    data = Fingerprint.parse(files[DATA])
    findings = list(check_test_files(data, found, dataset, progress=progress))
    rule = describe_model(model).resize
    answers, problems = check_answers(model, rule, found, manifest, dataset, progress=progress)
    findings += problems
    if ARCH in files and answers is not None and not _is_broken(findings):
        findings += _check_parity(files, rule, answers)
    return findings


def _check_parity(files: Mapping[str, bytes], rule: ResizeRule, answers: SplitAnswers) -> Iterator[Violation]:
    """The weights in the network give what the model gives: they are one and the same."""
    from wisp.images import preprocess  # noqa: PLC0415
    from wisp.submission.network import network_probabilities  # noqa: PLC0415

    samples = answers.samples[:PARITY_IMAGES]
    if not samples:
        return
    images = np.stack([preprocess(sample.path, rule) for sample in samples])
    of_weights = network_probabilities(files[ARCH], files[WEIGHTS], images)
    difference = float(np.abs(answers.probabilities[: len(samples)] - of_weights).max())
    if not difference <= PARITY_TOLERANCE:  # written so that NaN fails too
        message = (
            f"the weights do not give what {MODEL} gives: probabilities differ by up to {difference:.3g} on "
            f"{len(images)} photos (tolerance {PARITY_TOLERANCE:g})"
        )
        yield _violation("parity", WEIGHTS, message)


def _read(name: str, read: Callable[[], _Content], findings: list[Violation]) -> _Content | None:
    """What `read` gives; None, with a finding, where it refuses."""
    try:
        return read()
    except SubmissionError as error:
        findings.append(_violation("content", name, printable(str(error))))
        return None


def _is_broken(findings: list[Violation]) -> bool:
    return any(finding.severity == "violation" for finding in findings)


def _violation(rule: str, path: str, message: str) -> Violation:
    return Violation(rule, "violation", path, None, message, PACK_AGAIN)
