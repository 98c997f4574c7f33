"""Spending a time budget on a search: first many short trainings that a strategy decides, then its best for longer."""

from __future__ import annotations

import json
import math
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from wisp.budget import Budget, Finalist
from wisp.errors import TrainingError
from wisp.files import write_json, write_text
from wisp.latency_probe import RememberedLatencies
from wisp.models.starts import PRETRAINED, SCRATCH
from wisp.rounds import Finals, Rounds
from wisp.search.candidate import Candidate
from wisp.search.executors import Executor, local_executor
from wisp.search.finalists import choose_finalists
from wisp.search.front import Point, hypervolume
from wisp.search.sampling import Sampler
from wisp.search.space import Space
from wisp.search.store import StoredTrial, TrialStore, begun_with
from wisp.search.strategies import SUPERNET_SHARE, make_strategy, unit_epochs
from wisp.search.study import Study
from wisp.search_settings import SEARCH_SHARE, SearchSettings
from wisp.short_trials import ShortTraining
from wisp.train.recipe import Recipe
from wisp.trials import TrialTask

TRIALS, SUMMARY, LATENCIES, OWNER = "trials", "search.json", "latencies.json", "owner.txt"
_GRACE_SECONDS = 3.0  # a training that is late ends after its epoch
_FINALISTS = 4  # at least; or twice as many as are trained side by side
_MOST_FINALISTS = 3  # times as many, where all of them find the time for a whole training
_WHOLE_STEPS = 16_000  # that each finalist is to have before the best ones have more
_ANEW_BY = 3  # the place among the finalists of the best network that began without another one's weights
_RETRIES = 2
# The front's area is measured between these.
LEAST_MACS, MOST_MACS = 1e4, 1e7


@dataclass(frozen=True)
class Photos:
    """The photos to train on, as a search needs to know them; `described` is what `describe_data` says."""

    data: Path
    num_classes: int
    steps_per_epoch: int
    described: Mapping[str, Any] = field(repr=False)
    skip_unreadable: bool = False


def explore(
    search: SearchSettings,
    *,
    photos: Photos,
    recipe: Recipe,
    seed: int,
    sizes: Sequence[int],
    out: Path,
    workers: int,
    budget: Budget,
    make_task: Callable[[Candidate, int, float], TrialTask],
    probe: Callable[[Candidate], float],
    init: str,
    target_f1: float | None,
    distill: bool,
    progress: bool,
) -> Rounds:
    """Search, then train the best for longer. Who the best are is decided once: a resumed job goes on with them.

    Args:
        search: the user's wishes, with a strategy decided.
        photos: to train on.
        recipe: of all trainings; input size, epochs and seed are set here.
        seed: of everything random.
        sizes: input sizes that are decoded.
        out: the job's folder.
        workers: trainings side by side on this machine: those of the search where no cluster does it, and the finals.
        budget: the job's clock.
        make_task: the final training of a candidate, for so many epochs, until that `time.time()`. It begins anew,
            not with the weights that the search found: so whoever has the run can repeat it.
        probe: seconds that one epoch of a candidate takes alone.
        init: what networks without a parent begin with.
        target_f1: as in `choose`.
        distill: the last trainings follow the most accurate network of the first finals, and the most accurate one of
            the search is among these, whatever it costs.
        progress: show progress bars on a terminal.

    Returns:
        The final trainings: their trials, and what found no time.

    Raises:
        InputError: the storage cannot be used.
        TrainingError: no training of the search succeeded.
    """
    assert search.strategy is not None  # noqa: S101  (see `decided`)
    url = search.url(out)
    executor = None if budget.has_finalists else _executor(search, workers)
    # Side by side in the search: of the whole cluster, where one does it.
    searching = workers if executor is None else executor.workers
    begun = begun_with(url, search.study)
    decided = begun or {
        "image_size": sorted(sizes),
        "epochs": unit_epochs(SEARCH_SHARE * budget.seconds * searching, photos.steps_per_epoch),
        "founders": max(24, searching),
    }
    space = Space(photos.num_classes, image_size=tuple(decided["image_size"]), augmentation=search.strengths)
    if isinstance(search.limits.measure, RememberedLatencies):  # a resumed search must decide as before
        search.limits.measure.keep(out / LATENCIES)
    fixed = {
        "strategy": search.strategy,
        "seed": seed,
        "classes": photos.num_classes,
        "data": photos.described.get("digest"),
        "recipe": asdict(recipe),
        "init": init,
        "augmentation": list(search.strengths),
        "limits": {name: value for name, value in asdict(search.limits).items() if name != "measure"},
    }
    store = TrialStore(url, search.study, fixed, decided)
    least = max(_FINALISTS, 2 * workers)
    try:
        finalists = budget.finalists(space)
        if finalists is None:
            assert executor is not None  # noqa: S101  (see above)
            strategy = make_strategy(
                search.strategy,
                Sampler(space, search.limits),
                seed=seed,
                epochs=decided["epochs"],
                founders=decided["founders"],
            )

            def left() -> float:
                return SEARCH_SHARE * budget.seconds - budget.spent()

            now, seconds = time.time(), max(0.0, left())
            # The paths are whole ones: workers of a cluster have working folders of their own.
            training = ShortTraining(
                data=photos.data.absolute(),
                recipe=recipe,
                space=space,
                folder=out.absolute() / TRIALS,
                seed=seed,
                skip_unreadable=photos.skip_unreadable,
                deadline=now + seconds + _GRACE_SECONDS,
                supernet_deadline=now + SUPERNET_SHARE * seconds,
                described=photos.described,
                init=init if init in (SCRATCH, PRETRAINED) else str(Path(init).absolute()),
            )
            study = Study(
                strategy,
                store,
                executor,
                training,
                owner=_owner(out),
                left=left,
                most_trials=search.trials,
                failed=training.failed,
            )
            best = _search(study, budget, seconds, searching, out, progress=progress)
            # From here on the search is over, also for a resumed job: the plans below name these networks.
            finalists = [
                Finalist(trial.proposal.genes, _seconds_per_epoch(trial))
                for trial in _finalists(best, _MOST_FINALISTS * least, target_f1, distill=distill)
            ]
            budget.keep_finalists(finalists)
    finally:
        store.close()

    candidates = [space.decode(finalist.genes) for finalist in finalists]
    rounds = Rounds(
        budget,
        local_executor(workers),
        make_task,
        probe=probe,
        target_f1=target_f1,
        progress=progress,
        distill=distill,
        finals=Finals(
            speeds={
                candidate: finalist.seconds_per_epoch
                for candidate, finalist in zip(candidates, finalists, strict=True)
                if finalist.seconds_per_epoch is not None
            },
            least=least,
            whole_epochs=_whole_epochs(recipe.epochs, photos.steps_per_epoch),
        ),
    )
    rounds.run(candidates, kept=budget.plans(candidates))
    return rounds


def explored_networks(out: Path) -> tuple[Point, ...]:
    """MACs and the best F1 on validation of every network that the search in `out` trained briefly."""
    known = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
    return tuple((macs, f1) for macs, f1 in known.get("networks", ()))


def _whole_epochs(most: int, steps_per_epoch: int) -> int:
    """So many epochs for every finalist come before more of them for the best ones."""
    return min(most, math.ceil(_WHOLE_STEPS / steps_per_epoch))


def _search(
    study: Study, budget: Budget, seconds: float, workers: int, out: Path, *, progress: bool
) -> list[StoredTrial]:
    """Search for so many seconds on so many workers, and sum it up; of every network the best trial, at least one.

    Raises:
        TrainingError: no training succeeded.
    """
    began = time.monotonic()
    with _watched(study, budget, seconds, enabled=progress):
        trials = study.run()
    best = _best_of_each(trials)
    _summarise(study, trials, best, time.monotonic() - began, workers, out)
    if not best:
        errors = [trial.result.error for trial in trials if trial.result and trial.result.error]
        if errors:
            raise TrainingError(f"no training of the search succeeded: {errors[0]}")
        raise TrainingError(
            f"no training came to its end in the search's {seconds:.0f} s; go on with --resume and a larger --budget "
            "(or --trials), or use wisp optimize, which needs less time"
        )
    return best


def _owner(out: Path) -> str:
    """Names this job on this machine among those that share a search, and again after a restart.

    Not by its path: machines and containers tend to have the same ones. Nor by the number alone: folders are copied.
    """
    path = out / OWNER
    if not path.is_file():
        write_text(path, secrets.token_hex(16) + "\n")
    return f"{socket.gethostname()} {path.read_text(encoding='utf-8').strip()}"


def _executor(search: SearchSettings, workers: int) -> Executor:
    if search.ray is not None:
        from wisp.search.cluster import RayExecutor  # noqa: PLC0415  (an optional part)

        return RayExecutor(search.ray, gpus=search.gpus_per_trial, retries=_RETRIES)
    return local_executor(workers, reuse=True, retries=_RETRIES)


def _best_of_each(trials: Sequence[StoredTrial]) -> list[StoredTrial]:
    """Of every network the trial with the highest F1; those that were only measured count where none was trained."""
    done = [
        (trial, trial.result.f1)
        for trial in trials
        if trial.result and not trial.result.error and not trial.proposal.elastic
    ]
    best: dict[tuple[int, ...], tuple[StoredTrial, float]] = {}
    for trial, f1 in [each for each in done if each[0].proposal.epochs] or done:
        genes = trial.proposal.genes
        if genes not in best or f1 > best[genes][1]:
            best[genes] = trial, f1
    return [trial for trial, _ in best.values()]


def _finalists(
    trials: Sequence[StoredTrial], count: int, target_f1: float | None, *, distill: bool = False
) -> list[StoredTrial]:
    """Whom to train longer, in order of interest.

    The finals begin anew. Networks that began with another one's weights are ahead in a short training, and hardly so
    in a long one; so the best of those that began as the finals do is always the third, if not before. Who is to teach
    is the fourth, if not before.
    """
    points = [(trial.result.macs, trial.result.f1) for trial in trials if trial.result]
    chosen = choose_finalists(points, count, target_f1=target_f1)
    anew = [index for index, trial in enumerate(trials) if trial.proposal.start is None]
    for at in choose_finalists([points[index] for index in anew], 1, target_f1=target_f1):
        chosen = _placed(chosen, anew[at], _ANEW_BY)
    if distill:
        teacher = max(range(len(points)), key=lambda index: (points[index][1], points[index][0]))
        chosen = _placed(chosen, teacher, _ANEW_BY + 1)
    return [trials[index] for index in chosen[:count]]


def _placed(order: list[int], index: int, place: int) -> list[int]:
    """`order` with `index` in that place (the first is 1), if not before."""
    if index in order[:place]:
        return order
    others = [each for each in order if each != index]
    return [*others[: place - 1], index, *others[place - 1 :]]


def _seconds_per_epoch(trial: StoredTrial) -> float | None:
    """As it was trained in the search, with the others beside it; None where it was not."""
    assert trial.result is not None  # noqa: S101  (finalists have one)
    return trial.result.epoch_seconds or None


def _summarise(
    study: Study,
    trials: Sequence[StoredTrial],
    best: Sequence[StoredTrial],
    seconds: float,
    workers: int,
    out: Path,
) -> None:
    """What the search did, in numbers: search.json."""
    results = [trial.result for trial in trials if trial.result]
    points = [(result.macs, result.f1) for result in results if not result.error]
    setup = sum(result.setup_seconds for result in study.ran)
    trained = sum(result.seconds for result in study.ran) - setup
    write_json(
        out / SUMMARY,
        {
            "trials": len(results),
            "failed": sum(bool(result.error) for result in results),
            "hypervolume": round(hypervolume(points, least_macs=LEAST_MACS, most_macs=MOST_MACS), 5),
            "hypervolume_macs": [LEAST_MACS, MOST_MACS],
            "training_seconds": round(sum(result.seconds for result in results), 1),
            "this_run": {
                "trials": len(study.ran),
                "seconds": round(seconds, 1),
                "workers": workers,
                "deciding_seconds": round(study.overhead_seconds, 2),
                "setup_seconds": round(setup, 2),
                # Of the workers' time: starting processes, deciding, setting trainings up, waiting for the last ones.
                "overhead_share": round(max(0.0, 1 - trained / (workers * seconds)), 4),
            },
            # MACs and F1 on validation of each network that was trained.
            "networks": [
                [trial.result.macs, round(trial.result.f1, 4)]
                for trial in best
                if trial.result and trial.proposal.epochs
            ],
        },
    )


@contextmanager
def _watched(study: Study, budget: Budget, seconds: float, *, enabled: bool) -> Iterator[None]:
    """Show how the search goes, and keep the budget's clock on disk."""
    finished = threading.Event()
    bar = tqdm(
        total=round(seconds),
        desc="search",
        bar_format="{desc}: {bar} {n:.0f}/{total} s{postfix}",
        disable=None if enabled else True,
    )
    began = time.monotonic()

    def watch() -> None:
        while not finished.wait(0.5):
            bar.n = min(time.monotonic() - began, seconds)
            bar.set_postfix_str(f"{study.done} trials", refresh=True)
            budget.tick()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
        bar.close()
        budget.save()
