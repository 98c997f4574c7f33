"""Rule 4: nothing was learned from the test photos."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from wisp.data.duplicates import duplicate_groups
from wisp.data.fingerprint import content_fingerprint
from wisp.data.photo_table import look_at
from wisp.models.starts import start_of_digest
from wisp.records import TEST, TRAIN, UNLABELLED, VAL, Dataset, Violation
from wisp.rules.case import Case
from wisp.rules.findings import TEST_SET, finding
from wisp.submission.contents import DATA

_LEARNED, _TESTED = (TRAIN, VAL), (TEST, UNLABELLED)
_SHOWN = 3
_TAKE_OUT = (
    "take these photos out of train and val, and train again (wisp data split keeps near duplicates together)"
)


def untouched_test_set(case: Case) -> list[Violation]:
    """Photos that were trained on and tested on: the same file, or (with the photos at hand) the same shot."""
    data = case.target.data
    if data is None:
        return []
    splits: Mapping[str, Mapping[str, str]] = data.get("splits", {})
    found = [*_named(data, splits), *_same_files(splits)]
    if case.dataset is not None:
        found += [*_these_photos(case, splits), *_same_shots(case.dataset, splits, progress=case.progress)]
    return found


def _named(data: Mapping[str, Any], splits: Mapping[str, Mapping[str, str]]) -> Iterator[Violation]:
    """The training names its data."""
    if not splits.get(TRAIN):
        yield finding(
            TEST_SET, "violation", DATA, "names no training photos", "pack the run with its own photos"
        )
    weights = [name for name in ("teachers", "pretrained") if data.get(name)]
    if "pretrained" in weights and start_of_digest(str(data["pretrained"])) is not None:
        weights.remove("pretrained")  # their cards say what they have seen
    if weights:
        message = f"learned from other weights, too ({', '.join(weights)}), and what these have seen is not known here"
        yield finding(
            TEST_SET, "warning", DATA, message, "tell where the weights come from, and what they have seen"
        )


def _same_files(splits: Mapping[str, Mapping[str, str]]) -> Iterator[Violation]:
    learned: defaultdict[str, list[str]] = defaultdict(list)
    for split in _LEARNED:
        for name, digest in splits.get(split, {}).items():
            learned[digest].append(name)
    pairs = [
        (learned[digest][0], name)
        for split in _TESTED
        for name, digest in splits.get(split, {}).items()
        if digest in learned
    ]
    yield from _told(pairs, "the same file")


def _these_photos(case: Case, splits: Mapping[str, Mapping[str, str]]) -> Iterator[Violation]:
    """Whether the photos at hand are those that the target names; else what they show says nothing about it."""
    assert case.dataset is not None  # noqa: S101  (asked before)
    here = content_fingerprint(case.dataset, progress=case.progress)["splits"]
    for split in (*_LEARNED, *_TESTED):
        wanted, found = splits.get(split, {}), here.get(split, {})
        if wanted and wanted != found:
            differing = sum(found.get(name) != digest for name, digest in wanted.items())
            differing += sum(name not in wanted for name in found)
            message = (
                f"the {split} photos in {case.dataset.root} are not those of {DATA} ({differing:,} differ)"
            )
            yield finding(
                TEST_SET, "violation", DATA, message, "name the photos of this training with --data"
            )


def _same_shots(
    dataset: Dataset, splits: Mapping[str, Mapping[str, str]], *, progress: bool
) -> Iterator[Violation]:
    samples = [sample for split in (*_LEARNED, *_TESTED) for sample in dataset.split(split)]
    groups = duplicate_groups(look_at(samples, dataset.root, progress=progress))
    count = sum(len(dataset.split(split)) for split in _LEARNED)
    digests = {name: digest for members in splits.values() for name, digest in members.items()}
    first_learned: dict[int, str] = {}
    for index in range(count):
        first_learned.setdefault(int(groups[index]), samples[index].name)
    pairs = [
        (first_learned[group], samples[index].name)
        for index, group in zip(range(count, len(samples)), map(int, np.asarray(groups)[count:]), strict=True)
        if group in first_learned
    ]
    near = [
        (one, other) for one, other in pairs if one not in digests or digests.get(one) != digests.get(other)
    ]
    yield from _told(near, "nearly the same picture")


def _told(pairs: list[tuple[str, str]], what: str) -> Iterator[Violation]:
    if pairs:
        shown = ", ".join(f"{one} = {other}" for one, other in pairs[:_SHOWN])
        shown += ", ..." if len(pairs) > _SHOWN else ""
        message = f"{len(pairs):,} test photos were learned from: {what} ({shown})"
        yield finding(TEST_SET, "violation", DATA, message, _TAKE_OUT)
