"""One contract for all strategies, on a simulated cluster; then what each of them is for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from wisp.errors import InputError, RecipeError, TrainingError
from wisp.models import build
from wisp.models.transfer import shared_weights
from wisp.search.evolution import Evolution
from wisp.search.front import hypervolume
from wisp.search.halving import Halving, RandomSource
from wisp.search.ladder import known_good
from wisp.search.limits import Limits
from wisp.search.optuna_source import OptunaSource
from wisp.search.sampling import Sampler
from wisp.search.simulation import LearningCurves, SimulatedExecutor, SimulatedTraining
from wisp.search.space import Space
from wisp.search.store import StoredTrial, TrialStore
from wisp.search.strategies import STRATEGIES as NAMED
from wisp.search.strategies import default_strategy, make_strategy, supernet_seconds, unit_epochs
from wisp.search.strategy import Proposal, Result, Strategy
from wisp.search.study import Assignment, Outcome, Study
from wisp.search.supernet import Supernet, largest, smallest, supernet_space

SPACE = Space(6)
SAMPLER = Sampler(SPACE, Limits(macs=3_000_000))


def random_halving(seed: int) -> Strategy:
    return Halving(RandomSource(SAMPLER, seed), (4, 12, 36))


def evolution(seed: int) -> Strategy:
    return Evolution(SAMPLER, seed=seed, first_epochs=8, epochs=5)


def optuna(seed: int) -> Strategy:
    return Halving(OptunaSource(SAMPLER, seed), (4, 12, 36))


def supernet(seed: int) -> Strategy:
    known = known_good(SAMPLER)
    return Supernet(
        SAMPLER, seed=seed, supernet_epochs=3, epochs=5, epochs_alone=8, known=known, evaluations=30
    )


STRATEGIES: dict[str, Callable[[int], Strategy]] = {
    "supernet": supernet,
    "random": random_halving,
    "evolution": evolution,
    "optuna": optuna,
}


def test_all_strategies_with_a_name_are_tested() -> None:
    assert set(STRATEGIES) == set(NAMED)
    for name in NAMED:
        assert make_strategy(name, SAMPLER, seed=0, epochs=5, founders=24).ask() is not None
    with pytest.raises(RecipeError, match=r"--strategy none: .*known: evolution, optuna, random, supernet"):
        make_strategy("none", SAMPLER, seed=0, epochs=5, founders=24)


def test_longer_budgets_train_longer() -> None:
    epochs = [unit_epochs(seconds, 27) for seconds in (1, 300, 1000, 4000, 10**6)]
    assert epochs == sorted(epochs)
    assert (epochs[0], epochs[-1]) == (2, 30)
    assert unit_epochs(4000, 0) == 30


@pytest.fixture(params=STRATEGIES)
def make(request: pytest.FixtureRequest) -> Callable[[int], Strategy]:
    made: Callable[[int], Strategy] = STRATEGIES[request.param]
    return made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Callable[..., TrialStore]]:
    """Studies in a database in memory, where that is a file: a simulated hour is thousands of commits."""
    opened: list[TrialStore] = []
    memory = Path("/dev/shm")  # noqa: S108  (a folder of its own in it)
    with TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:

        def open_store(name: str = "study") -> TrialStore:
            opened.append(TrialStore(Path(folder) / "trials.db", name, {"seed": 0}))
            return opened[-1]

        yield open_store
        for each in opened:
            each.close()


def simulated(
    strategy: Strategy,
    store: TrialStore,
    *,
    workers: int = 1,
    hours: float = 0.25,
    curves: int = 0,
    **options: object,
) -> Study:
    training = SimulatedTraining(LearningCurves(SPACE, seed=curves))
    executor = SimulatedExecutor(workers, seconds=training.seconds, **options)  # type: ignore[arg-type]
    return Study(strategy, store, executor, training, left=lambda: 3600 * hours - executor.now)


def shape(trials: list[StoredTrial]) -> list[tuple[Proposal, float]]:
    return [(trial.proposal, trial.result.f1 if trial.result else -1.0) for trial in trials]


def volume(trials: list[StoredTrial]) -> float:
    points = [(trial.result.macs, trial.result.f1) for trial in trials if trial.result]
    return hypervolume(points, least_macs=2e4, most_macs=3e6)


# The contract


def test_proposals_are_feasible_and_starts_are_finished(make: Callable[[int], Strategy], store) -> None:
    finished: set[int] = set()
    strategy = make(0)
    told: list[int] = []
    asked: list[Proposal] = []
    curves = LearningCurves(SPACE)
    for number in range(120):
        proposal = strategy.ask()
        assert proposal is not None
        assert proposal.elastic or SAMPLER.is_feasible(proposal.genes)  # a supernet is no candidate
        assert SPACE.canonical(proposal.genes) == proposal.genes
        assert proposal.epochs >= 0
        assert proposal.start is None or proposal.start in finished
        asked.append(proposal)
        told.append(number)
        if len(told) == 3:  # three at a time; the last one ends first
            for done in reversed(told):
                f1 = curves.f1(asked[done], asked[done].epochs, done)
                strategy.tell(done, asked[done], Result(f1, SPACE.cost(asked[done].genes).macs, 1.0))
                finished.add(done)
            told.clear()


def test_same_seed_same_search(make: Callable[[int], Strategy], store) -> None:
    one = simulated(make(1), store("one"), hours=0.06).run()
    same = simulated(make(1), store("same"), hours=0.06).run()
    other = simulated(make(2), store("other"), hours=0.06).run()
    assert len(one) > 20
    assert shape(one) == shape(same)
    assert shape(one) != shape(other)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_search_resumed_after_kills_is_the_search(
    make: Callable[[int], Strategy], store, workers: int
) -> None:
    """Killed after every few results, with trials running; on one worker not a trial is different."""
    whole = simulated(make(1), store("whole"), workers=workers)
    whole.most_trials = 40
    expected = whole.run()

    class KilledError(Exception):
        pass

    lives = 0
    while lives < 50:
        lives += 1
        study = simulated(make(1), store("killed"), workers=workers)
        study.most_trials = 40
        results = 0

        def count(assignment: Assignment, run: Callable[[Assignment], Outcome] = study.function) -> Outcome:
            nonlocal results
            results += 1
            if results == 7:
                raise KilledError
            return run(assignment)

        study.function = count
        try:
            trials = study.run()
        except KilledError:
            continue
        break
    assert lives >= 5
    assert len(trials) == 40
    assert all(trial.result is not None for trial in trials)
    if workers == 1:
        assert shape(trials) == shape(expected)


def test_a_failed_training_is_told_and_not_built_upon(make: Callable[[int], Strategy], store) -> None:
    study = simulated(make(0), store(), workers=2, hours=0.05)
    run = study.function
    bad: set[int] = set()

    def fail(assignment: Assignment) -> Outcome:
        if assignment.number % 5 == 0 and assignment.number < 200:
            bad.add(assignment.number)
            return Outcome(Result(0.0, 1, 1.0, "the loss is not a number"))
        return run(assignment)

    study.function = fail
    trials = study.run()
    assert len(bad) > 5
    assert not {trial.proposal.start for trial in trials} & bad
    assert [trial.number for trial in trials if trial.result and trial.result.error] == sorted(bad)


def test_a_spent_budget_still_gives_one_trial(make: Callable[[int], Strategy], store) -> None:
    for workers in (1, 3):
        trials = simulated(make(0), store(f"{workers}"), workers=workers, hours=0).run()
        assert all(trial.result for trial in trials)
        supernets = [trial.number for trial in trials if trial.proposal.elastic]
        assert len(trials) - len(supernets) == 1  # a supernet is no network to go on with
        assert supernets in ([], [0])


def test_waiting_changes_nothing(make: Callable[[int], Strategy]) -> None:
    """One that is asked again after each None says the same as one that is not."""
    patient, pestered = make(4), make(4)
    curves, running = LearningCurves(SPACE), []
    for number in range(60):
        proposal = patient.ask()
        assert pestered.ask() == proposal
        while proposal is None:
            assert pestered.ask() is None
            done, first = running.pop(0)  # never empty: who waits has something to wait for
            result = Result(curves.f1(first, 10, done), SPACE.cost(first.genes).macs, 1.0)
            patient.tell(done, first, result)
            pestered.tell(done, first, result)
            proposal = patient.ask()
            assert pestered.ask() == proposal
        running.append((number, proposal))


def test_failures_and_stragglers_lose_nothing(make: Callable[[int], Strategy], store) -> None:
    study = simulated(
        make(0), store(), workers=20, hours=0.012, failures_an_hour=40.0, straggling=0.5, repair_seconds=30.0
    )
    trials = study.run()
    assert study.executor.deaths > 3  # type: ignore[attr-defined]
    assert all(trial.result is not None for trial in trials)
    assert len({trial.number for trial in trials}) == len(trials) > 60


@pytest.mark.parametrize("name", ["evolution"])
def test_better_than_random_search_with_early_stopping(name: str, store) -> None:
    """Outside the spread over three objectives, at equal time."""
    gains = []
    for curves in range(3):
        ours = volume(simulated(STRATEGIES[name](curves), store(f"ours{curves}"), curves=curves).run())
        theirs = volume(simulated(random_halving(curves), store(f"theirs{curves}"), curves=curves).run())
        gains.append(ours - theirs)
    assert np.mean(gains) > 2 * np.std(gains, ddof=1) / np.sqrt(3) > 0


# Successive halving


def test_one_of_three_is_promoted_and_the_best_first() -> None:
    strategy = random_halving(0)
    quality: dict[int, float] = {}
    asked: list[Proposal] = []
    for number in range(90):
        proposal = strategy.ask()
        assert proposal is not None
        asked.append(proposal)
        quality[number] = (
            0.3 + 0.6 * ((number * 37) % 90) / 90 if proposal.start is None else quality[proposal.start]
        )
        strategy.tell(number, proposal, Result(quality[number], 100_000, 1.0))  # equal costs: F1 decides
    first = [number for number, proposal in enumerate(asked) if proposal.start is None]
    second = [proposal for proposal in asked if proposal.epochs == 8]
    third = [proposal for proposal in asked if proposal.epochs == 24]
    assert len(first) // 3 - 1 <= len(second) <= len(first) // 3
    assert len(second) // 3 - 1 <= len(third) <= len(second) // 3
    promoted = {proposal.start for proposal in second}
    left = [quality[number] for number in first if number not in promoted]
    assert np.mean([quality[number] for number in promoted if number is not None]) > np.mean(left)
    assert all(asked[proposal.start].genes == proposal.genes for proposal in second + third)  # type: ignore[index]


@pytest.mark.parametrize(("rungs", "factor"), [((), 3), ((4, 4), 3), ((0, 3), 3), ((9, 3), 3), ((3, 9), 1)])
def test_rungs_that_make_no_sense(rungs: tuple[int, ...], factor: int) -> None:
    with pytest.raises(ValueError, match=r"rungs|factor"):
        Halving(RandomSource(SAMPLER, 0), rungs, factor)


# Evolution


def test_children_are_close_to_their_parents_and_begin_with_their_weights() -> None:
    strategy = evolution(0)
    asked: list[Proposal] = []
    curves = LearningCurves(SPACE)
    for number in range(150):
        proposal = strategy.ask()
        assert proposal is not None
        asked.append(proposal)
        strategy.tell(
            number, proposal, Result(curves.f1(proposal, 20, number), SPACE.cost(proposal.genes).macs, 1.0)
        )
    children = [proposal for proposal in asked if proposal.start is not None]
    assert len(children) == 150 - 24
    same = [child for child in children if asked[child.start].genes == child.genes]  # type: ignore[index]
    assert 0.1 < len(same) / len(children) < 0.5
    assert len({child.start for child in same}) == len(same)  # each is trained on once
    changed = [child.genes for child in children if child not in same]
    assert len(set(changed)) > 0.95 * len(changed)


@pytest.mark.parametrize("name", ["evolution", "optuna"])
def test_hand_made_networks_come_first_and_then_others(name: str) -> None:
    known = known_good(SAMPLER)
    assert len(known) > 5
    strategy = make_strategy(name, SAMPLER, seed=0, epochs=5, founders=24)
    asked = [strategy.ask() for _ in range(24)]
    assert [proposal.genes for proposal in asked if proposal][: len(known)] == known
    assert all(proposal and proposal.start is None for proposal in asked)
    assert len({proposal.genes for proposal in asked if proposal}) == 24
    # as many founders as are wanted, also where more are known
    few = make_strategy("evolution", SAMPLER, seed=0, epochs=5, founders=2)
    for number in range(2):
        proposal = few.ask()
        assert proposal == Proposal(known[number], 5)
        few.tell(number, proposal, Result(0.5, 10**5, 1.0))
    child = few.ask()
    assert child is not None
    assert child.start in (0, 1)


def test_optuna_learns_of_the_choices_that_there_are() -> None:
    """Of stages that a network does not have it keeps nothing, whether it proposed the network or was told of it."""
    source = OptunaSource(SAMPLER, 0)
    proposed = 0
    for number in range(60):
        genes = source.draw()
        assert SAMPLER.is_feasible(genes)
        assert SPACE.canonical(genes) == genes
        proposed += source._running[genes][-1][1]
        source.observe(genes, Result(0.4 + 0.005 * number, SPACE.cost(genes).macs, 1.0))
        kept = max(source._study.trials, key=lambda trial: trial.datetime_complete or trial.datetime_start)
        assert kept.params == {SPACE.axes[index].name: genes[index] for index in SPACE.active(genes)}
    assert proposed > 10
    assert (
        len({len(trial.params) for trial in source._study.trials if trial.values}) == 3
    )  # 2, 3 and 4 stages


# The supernet


def test_the_supernet_comes_first_and_its_sub_networks_follow(store: Callable[..., TrialStore]) -> None:
    trials = simulated(supernet(0), store(), workers=1, hours=0.2).run()
    part = supernet_space(SPACE)
    first, *others = trials
    assert first.proposal.elastic
    assert SPACE.decode(first.proposal.genes) == part.decode(largest(part))
    assert not any(trial.proposal.elastic for trial in others)
    every = [part.encode(SPACE.decode(trial.proposal.genes)) for trial in others]
    assert all(gene <= most for genes in every for gene, most in zip(genes, largest(part), strict=True))
    measured = [trial for trial in others if trial.proposal.epochs == 0]
    tuned = [trial for trial in others if trial.proposal.epochs]
    assert len(measured) >= 30
    assert len(tuned) > 20
    assert all(trial.proposal.start == 0 for trial in measured)
    further = [trial for trial in tuned if trial.proposal.start != 0]
    assert further
    assert all(trials[trial.proposal.start].proposal.genes == trial.proposal.genes for trial in further)  # type: ignore[index]


def test_nobody_waits_for_the_supernet() -> None:
    strategy, known = supernet(0), known_good(SAMPLER)
    first = strategy.ask()
    assert first is not None
    assert first.elastic
    meanwhile = [strategy.ask() for _ in range(len(known) + 5)]
    assert meanwhile[: len(known)] == [Proposal(genes, 8) for genes in known]
    drawn = {proposal.genes for proposal in meanwhile[len(known) :] if proposal}
    assert len(drawn) == 5
    assert all(SAMPLER.is_feasible(genes) for genes in drawn)
    strategy.tell(0, first, Result(0.5, 10**6, 1.0))
    sub_network = strategy.ask()
    assert sub_network is not None
    assert (sub_network.start, sub_network.epochs) == (0, 0)
    # What was trained meanwhile takes part: the best of it is trained for longer.
    strategy.tell(1, meanwhile[0], Result(0.9, 10**4, 1.0))  # type: ignore[arg-type]
    number, asked = 100, []
    for _ in range(80):
        proposal = strategy.ask()
        assert proposal is not None
        asked.append(proposal)
        strategy.tell(number, proposal, Result(0.4, 10**6, 1.0))
        number += 1
    assert Proposal(known[0], 5, start=1) in asked


def test_a_supernet_that_diverges_twice_is_given_up() -> None:
    strategy, known = supernet(0), known_good(SAMPLER)
    diverged = Result(0.0, 10**6, 1.0, error="the supernet's loss is not a number any more")
    for number in (0, 1):  # once more, with another seed
        first = strategy.ask()
        assert first is not None
        assert first.elastic
        strategy.tell(number, first, diverged)
    others = [strategy.ask() for _ in range(len(known) + 20)]
    assert others[: len(known)] == [Proposal(genes, 8) for genes in known]
    assert all(each and not each.elastic and each.start is None for each in others)
    strategy.tell(2, others[0], Result(0.5, 10**5, 1.0))  # type: ignore[arg-type]
    following = strategy.ask()
    assert following is not None
    assert not following.elastic


def test_a_supernet_that_cannot_keep_the_limits_says_that_its_space_is_smaller() -> None:
    sampler = Sampler(SPACE, Limits(macs=SPACE.cost(SAMPLER.haven).macs_as_trained))
    with pytest.raises(RecipeError, match=r"--strategy supernet, .* smaller one: .*--max-macs .*nearest: "):
        make_strategy("supernet", sampler, seed=0, epochs=1, founders=1)


def test_no_supernet_for_images_that_are_too_small() -> None:
    with pytest.raises(RecipeError, match="--strategy supernet: 8 px is too small"):
        supernet_space(Space(6, image_size=(8,)))


def test_sub_networks_are_sub_networks() -> None:
    part = supernet_space(SPACE)
    whole, least = (part.decode(genes).arch for genes in (largest(part), smallest(part)))
    parameters = dict(build(whole).named_parameters())
    random = np.random.default_rng(0)
    for arch in (least, *(part.decode(part.draw(random)).arch for _ in range(10))):
        views = shared_weights(parameters, whole, arch)
        assert {name: view.shape for name, view in views.items()} == {
            name: value.shape for name, value in build(arch).named_parameters()
        }


# Scaling


@pytest.mark.slow
def test_a_thousand_workers_are_busy() -> None:
    """With workers that fail and straggle, and 50 ms of deciding and writing down for every trial, one at a time.

    `python -m benchmarks.search_scaling simulated` measures that time, and this at full length.
    """
    strategy, training = evolution(0), SimulatedTraining(LearningCurves(SPACE))
    executor = SimulatedExecutor(
        1000,
        seconds=lambda assignment: 600.0,
        straggling=0.3,
        failures_an_hour=0.05,
        dispatch_seconds=0.05,
    )

    def assignments() -> Iterator[Assignment]:
        for number in range(1600):
            proposal = strategy.ask()
            assert proposal is not None
            proposals.append(proposal)
            yield Assignment(number, proposal, None)

    proposals: list[Proposal] = []
    for assignment, outcome in executor.run(training, assignments()):
        strategy.tell(assignment.number, assignment.proposal, outcome.result)
    assert len(proposals) == 1600
    assert executor.deaths > 5
    assert executor.utilisation > 0.9


def test_the_simulation_is_a_cluster() -> None:
    executor = SimulatedExecutor(2, seconds=lambda task: task)
    assert [task for task, _ in executor.run(str, [3.0, 1.0, 1.0, 2.0])] == [1.0, 1.0, 3.0, 2.0]
    assert executor.clock() == 4.0
    assert executor.utilisation == 1.0  # until the last task began, both worked all the time
    waiting = SimulatedExecutor(2, seconds=lambda task: task)
    assert len(list(waiting.run(str, [3.0, None, 1.0]))) == 2
    assert waiting.utilisation == 0.5  # one of the two had nothing to do
    slow = SimulatedExecutor(4, seconds=lambda task: 1.0, dispatch_seconds=1.0)
    list(slow.run(str, [0.0] * 8))
    assert slow.now == 9.0  # one start a second
    # What died with its worker is no work. Of each try exp(-x) ends, x the deaths a task; it takes (1 - exp(-x)) / x.
    frail = SimulatedExecutor(
        3, seconds=lambda task: 60.0, failures_an_hour=20.0, repair_seconds=0.0, retries=99
    )
    assert len(list(frail.run(str, range(300)))) == 300
    assert frail.deaths > 50
    deaths_a_task = 60 * 20 / 3600
    expected = deaths_a_task * math.exp(-deaths_a_task) / (1 - math.exp(-deaths_a_task))
    assert frail.utilisation == pytest.approx(expected, abs=0.05)
    with pytest.raises(TrainingError, match="died 2 times"):
        list(SimulatedExecutor(1, seconds=lambda task: 3600.0, failures_an_hour=1e6, retries=1).run(str, [1]))
    with pytest.raises(ValueError, match="at least 1"):
        SimulatedExecutor(0, seconds=lambda task: 1.0)


def test_the_objective_can_be_searched() -> None:
    curves = LearningCurves(SPACE, noise=0.0)
    random = np.random.default_rng(0)
    proposals = [Proposal(SAMPLER.draw(random), 10) for _ in range(100)]
    limits = [curves.limit(proposal) for proposal in proposals]
    assert np.std(limits) > 0.05
    assert all(0 <= value < 0.95 for value in limits)
    one = proposals[0]
    assert curves.f1(one, 5, 0) < curves.f1(one, 50, 0) < curves.limit(one)


def test_another_log_is_refused(store) -> None:
    simulated(random_halving(0), store(), hours=0.05).run()
    with pytest.raises(InputError, match=r"search 'study': trial 0 was another proposal"):
        simulated(random_halving(1), store(), hours=0.1).run()


def default(sampler: Sampler, workers: int | None, minutes: float = 60, photos: int = 2_000) -> str:
    return default_strategy(
        sampler, workers, search_seconds=0.4 * 60 * minutes, steps_per_epoch=max(1, photos // 64)
    )


def test_the_default_depends_on_who_would_wait() -> None:
    sampler = Sampler(SPACE)
    assert default(sampler, 1) == default(sampler, 2) == "supernet"
    assert default(sampler, 3) == default(sampler, None) == "evolution"
    tight = Sampler(SPACE, Limits(macs=9_000))  # no sub-network is that cheap
    assert default(tight, 1) == "evolution"
    # a supernet has one strength of augmentation for all of its training: there would be nothing to search
    strengths = Sampler(Space(6, augmentation=(0.5, 1.0, 1.5)))
    assert default(strengths, 1) == default(strengths, 2) == "evolution"


@pytest.mark.parametrize(
    ("workers", "minutes", "photos", "expected"),
    [
        (1, 30, 40_000, "evolution"),  # ten epochs of the supernet would take the whole search, and more
        (2, 30, 40_000, "evolution"),
        (1, 240, 40_000, "supernet"),
        (1, 30, 8_000, "supernet"),
        (2, 60, 8_000, "supernet"),
        (2, 10, 10, "supernet"),
    ],
)
def test_the_default_leaves_time_for_what_comes_of_a_supernet(
    workers: int, minutes: float, photos: int, expected: str
) -> None:
    assert default(Sampler(SPACE), workers, minutes, photos) == expected
    search, steps = 0.4 * 60 * minutes, max(1, photos // 64)
    nominal = supernet_seconds(unit_epochs(search * workers, steps), steps)
    assert (nominal <= search / 2) == (expected == "supernet")
