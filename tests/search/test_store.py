"""Searches that are remembered: SQLite, several machines that share one, kills, and what a user gets wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from wisp.errors import InputError
from wisp.search import study as study_module
from wisp.search.executors import InlineExecutor
from wisp.search.halving import Halving, RandomSource
from wisp.search.sampling import Sampler
from wisp.search.simulation import LearningCurves, SimulatedExecutor, SimulatedTraining
from wisp.search.space import Space
from wisp.search.store import _CLAIMS, _WEIGHTS, TrialStore, begun_with
from wisp.search.strategy import Proposal, Result
from wisp.search.study import Assignment, Outcome, Study

SPACE = Space(3)
PROPOSAL = Proposal(SPACE.encode(SPACE.decode(Sampler(SPACE).haven)), 4)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TrialStore]:
    made = TrialStore(tmp_path / "new" / "trials.db", "study", {"seed": 0})
    yield made
    made.close()


def test_what_is_written_is_there(store: TrialStore) -> None:
    result = Result(0.7, 123_456, 1.5)
    with store.turn() as turn:
        assert turn.events() == []
        turn.ask(0, 0, PROPOSAL, "here")
    with store.turn() as turn:
        turn.ask(1, 1, Proposal(PROPOSAL.genes, 8, start=0), "here")
        turn.tell(2, 0, result, b"weights")
    again = TrialStore(store.where, "study", {"seed": 0})
    first, second = again.trials()
    assert (first.proposal, first.result) == (PROPOSAL, result)
    assert (second.proposal.start, second.result) == (0, None)
    assert again.weights(0) == b"weights"
    assert again.weights(1) is None
    with again.turn() as turn:
        assert [event.kind for event in turn.events()] == ["ask", "ask", "tell"]
        assert [event.trial for event in turn.events(after=1)] == [0]
    again.close()


def test_a_turn_that_fails_leaves_nothing(store: TrialStore) -> None:
    def fail() -> None:
        with store.turn() as turn:
            turn.ask(0, 0, PROPOSAL, "here")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.trials() == []


def test_studies_in_one_database_do_not_meet(store: TrialStore) -> None:
    other = TrialStore(store.where, "other", {"seed": 5})
    with store.turn() as turn:
        turn.ask(0, 0, PROPOSAL, "here")
    assert other.trials() == []
    other.close()


def test_trials_of_the_dead_are_taken_over_once(store: TrialStore) -> None:
    now = time.time()
    with store.turn() as turn:
        for number in range(3):
            turn.ask(number, number, PROPOSAL, "dead" if number < 2 else "living")
    store.sign("living")
    with store.turn() as turn:
        assert turn.running_elsewhere("me") == 3
        assert turn.adopt("me", silent_since=now - 60) is None
        assert turn.adopt("me", silent_since=now + 60, own=frozenset()) == (0, 2)
        assert turn.adopt("me", silent_since=now - 60, own=frozenset({0})) is None
        assert turn.adopt("me", silent_since=now - 60, own=frozenset()) == (
            0,
            3,
        )  # mine, from an earlier life
        assert turn.owner(0) == "me"
        assert turn.running_elsewhere("me") == 2
        turn.tell(3, 0, Result(0.5, 1, 1.0), None)
        assert turn.owner(0) is None


def test_other_settings_are_named(store: TrialStore) -> None:
    with pytest.raises(InputError, match=r"begun with seed = 0, not 1; .*--out or --study"):
        TrialStore(store.where, "study", {"seed": 1})
    assert begun_with(store.where, "study") == {"seed": 0}
    assert begun_with(store.where, "another") is None
    assert begun_with(store.where + "-not-there", "study") is None
    TrialStore(store.where, "decided", {"seed": 0}, {"epochs": 7}).close()
    TrialStore(store.where, "decided", {"seed": 0}, {"epochs": 9}).close()  # the first one decided
    assert begun_with(store.where, "decided") == {"seed": 0, "epochs": 7}
    with pytest.raises(InputError, match=r"begun with data = None, not 'photos'"):
        TrialStore(store.where, "study", {"seed": 0, "data": "photos"})
    TrialStore(store.where, "limited", {"limits": {"macs": 9, "params": None}}).close()
    with pytest.raises(InputError, match=r"begun with limits\.params = None, not 7; use"):
        TrialStore(store.where, "limited", {"limits": {"params": 7, "macs": 9}})


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense://somewhere", r"--storage nonsense: cannot be used .*SQLAlchemy URL"),
        ("postgresql+pg8000://me:secret@127.0.0.1:1/none", r"\*\*\*.*: the database failed"),
        ("sqlite:////dev/null/none.db", "the database failed"),
    ],
)
def test_databases_that_cannot_be_used(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        TrialStore(url, "study", {})
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "trials.db"
    path.write_text("no database at all, but long enough to look at: " * 40)
    with pytest.raises(InputError, match="the database failed"):
        TrialStore(path, "study", {})


def drive(url: str | Path, trials: int, owner: str = "local") -> Study:
    store = TrialStore(url, "shared", {"seed": 3})
    strategy = Halving(RandomSource(Sampler(SPACE), 3), (2, 6, 18))
    training = SimulatedTraining(LearningCurves(SPACE))
    return Study(strategy, store, InlineExecutor(), training, owner=owner, most_trials=trials)


def test_a_killed_search_goes_on(tmp_path: Path) -> None:
    """A process of its own, killed without warning while it runs."""
    database = tmp_path / "trials.db"
    driver = str(Path(__file__).with_name("search_driver.py"))
    process = subprocess.Popen([sys.executable, driver, database, "me", "5000"])
    try:
        began = time.monotonic()
        while not _finished(database, 4):
            assert process.poll() is None
            assert time.monotonic() - began < 120
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    study = drive(database, 0, "me")
    before = {trial.number: trial.result for trial in study.store.trials()}
    assert sum(result is None for result in before.values()) <= 1  # the one that ran
    study.most_trials = len(before) + 20
    trials = study.run()
    study.store.close()
    assert len(trials) == len(before) + 20
    assert all(trial.result for trial in trials)
    assert all(trials[number].result == result for number, result in before.items() if result)
    whole = drive(tmp_path / "whole.db", len(trials))
    assert whole.run() == trials
    whole.store.close()


def test_signs_of_life_go_on_after_the_database_was_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart of the server in the middle of a long trial: nobody else may take the trial over."""
    monkeypatch.setattr(study_module, "_SIGN_SECONDS", 0.02)
    study = drive(tmp_path / "trials.db", 1, "me")
    sign, training = study.store.sign, study.function
    tried: list[str] = []
    signed: list[float] = []

    def away_twice(owner: str) -> None:
        tried.append(owner)
        if len(tried) <= 2:
            raise InputError("the database failed (connection refused)")
        now = time.time()
        sign(owner)
        signed.append(now)

    def long_trial(assignment: Assignment) -> Outcome:
        began = time.time()
        while not signed or signed[-1] < began:
            assert time.time() < began + 30, "no sign of life after a failed one"
            time.sleep(0.01)
        with study.store.turn() as turn:
            assert turn.adopt("other", silent_since=began) is None
        return training(assignment)

    monkeypatch.setattr(study.store, "sign", away_twice)
    study.function = long_trial
    (trial,) = study.run()
    study.store.close()
    assert trial.result
    assert set(tried) == {"me"}


def test_a_trial_that_kills_its_workers_fails_and_the_search_goes_on(tmp_path: Path) -> None:
    """Else it would end the search, and be the first to be begun when the search is resumed."""
    study = drive(tmp_path / "trials.db", 4)
    study.executor = SimulatedExecutor(
        1,
        seconds=lambda assignment: 1e9 if assignment.number == 1 else 0.0,
        failures_an_hour=1.0,
        retries=2,
    )
    study.failed = lambda assignment, reason: Outcome(Result(0.0, 7, 0.0, reason))
    trials = study.run()
    study.store.close()
    assert [bool(trial.result and trial.result.error) for trial in trials] == [False, True, False, False]
    assert trials[1].result == Result(0.0, 7, 0.0, "workers died 3 times with the same task")
    again = drive(tmp_path / "trials.db", 5)
    assert again.run()[:4] == trials  # nothing of it runs once more
    assert [result.error for result in again.ran] == [""]
    again.store.close()


def test_a_trial_that_kills_the_whole_job_fails_in_the_end(tmp_path: Path) -> None:
    """On one worker it runs in the job's own process: whoever resumes would die of it for ever."""
    begun = []

    def resumed(trials: int) -> Study:
        study = drive(tmp_path / "trials.db", trials)
        training = study.function

        def deadly(assignment: Assignment) -> Outcome:
            if assignment.number == 1:
                begun.append(assignment)
                raise SystemExit("killed")
            return training(assignment)

        study.function = deadly
        study.failed = lambda assignment, reason: Outcome(Result(0.0, 7, 0.0, reason))
        return study

    for _ in range(5):
        study = resumed(4)
        with pytest.raises(SystemExit):
            study.run()
        study.store.close()
    study = resumed(4)
    trials = study.run()
    study.store.close()
    assert [assignment.number for assignment in begun] == [1] * 5
    assert trials[1].result == Result(0.0, 7, 0.0, "whatever ran it died, 5 times")
    assert [bool(trial.result and trial.result.error) for trial in trials] == [False, True, False, False]


def test_to_be_asked_to_stop_is_not_to_die(tmp_path: Path) -> None:
    """However often somebody pauses a search in its second trial, the trial goes on."""
    for _ in range(7):
        study = drive(tmp_path / "trials.db", 4)
        training = study.function

        def paused(assignment: Assignment, training: Any = training) -> Outcome:
            if assignment.number == 1:
                raise KeyboardInterrupt
            outcome: Outcome = training(assignment)
            return outcome

        study.function = paused
        study.failed = lambda assignment, reason: Outcome(Result(0.0, 7, 0.0, reason))
        with pytest.raises(KeyboardInterrupt):
            study.run()
        study.store.close()
    study = drive(tmp_path / "trials.db", 4)
    study.failed = lambda assignment, reason: Outcome(Result(0.0, 7, 0.0, reason))
    trials = study.run()
    study.store.close()
    assert [bool(trial.result and not trial.result.error) for trial in trials] == [True] * 4


@pytest.mark.parametrize(
    ("suffix", "milliseconds"), [("", 60_000), ("?timeout=7", 7_000)], ids=["ours", "the user's"]
)
def test_a_sqlite_file_given_as_a_url_is_waited_for(tmp_path: Path, suffix: str, milliseconds: int) -> None:
    for url in (f"sqlite:///{tmp_path / 'trials.db'}{suffix}", tmp_path / "a?b" / "trials.db"):
        store = TrialStore(url, "search", {})
        with store.turn() as turn:
            waits = turn._connection.scalar(sa.text("PRAGMA busy_timeout"))
        store.close()
        assert waits == (milliseconds if isinstance(url, str) else 60_000)
    assert (tmp_path / "a?b" / "trials.db").stat().st_size > 0
    assert begun_with(tmp_path / "a?b" / "trials.db", "search") == {}


def test_other_databases_hold_as_much() -> None:
    """MySQL chooses the type by the length; its plain BLOB ends at 64 kB, its FLOAT at steps of two minutes."""
    made = str(sa.schema.CreateTable(_WEIGHTS).compile(dialect=mysql.dialect()))
    assert "BLOB(1073741824)" in made
    assert "DOUBLE" in str(sa.schema.CreateTable(_CLAIMS).compile(dialect=mysql.dialect()))


def _finished(database: Path, least: int) -> bool:
    if not database.exists():
        return False
    try:
        store = TrialStore(database, "shared", {"seed": 3})
    except InputError:  # its tables are being made
        return False
    count = sum(trial.result is not None for trial in store.trials())
    store.close()
    return count >= least


def share(url: str, tmp_path: Path) -> None:
    """Two machines' worth of processes do one search; one of them is killed, and its trial is taken over."""
    driver = str(Path(__file__).with_name("search_driver.py"))
    others = [subprocess.Popen([sys.executable, driver, url, name, "200"]) for name in ("one", "two")]
    store = TrialStore(url, "shared", {"seed": 3})
    try:
        began = time.monotonic()
        while (
            len(list(tmp_path.glob("ran-*"))) < 2 or sum(bool(trial.result) for trial in store.trials()) < 12
        ):
            assert time.monotonic() - began < 120
            time.sleep(0.05)
        others[0].kill()
        others[0].wait()
        assert others[1].wait(timeout=200) == 0
    finally:
        for other in others:
            other.kill()
            other.wait()
    time.sleep(0.6)  # the dead have been silent for longer than the lease
    study = drive(url, 200, "three")
    trials = study.run()
    study.store.close()
    with store.turn() as turn:
        events = turn.events()
        assert turn.running_elsewhere("nobody") == 0
    store.close()
    assert [event.sequence for event in events] == list(range(len(events)))
    assert len(trials) == 200
    assert all(trial.result for trial in trials)
    assert sorted(event.trial for event in events if event.kind == "tell") == list(range(200))
    # Both took part, and each trial was run by one of them.
    ran = [json.loads(line) for path in tmp_path.glob("ran-*") for line in path.read_text().splitlines()]
    assert {line["owner"] for line in ran} == {"one", "two"}


def test_two_processes_share_a_sqlite_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WISP_TEST_FOLDER", str(tmp_path))
    monkeypatch.setattr(study_module, "_LEASE_SECONDS", 0.5)
    share(f"sqlite:///{tmp_path / 'trials.db'}", tmp_path)


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """A PostgreSQL server of its own, on a free port of this machine."""
    initdb, server = (shutil.which(name) for name in ("initdb", "postgres"))
    if initdb is None or server is None:
        pytest.skip("no PostgreSQL on this machine (initdb, postgres)")
    pytest.importorskip("pg8000")
    as_user: dict[str, Any] = {"user": "nobody"} if os.geteuid() == 0 else {}  # the server refuses to be root
    folder = tmp_path / "postgres"
    folder.mkdir()
    for path in (folder, *folder.parents):
        if as_user and Path(tempfile.gettempdir()) in path.parents:
            path.chmod(0o755)
    if as_user:
        shutil.chown(folder, "nobody")
    data = folder / "data"
    subprocess.run(
        [initdb, "-D", data, "-U", "wisp", "-A", "trust", "-N"], check=True, capture_output=True, **as_user
    )
    port = _free_port()
    process = subprocess.Popen(
        [server, "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **as_user,
    )
    url = f"postgresql+pg8000://wisp@127.0.0.1:{port}/postgres"
    began = time.monotonic()
    try:
        while True:
            try:
                TrialStore(url, "hello", {}).close()
                break
            except InputError:
                assert time.monotonic() - began < 60
                time.sleep(0.1)
        yield url
    finally:
        process.send_signal(signal.SIGINT)  # its clients are dismissed
        process.wait(timeout=60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_two_processes_share_a_postgresql(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WISP_TEST_FOLDER", str(tmp_path))
    monkeypatch.setattr(study_module, "_LEASE_SECONDS", 0.5)
    share(postgres, tmp_path)
