"""Judging a stranger's source: run in one confined process, its answers checked in another."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wisp import strict_json
from wisp.errors import SandboxError
from wisp.records import Severity, Violation
from wisp.rules import testimony
from wisp.rules.findings import HIDDEN_COMPUTATION, finding
from wisp.rules.libraries import loaded_libraries, local_modules
from wisp.rules.subject import TOLERANCE
from wisp.rules.target import Target
from wisp.rules.testimony import Testimony, read_testimony
from wisp.sandbox import Limits, Outcome, read_result, run_python

_MIB, _GIB = 1 << 20, 1 << 30
LIMITS = Limits(
    wall_seconds=600,
    cpu_seconds=300,
    memory_bytes=4 * _GIB,
    disk_bytes=1 * _GIB,
    disk_files=64,
    file_bytes=512 * _MIB,
    output_bytes=32 * _MIB,
)
_LARGEST_PROGRAM_BYTES = 64 * _MIB
_LIE = "the answers must come from the program that is counted"


@dataclass(frozen=True)
class Judgement:
    """What came of running a network.

    Attributes:
        findings: violations and warnings.
        loaded: libraries that its source brought in and may not use.
        counts: `official`, `exact` (MACs) and `params`; empty where it did not come to that.
        answers: its outputs for the images of the seed, a row each; empty likewise.
        failure: why it could not be judged to the end; None if it could.
    """

    findings: tuple[Violation, ...] = ()
    loaded: tuple[Violation, ...] = ()
    counts: dict[str, int] | None = None
    answers: tuple[tuple[float, ...], ...] = ()
    failure: str | None = None


class Hearing:
    """One source, run in one confined process, and the program that it gives, run in another.

    Args:
        target: what is judged; it has source code.
        seed: of the images that it is asked about.
        folder: an empty folder.
        limits: what each of the two processes may use.
        tick: called about five times a second while they run.
    """

    def __init__(
        self, target: Target, seed: int, folder: Path, limits: Limits, tick: Callable[[], None] | None
    ) -> None:
        self._target = target
        self._seed = seed
        self._folder = folder
        self._limits = limits
        self._tick = tick
        self._source = folder / "source"

    def hold(self) -> Judgement:
        """Run both.

        Raises:
            SandboxError: this system cannot confine programs.
        """
        self._lay_out()
        word = secrets.token_hex(16)
        scratch = self._folder / "judge"
        request = {
            "word": word,
            "source": str(self._source / self._target.files[0].name),
            "root": str(self._source),
            "num_classes": self._target.num_classes,
            "image_size": self._target.image_size,
            "seed": self._seed,
            "weights": str(self._folder / "weights.safetensors") if self._target.weights else None,
        }
        outcome = self._run("wisp.rules.judge", scratch, request, {})
        said = read_testimony(outcome.stdout, word)
        findings = [self._shown(item) for item in said.findings]
        problem = _broken(outcome, said)
        if problem is not None:
            findings.append(self._shown(problem))
        if problem is not None or not said.complete or said.failure is not None:
            failure = (
                None if problem is not None else said.failure or f"could not be judged: it {outcome.reason}"
            )
            return Judgement(tuple(findings), self._loaded(said), failure=failure and self._plain(failure))
        findings += self._check(scratch, said)
        return Judgement(tuple(findings), self._loaded(said), said.counts, tuple(map(tuple, said.answers)))

    def _loaded(self, said: Testimony) -> tuple[Violation, ...]:
        """Libraries that came with the source, by the lines that first imported them."""
        local = local_modules(self._target.files)
        return tuple(self._shown(item) for item in loaded_libraries(said.loaded, local))

    def _lay_out(self) -> None:
        """The source, and nothing else of the folder that it came from; the weights beside it."""
        for file in self._target.files:
            path = self._source / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.text, encoding="utf-8")
        if self._target.weights is not None:
            (self._folder / "weights.safetensors").write_bytes(self._target.weights)

    def _run(self, module: str, scratch: Path, request: dict[str, Any], files: dict[str, bytes]) -> Outcome:
        scratch.mkdir()
        (scratch / testimony.REQUEST).write_text(json.dumps(request), encoding="utf-8")
        for name, content in files.items():
            (scratch / name).write_bytes(content)
        weights = self._folder / "weights.safetensors"
        return run_python(
            ["-m", module],
            scratch=scratch,
            read_only=[self._source, *([weights] if weights.exists() else [])],
            limits=self._limits,
            environment={"OMP_NUM_THREADS": "1"},
            tick=self._tick,
        )

    def _check(self, scratch: Path, said: Testimony) -> list[Violation]:
        """Run the program that the source's process gave, where that source never was."""
        if said.unproved is not None:
            return [self._unproved(said.unproved)]
        try:
            files = {
                testimony.PROGRAM: read_result(
                    scratch, testimony.PROGRAM, limit_bytes=_LARGEST_PROGRAM_BYTES
                ),
                testimony.TENSORS: read_result(
                    scratch, testimony.TENSORS, limit_bytes=self._limits.file_bytes
                ),
            }
        except SandboxError as error:
            return [self._unproved(str(error))]
        request = {"seed": self._seed, "image_size": self._target.image_size}
        outcome = self._run("wisp.rules.replay", self._folder / "replay", request, files)
        if not outcome.ok:
            return [self._unproved(f"its program {outcome.reason}")]
        replayed = strict_json.loads(outcome.stdout)
        if "failure" in replayed:
            return [self._unproved(replayed["failure"])]
        return list(_compared(said, replayed, self._target.files[0].path))

    def _unproved(self, reason: str) -> Violation:
        return finding(
            HIDDEN_COMPUTATION,
            "warning",
            self._target.files[0].path,
            f"its count is its own process's word, for its program could not be run in another: {self._plain(reason)}",
            "make it a network that torch.export captures",
        )

    def _shown(self, item: Violation) -> Violation:
        """With the files' names as the user knows them."""
        names = {str(self._source / file.name): file.path for file in self._target.files}
        path = names.get(item.path, item.path or self._target.files[0].path)
        return replace(item, path=self._plain(path), message=self._plain(item.message))

    def _plain(self, text: str) -> str:
        return text.replace(f"{self._source}/", "").replace(f"{self._folder}/", "")


def _broken(outcome: Outcome, said: Testimony) -> Violation | None:
    """Whether the source turned on its judge. To end the process quietly before the judge is done, it has to."""
    if said.forged:
        message = "speaks in the name of its judge: something else than the judge wrote the result"
    elif outcome.exit_code == 0 and outcome.limit is None and not said.complete:
        message = "ends the process that judges it"
    else:
        return None
    return finding(
        HIDDEN_COMPUTATION, "violation", None, message, "leave the process that runs the model alone"
    )


def _compared(said: Testimony, replayed: dict[str, Any], path: str) -> list[Violation]:
    one, other = np.array(said.answers, float), np.array(replayed["answers"], float)
    findings = []
    if one.shape != other.shape or not np.isfinite(one).all():
        findings.append(
            finding(
                HIDDEN_COMPUTATION, "violation", path, "its program gives something else than it does", _LIE
            )
        )
    else:
        scale = float(np.abs(other).max(initial=0.0))
        difference = float(np.abs(one - other).max(initial=0.0))
        if not difference <= 5 * TOLERANCE * scale + 1e-6:
            message = (
                f"it does not answer what its program answers, run without its source (by up to {difference:.3g} of "
                f"{scale:.3g})"
            )
            findings.append(finding(HIDDEN_COMPUTATION, "violation", path, message, _LIE))
    counted = said.counts.get("exact", 0)
    if replayed["macs"] != counted or replayed["unknown"]:
        unknown = f", and {', '.join(replayed['unknown'])}" if replayed["unknown"] else ""
        message = (
            f"its program does {replayed['macs']:,} MACs{unknown}; {counted:,} were counted beside its source"
        )
        severity: Severity = "violation" if replayed["macs"] > counted or replayed["unknown"] else "note"
        findings.append(finding(HIDDEN_COMPUTATION, severity, path, message, _LIE))
    official = said.counts.get("official", 0)
    accused = any(item.severity == "violation" for item in said.findings)
    if replayed["least_official"] > official and not accused:  # else the run has said so, and where
        message = (
            f"its program has layers of {replayed['least_official']:,} MACs, and beside its source the competition's "
            f"counter gave {official:,}"
        )
        findings.append(finding(HIDDEN_COMPUTATION, "violation", path, message, _LIE))
    return findings
