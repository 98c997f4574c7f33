"""Damaged and hostile files through everything that reads submissions and models.

    python -m benchmarks.fuzz_submissions [--cases 10000] [--seed 0] [--kept FILE.jsonl] [--record FILE.md]

With `--kept`, each outcome is written down at once, and a run that was stopped goes on where it was.

Each case is one changed file (`benchmarks.mutations`), read in a process of its own, forked from a warm one. It fails
where

- anything but a `WispError` of one line comes out, or the process is killed by a signal;
- a file is opened for writing, made, moved or removed outside the case's own folder, or is left behind in it;
- it takes more memory or processor time than the bounds below.

The helper processes that the verifier and the counter start (`wisp.submission.graph_process`, `wisp.macs.onnx_shapes`)
are forked too instead of started, with the same limits: they do the same, without importing everything again.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from PIL import Image

from benchmarks import mutations
from benchmarks.fuzz_cases import CPU_SECONDS, MEMORY_BYTES, Kind, Outcome, Target, attempt, fork_helpers
from benchmarks.outcome import Bar, arguments, finish
from wisp.data.folders import load_dataset
from wisp.environment import processor_name
from wisp.files import write_text
from wisp.macs import count_exact, count_onnx
from wisp.models import ArchSpec, build, named
from wisp.packing import pack_run
from wisp.records import Dataset
from wisp.runtime import Classifier
from wisp.submission import extract_submission, verify_submission
from wisp.train.recipe import Recipe
from wisp.train.run import describe_data, open_run

SIZE = 16
NETWORKS = ("wisp-250k", "wisp-250k-edited", "shufflenet_v2-x0.25")
COLOURS = {"Blue": (20, 30, 230), "Green": (10, 200, 40), "Red": (220, 20, 30)}


def main() -> None:
    """Run the cases, print and record what became of them."""
    parser = arguments("Damaged and hostile submissions and models.")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="run this case alone, to see what becomes of it")
    parser.add_argument("--kept", type=Path, help="a file of outcomes, a line each, to go on with")
    parser.add_argument("--small", action="store_true", help="one network instead of three: a quicker start")
    parser.add_argument("--record", type=Path, help="the dated record to write (Markdown)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = range(options.cases) if options.only is None else [options.only]
    with tempfile.TemporaryDirectory(prefix="wisp-fuzz-") as folder:
        results = run(Path(folder), cases, options.seed, kept=options.kept, small=options.small)
    failed = [result for result in results if result.kind == "FAILED"]
    for result in failed:
        print(f"case {result.case}, {result.target}: {result.words}", file=sys.stderr)
    numbers = {
        "cases": len(results),
        "seed": options.seed,
        "cpu_minutes": sum(result.seconds for result in results) / 60,
        "most_memory_mb": max(result.memory_bytes for result in results) / 1e6,
        "most_cpu_seconds": max(result.seconds for result in results),
        "targets": {
            name: {
                **Counter(result.kind for result in results if result.target == name),
                "mean_cpu_s": fmean(result.seconds for result in results if result.target == name),
            }
            for name in sorted({result.target for result in results})
        },
    }
    if options.record is not None:
        write_text(options.record, markdown(numbers, results))
    finish("fuzz_submissions", numbers, [Bar("cases that failed", len(failed), 0, at_most=True)], options.out)


def run(
    folder: Path, cases: Sequence[int], seed: int, *, kept: Path | None = None, small: bool = False
) -> list[Outcome]:
    """All cases; equal seeds give equal files. What `kept` holds already is not run again."""
    results = _read_kept(kept, seed, cases)
    done = {result.case for result in results}
    dataset, submissions, models = samples(folder / "samples", NETWORKS[:1] if small else NETWORKS)
    fork_helpers()
    targets = list(_targets(dataset))
    for case in cases:
        if case in done:
            continue
        chance = random.Random(f"{seed}-{case}")  # noqa: S311  (to be repeated, not to be secret)
        target = chance.choices(targets, [target.share for target in targets])[0]
        data = chance.choice(submissions if target.suffix == ".zip" else models)
        changed = chance.choice(target.changes)(data, chance)
        place = folder / "case"
        place.mkdir()
        (place / f"file{target.suffix}").write_bytes(changed)
        results.append(attempt(case, target, place))
        shutil.rmtree(place)
        if kept is not None:
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"seed": seed, **asdict(results[-1])}) + "\n")
        if len(results) % 100 == 0:
            failed = sum(result.kind == "FAILED" for result in results)
            print(f"{len(results):,} cases, {failed} failed", file=sys.stderr, flush=True)
    return sorted(results, key=lambda result: result.case)


def _read_kept(kept: Path | None, seed: int, cases: Sequence[int]) -> list[Outcome]:
    if kept is None or not kept.is_file():
        return []
    rows = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    wanted = set(cases)
    return [Outcome(**row) for row in rows if row.pop("seed") == seed and row["case"] in wanted]


def samples(folder: Path, networks: Sequence[str]) -> tuple[Dataset, list[bytes], list[bytes]]:
    """Photos, sound submissions of networks that are data, and their exported models."""
    photos = folder / "photos"
    for label, colour in COLOURS.items():
        for split in ("train", "val", "test"):
            path = photos / split / label / f"{split}-{label}.png"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (20, 18), colour).save(path)
    os.environ["WISP_CACHE"] = str(folder / "cache")
    dataset = load_dataset(photos, progress=False)
    submissions, models = [], []
    recipe = Recipe(image_size=SIZE, epochs=1, batch_size=2)
    for name in networks:
        arch = named(name.removesuffix("-edited"), len(COLOURS))
        if name.endswith("-edited"):  # as wisp compress leaves one
            narrower = [
                ("head.0", {"outputs": 20}),
                ("head.1", {"outputs": 20}),
                ("classifier", {"inputs": 20}),
            ]
            edits = [{"edit": "resize", "layer": layer, **sizes} for layer, sizes in narrower]
            arch = ArchSpec.from_json({**arch.to_json(), "edits": edits})
        begun = open_run(folder / name, recipe, arch, describe_data(dataset, progress=False))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            begun.save_model(build(arch))
        packed = pack_run(begun, dataset, folder / f"{name}.zip", progress=False)
        submissions.append(packed.path.read_bytes())
        models.append(begun.artifact.read_bytes())
    count_exact(build(arch), SIZE)  # loads what is loaded once
    return dataset, submissions, models


def _targets(dataset: Dataset) -> Sequence[Target]:
    def verify(path: Path) -> str:
        return _violations(verify_submission(path))

    def verify_with_photos(path: Path) -> str:
        return _violations(verify_submission(path, dataset))

    def extract(path: Path) -> str:
        extract_submission(path, path.parent / "out")
        shutil.rmtree(path.parent / "out")
        return ""

    def classify(path: Path) -> str:
        model = Classifier(path)
        size = model.info.resize.size
        model.probabilities(np.zeros((2, size, size, 3), np.uint8))
        return ""

    def count(path: Path) -> str:
        count_onnx(path)
        return ""

    blind = (mutations.flip_bytes, mutations.cut, mutations.insert)
    headers = (mutations.change_zip_field, mutations.change_zip_members)
    models = (mutations.change_onnx,)
    return (
        Target("verify, blind", 0.1, blind, ".zip", verify),
        Target("verify, zip headers", 0.15, headers, ".zip", verify),
        Target("verify, repaired contents", 0.15, (mutations.change_content,), ".zip", verify),
        Target("verify with photos", 0.05, (mutations.change_content,), ".zip", verify_with_photos),
        Target("extract", 0.1, (*blind, *headers, mutations.change_content), ".zip", extract),
        Target("Classifier, blind", 0.05, blind, ".onnx", classify),
        Target("Classifier, ONNX fields", 0.2, models, ".onnx", classify),
        Target("count_onnx, blind", 0.05, blind, ".onnx", count),
        Target("count_onnx, ONNX fields", 0.15, models, ".onnx", count),
    )


def _violations(findings: Sequence[Any]) -> str:
    for finding in findings:
        text = str(finding)
        if "\n" in text or not text.isprintable() or len(text) > 1000:
            raise AssertionError(f"not one printable line: {text[:200]!r}")
    return next((finding.rule for finding in findings if finding.severity == "violation"), "")


def markdown(numbers: Mapping[str, Any], results: Sequence[Outcome]) -> str:
    """The record."""
    kinds: tuple[Kind, ...] = ("refused", "violations", "accepted", "FAILED")
    lines = [
        "# Fuzzing submissions and models",
        "",
        f"`python -m benchmarks.fuzz_submissions --cases {numbers['cases']} --seed {numbers['seed']}`, "
        f"{processor_name()}, Python {sys.version.split()[0]}, onnx {onnx.__version__}, onnxruntime "
        f"{onnxruntime.__version__}, torch {torch.__version__}.",
        "",
        f"{numbers['cases']:,} cases, {numbers['cpu_minutes']:.0f} minutes of processor time; most memory of one "
        f"process {numbers['most_memory_mb']:,.0f} MB (bound {MEMORY_BYTES / 1e6:,.0f}), most processor time of one "
        f"case {numbers['most_cpu_seconds']:.1f} s (bound {CPU_SECONDS}).",
        "",
        "| what read the file | cases | " + " | ".join(kinds) + " |",
        "| --- |" + " ---: |" * (len(kinds) + 1),
    ]
    for name in sorted({result.target for result in results}):
        counts = Counter(result.kind for result in results if result.target == name)
        row = " | ".join(f"{counts[kind]:,}" for kind in kinds)
        lines.append(f"| {name} | {sum(counts.values()):,} | {row} |")
    lines += ["", "The most frequent reasons:", ""]
    for title, kind in (
        ("refused (one line, exit code 2)", "refused"),
        ("violations, by their rule", "violations"),
    ):
        reasons = Counter(result.words for result in results if result.kind == kind)
        listed = ", ".join(f"{words} ({count:,})" for words, count in reasons.most_common(12))
        lines.append(f"- {title}: {listed}")
    failed = [result for result in results if result.kind == "FAILED"]
    lines += ["", "Failed: " + ("none." if not failed else "")]
    lines += [f"- case {result.case} ({result.target}): {result.words}" for result in failed]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
