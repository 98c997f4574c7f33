"""A search as a job: on tiny generated photos, in this process, with trainings by formula and really trained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from wisp import exploration, pipeline, rounds, search_settings
from wisp.data.folders import load_dataset
from wisp.data.inspection import inspect_folder
from wisp.errors import InputError, RecipeError, TrainingError
from wisp.exploration import _seconds_per_epoch
from wisp.latency_probe import RememberedLatencies
from wisp.models import build
from wisp.models.starts import pack_weights, start_of_digest
from wisp.outcome import Outcome, Settings
from wisp.pipeline import optimize
from wisp.runtime import Classifier
from wisp.search.ladder import known_good
from wisp.search.limits import Limits
from wisp.search.sampling import Sampler
from wisp.search.simulation import LearningCurves
from wisp.search.space import Space
from wisp.search.store import StoredTrial, TrialStore, begun_with
from wisp.search.strategy import Proposal, Result
from wisp.search.study import Assignment
from wisp.search.study import Outcome as TrialOutcome
from wisp.search_settings import SearchSettings
from wisp.short_trials import ShortTraining
from wisp.train.run import read_run

CLASSES = {"glass": (40, 160, 60), "metal": (120, 120, 130), "paper": (220, 210, 190)}
SEARCH = SearchSettings(trials=6, sizes=(24, 32), limits=Limits(macs=400_000), strategy="random")

pytestmark = pytest.mark.usefixtures("graphs_exported_once")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("exploration") / "photos"
    random = np.random.default_rng(0)
    for split, count in {"train": 12, "val": 5, "test": 4}.items():
        for name, colour in CLASSES.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = np.clip(np.array(colour) + random.integers(-60, 60, (32, 32, 3)), 0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    return root


@pytest.fixture(scope="module", autouse=True)
def _tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One finalist, trained for two epochs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WISP_CACHE", str(tmp_path_factory.mktemp("exploration-cache")))
        patch.setattr(rounds, "_MIN_EPOCHS", 2)
        patch.setattr(rounds, "_MAX_EPOCHS", 2)
        patch.setattr(exploration, "_FINALISTS", 1)
        patch.setattr(exploration, "_finalists", lambda trials, count, target, distill: _one(trials, target))
        yield


_real_finalists = exploration._finalists


def _one(trials: Any, target: float | None) -> Any:
    return _real_finalists(trials, 1, target)


class ByFormula(ShortTraining):
    """Weights at random, F1 by the learning curves; interrupted where a test says so."""

    interrupt_at = -1
    fail = False

    def __call__(self, assignment: Assignment) -> TrialOutcome:
        if assignment.number == ByFormula.interrupt_at:
            raise KeyboardInterrupt
        candidate = self.space.decode(assignment.proposal.genes)
        macs = self.space.cost(assignment.proposal.genes).macs
        if ByFormula.fail:
            return TrialOutcome(Result(0.0, macs, 1.0, "the loss is not a number any more"))
        torch.manual_seed(assignment.number)
        f1 = LearningCurves(Space(3)).f1(assignment.proposal, 20, assignment.number)
        return TrialOutcome(
            Result(f1, macs, 2.0), pack_weights(build(candidate.arch).state_dict(), candidate.arch)
        )


@pytest.fixture
def by_formula(monkeypatch: pytest.MonkeyPatch) -> type[ByFormula]:
    monkeypatch.setattr(exploration, "ShortTraining", ByFormula)
    monkeypatch.setattr(ByFormula, "interrupt_at", -1)
    monkeypatch.setattr(ByFormula, "fail", False)
    return ByFormula


def settings_for(data: Path, out: Path, search: SearchSettings = SEARCH, **changes: Any) -> Settings:
    return replace(Settings(data, out, budget_seconds=3600.0, workers=1, search=search), **changes)


def stored(out: Path) -> Any:
    store = TrialStore(out / "trials.db", "search", {})
    trials = store.trials()
    store.close()
    return trials


@pytest.mark.slow
def test_a_whole_search(data: Path, tmp_path: Path) -> None:
    """Really trained: the search, its finalist, the exported file, the report."""
    out = tmp_path / "out"
    outcome: Outcome = optimize(settings_for(data, out, replace(SEARCH, trials=4)), progress=False)
    trials = stored(out)
    assert len(trials) == 4
    assert all(trial.result and not trial.result.error for trial in trials)
    chosen = outcome.chosen
    assert chosen.candidate.image_size in (24, 32)
    assert chosen.candidate.macs <= 400_000
    assert Classifier(outcome.artifact).info.macs == chosen.measurement.macs
    # its last training began anew, so that it can be repeated from the run alone
    start = start_of_digest(read_run(out).data["pretrained"])
    assert start is not None
    assert "--init pretrained" in outcome.report.read_text()
    summary = json.loads((out / "search.json").read_text())
    assert (summary["trials"], summary["failed"]) == (4, 0)
    assert 0 < summary["hypervolume"] < 1
    best: dict[tuple[int, ...], float] = {}
    for trial in trials:
        best[trial.proposal.genes] = max(best.get(trial.proposal.genes, 0.0), trial.result.f1)
    assert sorted(f1 for _, f1 in summary["networks"]) == pytest.approx(sorted(best.values()), abs=1e-4)
    assert outcome.explored == tuple((macs, f1) for macs, f1 in summary["networks"])
    run = summary["this_run"]
    assert run["trials"] == 4
    setup = sum(trial.result.setup_seconds for trial in trials)
    trained = summary["training_seconds"] - setup
    assert setup > 0
    assert run["setup_seconds"] == pytest.approx(setup, abs=0.01)
    assert run["overhead_share"] == pytest.approx(1 - trained / run["seconds"], abs=0.1)
    assert list((out / "trials").iterdir()) == []


def test_interrupted_and_resumed_it_is_the_same_search(
    data: Path, tmp_path: Path, by_formula: type[ByFormula]
) -> None:
    out = tmp_path / "out"
    by_formula.interrupt_at = 4
    with pytest.raises(KeyboardInterrupt):
        optimize(settings_for(data, out), progress=False)
    before = stored(out)
    assert [trial.result is not None for trial in before] == [True] * 4 + [False]
    by_formula.interrupt_at = -1
    with pytest.raises(InputError, match=r"not empty; continue it with --resume"):
        optimize(settings_for(data, out), progress=False)
    with pytest.raises(InputError, match=r"begun with strategy = 'random', not 'evolution'"):
        optimize(settings_for(data, out, replace(SEARCH, strategy="evolution")), resume=True, progress=False)
    outcome = optimize(settings_for(data, out), resume=True, progress=False)
    assert outcome.settings.strategy == "random"
    trials = stored(out)
    assert trials[:4] == before[:4]
    assert len(trials) == 6
    whole = tmp_path / "whole"
    expected = optimize(settings_for(data, whole), progress=False)
    assert stored(whole) == trials
    assert outcome.chosen.candidate == expected.chosen.candidate
    # A finished job resumed trains nothing.
    again = optimize(settings_for(data, out), resume=True, progress=False)
    assert again.chosen.candidate == expected.chosen.candidate
    assert stored(out) == trials


def test_machines_with_the_same_paths_are_two_owners(
    data: Path, tmp_path: Path, by_formula: type[ByFormula], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One must not take what the other runs for its own, from an earlier life; but after a restart it must."""
    out, database = tmp_path / "out", tmp_path / "shared.db"
    settings = settings_for(data, out, replace(SEARCH, storage=f"sqlite:///{database}"))

    def over(task: Any) -> Any:
        raise KeyboardInterrupt

    def run(stops_at: int) -> list[int]:
        """Search, without finals; the numbers of the trials that have no result then."""
        by_formula.interrupt_at = stops_at
        with pytest.raises(KeyboardInterrupt):
            optimize(settings, resume=True, progress=False)
        store = TrialStore(settings.search.storage, "search", {})  # type: ignore[union-attr,arg-type]
        left = [trial.number for trial in store.trials() if trial.result is None]
        store.close()
        return left

    monkeypatch.setattr(rounds, "run_trial", over)
    assert run(stops_at=2) == [2]
    out.rename(tmp_path / "first machine")
    assert run(stops_at=-1) == [2]  # the second one searched to the end, and left that to the first
    out.rename(tmp_path / "second machine")
    (tmp_path / "first machine").rename(out)
    assert run(stops_at=-1) == []


def test_a_copied_folder_on_another_machine_is_another_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = exploration._owner(tmp_path)
    assert exploration._owner(tmp_path) == owner
    monkeypatch.setattr(exploration.socket, "gethostname", lambda: "another")
    assert exploration._owner(tmp_path) != owner


def test_once_the_finals_have_begun_the_search_is_over(
    data: Path, tmp_path: Path, by_formula: type[ByFormula], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More budget and more trials, here or from another machine, must not change who the kept plans name."""
    out = tmp_path / "out"
    begun: list[str] = []

    def killed(task: Any) -> Any:
        begun.append(task.candidate.name)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rounds, "run_trial", killed)
        with pytest.raises(KeyboardInterrupt):
            optimize(settings_for(data, out, replace(SEARCH, trials=3)), progress=False)
    state = json.loads((out / "optimize.json").read_text())
    assert [plan["candidates"] for plan in state["plans"]] == [begun]
    assert len(state["finalists"]) == 1
    before, summary = stored(out), (out / "search.json").read_text()
    more = settings_for(data, out, replace(SEARCH, trials=30), budget_seconds=7200.0)
    # those further trials would have chosen another
    fresh = optimize(replace(more, out=tmp_path / "fresh"), progress=False)
    assert fresh.chosen.candidate.name != begun[0]
    outcome = optimize(more, resume=True, progress=False)
    assert outcome.chosen.candidate.name == begun[0]
    assert stored(out) == before
    assert (out / "search.json").read_text() == summary


@pytest.mark.slow
def test_killed_with_all_its_workers_it_loses_only_what_ran(data: Path, tmp_path: Path) -> None:
    """SIGKILL for the command and its processes in the middle of a search, twice; then to the end."""
    out = tmp_path / "out"
    search = SearchSettings(trials=16, sizes=(24, 32), limits=Limits(macs=400_000), strategy="evolution")
    words = (
        "--strategy evolution --trials 16 --sizes 24,32 --max-macs 400000 --workers 2 --budget 20m --resume"
    )
    command = [sys.executable, "-m", "wisp", "search", str(data), "--out", str(out), *words.split()]
    told: list[Any] = []
    spent = 0.0
    for wanted in (3, 8):
        process = subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            while _ended(out) < wanted and process.poll() is None:
                time.sleep(0.05)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        _, printed = process.communicate()
        assert process.returncode == -signal.SIGKILL, printed
        left = [trial for trial in stored(out) if trial.result]
        assert [trial for trial in left if trial.number in {before.number for before in told}] == told
        assert len(stored(out)) - len(left) <= 2  # what ran
        told = left
        seconds = json.loads((out / "optimize.json").read_text())["spent_seconds"]
        assert seconds > spent
        spent = seconds
    began = time.monotonic()
    plain = Settings(data, out, budget_seconds=1200.0, workers=1, max_macs=400_000, search=search)
    outcome = optimize(plain, resume=True, progress=False)
    assert outcome.seconds >= spent + 0.9 * (time.monotonic() - began)
    trials = stored(out)
    assert [trial.number for trial in trials] == list(range(16))
    assert all(trial.result and not trial.result.error for trial in trials)
    assert [trials[before.number] for before in told] == told
    assert list((out / "trials").iterdir()) == []  # what was running went on, and left nothing behind


def _ended(out: Path) -> int:
    """Trials with a result, of a search that another process runs."""
    known = begun_with(out / "trials.db", "search") if (out / "trials.db").is_file() else None
    return sum(trial.result is not None for trial in stored(out)) if known else 0


def test_a_long_optimize_searches_and_keeps_its_strategy(
    data: Path, tmp_path: Path, by_formula: type[ByFormula]
) -> None:
    out = tmp_path / "out"
    asked = settings_for(data, out, SEARCH)
    by_formula.interrupt_at = 4
    plain = replace(asked, search=None, max_macs=400_000)
    assert pipeline._decided(plain, load_dataset(data), resuming=False).strategy == "supernet"
    with pytest.raises(KeyboardInterrupt):
        optimize(replace(plain, strategy="evolution"), progress=False)
    kept = json.loads((out / "optimize.json").read_text())["settings"]
    assert kept["strategy"] == "evolution"
    before = stored(out)
    assert len(before) == 5
    # evolution begins with the hand-made networks that the limit leaves
    known = known_good(Sampler(Space(3), Limits(macs=400_000)))
    assert [trial.proposal.genes for trial in before][: len(known)] == known[:5]
    # a budget for which the ladder would be taken: the job goes on as it was begun
    by_formula.interrupt_at = 6
    with pytest.raises(KeyboardInterrupt):
        optimize(replace(plain, budget_seconds=200.0), resume=True, progress=False)
    assert stored(out)[:4] == before[:4]
    assert len(stored(out)) == 7
    with pytest.raises(InputError, match=r"begun with strategy = 'evolution', not 'ladder'"):
        optimize(replace(plain, strategy="ladder"), resume=True, progress=False)
    with pytest.raises(RecipeError, match=r"--strategy guess: .*known: ladder, evolution, optuna, random"):
        optimize(replace(plain, out=tmp_path / "other", strategy="guess"), progress=False)


@pytest.mark.parametrize(
    ("seconds", "workers", "steps", "searches"),
    [
        (120.0, 2, 27, False),  # the demo
        (180.0, 8, 1, False),  # however fast the machine: there is no time to start, decode and export in
        (600.0, 2, 27, False),  # the default budget on 1,800 photos
        (1200.0, 2, 27, True),
        (3600.0, 2, 128, True),  # 8,000 photos
        (1200.0, 2, 128, False),
        (600.0, 2, 1, True),  # few photos
        (600.0, 16, 27, True),
    ],
)
def test_short_budgets_stay_with_the_ladder(seconds: float, workers: int, steps: int, searches: bool) -> None:
    assert search_settings.is_worth_searching(seconds, workers, steps) is searches


def test_a_search_that_only_fails_is_one_line(
    data: Path, tmp_path: Path, by_formula: type[ByFormula]
) -> None:
    by_formula.fail = True
    with pytest.raises(TrainingError, match="no training of the search succeeded: the loss is not a number"):
        optimize(settings_for(data, tmp_path / "out"), progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limits": Limits(macs=10)}, r"--max-macs 10 \(nearest: [\d,]+ MACs\)"),
        ({"strategy": "guess"}, "--strategy guess: there is none of this name; known: "),
        ({"sizes": (33,)}, "--sizes 33: the space has 24, 32"),
        (
            {"limits": Limits(latency_ms=1.0, measure=lambda candidate: 0.5), "storage": "sqlite:///x.db"},
            "--max-latency: is measured on this machine",
        ),
    ],
)
def test_what_cannot_work_ends_at_once(
    data: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        optimize(settings_for(data, tmp_path / "out", replace(SEARCH, **changes)), progress=False)
    assert not (tmp_path / "out").exists()


def test_what_was_trained_is_preferred_to_what_was_only_measured() -> None:
    from wisp.search.store import StoredTrial  # noqa: PLC0415
    from wisp.search.strategy import Proposal  # noqa: PLC0415

    def trial(number: int, genes: int, epochs: int, f1: float, **changes: Any) -> StoredTrial:
        proposal = Proposal((genes,), epochs, elastic=bool(changes.pop("elastic", False)))
        return StoredTrial(number, proposal, Result(f1, 10**6, 9.0, setup_seconds=1.0, **changes))

    supernet = trial(0, 9, 10, 0.9, elastic=True)
    measured = [trial(1, 1, 0, 0.8), trial(2, 2, 0, 0.7)]
    trained = [trial(3, 2, 4, 0.6), trial(4, 2, 4, 0.65), trial(5, 3, 4, 0.0, error="diverged")]
    running = StoredTrial(6, Proposal((4,), 4), None)
    assert exploration._best_of_each([supernet, *measured, *trained, running]) == [trained[1]]
    assert exploration._best_of_each([supernet, *measured, running]) == measured
    assert exploration._best_of_each([supernet]) == []


def test_latencies_are_measured_once_for_all_time(tmp_path: Path) -> None:
    """From the first question, asked before there is a folder, and over an interruption."""
    asked: list[str] = []

    def measure(candidate: Any) -> float:
        asked.append(candidate.name)
        return 0.25 + 0.001 * len(asked)

    search = SearchSettings(limits=Limits(latency_ms=0.5, measure=measure))
    hour = {"budget_seconds": 3600.0, "steps_per_epoch": 30}
    decided = search.decided(3, 1, **hour)
    assert decided.strategy == "supernet"
    assert asked
    assert len(asked) == len(set(asked))
    path = tmp_path / "latencies.json"
    assert isinstance(decided.limits.measure, RememberedLatencies)
    decided.limits.measure.keep(path)
    known = json.loads(path.read_text())
    assert list(known) == asked
    candidate = Space(3).decode(Space(3).draw(np.random.default_rng(0)))
    assert decided.limits.measure(candidate) == decided.limits.measure(candidate)
    assert list(json.loads(path.read_text())) == asked == [*known, candidate.name]
    before = len(asked)
    resumed = search.decided(3, 1, **hour, latencies=path)
    assert resumed.limits.measure is not None
    assert resumed.limits.measure(candidate) == decided.limits.measure(candidate)
    assert len(asked) == before


@pytest.mark.parametrize(("most", "steps", "expected"), [(1482, 27, 593), (100, 27, 100), (9, 20_000, 1)])
def test_a_whole_training_of_a_finalist(most: int, steps: int, expected: int) -> None:
    assert exploration._whole_epochs(most, steps) == expected


def test_the_best_that_began_as_the_finals_do_is_a_finalist() -> None:
    """Behind after a short training, as those with inherited weights have an advantage that they lose."""

    def trial(number: int, macs: int, f1: float, start: int | None) -> StoredTrial:
        return StoredTrial(number, Proposal((number,), 20, start), Result(f1, macs, 1.0))

    inherited = [trial(number, 300_000 << number, 0.7 + 0.02 * number, start=9) for number in range(5)]
    anew = [trial(6, 500_000, 0.48, None), trial(7, 5_000_000, 0.49, None)]
    order = [each.number for each in _real_finalists([*inherited, *anew], 4, None)]
    assert order[2] == 6
    assert len(set(order)) == 4
    assert [each.number for each in _real_finalists([*inherited, *anew], 2, None)] == order[:2]
    assert len(_real_finalists(inherited, 5, None)) == 5
    ahead = [trial(8, 300_000, 0.9, None), *inherited]
    assert [each.number for each in _real_finalists(ahead, 4, None)].count(8) == 1
    assert _real_finalists(ahead, 4, None)[0].number == 8


def test_who_is_to_teach_is_among_the_finalists_whatever_it_costs() -> None:
    def trial(number: int, macs: int, f1: float) -> StoredTrial:
        return StoredTrial(number, Proposal((number,), 8), Result(f1, macs, 9.0))

    cheap = [trial(number, 100_000 + 60_000 * number, 0.70 + 0.01 * number) for number in range(6)]
    trials = [*cheap, trial(6, 9_000_000, 0.80), trial(7, 8_000_000, 0.80)]
    without = [each.number for each in _real_finalists(trials, 4, None)]
    taught = [each.number for each in _real_finalists(trials, 4, None, distill=True)]
    assert 6 not in without
    assert taught == [*without[:3], 6]
    assert len(_real_finalists(trials, 8, None, distill=True)) == len(set(taught) | set(range(8)))


@pytest.mark.parametrize("strategy", ["evolution", "supernet"])
def test_a_search_without_time_has_one_candidate_all_the_same(
    data: Path, tmp_path: Path, by_formula: type[ByFormula], strategy: str
) -> None:
    """A supernet is none: the first of its sub-networks is measured, however late it is."""
    settings = settings_for(data, tmp_path / "out", SearchSettings(strategy=strategy, sizes=(32,)))
    outcome = optimize(settings, progress=False, started=time.monotonic() - 0.41 * settings.budget_seconds)
    trials = stored(settings.out)
    elastic = [True, False] if strategy == "supernet" else [False]
    assert [trial.proposal.elastic for trial in trials] == elastic
    assert all(trial.result and not trial.result.error for trial in trials)
    assert outcome.artifact.is_file()


def test_one_trial_of_a_supernet_is_a_network_to_go_on_with(
    data: Path, tmp_path: Path, by_formula: type[ByFormula]
) -> None:
    """The supernet itself is none."""
    out = tmp_path / "out"
    settings = settings_for(data, out, SearchSettings(strategy="supernet", sizes=(32, 32), trials=1))
    assert optimize(settings, progress=False).chosen.epochs > 0
    assert [trial.proposal.elastic for trial in stored(out)] == [True, False]


def test_the_seconds_of_an_epoch_are_those_that_were_measured() -> None:
    trial = StoredTrial(0, Proposal((0,), 8), Result(0.5, 7, 9.0, epoch_seconds=2.0))
    assert _seconds_per_epoch(trial) == 2.0
    older = replace(trial, result=Result(0.5, 7, 9.0))
    assert _seconds_per_epoch(older) is None  # they are measured anew


def test_the_default_with_augmentation_is_evolution() -> None:
    hour = {"budget_seconds": 3600.0, "steps_per_epoch": 30}
    assert SearchSettings().decided(3, 1, **hour).strategy == "supernet"
    assert SearchSettings(augmentation=True).decided(3, 1, **hour).strategy == "evolution"
    asked = SearchSettings(augmentation=True, strategy="supernet").decided(3, 1, **hour)
    assert asked.strategy == "supernet"  # who asks for it has it, with the recipe's strength for the supernet


def test_the_sizes_follow_from_the_photos_and_the_budget(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from the clock, nor from what is decoded already; once a search has begun, from how it was begun."""
    inspection, _ = inspect_folder(data, progress=False)
    monkeypatch.delattr(pipeline, "time")
    photo = 1e-3 + 32 * 32 * 15e-9
    for photos, budget in ((40_000, 600.0), (10_000, 600.0), (10_000, 3600.0), (10**6, 60.0)):
        expected = max(1, int(0.25 * budget / (photos * photo)))
        assert pipeline._affordable_sizes(photos, inspection, budget) == expected
    larger = replace(
        inspection,
        widths=replace(inspection.widths, median=512.0),
        heights=replace(inspection.heights, median=384.0),
    )
    assert pipeline._affordable_sizes(2_527, larger, 300.0) == 7  # TrashNet

    def sizes(search: SearchSettings, most: int) -> list[int]:
        return [each.image_size for each in search.sizes_to_decode(3, tmp_path, most=most)]

    assert sizes(SearchSettings(), 3) == [48, 64, 32]
    assert sorted(sizes(SearchSettings(), 50)) == sorted(Space(3).image_size)
    assert sizes(SEARCH, 1) == [32, 24]
    TrialStore(tmp_path / "trials.db", "search", {}, {"image_size": [24, 40, 64]}).close()
    assert sizes(SearchSettings(), 1) == [64, 40, 24]
    assert sizes(SearchSettings(sizes=(24, 32, 40, 64)), 1) == [64, 40, 24]  # 32 px found no time then
    with pytest.raises(RecipeError, match=r"--sizes 24,64: .*trials.db was begun with 24,40,64; leave"):
        sizes(SearchSettings(sizes=(64, 24)), 1)


def test_only_sizes_at_which_the_limits_can_be_kept_are_decoded(tmp_path: Path) -> None:
    """Limits that the space can keep at its smallest images alone are kept there, however short the time is."""

    def sizes(most: int, *, asked: tuple[int, ...] | None = None, strategy: str = "evolution") -> list[int]:
        search = SearchSettings(strategy=strategy, sizes=asked, limits=limits)
        search.check(3)
        return [each.image_size for each in search.sizes_to_decode(3, tmp_path, most=most)]

    cheapest = Space(3).cost(Sampler(Space(3), Limits(memory_bytes=10**9)).haven)
    limits = Limits(macs=cheapest.macs_as_trained, memory_bytes=cheapest.memory_bytes)
    assert sizes(1) == sizes(50) == sizes(2, asked=(24, 48)) == [24]
    limits = Limits(macs=40_000)
    assert sizes(2) == [48, 32]
    # A supernet's networks cost more: it does without them only where they are too dear at every size.
    limits = Limits(macs=16_000)
    assert sizes(1) == [32]
    assert sizes(1, strategy="supernet") == [24]
    assert sizes(50, strategy="supernet") == [24, 32]


def test_a_storage_that_is_no_url_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"--storage shared: no SQLAlchemy URL; .*sqlite:///"):
        SearchSettings(storage="shared").check(3)


def test_every_size_of_the_space_has_its_turn_to_decode() -> None:
    assert sorted(search_settings._SIZES) == sorted(Space(3).image_size)
    assert pipeline.STATE == "optimize.json"
