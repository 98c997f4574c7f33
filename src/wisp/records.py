"""Frozen records that travel between the parts: plain data, no behaviour beyond reading and writing itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

Geometry = Literal["stretch", "pad", "crop"]
GEOMETRIES: tuple[Geometry, ...] = ("stretch", "pad", "crop")

TRAIN, VAL, TEST, UNLABELLED = "train", "val", "test", "unlabelled"


@dataclass(frozen=True, slots=True)
class ResizeRule:
    """How a photo becomes a square of `size` x `size` pixels.

    `stretch` ignores the aspect ratio, `pad` keeps it and fills with grey, `crop` keeps it and cuts the centre.
    """

    size: int
    geometry: Geometry = "stretch"


@dataclass(frozen=True, slots=True)
class Sample:
    """One photo: where it lies, its name inside the data set (POSIX, relative, unique) and its class index."""

    path: Path
    name: str
    label: int | None


@dataclass(frozen=True)
class Dataset:
    """Labelled photos in splits. `splits` maps train/val/test/unlabelled to samples, sorted by name.

    `parts` maps a sample's name to the value of the `source` column of an `index.csv` at the root, where there is
    one: evaluation then reports each part beside the whole.
    """

    root: Path
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[Sample, ...]]
    parts: Mapping[str, str] = field(default_factory=dict)

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of one split, empty where the data set has none."""
        return self.splits.get(name, ())


Severity = Literal["violation", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Violation:
    """One finding of a check, as data.

    Attributes:
        rule: the rule's name, such as `member-hash`.
        severity: a `violation` fails the check, a `warning` is for a human to look at, a `note` says what was not
            or could not be checked.
        path: the file that it is about, inside the submission or on disk.
        line: the line in it, from 1; None where there is none.
        message: what is wrong, one line.
        fix: how to mend it, one line.
    """

    rule: str
    severity: Severity
    path: str
    line: int | None
    message: str
    fix: str

    def __str__(self) -> str:
        where = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{where}: {self.message}" + (f"; {self.fix}" if self.fix else "")

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` takes."""
        return asdict(self)


@dataclass(frozen=True)
class Measurement:
    """What was measured of one model: nothing here is assumed. `None` means not measured.

    Units: MACs are multiply-accumulates of one image; sizes in bytes; latencies in milliseconds for one image, from
    decoded pixels to probabilities, one thread.
    """

    f1_macro: float
    accuracy: float
    n_images: int
    split: str
    macs: int
    params: int
    score: float
    f1_ci95: tuple[float, float] | None = None
    macs_as_trained: int | None = None
    size_bytes: int | None = None
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    device: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        fields = dict(value)
        if fields.get("f1_ci95") is not None:
            fields["f1_ci95"] = tuple(fields["f1_ci95"])
        return cls(**fields)
