"""One contract for all executors, then what only processes do."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import executor_tasks
import pytest

from wisp.errors import DataError, InputError, MissingExtraError, TrainingError
from wisp.search import executors
from wisp.search.executors import Executor, InlineExecutor, ProcessExecutor
from wisp.search.simulation import SimulatedExecutor

EXECUTORS = {
    "inline": InlineExecutor,
    "one process": lambda: ProcessExecutor(1),
    "two processes": lambda: ProcessExecutor(2),
    "two processes for all": lambda: ProcessExecutor(2, reuse=True),
    "three simulated": lambda: SimulatedExecutor(3, seconds=lambda task: 1.0),
}
PARAMS = [*EXECUTORS, pytest.param("a Ray cluster", marks=pytest.mark.slow)]


@pytest.fixture(params=PARAMS)
def executor(request: pytest.FixtureRequest) -> Executor:
    if request.param == "a Ray cluster":
        request.getfixturevalue("ray_cluster")
        return _ray_executor()
    made: Executor = EXECUTORS[request.param]()
    return made


# Executors whose workers can die, and a function under which one of its tasks, 1, always takes its worker along.
MORTAL: dict[str, tuple[Callable[[], Executor], Callable[[int], int]]] = {
    "two processes": (lambda: ProcessExecutor(2), executor_tasks.die),
    "two processes for all": (lambda: ProcessExecutor(2, reuse=True, retries=1), executor_tasks.die),
    "three simulated": (
        lambda: SimulatedExecutor(
            3, seconds=lambda task: 1e9 if task == 1 else 0.0, failures_an_hour=1.0, retries=1
        ),
        executor_tasks.same,
    ),
    "a Ray cluster": (lambda: _ray_executor(retries=1), executor_tasks.die),
}


@pytest.fixture(params=[*list(MORTAL)[:-1], pytest.param("a Ray cluster", marks=pytest.mark.slow)])
def mortal(request: pytest.FixtureRequest) -> tuple[Executor, Callable[[int], int]]:
    if request.param == "a Ray cluster":
        request.getfixturevalue("ray_cluster")
    make, function = MORTAL[request.param]
    return make(), function


def _ray_executor(**options: int) -> Executor:
    from wisp.search.cluster import RayExecutor  # noqa: PLC0415  (an optional part)

    return RayExecutor(**options)


class _OnlyHere:
    """Its unpickling fails, as where wisp or the module of a function is not installed."""

    def __call__(self, task: int) -> int:
        return task

    def __reduce__(self) -> Any:
        return exec, ("import nowhere",)


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[Any]:
    """A cluster of three nodes on this machine: a head that takes no tasks, and two with a core each."""
    pytest.importorskip("ray")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        import ray  # noqa: PLC0415
        from ray.cluster_utils import Cluster  # noqa: PLC0415

        folder = str(Path(__file__).parent)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        cluster.two = [cluster.add_node(num_cpus=1) for _ in range(2)]
        ray.init(
            address=cluster.address,
            log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": folder, "OMP_NUM_THREADS": "1"}},
        )
        yield cluster
        ray.shutdown()
        cluster.shutdown()


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come about"
        time.sleep(0.02)


def pids(folder: Path, what: str) -> list[int]:
    return sorted(int(path.name.partition("-")[2]) for path in folder.glob(f"{what}-*"))


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


# The contract


def test_every_task_comes_back_with_its_result(executor: Executor) -> None:
    assert sorted(executor.run(executor_tasks.square, range(5))) == [(i, i * i) for i in range(5)]


def test_no_tasks_no_results(executor: Executor) -> None:
    assert list(executor.run(executor_tasks.square, [])) == []


def test_workers_are_named(executor: Executor) -> None:
    assert executor.workers >= 1


def test_a_task_is_drawn_only_when_it_can_start(executor: Executor) -> None:
    drawn: list[int] = []

    def tasks() -> Iterator[int]:
        for task in range(6):
            drawn.append(task)
            yield task

    with closing(executor.run(executor_tasks.square, tasks())) as results:
        next(results)
        assert len(drawn) <= executor.workers + 1


def test_a_result_is_handed_out_before_the_next_task_is_drawn(executor: Executor) -> None:
    """What a result taught decides what comes next: only as many are decided blindly as run side by side."""
    known: set[int] = set()
    blind: list[int] = []

    def tasks() -> Iterator[int]:
        for task in range(6):
            blind.append(task - len(known))
            yield task

    with closing(executor.run(executor_tasks.square, tasks())) as results:
        known.update(task for task, _ in results)
    assert max(blind) <= executor.workers - 1


def test_none_waits_for_a_result(executor: Executor) -> None:
    """A strategy that has nothing to propose before something is known."""
    known: list[int] = []

    def tasks() -> Iterator[int | None]:
        yield 0
        asked = 0
        while not known:
            asked += 1
            assert asked < 100, "asked again and again while the first one runs"
            yield None
        yield from (1, 2, None, 3)

    for task, _ in executor.run(executor_tasks.square, tasks()):
        known.append(task)
    assert sorted(known) == [0, 1, 2, 3]


def test_the_first_error_is_raised_as_it_was(executor: Executor) -> None:
    with pytest.raises(DataError, match=r"^photo two cannot be read$") as caught:
        list(executor.run(executor_tasks.fail_at_two, [1, 2, 3]))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("training", TrainingError),
        ("extra", MissingExtraError),
        ("bug", ZeroDivisionError),
        ("interrupt", KeyboardInterrupt),
    ],
)
def test_errors_keep_their_kind(executor: Executor, kind: str, error: type[BaseException]) -> None:
    with pytest.raises(error) as caught:
        list(executor.run(executor_tasks.raise_kind, [kind]))
    if kind == "extra":
        assert str(caught.value) == str(MissingExtraError("that", "train"))


def test_a_task_whose_workers_always_die_is_an_error(mortal: tuple[Executor, Callable[[int], int]]) -> None:
    executor, function = mortal
    with pytest.raises(TrainingError, match="died"):
        list(executor.run(function, [0, 1, 2]))


def test_a_task_whose_workers_always_die_fails_alone(mortal: tuple[Executor, Callable[[int], int]]) -> None:
    """With something to stand for its result, the others go on."""
    executor, function = mortal
    told: list[tuple[int, str]] = []

    def failed(task: int, reason: str) -> int:
        told.append((task, reason))
        return -1

    results = list(executor.run(function, [0, 1, 2, None, 3, 4], failed))
    assert sorted(results) == [(0, 0), (1, -1), (2, 2), (3, 3), (4, 4)]
    ((task, reason),) = told
    assert task == 1
    assert "died" in reason
    assert "--resume" not in reason


def test_errors_are_errors_whoever_stands_in_for_the_dead(executor: Executor) -> None:
    with pytest.raises(DataError, match="photo two cannot be read"):
        list(executor.run(executor_tasks.fail_at_two, [1, 2, 3], lambda task, reason: -1))


def test_results_before_an_error_are_delivered() -> None:
    for executor in (InlineExecutor(), ProcessExecutor(1), SimulatedExecutor(1, seconds=lambda task: 1.0)):
        results = executor.run(executor_tasks.fail_at_two, [0, 1, 2])
        assert [next(results), next(results)] == [(0, 0), (1, 1)]
        with pytest.raises(DataError):
            next(results)


# Ray


@pytest.mark.slow
def test_a_worker_killed_in_a_cluster_loses_nothing(ray_cluster: Any, tmp_path: Path) -> None:
    tasks = [(tmp_path, number) for number in range(6)]
    results = list(_ray_executor(retries=1).run(executor_tasks.die_once, tasks))
    assert sorted(results) == [((tmp_path, number), number) for number in range(6)]
    assert len(list(tmp_path.iterdir())) == 6  # each died once


@pytest.mark.slow
def test_a_worker_that_always_dies_is_one_clear_line(ray_cluster: Any) -> None:
    with pytest.raises(TrainingError, match=r"a trial's worker died 2 times .*--resume"):
        list(_ray_executor(retries=1).run(executor_tasks.die, [1]))


@pytest.mark.slow
def test_machines_that_cannot_run_a_trial_end_the_search(ray_cluster: Any) -> None:
    """No trial could do better, so none of them has failed: a function that only this machine knows."""
    function = _OnlyHere()
    with pytest.raises(TrainingError, match=r"the cluster cannot run a trial \(.*nowhere.*--resume"):
        list(_ray_executor().run(function, [1], lambda task, reason: -1))


@pytest.mark.slow
def test_a_search_on_a_busy_cluster_does_not_wait_for_others(ray_cluster: Any, tmp_path: Path) -> None:
    """They have all of its room first, then half of it, and leave at last."""
    import ray  # noqa: PLC0415  (an optional part)

    leave = [tmp_path / "first", tmp_path / "second"]
    others = [ray.remote(num_cpus=1, max_retries=0)(executor_tasks.hold_core).remote(path) for path in leave]
    # Not only that no core is free: what an earlier test had may not all be given back yet.
    wait_for(lambda: all(path.with_suffix(".began").exists() for path in leave))
    executor = _ray_executor()
    known: list[int] = []
    drawn: list[int] = []

    def tasks(enough: Callable[[], bool]) -> Iterator[int]:
        assert leave[0].exists()  # before, no task could have started
        while not enough():
            drawn.append(len(drawn))
            assert len(drawn) - len(known) <= 1 + leave[1].exists()
            yield drawn[-1]

    timer = threading.Timer(1.0, leave[0].touch)
    timer.start()
    try:
        for task, _ in executor.run(executor_tasks.same, tasks(lambda: len(known) >= 3)):
            known.append(task)
        assert known == drawn == [0, 1, 2]
        assert ray.wait(others, num_returns=2, timeout=0)[1] == others[1:]  # still at work
        wait_for(lambda: executor.workers == 1)

        leave[1].touch()
        end, side_by_side = time.monotonic() + 60, [0]
        both = tasks(lambda: side_by_side[-1] == 2 or time.monotonic() > end)
        for task, _ in executor.run(executor_tasks.same, both):
            side_by_side.append(max(side_by_side[-1], len(drawn) - len(known)))
            known.append(task)
        assert side_by_side[-1] == 2
        assert sorted(known) == drawn
    finally:
        timer.join()
        leave[1].touch()


@pytest.mark.slow
def test_a_cluster_asks_again_only_after_a_result(
    ray_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it looks after its machines meanwhile."""
    monkeypatch.setattr("wisp.search.cluster._LOOK_SECONDS", 0.02)
    known: list[int] = []
    asked: list[int] = []

    def tasks() -> Iterator[tuple[Path, int] | None]:
        yield tmp_path, 0
        while not known:
            asked.append(len(asked))
            yield None
        yield tmp_path, 1

    for _, number in _ray_executor().run(executor_tasks.slow, tasks()):
        known.append(number)
    assert known == [0, 1]
    assert len(asked) <= 1


@pytest.mark.slow
def test_a_trial_in_a_cluster_that_is_stopped_can_save(ray_cluster: Any, tmp_path: Path) -> None:
    tasks = [("long", tmp_path), ("quick", tmp_path)]
    with closing(_ray_executor().run(executor_tasks.work_until_stopped, tasks)) as results:
        assert next(results)[1] == "quick"
        wait_for(lambda: len(pids(tmp_path, "began")) == 1)
    assert pids(tmp_path, "saved") == pids(tmp_path, "began")


@pytest.mark.slow
def test_a_machine_that_dies_mid_trial_loses_nothing(ray_cluster: Any, tmp_path: Path) -> None:
    third = ray_cluster.add_node(num_cpus=1)
    executor = _ray_executor()
    wait_for(lambda: executor.workers == 3)
    (tmp_path / f"doomed-{third.node_id}").touch()
    drawn: list[int] = []
    done: set[int] = set()
    died_after: list[int] = []
    end = time.monotonic() + 240

    def tasks() -> Iterator[tuple[Path, int]]:
        """Until the third machine has been killed at work, and a few more; starting a worker may take it a while."""
        while time.monotonic() < end and (not died_after or len(drawn) < died_after[0] + 4):
            drawn.append(len(drawn))
            yield tmp_path, drawn[-1]

    for _, number in executor.run(executor_tasks.slow, tasks()):
        done.add(number)
        if not died_after and any(tmp_path.glob(f"began-*-{third.node_id}")):  # and it will not end there
            died_after.append(len(drawn))
            ray_cluster.remove_node(third, allow_graceful=False)
    assert died_after
    assert done == set(drawn)
    assert len(list(tmp_path.glob("began-*"))) > len(drawn)  # what the dead machine had begun was begun again


def test_no_cluster_is_one_line() -> None:
    cluster = pytest.importorskip("wisp.search.cluster")
    if cluster.ray.is_initialized():
        pytest.skip("this process is connected to one")
    with pytest.raises(InputError, match=r"--ray 127\.0\.0\.1:1: no Ray cluster there .*ray start --head"):
        cluster.RayExecutor("127.0.0.1:1")


# Processes


def test_at_least_one_worker() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ProcessExecutor(0)


def test_tasks_run_in_other_processes_side_by_side(tmp_path: Path) -> None:
    with closing(ProcessExecutor(2).run(executor_tasks.wait_or_return, _mixed(tmp_path, 1))) as results:
        assert next(results)[1] == "quick"  # while the other one waits
    assert os.getpid() not in pids(tmp_path, "began")


def _mixed(folder: Path, quick: int) -> list[tuple[str, Path]]:
    return [("wait", folder), *[("quick", folder)] * quick]


def test_a_consumer_that_stops_stops_the_workers(tmp_path: Path) -> None:
    with closing(ProcessExecutor(2).run(executor_tasks.wait_or_return, _mixed(tmp_path, 3))) as results:
        next(results)
        wait_for(lambda: len(pids(tmp_path, "began")) == 1)
    assert pids(tmp_path, "saved") == pids(tmp_path, "began")
    assert not any(is_running(pid) for pid in pids(tmp_path, "began"))


def test_a_worker_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_GRACE_SECONDS", 0.2)

    def tasks() -> Iterator[Path]:
        yield tmp_path
        wait_for(lambda: len(pids(tmp_path, "began")) == 1)
        raise DataError("no more")

    with pytest.raises(DataError, match="no more"):
        list(ProcessExecutor(2).run(executor_tasks.sleep_deaf, tasks()))
    (pid,) = pids(tmp_path, "began")
    wait_for(lambda: not is_running(pid))


def test_a_killed_worker_is_one_clear_line() -> None:
    with pytest.raises(TrainingError, match=r"a worker process died \(exit code -9: .*--resume") as caught:
        list(ProcessExecutor(2).run(executor_tasks.die, [0, 1]))
    assert "\n" not in str(caught.value)


def test_a_killed_workers_task_is_begun_again(tmp_path: Path) -> None:
    executor = ProcessExecutor(2, reuse=True, retries=1)
    results = list(executor.run(executor_tasks.die_once, [(tmp_path, task) for task in range(3)]))
    assert sorted(result for _, result in results) == [0, 1, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["died-0", "died-1", "died-2"]


def test_one_process_does_many_tasks() -> None:
    seen = [pid for _, pid in ProcessExecutor(1, reuse=True).run(executor_tasks.own_pid, range(3))]
    assert len(set(seen)) == 1
    assert not is_running(seen[0])
    fresh = [pid for _, pid in ProcessExecutor(1).run(executor_tasks.own_pid, range(2))]
    assert len(set(fresh)) == 2


def test_a_bug_keeps_the_workers_traceback() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        list(ProcessExecutor(1).run(executor_tasks.raise_kind, ["bug"]))
    assert "in raise_kind" in "".join(caught.value.__notes__)


def test_an_error_that_cannot_travel_is_told_in_words() -> None:
    with pytest.raises(TrainingError, match="FoldedError in a worker process: this and that"):
        list(ProcessExecutor(1).run(executor_tasks.raise_kind, ["folded"]))


def test_a_result_that_cannot_travel_is_an_error() -> None:
    with pytest.raises(Exception, match="lambda"):
        list(ProcessExecutor(1).run(executor_tasks.return_lambda, [1]))


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A program of its own process group with two workers, both at work."""
    program = Path(__file__).with_name("executor_parent.py")
    process = subprocess.Popen(
        [sys.executable, program, tmp_path], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for(lambda: len(pids(tmp_path, "began")) == 2)
    yield process
    process.kill()
    process.wait()
    assert process.stderr is not None
    process.stderr.close()


def test_ctrl_c_reaches_the_parent_which_stops_its_workers(
    parent: subprocess.Popen[str], tmp_path: Path
) -> None:
    os.killpg(parent.pid, signal.SIGINT)  # what a terminal does: all of the group get it
    _, printed = parent.communicate(timeout=60)
    assert parent.returncode == 130
    assert printed == ""
    assert pids(tmp_path, "saved") == pids(tmp_path, "began")
    assert not any(is_running(pid) for pid in pids(tmp_path, "began"))


def test_workers_of_a_killed_parent_save_and_end(parent: subprocess.Popen[str], tmp_path: Path) -> None:
    parent.kill()
    wait_for(lambda: not any(is_running(pid) for pid in pids(tmp_path, "began")))
    assert pids(tmp_path, "saved") == pids(tmp_path, "began")


def test_what_a_worker_process_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, one step after the other: what the tests above saw from outside."""
    handlers = []
    monkeypatch.setattr(signal, "signal", lambda *args: handlers.append(args))
    ours, theirs = multiprocessing.Pipe()
    ours.send_bytes(pickle.dumps((executor_tasks.square, 3)))
    ours.send_bytes(pickle.dumps((executor_tasks.fail_at_two, 2)))
    ours.send_bytes(pickle.dumps((executor_tasks.raise_kind, "interrupt")))
    executors._start(theirs)  # it ends: it was told to stop
    assert ours.recv() == (9, None)
    assert isinstance(ours.recv()[1], DataError)
    assert isinstance(ours.recv()[1], KeyboardInterrupt)
    assert handlers == [(signal.SIGTERM, signal.default_int_handler)]
    ours.close()  # the parent went away
    executors._start(theirs)
    theirs.close()

    class Parent:
        sentinel, other_end = os.pipe()

    os.close(Parent.other_end)
    killed = []
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: Parent)
    monkeypatch.setattr(os, "kill", lambda *args: killed.append(args))
    executors._stop_with_parent()
    os.close(Parent.sentinel)
    assert killed == [(os.getpid(), signal.SIGTERM)]
