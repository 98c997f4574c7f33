"""What a submission claims, read for retraining, and what of it is refuted by looking alone."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wisp.errors import DataError, SubmissionError
from wisp.models import Network, SourceArch
from wisp.models.starts import is_public
from wisp.records import TEST, TRAIN, UNLABELLED, VAL, Dataset, Violation
from wisp.submission import Manifest, verify_submission
from wisp.submission.claims import Fingerprint
from wisp.submission.contents import ARCH, DATA, MANIFEST, RECIPE, SOURCE
from wisp.submission.network import read_arch
from wisp.submission.verification import read_files
from wisp.train.recipe import Recipe

# Findings of `verify_submission` that refute a claim; all others mean that the file cannot be used at all.
_CLAIMS = frozenset({"arch", "f1", "macs", "params", "parity", "predictions"})


@dataclass(frozen=True)
class Claim:
    """A submission, as far as its retraining needs it.

    Attributes:
        path: the zip file; digest: its SHA-256, hexadecimal.
        manifest: what it says of itself.
        files: its members by name.
        recipe: decides the training; its seed is the submitted one.
        data: the photos it was trained on.
    """

    path: Path
    digest: str
    manifest: Manifest
    files: Mapping[str, bytes]
    recipe: Recipe
    data: Fingerprint

    @property
    def has_source(self) -> bool:
        """Whether the network is Python code of its own."""
        return SOURCE in self.files

    @property
    def sources(self) -> dict[str, str]:
        """Its Python files by name."""
        return {name: text.decode("utf-8") for name, text in self.files.items() if name.endswith(".py")}

    @property
    def begins_with(self) -> str | None:
        """`download` for torchvision's published weights, a SHA-256 for those that came with wisp, None for none."""
        value = self.data.weights.get("pretrained")
        return None if value is None else str(value)

    def network(self) -> Network:
        """The network; a source of its own is not executed by this."""
        classes = len(self.manifest.classes)
        return SourceArch(self.sources[SOURCE], classes) if self.has_source else read_arch(self.files[ARCH])


def read_claim(path: Path, *, run_source: bool) -> Claim:
    """Read a submission for retraining. Nothing of it is executed.

    Args:
        path: the zip file.
        run_source: the caller is ready to run source code of the submission, in the sandbox.

    Raises:
        SubmissionError: it cannot be used; it holds source code and `run_source` is off; or it was trained with other
            weights that it does not hold.
        RecipeError: its recipe is none of this version.
    """
    files, findings = read_files(path)
    for finding in findings:
        if finding.severity == "violation":
            raise SubmissionError(f"{path}: {finding}")
    members = files or {}
    for name in (MANIFEST, DATA, RECIPE):
        if name not in members:
            raise SubmissionError(f"{path}: {name} is missing; pack the run again with: wisp submit")
    manifest = Manifest.parse(members[MANIFEST], where=f"{path}: {MANIFEST}")
    if SOURCE in members and not run_source:
        raise SubmissionError(
            f"{path}: its network is Python code ({SOURCE}), which retraining executes; allow it, confined, with "
            "--run-source"
        )
    try:
        data = Fingerprint.parse(members[DATA])
        values = tomllib.loads(members[RECIPE].decode("utf-8"))
    except (SubmissionError, ValueError) as error:
        raise SubmissionError(f"{path}: {error}") from error
    if data.weights.get("teachers") or not is_public(data.weights.get("pretrained")):
        kind = "teachers" if data.weights.get("teachers") else "pretrained weights"
        raise SubmissionError(
            f"{path}: was trained with {kind} that a submission does not hold, so it cannot be trained from itself "
            "alone; submit a run without them"
        )
    recipe = Recipe.from_mapping(values, where=f"{path}: {RECIPE}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Claim(path, digest, manifest, members, recipe, data)


def require_same_photos(claim: Claim, here: Mapping[str, Any], root: Path) -> None:
    """Make sure that the photos are those that the submission was trained on and answers.

    Training and validation photos are compared by name and content, test photos by content: the referee may know
    labels, and so folders, that the submitter does not.

    Args:
        claim: the submission.
        here: `content_fingerprint` of the photos.
        root: where they lie, for the message.

    Raises:
        DataError: one line that names the first difference.
    """
    difference = _difference(claim.data, here)
    if difference:
        raise DataError(
            f"{root}: not the photos of {claim.path.name}: {difference}; retraining on others proves nothing"
        )


def _difference(claimed: Fingerprint, here: Mapping[str, Any]) -> str | None:
    """The first difference between photos, in words; None where there is none."""
    if list(claimed.classes) != list(here["classes"]):
        missing = [name for name in claimed.classes if name not in here["classes"]]
        extra = [name for name in here["classes"] if name not in claimed.classes]
        named = f"'{(missing or extra or claimed.classes)[0]}'"
        how = "is missing" if missing else "is new" if extra else "has another place"
        return f"the class {named} {how}"
    for split in (TRAIN, VAL):
        difference = _split_difference(split, claimed.splits.get(split, {}), here["splits"].get(split, {}))
        if difference:
            return difference
    ours = {
        digest: name for split in (TEST, UNLABELLED) for name, digest in here["splits"].get(split, {}).items()
    }
    theirs = {digest: name for name, digest in claimed.test_photos().items()}
    return _split_difference(
        TEST,
        {name: digest for digest, name in theirs.items() if digest not in ours},
        {name: digest for digest, name in ours.items() if digest not in theirs},
    )


def _split_difference(split: str, claimed: Mapping[str, str], here: Mapping[str, str]) -> str | None:
    changed = sorted(name for name in claimed.keys() & here.keys() if claimed[name] != here[name])
    missing = sorted(claimed.keys() - here.keys())
    extra = sorted(here.keys() - claimed.keys())
    for names, how in ((changed, "changed"), (missing, "missing"), (extra, "new")):
        if names:
            return f"{len(names):,} {split} photo{'s' * (len(names) > 1)} {how} (first: {names[0]})"
    return None


def refuted_claims(claim: Claim, dataset: Dataset, *, progress: bool = True) -> list[Violation]:
    """Claims that looking refutes: recounted MACs and parameters, the model's answers and F1 on the photos.

    Returns:
        What is untrue, and the notes on what could not be checked so.

    Raises:
        SubmissionError: the submission cannot be used at all.
    """
    findings = verify_submission(claim.path, dataset, progress=progress)
    for finding in findings:
        if finding.severity == "violation" and finding.rule not in _CLAIMS:
            raise SubmissionError(f"{claim.path}: {finding}")
    return findings


def deciding_split(claim: Claim, dataset: Dataset) -> str:
    """The split whose F1 decides: test where its labels are known, else validation.

    Raises:
        DataError: there are labels for neither, or validation was trained on.
    """
    for split in (TEST, VAL):
        if split == VAL and claim.recipe.train_on_val:
            continue
        samples = dataset.split(split)
        if samples and all(sample.label is not None for sample in samples):
            return split
    reason = "and its recipe trains on val" if claim.recipe.train_on_val else "nor val"
    raise DataError(
        f"{dataset.root}: no labelled test photos, {reason}: there is no F1 to compare; add labels to test/"
    )
