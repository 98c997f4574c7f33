"""The competition's answers: one class for each photo of a folder, and the model's MACs; as JSON or as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from wisp import strict_json
from wisp.errors import DataError, SubmissionError
from wisp.files import write_text
from wisp.images import IMAGE_SUFFIXES
from wisp.runtime.classifier import Classifier

CSV_HEADER = ("file_name", "class")
LARGEST_BYTES = 64 << 20
_LONGEST_NAME = 1000
_LARGEST_MACS = 10**15


@dataclass(frozen=True)
class Answers:
    """Answers by file name.

    Attributes:
        macs: the deployed model's multiply-accumulates of one image, as its file states them; None where they come
            from a CSV, which has no place for them.
        answers: {file name without folders: class}.
        skipped: the photos left out as unreadable, each with the reason.
    """

    macs: int | None
    answers: Mapping[str, str]
    skipped: tuple[tuple[Path, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The competition's layout: `{"macs": …, "submission": {"file name": "Class"}}`."""
        return {"macs": self.macs, "submission": dict(self.answers)}

    @classmethod
    def from_json(cls, value: Any, *, where: str) -> Self:
        """The inverse of `to_json`, for what `wisp.strict_json` read.

        Raises:
            SubmissionError: another layout; `where` names the file in the message.
        """
        if not isinstance(value, dict) or set(value) != {"macs", "submission"}:
            raise SubmissionError(
                f'{where}: must be {{"macs": number, "submission": {{"file name": "Class"}}}}'
            )
        macs, answers = value["macs"], value["submission"]
        if type(macs) is not int or not 0 <= macs <= _LARGEST_MACS:
            raise SubmissionError(
                f"{where}: macs must be a whole number of at least 0, not {str(macs)[:40]!r}"
            )
        if not isinstance(answers, dict):
            raise SubmissionError(f"{where}: submission must map file names to classes")
        for name, label in answers.items():
            if not isinstance(label, str):
                raise SubmissionError(
                    f"{where}: the class of {name[:80]!r} must be text, not {str(label)[:40]}"
                )
            _check_answer(name, label, where)
        return cls(macs, answers)


def write_answers(path: Path, found: Answers) -> None:
    """Write the competition's file, whole or not at all: CSV (file name, class) if `path` ends so, else JSON.

    Raises:
        DataError: the file cannot be written.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name the submission file to write")
    try:
        write_text(path, _to_csv(found) if path.suffix.lower() == ".csv" else _to_json(found))
    except OSError as error:
        raise DataError(f"{path}: cannot write this file ({error.strerror})") from error


def read_answers(path: Path) -> Answers:
    """Read the competition's file back: CSV if `path` ends so, else JSON.

    Of a CSV, the first line is a header where it reads `file_name,class`.

    Raises:
        SubmissionError: the file cannot be read, or a line of it is no answer, or a file name appears twice.
    """
    try:
        size_bytes = path.stat().st_size
        if not path.is_file() or size_bytes > LARGEST_BYTES:
            raise SubmissionError(f"{path}: not a file of at most {LARGEST_BYTES:,} bytes")
        text = path.read_bytes()
    except OSError as error:
        raise SubmissionError(f"{path}: cannot be read ({error.strerror})") from error
    if path.suffix.lower() == ".csv":
        return Answers(None, _from_csv(text, where=str(path)))
    try:
        value = strict_json.loads(text)
    except strict_json.StrictJsonError as error:
        raise SubmissionError(f"{path}: {error}") from error
    return Answers.from_json(value, where=str(path))


def _to_json(found: Answers) -> str:
    return json.dumps(found.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _to_csv(found: Answers) -> str:
    text = io.StringIO()
    writer = csv.writer(
        text
    )  # lines end as in RFC 4180; with "\n" alone, a "\r" in a name would not be quoted
    writer.writerows([CSV_HEADER, *found.answers.items()])
    return text.getvalue()


def _from_csv(text: bytes, *, where: str) -> dict[str, str]:
    try:
        # newline="": a name may hold a line break inside quotes
        lines = io.StringIO(text.decode("utf-8-sig"), newline="")
    except UnicodeDecodeError as error:
        raise SubmissionError(f"{where}: not UTF-8 (byte {error.start})") from error
    rows = csv.reader(lines, strict=True)
    answers: dict[str, str] = {}
    try:
        for row in rows:
            if not row or (rows.line_num == 1 and tuple(row) == CSV_HEADER):
                continue
            if len(row) != 2:
                raise SubmissionError(
                    f"{where}:{rows.line_num}: {len(row)} fields; each line has a file name and a class"
                )
            name, label = row
            _check_answer(name, label, f"{where}:{rows.line_num}")
            if name in answers:
                raise SubmissionError(f"{where}:{rows.line_num}: the file {name[:80]!r} is answered twice")
            answers[name] = label
    except csv.Error as error:
        raise SubmissionError(f"{where}:{rows.line_num}: not CSV ({error})") from error
    return answers


def _check_answer(name: str, label: str, where: str) -> None:
    for kind, text in (("file name", name), ("class", label)):
        if not text or len(text) > _LONGEST_NAME:
            raise SubmissionError(
                f"{where}: a {kind} of {len(text):,} characters; 1 to {_LONGEST_NAME:,} are allowed"
            )
        if "\0" in text:
            raise SubmissionError(f"{where}: the {kind} {text[:80]!r} holds a NUL character")


def find_photos(folder: Path) -> tuple[Path, ...]:
    """Every photo in `folder` and its subfolders, by suffix, sorted; hidden files and folders are passed over.

    Raises:
        DataError: no such folder, or no photo in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    photos = tuple(
        sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in IMAGE_SUFFIXES
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
            and path.is_file()
        )
    )
    if not photos:
        raise DataError(
            f"{folder}: no photos in this folder (looked for {', '.join(sorted(IMAGE_SUFFIXES))})"
        )
    return photos


def predict_photos(
    classifier: Classifier,
    photos: Sequence[Path],
    *,
    skip_unreadable: bool = False,
    on_photo: Callable[[], None] = lambda: None,
) -> Answers:
    """Classify `photos` for the competition.

    Args:
        classifier: the model.
        photos: files whose names, without their folders, must be unique: they are the answers' keys.
        skip_unreadable: leave unreadable photos out instead of refusing them.
        on_photo: called once a photo is done, for a progress bar.

    Raises:
        DataError: two photos share a name, a name is not valid text, or photos cannot be read.
    """
    check_names(photos)
    answers: dict[str, str] = {}
    skipped: list[tuple[Path, str]] = []
    for path, result in zip(photos, classifier.classify_many(photos), strict=True):
        if isinstance(result, DataError):
            skipped.append((path, str(result).removeprefix(f"{path}: ")))
        else:
            answers[path.name] = result.label
        on_photo()
    if skipped and not (skip_unreadable and answers):
        path, reason = skipped[0]
        way_out = "repair them, or leave them out with --skip-unreadable" if answers else "none is left"
        raise DataError(f"{path}: {reason}; {len(skipped)} of {len(photos)} photos cannot be read: {way_out}")
    return Answers(classifier.info.macs, answers, tuple(skipped))


def check_names(photos: Iterable[Path]) -> None:
    """Make sure that file names, without their folders, can be the keys of answers.

    Raises:
        DataError: two photos share a name, or a name is not valid text.
    """
    seen: dict[str, Path] = {}
    for path in photos:
        try:
            path.name.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{path!a}: this file name is not valid UTF-8 and fits no JSON; rename it"
            ) from error
        other = seen.setdefault(path.name, path)
        if other is not path:
            raise DataError(
                f"{path} and {other} share a file name, which must be unique in a submission; rename one, or predict "
                "one subfolder at a time"
            )
