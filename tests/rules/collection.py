"""The models under cheats/ and honest/, and judging one of them in this process (they are ours)."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from wisp.errors import ModelError
from wisp.models.source import load_source
from wisp.records import Violation
from wisp.rules.case import Case
from wisp.rules.checking import CHECKS
from wisp.rules.examination import examine
from wisp.rules.findings import RULES
from wisp.rules.hearing import Judgement
from wisp.rules.probes import draw_images
from wisp.rules.state import torch_itself
from wisp.rules.target import read_target

FOLDER = Path(__file__).parent
CHEATS = tuple(sorted((FOLDER / "cheats").glob("*.py")))
HONEST = tuple(sorted((FOLDER / "honest").glob("*.py")))
SIDE, CLASSES, SEED = 16, 9, 3
_MARK = re.compile(r"^\s*# (caught|flagged)( anywhere)?: (\S+) ?(.*)$")
_FORWARD = nn.Conv2d.forward


@dataclass(frozen=True)
class Expected:
    """What a comment in a cheat says of the statement below it: `# caught: RULE WORDS OF THE MESSAGE`.

    `# flagged` means a warning; `anywhere` that no line is known.
    """

    severity: str
    rule: str
    words: str
    lines: range | None

    def is_met_by(self, item: Violation) -> bool:
        in_place = self.lines is None or (item.line is not None and item.line in self.lines)
        return (
            in_place
            and (item.severity, item.rule) == (self.severity, self.rule)
            and self.words in item.message
        )


def expected(path: Path) -> list[Expected]:
    text = path.read_text(encoding="utf-8")
    statements = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)]
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        match = _MARK.match(line)
        if match is None:
            continue
        kind, anywhere, rule, words = match.groups()
        lines = None
        if not anywhere:
            statement = next(node for node in statements if node.lineno == number + 1)
            body = getattr(statement, "body", None)  # of an if or a loop, the line that decides
            lines = range(number + 1, body[0].lineno if body else (statement.end_lineno or 0) + 1)
        found.append(Expected("violation" if kind == "caught" else "warning", rule, words, lines))
    return found


def findings(path: Path, *, run: bool = True, side: int = SIDE) -> list[Violation]:
    """What the rules say of a model of ours."""
    target = read_target(str(path), side, CLASSES)
    judgement = None
    if run and "# not run" not in path.read_text(encoding="utf-8"):
        judgement = judge_here(path, side)
        assert judgement.failure is None, judgement.failure
    case = Case(target, target.names(), judgement, SEED)
    return [item for rule in RULES for item in CHECKS[rule](case)]


def judge_here(path: Path, side: int = SIDE) -> Judgement:
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():  # what the models use may be deprecated, or odd
            warnings.simplefilter("ignore")
            result = examine(
                lambda: load_source(path, CLASSES),
                draw_images(SEED, side),
                torch_before=torch_itself(),
                num_classes=CLASSES,
            )
    except ModelError as error:
        return Judgement(failure=str(error))
    finally:
        nn.Conv2d.forward = _FORWARD  # type: ignore[method-assign]  # one of the cheats replaces it
    return Judgement(result.findings, counts={"official": result.official.total, "exact": result.exact.total})
