"""Rule 2: the model is made of torch, torchvision and the standard library alone."""

from __future__ import annotations

from wisp.records import Violation
from wisp.rules.case import Case
from wisp.rules.libraries import data_libraries_in_layers, read_imports


def external_libraries(case: Case) -> list[Violation]:
    """Imports of other libraries, however they are written, and libraries for data used inside of layers."""
    files = [known.file for known in case.names]
    found = [
        *read_imports(files, case.names),
        *data_libraries_in_layers(case.names),
        *([] if case.judgement is None else case.judgement.loaded),
    ]
    told: dict[tuple[str, int | None, str], Violation] = {}
    for item in found:  # a library that is imported, and was there when the source had run, is told once
        told.setdefault((item.path, item.line, item.message), item)
    return list(told.values())
