"""What a search tries and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wisp.models import ArchSpec
from wisp.records import Measurement


@dataclass(frozen=True)
class Candidate:
    """One network at one input size (pixels); `name` is unique within a search and a valid folder name.

    `augmentation` is the strength of the changes to its training photos; None: what the recipe says.
    """

    name: str
    arch: ArchSpec
    image_size: int
    augmentation: float | None = None

    @property
    def macs(self) -> int:
        """The competition's MACs of the network as trained, in closed form."""
        return self.arch.macs(self.image_size)


@dataclass(frozen=True)
class Trial:
    """A candidate trained for `epochs` epochs, as measured on the validation split.

    `folder` holds its run, `teacher` the run that it followed, where it had one.
    """

    candidate: Candidate
    epochs: int
    measurement: Measurement
    folder: Path | None = None
    teacher: Path | None = None


def folder_of(trial: Trial) -> Path:
    """The run folder of a trial that `optimize` made."""
    assert trial.folder is not None  # noqa: S101  (all of these have one)
    return trial.folder
