"""Making findings: the names of the rules, and places as the counters give them (`file:line`)."""

from __future__ import annotations

from types import MappingProxyType

from wisp.records import Severity, Violation

HIDDEN_COMPUTATION = "hidden-computation"
EXTERNAL_LIBRARIES = "external-libraries"
ONE_INFERENCE = "one-inference"
TEST_SET = "untouched-test-set"
REPRODUCIBLE = "reproducible"
# Every rule with its one sentence, in the order of the page.
RULES = MappingProxyType(
    {
        HIDDEN_COMPUTATION: "All multiply-accumulates are done by modules that the counter sees, always.",
        EXTERNAL_LIBRARIES: "The model is made of torch, torchvision and the standard library alone.",
        ONE_INFERENCE: "One model answers with one forward pass an image.",
        TEST_SET: "Nothing was learned from the test photos.",
        REPRODUCIBLE: "The training can be repeated from what was submitted.",
    }
)


def finding(
    rule: str,
    severity: Severity,
    where: str | None,
    message: str,
    fix: str = "",
    *,
    module: str | None = None,
) -> Violation:
    """A finding at `where` (`file:line`, a file, or None for the target as a whole).

    Args:
        rule: its name.
        severity: `violation`, `warning` (for a human to judge) or `note`.
        where: the place.
        message: why.
        fix: the mend.
        module: the module of the network that it is about; "" is the network itself, None is none.
    """
    path, line = split_place(where)
    if module is not None:
        message = f"{f'module {module}' if module else 'the network itself'}: {message}"
    return Violation(rule, severity, path, line, message, fix)


def split_place(where: str | None) -> tuple[str, int | None]:
    """`file:line` in its two parts."""
    path, _, line = (where or "").rpartition(":")
    return (path, int(line)) if path and line.isdecimal() else (where or "", None)
