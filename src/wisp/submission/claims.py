"""What the text members of a submission claim, held against the manifest and against one another."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wisp import strict_json
from wisp.errors import SubmissionError
from wisp.records import TEST, TRAIN, UNLABELLED, VAL, Violation
from wisp.runtime.answers import Answers
from wisp.submission.contents import DATA, PREDICTIONS, RECIPE
from wisp.submission.layout import PACK_AGAIN, printable
from wisp.submission.manifest import Manifest

SPLITS = (TRAIN, VAL, TEST, UNLABELLED)
_DIGEST_LENGTH = 64
_SHOWN = 3


@dataclass(frozen=True)
class Fingerprint:
    """data.json: the photos of each split by the SHA-256 of their bytes, under their names inside the data set.

    `weights` holds the SHA-256 of other weights that the training started from or followed, where there were any.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, Mapping[str, str]]
    digest: str
    weights: Mapping[str, Any]

    @classmethod
    def parse(cls, text: bytes) -> Fingerprint:
        """Read data.json.

        Raises:
            SubmissionError: another layout, a path of some machine in it, or a digest that is not that of the splits.
        """
        try:
            value = strict_json.loads(text, max_depth=8, max_containers=1000)
        except strict_json.StrictJsonError as error:
            raise SubmissionError(str(error)) from error
        allowed = {"classes", "splits", "digest", "teachers", "pretrained"}
        if not isinstance(value, dict) or not {"classes", "splits", "digest"} <= set(value) <= allowed:
            raise SubmissionError(
                "must have classes, splits and digest, and besides only teachers and pretrained"
            )
        classes, splits = value["classes"], value["splits"]
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise SubmissionError("classes must be a list of names")
        if not isinstance(splits, dict) or not set(splits) <= set(SPLITS):
            raise SubmissionError(f"splits may be {', '.join(SPLITS)}")
        for split, photos in splits.items():
            if not isinstance(photos, dict):
                raise SubmissionError(f"splits.{split} must map names to SHA-256 digests")
            for name, digest in photos.items():
                _check_photo(split, name, digest)
        exact = {"classes": classes, "splits": splits}
        if hashlib.sha256(json.dumps(exact, sort_keys=True).encode()).hexdigest() != value["digest"]:
            raise SubmissionError("its digest is not that of its classes and splits")
        weights = {name: value[name] for name in ("teachers", "pretrained") if name in value}
        _check_weights(weights)
        return cls(tuple(classes), splits, value["digest"], weights)

    def test_photos(self) -> dict[str, str]:
        """The photos that are to be answered: those of test and those without a label."""
        return {**self.splits.get(TEST, {}), **self.splits.get(UNLABELLED, {})}


def read_predictions(text: bytes) -> Answers:
    """Read predictions.json, the competition's layout.

    Raises:
        SubmissionError: another layout.
    """
    try:
        value = strict_json.loads(text, max_depth=4)
    except strict_json.StrictJsonError as error:
        raise SubmissionError(str(error)) from error
    return Answers.from_json(value, where="it")


def check_predictions(found: Answers, manifest: Manifest) -> Iterator[Violation]:
    """Classes that the manifest knows, and the MACs that it names."""
    known = set(manifest.classes)
    wrong = {name: label for name, label in found.answers.items() if label not in known}
    if wrong:
        name, label = next(iter(wrong.items()))
        message = (
            f"{len(wrong):,} answers name a class that is none of the model's (first: {printable(name)}: "
            f"{printable(label)}; the classes are {printable(', '.join(manifest.classes))})"
        )
        yield _violation("classes", PREDICTIONS, message)
    if found.macs != manifest.macs.deployed:
        message = f"claims {found.macs:,} MACs, the manifest {manifest.macs.deployed:,} (deployed)"
        yield _violation("macs", PREDICTIONS, message)


def check_data(data: Fingerprint, found: Answers, manifest: Manifest) -> Iterator[Violation]:
    """The photos that were answered are the test photos of the fingerprint, and its classes those of the model."""
    if data.classes != manifest.classes:
        yield _violation("classes", DATA, "its classes are not those of the manifest")
    yield from compare_names(set(answer_names(data.test_photos())), set(found.answers), DATA)


def compare_names(wanted: set[str], answered: set[str], whose: str) -> Iterator[Violation]:
    """Test photos without an answer, and answers without a photo."""
    for rule, names, what in (
        ("missing-answers", wanted - answered, f"no answer for {{n}} of the test photos in {whose}"),
        (
            "extra-answers",
            answered - wanted,
            f"{{n}} answers for photos that are not among the test photos in {whose}",
        ),
    ):
        if names:
            first = ", ".join(printable(name) for name in sorted(names)[:_SHOWN])
            more = ", ..." if len(names) > _SHOWN else ""
            yield _violation(rule, PREDICTIONS, f"{what.format(n=f'{len(names):,}')}: {first}{more}")


def answer_names(names: Mapping[str, Any] | list[str]) -> list[str]:
    """What photos are called in answers: the file name alone, as the competition has it, where all of them differ.

    Otherwise the name inside the data set, folders included, for every photo.

    Args:
        names: names inside the data set, POSIX.
    """
    short = [name.rpartition("/")[2] for name in names]
    return short if len(set(short)) == len(short) else list(names)


def check_recipe(text: bytes, manifest: Manifest) -> Iterator[Violation]:
    """TOML of plain values, of the manifest's seed and image size. What the values mean is for the trainer to say."""
    try:
        recipe = tomllib.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        yield _violation("recipe", RECIPE, f"not a TOML file ({_first_line(error)})")
        return
    odd = [name for name, value in recipe.items() if not isinstance(value, str | int | float | bool)]
    if odd:
        yield _violation("recipe", RECIPE, f"the field {printable(odd[0])} is no plain value")
    for name, value in (("seed", manifest.seed), ("image_size", manifest.image_size)):
        if recipe.get(name) != value:
            message = f"{name} = {printable(str(recipe.get(name)))}, but the manifest says {value}"
            yield _violation("recipe", RECIPE, message)


def check_source(name: str, text: bytes) -> Iterator[Violation]:
    """Python source is text; it is neither compiled nor executed here."""
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        yield _violation("source", name, f"not UTF-8 (byte {error.start})")
        return
    if "\0" in decoded:
        yield _violation("source", name, "holds NUL characters")


def _check_photo(split: str, name: str, digest: Any) -> None:
    shown = f"splits.{split}: {printable(name)!r}"
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "" in parts or "\0" in name or name[1:3] in {":\\", ":/"}:
        raise SubmissionError(f"{shown} must be a name inside the data set, not a path of some machine")
    if not (
        isinstance(digest, str) and len(digest) == _DIGEST_LENGTH and set(digest) <= set("0123456789abcdef")
    ):
        raise SubmissionError(f"{shown} has no SHA-256 digest")


def _check_weights(weights: Mapping[str, Any]) -> None:
    teachers = weights.get("teachers", [])
    if not isinstance(teachers, list) or not all(
        isinstance(item, str) and len(item) == _DIGEST_LENGTH for item in teachers
    ):
        raise SubmissionError("teachers must be a list of SHA-256 digests")
    pretrained = weights.get("pretrained", "download")
    if not isinstance(pretrained, str) or len(pretrained) > _DIGEST_LENGTH:
        raise SubmissionError("pretrained must be a SHA-256 digest, or 'download'")


def _violation(rule: str, path: str, message: str) -> Violation:
    return Violation(rule, "violation", path, None, message, PACK_AGAIN)


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return printable(lines[0]) if lines else type(error).__name__
