"""The competition's own file of answers, against the photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from wisp.records import Dataset, Violation
from wisp.runtime.answers import read_answers
from wisp.submission.claims import answer_names, compare_names
from wisp.submission.layout import printable
from wisp.submission.photos import test_samples

_FIX = "write it again with: wisp submit RUN --competition FILE"


def check_answers_file(path: Path, dataset: Dataset | None = None) -> list[Violation]:
    """Check a submission.json or CSV: every test photo is answered, and by a class that exists.

    Args:
        path: the file.
        dataset: the photos; without them, only the form of the file is checked.

    Raises:
        SubmissionError: the file cannot be read, or is no such file.
    """
    found = read_answers(path)
    if dataset is None:
        return []
    here = answer_names([sample.name for sample in test_samples(dataset)])
    findings = list(compare_names(set(here), set(found.answers), str(dataset.root)))
    known = set(dataset.classes)
    wrong = [name for name, label in found.answers.items() if label not in known]
    if known and wrong:
        message = (
            f"{len(wrong):,} answers name a class that {dataset.root} does not have (first: {printable(wrong[0])}: "
            f"{printable(found.answers[wrong[0]])}; the classes are {printable(', '.join(dataset.classes))})"
        )
        findings.append(Violation("classes", "violation", str(path), None, message, _FIX))
    return [replace(finding, path=str(path), fix=_FIX) for finding in findings]
