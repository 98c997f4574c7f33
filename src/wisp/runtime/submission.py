"""The competition's submission: one class for each photo of a folder, and the model's MACs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wisp.errors import DataError
from wisp.images import IMAGE_SUFFIXES
from wisp.runtime.classifier import Classifier


@dataclass(frozen=True)
class Submission:
    """Answers by file name.

    Attributes:
        macs: the deployed model's multiply-accumulates of one image, as its file states them.
        answers: {file name without folders: class}.
        skipped: the photos left out as unreadable, each with the reason.
    """

    macs: int
    answers: Mapping[str, str]
    skipped: tuple[tuple[Path, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The competition's layout: `{"macs": …, "submission": {"file name": "Class"}}`."""
        return {"macs": self.macs, "submission": dict(self.answers)}


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
) -> Submission:
    """Classify `photos` for a submission.

    Args:
        classifier: the model.
        photos: files whose names, without their folders, must be unique: they are the answers' keys.
        skip_unreadable: leave unreadable photos out instead of refusing them.
        on_photo: called once a photo is done, for a progress bar.

    Raises:
        DataError: two photos share a name, a name is not valid text, or photos cannot be read.
    """
    _check_names(photos)
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
    return Submission(classifier.info.macs, answers, tuple(skipped))


def _check_names(photos: Sequence[Path]) -> None:
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
