"""What `optimize` was asked and what it found, and what there is to say about it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from wisp import __version__
from wisp.data.inspection import Inspection
from wisp.evaluation import Evaluation
from wisp.models.starts import PRETRAINED, SCRATCH
from wisp.report.page import ReportContent, display_name
from wisp.score import F1_FLOOR, LEADERBOARD_2021, Baseline
from wisp.search.candidate import Trial, folder_of
from wisp.search.front import Point
from wisp.search.selection import is_safe
from wisp.search_settings import SearchSettings
from wisp.train.recipe import Recipe
from wisp.train.run import ARCH, ARTIFACT, RECIPE, REPORT, read_run


@dataclass(frozen=True)
class Settings:
    """What the user asked for. `recipe` is what all candidates share: all but their size, epochs and seed."""

    data: Path
    out: Path
    budget_seconds: float
    seed: int = 0
    target_f1: float | None = None
    max_macs: int | None = None
    baseline: Baseline = LEADERBOARD_2021
    workers: int = 2
    skip_unreadable: bool = False
    recipe: Recipe = field(default_factory=Recipe)
    strategy: str | None = None  # `ladder`, or who decides in a search; None: see `_decided`
    search: SearchSettings | None = None  # what is asked of a search, its strategy included
    init: str = PRETRAINED  # what trainings begin with: see `wisp.models.find_start`
    distill: bool = False  # the last trainings follow the most accurate network of those before


@dataclass(frozen=True)
class Outcome:
    """What `optimize` found: every trial, the chosen one, and how it did on photos that chose nothing.

    `test` is None where the data has no labelled test split. `notes` are for the user, one line each. `explored`:
    MACs and F1 of the networks that a search trained briefly.
    """

    settings: Settings
    trials: tuple[Trial, ...]
    chosen: Trial
    validation: Evaluation
    test: Evaluation | None
    inspection: Inspection
    notes: tuple[str, ...]
    seconds: float
    explored: tuple[Point, ...] = ()

    @property
    def artifact(self) -> Path:
        """The chosen model's file."""
        return self.settings.out / ARTIFACT

    @property
    def report(self) -> Path:
        """The page that shows all this."""
        return self.settings.out / REPORT


def report_content(outcome: Outcome) -> ReportContent:
    """What the page shows."""
    settings = outcome.settings
    return ReportContent(
        data_name=settings.data.resolve().name,
        trials=outcome.trials,
        chosen=outcome.chosen,
        validation=outcome.validation,
        test=outcome.test,
        inspection=outcome.inspection,
        recipe=asdict(read_run(settings.out).recipe),
        curves={display_name(trial): read_run(folder_of(trial)).metrics() for trial in outcome.trials},
        notes=outcome.notes,
        baseline=settings.baseline,
        seconds=outcome.seconds,
        command=reproduction_command(outcome),
        job=job_command(outcome.settings),
        version=__version__,
        explored=outcome.explored,
    )


def reproduction_command(outcome: Outcome) -> str:
    """The command that trains the chosen network again."""
    out = outcome.settings.out
    model = ["--model", str(out / ARCH), "--recipe", str(out / RECIPE)]
    if outcome.settings.init != SCRATCH:
        model += ["--init", outcome.settings.init]
    if outcome.chosen.teacher is not None:
        model += ["--teacher", str(outcome.chosen.teacher)]
    return shlex.join(["wisp", "train", str(outcome.settings.data), *model, "--out", "again"])


def job_command(settings: Settings) -> str:
    """The command that does the whole job again, what was decided by itself written out; no password is in it."""
    options: dict[str, object] = {
        "--out": "again",
        "--budget": f"{settings.budget_seconds:g}s",
        "--strategy": settings.strategy,
        "--max-macs": settings.max_macs,
        "--target-f1": settings.target_f1,
        "--seed": settings.seed,
        "--workers": settings.workers,
        "--init": settings.init,
        "--distill": settings.distill,
        # a candidate sets its size, epochs and seed in it; the job sets them anew
        "--recipe": settings.out / RECIPE if settings.recipe != Recipe() else None,
        "--skip-unreadable": settings.skip_unreadable,
    }
    if settings.baseline != LEADERBOARD_2021:
        options |= {"--baseline-f1": settings.baseline.f1, "--baseline-macs": settings.baseline.macs}
    if settings.search is not None:
        options |= _search_options(settings.search)
    words = ["wisp", "optimize" if settings.search is None else "search", str(settings.data)]
    for option, value in options.items():
        if value is not None and value is not False:
            words += [option] if value is True else [option, str(value)]
    return shlex.join(words)


def _search_options(search: SearchSettings) -> Mapping[str, object]:
    limits = search.limits
    return {
        "--max-macs": limits.macs,
        "--max-params": limits.params,
        "--max-bytes": limits.size_bytes,
        "--max-memory": limits.memory_bytes,
        "--max-latency": limits.latency_ms,
        "--sizes": None if search.sizes is None else ",".join(map(str, search.sizes)),
        "--augmentation": search.augmentation,
        "--trials": search.trials,
        "--storage": search.storage and re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", search.storage),
        "--study": f"{search.study}-again" if search.storage is not None else None,
        "--ray": search.ray,
        "--gpus-per-trial": search.gpus_per_trial or None,
    }


def find_notes(
    trials: Sequence[Trial],
    chosen: Trial,
    test: Evaluation | None,
    left_out: Sequence[str],
    settings: Settings,
) -> Iterator[str]:
    """What the user must know to read the result, one line each."""
    f1 = chosen.measurement.f1_macro
    wanted = F1_FLOOR if settings.target_f1 is None else settings.target_f1
    if f1 < wanted:
        floor = " (the floor of the score)" if settings.target_f1 is None else ""
        yield (
            f"no candidate reached F1 {wanted:g}{floor} on validation; this is the most accurate one ({f1:.4f}): give "
            "it more time (--budget) or more photos"
        )
    elif settings.target_f1 is None and not is_safe(chosen.measurement):
        yield (
            f"F1 {f1:.4f} on validation is too near the score's floor ({F1_FLOOR:g}) to be sure of it on other photos, "
            "and no candidate is safely above; this one is the safest: give it more time (--budget) or more photos"
        )
    if settings.init != SCRATCH:
        whose = "that came with wisp" if settings.init == PRETRAINED else f"of {settings.init}"
        yield f"pretrained: all trainings began with the weights {whose} (--init)"
    else:
        yield "from scratch: all trainings began with random weights"
    if chosen.teacher is not None:
        yield (
            f"distilled: the chosen network followed {chosen.teacher.name} (--distill); a submission holds no teacher, "
            "so wisp submit will not take it"
        )
    if test is None:
        yield "no labelled test photos: the figures are those of the validation split, which also made the choice"
    planned = [(trial, read_run(folder_of(trial)).recipe.epochs) for trial in trials]
    cut = [
        f"{trial.candidate.name} ({trial.epochs} of {epochs} epochs)"
        for trial, epochs in planned
        if trial.epochs < epochs
    ]
    if cut:
        yield f"the budget ended these trainings before their last epoch: {', '.join(cut)}"
    if left_out:
        yield f"the budget ended before these had their turn: {', '.join(left_out)}"
