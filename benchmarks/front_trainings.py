"""The trainings behind `benchmarks.front`: what one is, how it is run in a process of its own, what comes of it."""

from __future__ import annotations

import signal
import statistics
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wisp.bench.latency import measure_latency
from wisp.data.folders import load_dataset
from wisp.errors import TrainingError
from wisp.macs import count_onnx
from wisp.models import Network, find_start
from wisp.models.starts import initializer
from wisp.records import TEST
from wisp.score import LEADERBOARD_2021
from wisp.search.executors import Executor
from wisp.train.loop import train
from wisp.train.recipe import Recipe
from wisp.train.run import ARTIFACT, open_run, with_start
from wisp.train.speed import seconds_per_step
from wisp.train.threads import one_thread, own_bar_lock
from wisp.trials import evaluate_artifact, export_run


@dataclass(frozen=True)
class Entrant:
    """One network at one input size (pixels); `init` is what its trainings begin with."""

    name: str
    arch: Network
    image_size: int
    ours: bool
    init: str

    @property
    def label(self) -> str:
        """What it is called in tables and folders."""
        return f"{self.name}-{self.image_size}px"


@dataclass(frozen=True)
class Training:
    """One seed of an entrant."""

    entrant: Entrant
    recipe: Recipe
    data: Path
    folder: Path
    described: dict[str, Any] = field(repr=False)

    @property
    def artifact(self) -> Path:
        """The file that is measured; its presence means done."""
        return self.folder / ARTIFACT


@dataclass(frozen=True)
class Measured:
    """What was measured of one training; the costs are those of a `Point`."""

    f1: float
    macs: int
    macs_graph: int
    macs_as_trained: int
    params: int


@dataclass(frozen=True)
class Point:
    """What was measured of an entrant: F1 on test by seed, and the costs of the deployed network.

    `macs` is the count that is scored, `macs_graph` that of every operator in the file; latency is in milliseconds for
    one image, one thread.
    """

    entrant: Entrant
    f1: dict[int, float]
    macs: int
    macs_graph: int
    macs_as_trained: int
    params: int
    latency_ms: float

    @property
    def f1_mean(self) -> float:
        """Mean over the seeds."""
        return statistics.mean(self.f1.values())

    @property
    def f1_stdev(self) -> float | None:
        """Standard deviation over the seeds, None of one."""
        return statistics.stdev(self.f1.values()) if len(self.f1) > 1 else None

    def beats(self, other: Point) -> bool:
        """Whether it costs less, by either count, and classifies better on average over the seeds that both have."""
        seeds = self.f1.keys() & other.f1.keys()
        if not seeds or self.macs >= other.macs or self.macs_graph >= other.macs_graph:
            return False
        return statistics.mean(self.f1[seed] for seed in seeds) > statistics.mean(
            other.f1[seed] for seed in seeds
        )


def run_training(task: Training) -> str:
    """Train and export, or go on with it, or find it done; one line that says how it went."""
    if task.artifact.is_file():
        return "was there"
    own_bar_lock()
    dataset = load_dataset(task.data, progress=False)
    arch = task.entrant.arch
    start = find_start(task.entrant.init, arch)
    run = open_run(task.folder, task.recipe, arch, with_start(task.described, start), resume=True)
    try:
        with one_thread():
            result = train(run, dataset, initialize=initializer(start, arch), progress=False)
    except TrainingError as error:  # the others can still be compared; this one stays missing
        return f"failed: {error}"
    export_run(run, dataset)
    return f"{result.seconds:.0f} s"


def measure_step(task: Training) -> float:
    """Seconds of one training step."""
    with one_thread():
        return seconds_per_step(task.entrant.arch, task.recipe)


def measure_training(task: Training) -> Measured:
    """One finished training on test."""
    evaluation = evaluate_artifact(
        task.artifact,
        load_dataset(task.data, progress=False),
        TEST,
        baseline=LEADERBOARD_2021,
        progress=False,
    )
    return Measured(
        evaluation.f1_macro,
        macs=evaluation.macs,
        macs_graph=count_onnx(task.artifact).total,
        macs_as_trained=evaluation.macs_as_trained,
        params=evaluation.params,
    )


def measure_points(tasks: Sequence[Training], executor: Executor) -> list[Point]:
    """All entrants with a finished training, in the order of their first one; latency when nothing else runs."""
    results: dict[Entrant, dict[int, Measured]] = {}
    files: dict[Entrant, Path] = {}
    finished = [task for task in tasks if task.artifact.is_file()]
    for task in finished:
        results.setdefault(task.entrant, {})
        files.setdefault(task.entrant, task.artifact)
    for task, measured in executor.run(measure_training, finished):
        results[task.entrant][task.recipe.seed] = measured
    points = []
    for entrant, by_seed in results.items():
        any_seed = next(iter(by_seed.values()))
        points.append(
            Point(
                entrant,
                {seed: by_seed[seed].f1 for seed in sorted(by_seed)},
                macs=any_seed.macs,
                macs_graph=any_seed.macs_graph,
                macs_as_trained=any_seed.macs_as_trained,
                params=any_seed.params,
                latency_ms=measure_latency(files[entrant]).p50_ms,
            )
        )
    return points


def work_for(seconds: float | None, work: Callable[[], object]) -> bool:
    """Do `work`, interrupted after this time as Ctrl-C would, which every training takes as: save, and end.

    Returns:
        Whether it came to its own end.
    """
    if seconds is None:
        work()
        return True
    due = threading.Event()
    main = threading.get_ident()

    def interrupt() -> None:
        due.set()
        signal.pthread_kill(main, signal.SIGINT)

    timer = threading.Timer(max(0.0, seconds), interrupt)
    timer.daemon = True
    try:
        try:
            timer.start()
            work()
        finally:
            timer.cancel()
            timer.join()
    except KeyboardInterrupt:
        if not due.is_set():  # somebody's own
            raise
        return False
    return True
