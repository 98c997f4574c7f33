"""A report's content that looks like a real one: nine classes, seven trials."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import numpy as np

from wisp.data.inspection import DuplicateGroup, FoundPhoto, Inspection, Spread
from wisp.evaluation import Evaluation, PartResult
from wisp.metrics import accuracy, bootstrap_f1_ci, macro_f1, per_class
from wisp.models import named
from wisp.records import Measurement
from wisp.report.page import ReportContent, display_name
from wisp.score import LEADERBOARD_2021, Baseline, score
from wisp.search.candidate import Candidate, Trial
from wisp.train.recipe import Recipe

CLASSES = (
    "Battery", "Clothing", "Glass", "Metal", "Paper", "Paperpack", "Plastic", "Plasticbag", "Styrofoam",
)  # fmt: skip
TRIALS = (
    ("wisp-500k", 32, 40, 0.571),
    ("wisp-2m", 32, 40, 0.612),
    ("wisp-1m", 48, 40, 0.641),
    ("wisp-1m", 48, 92, 0.668),
    ("wisp-1m", 64, 40, 0.634),
    ("wisp-2m", 48, 40, 0.655),
    ("wisp-2m", 64, 40, 0.672),
    ("wisp-2m", 64, 92, 0.701),
)


def make_trial(model, size, epochs, f1, baseline=LEADERBOARD_2021):
    candidate = Candidate(f"{model}-{size}px", named(model, len(CLASSES)), size)
    macs = candidate.macs - 4321
    return Trial(
        candidate,
        epochs,
        Measurement(
            f1_macro=f1,
            accuracy=min(1.0, f1 + 0.04),
            n_images=431,
            split="val",
            macs=macs,
            params=18_745 + macs // 97,
            score=score(f1, macs, baseline),
            f1_ci95=(max(0.0, f1 - 0.041), min(1.0, f1 + 0.039)),
            macs_as_trained=candidate.macs,
            size_bytes=90_123 + macs // 20,
            latency_p50_ms=0.05 + macs / 2e7,
            latency_p99_ms=0.07 + macs / 1.4e7,
            device="Some CPU @ 2.90GHz, 1 thread",
        ),
    )


def make_confusion(n, per_row=48, hit=0.7, seed=0):
    random = np.random.default_rng(seed)
    rows = []
    for index in range(n):
        shares = random.dirichlet(np.full(n, 0.3)) * (1 - hit)
        shares[index] += hit
        rows.append(random.multinomial(per_row + 9 * index, shares / shares.sum()))
    return np.array(rows)


def make_evaluation(
    split, classes=CLASSES, confusion=None, trial=None, baseline=LEADERBOARD_2021, parts=None
):
    confusion = make_confusion(len(classes)) if confusion is None else confusion
    measured = trial.measurement
    f1 = macro_f1(confusion)
    return Evaluation(
        split=split,
        classes=tuple(classes),
        n_images=int(confusion.sum()),
        n_skipped=0,
        f1_macro=f1,
        f1_ci95=bootstrap_f1_ci(confusion),
        accuracy=accuracy(confusion),
        calibration_error=0.0432,
        macs=measured.macs,
        macs_as_trained=measured.macs_as_trained,
        params=measured.params,
        score=score(f1, measured.macs, baseline),
        baseline=baseline,
        per_class=per_class(confusion, classes),
        confusion=confusion,
        parts=parts or {},
        size_bytes=measured.size_bytes,
        latency_p50_ms=measured.latency_p50_ms,
        latency_p99_ms=measured.latency_p99_ms,
        device=measured.device,
    )


def make_inspection(classes=CLASSES, **changes):
    train = {name: 1_240 // (1 + index * 2) + 31 for index, name in enumerate(classes)}
    few = {name: count // 6 + 1 for name, count in train.items()}
    spread = Spread(31, 64, 412, 1_980, 4_032)
    inspection = Inspection(
        root="waste9",
        is_split=True,
        classes=tuple(classes),
        counts={"train": train, "val": few, "test": few, "unlabelled": {"": 57}},
        imbalance=max(train.values()) / min(train.values()),
        widths=spread,
        heights=spread,
        aspect_ratios=Spread(0.2, 0.5, 1.0, 2.0, 5.5),
        formats={"JPEG": 3_012, "PNG": 44},
        unreadable={"train/Glass/broken.jpg": "cut short"},
        ignored=(),
        duplicates=(
            DuplicateGroup(
                "near",
                (
                    FoundPhoto("train/Glass/a <1>.jpg", "train", "Glass"),
                    FoundPhoto("test/Glass/b.jpg", "test", "Glass"),
                ),
            ),
        ),
        warnings=(
            "leakage: 1 shot has photos in more than one split, which makes results on val and test look better "
            "than they are",
            "imbalance: the largest class has 11.3 times the photos of the smallest",
        ),
    )
    return replace(inspection, **changes)


def make_curve(epochs, f1, number=0):
    random = np.random.default_rng(number)
    rows = []
    for epoch in range(1, epochs + 1):
        done = 1 - math.exp(-4 * epoch / epochs)
        noise = random.normal(0, 0.012)
        rows.append(
            {
                "epoch": epoch,
                "loss": 2.2 - 1.3 * done + noise,
                "f1_val": max(0.0, f1 * done**0.7 + noise * (1 - epoch / epochs)),
                "seconds": 1.9 * epoch,
            }
        )
    return rows


def make_content(
    classes=CLASSES,
    trials=TRIALS,
    chosen=3,
    test=True,
    hit=0.7,
    baseline: Baseline = LEADERBOARD_2021,
    **changes,
):
    tried = tuple(make_trial(*trial, baseline) for trial in trials)
    best = tried[chosen]
    parts = {
        "TACO": PartResult(0.3534, 180, tuple(classes[4:8])),
        "TrashNet": PartResult(0.8123, 255, tuple(classes[2:5])),
    }
    confusions = [make_confusion(len(classes), hit=hit, seed=seed) for seed in (1, 2)]
    content = ReportContent(
        data_name="waste9",
        trials=tried,
        chosen=best,
        validation=make_evaluation("val", classes, confusions[0], best, baseline),
        test=make_evaluation("test", classes, confusions[1], best, baseline, parts) if test else None,
        inspection=make_inspection(classes),
        recipe=asdict(Recipe(image_size=48, epochs=92)),
        curves={
            display_name(trial): make_curve(trial.epochs, trial.measurement.f1_macro, number)
            for number, trial in enumerate(tried)
        },
        notes=("synthetic photos: what is measured here says nothing about real waste",),
        baseline=baseline,
        seconds=598.4,
        command="wisp train waste9 --model runs/waste9/arch.json --recipe runs/waste9/recipe.toml --out again",
        job="wisp optimize waste9 --out again --budget 600s --strategy ladder --seed 0 --workers 2",
        version="0.1.0",
    )
    return replace(content, **changes)
