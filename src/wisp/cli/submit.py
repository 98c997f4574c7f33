"""`wisp submit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wisp.errors import DataError, InputError

if TYPE_CHECKING:
    from wisp.packing import Packed
    from wisp.records import Dataset, Violation

_ANSWERS = (".json", ".csv")


@click.command()
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="The photos.  [default: those the run was trained on; with --check: none]",
)
@click.option("--out", type=click.Path(path_type=Path), help="The submission to write, such as team.zip.")
@click.option(
    "--competition",
    type=click.Path(path_type=Path),
    help="Write the competition's own file: answers and MACs as .json, or answers as .csv.",
)
@click.option(
    "--check",
    type=click.Path(path_type=Path),
    help="Verify a submission, or the competition's own file; nothing of it is executed.",
)
@click.option("--skip-unreadable", is_flag=True, help="Leave unreadable training and validation photos out.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def submit(
    run: Path | None,
    data: Path | None,
    out: Path | None,
    competition: Path | None,
    check: Path | None,
    *,
    skip_unreadable: bool,
    as_json: bool,
) -> int:
    """Pack a run as a submission that proves itself, or check one.

    RUN is the folder of a finished `wisp train` or `wisp optimize`. The submission holds the answers to the test
    photos (DATA/test, with and without labels), the model, its weights and what they were trained from, with the
    digest of each.

    With --check, exit code 1 means violations, and 2 a file that cannot be read at all.
    """
    if check is not None:
        if run is not None or out is not None or competition is not None or skip_unreadable:
            raise InputError("--check FILE stands alone, with --data or --json at most")
        return _check(check, data, as_json=as_json)
    if run is None or (out is None and competition is None):
        raise InputError(
            "name the run and what to write: wisp submit RUN --out team.zip (or --competition, --check)"
        )
    _pack(run, data, out, competition, skip_unreadable=skip_unreadable, as_json=as_json)
    return 0


def _pack(
    folder: Path,
    data: Path | None,
    out: Path | None,
    competition: Path | None,
    *,
    skip_unreadable: bool,
    as_json: bool,
) -> None:
    from wisp.data.folders import load_dataset
    from wisp.packing import answer_run, competition_answers, pack_run
    from wisp.runtime.answers import write_answers
    from wisp.train.run import read_run

    for path in (out, competition):
        if path is not None and path.is_dir():
            raise DataError(f"{path}: is a folder; name the file to write")
    if competition is not None and competition.suffix.lower() not in _ANSWERS:
        raise InputError(f"--competition {competition}: the name must end in {' or '.join(_ANSWERS)}")
    run = read_run(folder)
    root = data or Path(run.data.get("root", ""))
    if data is None and not root.is_dir():
        raise DataError(
            f"{folder}: the photos it was trained on are not at {root} any more; name their folder with --data"
        )
    dataset = load_dataset(root, needs=())
    written: dict[str, Any] = {}
    if competition is not None:
        info, answers = answer_run(run, dataset, skip_unreadable=skip_unreadable)
        found = competition_answers(info, dataset, answers)
        write_answers(competition, found)
        written["competition"] = {"path": str(competition), "photos": len(found.answers), "macs": found.macs}
    packed = None
    if out is not None:
        packed = pack_run(run, dataset, out, skip_unreadable=skip_unreadable)
        written["submission"] = _packed_json(packed)
    if as_json:
        click.echo(json.dumps(written, indent=2, ensure_ascii=False))
        return
    if competition is not None:
        click.echo(f"{competition}: {len(found.answers):,} photos, {found.macs:,} MACs each")
    if packed is not None:
        _print_packed(packed)


def _packed_json(packed: Packed) -> dict[str, Any]:
    return {
        "path": str(packed.path),
        "size_bytes": packed.path.stat().st_size,
        "photos": packed.n_answers,
        "manifest": packed.manifest.to_json(),
        "findings": [finding.to_json() for finding in packed.findings],
    }


def _print_packed(packed: Packed) -> None:
    manifest, macs = packed.manifest, packed.manifest.macs
    click.echo(
        f"{packed.path}: {packed.path.stat().st_size:,} bytes, {packed.n_answers:,} photos answered; verified"
    )
    claims = ", ".join(f"{f1:.4f} on {split}" for split, f1 in manifest.f1.items())
    click.echo(f"macro F1  {claims or 'none (no labels)'}")
    exact, onnx = (
        f"{count:,}{'' if complete else ' (incomplete)'}"
        for count, complete in ((macs.exact, macs.exact_complete), (macs.onnx, macs.onnx_complete))
    )
    click.echo(
        f"MACs      {macs.official:,} official, {macs.deployed:,} deployed, {exact} exact, {onnx} in the graph"
    )
    for finding in packed.findings:
        click.echo(f"{finding.severity}: {finding}")


def _check(path: Path, data: Path | None, *, as_json: bool) -> int:
    dataset = None
    if data is not None:
        from wisp.data.folders import load_dataset

        dataset = load_dataset(data, needs=())
    if path.suffix.lower() in _ANSWERS:
        from wisp.submission.competition import check_answers_file

        findings = check_answers_file(path, dataset)
    else:
        from wisp.submission import verify_submission

        findings = verify_submission(path, dataset, progress=True)
    violations = sum(finding.severity == "violation" for finding in findings)
    if as_json:
        value = {
            "path": str(path),
            "sound": not violations,
            "findings": [finding.to_json() for finding in findings],
        }
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        _print_findings(path, findings, violations, dataset)
    return 1 if violations else 0


def _print_findings(path: Path, findings: list[Violation], violations: int, dataset: Dataset | None) -> None:
    for finding in findings:
        click.echo(f"{finding.severity}: [{finding.rule}] {finding}")
    if violations:
        click.echo(f"{path}: {violations} violation{'s' if violations > 1 else ''}")
    else:
        click.echo(f"{path}: sound" + ("" if dataset else " (the answers were not checked: no --data)"))
