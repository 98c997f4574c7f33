"""What the page says of the photos."""

from __future__ import annotations

from collections.abc import Iterator

from wisp.data.inspection import Inspection
from wisp.records import UNLABELLED
from wisp.report.markup import Markup, element, joined, name
from wisp.report.tables import balance_table

_LISTED_FILES = 20


def dataset_facts(inspection: Inspection) -> Iterator[Markup]:
    """Numbers, class balance, warnings, and the files that they are about."""
    facts = [f"{inspection.n_images:,} photos in {len(inspection.classes):,} classes"]
    if inspection.imbalance:
        facts.append(f"the largest class has {inspection.imbalance:.1f} times the photos of the smallest")
    if inspection.widths and inspection.heights:
        facts.append(f"median size {inspection.widths.median:g} x {inspection.heights.median:g} pixels")
    if inspection.formats:
        facts.append(", ".join(f"{format_} {count:,}" for format_, count in inspection.formats.items()))
    unlabelled = sum(inspection.counts.get(UNLABELLED, {}).values())
    if unlabelled:
        facts.append(f"{unlabelled:,} without a label")
    yield element("p", "; ".join(facts) + ".")
    yield balance_table(inspection)
    if not inspection.is_split:
        yield element("p", "Divided by wisp: stratified, near duplicates on one side.", class_="caption")
    yield element("h3", "Warnings")
    yield (
        element("ul", *(element("li", warning) for warning in inspection.warnings), class_="warnings")
        if inspection.warnings
        else element("p", "None.")
    )
    leaks = [
        joined((name(photo.name) for photo in group.photos), f" = ({group.kind}) ")
        for group in inspection.leaks
    ]
    unreadable = [joined((name(file), ": ", reason)) for file, reason in inspection.unreadable.items()]
    for title, found in (("Shots in more than one split", leaks), ("Unreadable photos", unreadable)):
        if found:
            more = len(found) - _LISTED_FILES
            rest = [element("li", f"and {more:,} more: wisp data inspect lists them")] if more > 0 else []
            items = [element("li", item) for item in found[:_LISTED_FILES]]
            yield element(
                "details", element("summary", f"{title}: {len(found):,}"), element("ul", *items, *rest)
            )
