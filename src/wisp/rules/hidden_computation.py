"""Rule 1: all multiply-accumulates are done by modules that the counter sees, always."""

from __future__ import annotations

from collections.abc import Iterator

from wisp.records import Violation
from wisp.rules.case import Case
from wisp.rules.findings import HIDDEN_COMPUTATION, finding
from wisp.rules.reading import read_source

MANIFEST = "manifest.json"


def hidden_computation(case: Case) -> list[Violation]:
    """Work that the competition's counter does not see, and whatever may make a count untrue."""
    judged = case.judged(HIDDEN_COMPUTATION)
    read = list(read_source([known.file for known in case.names], case.names))
    found = {(item.path, item.line) for item in judged if item.severity == "violation"}
    # What both found is told once, by the run, which knows how much it is.
    read = [item for item in read if item.severity == "violation" or (item.path, item.line) not in found]
    return [*judged, *read, *_claims(case)]


def _claims(case: Case) -> Iterator[Violation]:
    """A submission's own counts, where they were counted again; those of an arch.json its verification has checked."""
    manifest, judgement = case.target.manifest, case.judgement
    if manifest is None or judgement is None or not judgement.counts or not case.target.has_source:
        return
    macs = manifest.macs
    claims = {"official": macs.official, "exact": macs.exact, "params": manifest.params}
    for name, claimed in claims.items():
        counted = judgement.counts[name]
        if counted != claimed:
            what = "parameters" if name == "params" else f"MACs ({name})"
            message = f"claims {claimed:,} {what}; its source has {counted:,}"
            yield finding(
                HIDDEN_COMPUTATION, "violation", MANIFEST, message, "pack the run again with: wisp submit"
            )
    if macs.onnx > judgement.counts["exact"]:
        yield finding(
            HIDDEN_COMPUTATION,
            "violation",
            "model.onnx",
            f"does {macs.onnx:,} MACs, and the source that it is said to come from {judgement.counts['exact']:,}",
            "pack the run again with: wisp submit",
        )
