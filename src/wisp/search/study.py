"""The loop of a search: the strategy decides, an executor runs, the store remembers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

from wisp.errors import InputError, WispError
from wisp.search.executors import Executor
from wisp.search.store import StoredTrial, TrialStore, Turn
from wisp.search.strategy import Proposal, Result, Strategy

_SIGN_SECONDS = 10.0  # between two signs of life
_LEASE_SECONDS = 120.0  # of silence, after which another machine takes over
_POLL_SECONDS = 1.0  # for results of other machines
_MOST_BEGUN = 5  # times; a trial whose process died as often is what kills it


@dataclass(frozen=True)
class Assignment:
    """A proposal for a worker: its number, and the weights to begin with (None for random ones)."""

    number: int
    proposal: Proposal
    weights: bytes | None = field(repr=False)


@dataclass(frozen=True)
class Outcome:
    """What a worker hands back; `weights` are for trials that begin where this one ended."""

    result: Result
    weights: bytes | None = field(repr=False, default=None)


@dataclass
class Study:
    """A search under way.

    Attributes:
        strategy: fresh; it is brought to where the store's log ends.
        store: holds the log. Several studies, also on other machines, may share it.
        executor: runs the trials.
        function: one trial. It must be picklable, and turn a training that fails into a result with an `error`.
        owner: names this machine and job among those that share the store, and again after a restart.
        left: seconds of the budget that are left; no further trial begins at 0, but one there must be.
        most_trials: no further trial begins after so many; None for no limit.
        failed: the outcome, with an `error`, of a trial whose worker, or the whole job, dies however often it is begun
            again; None: such a worker ends the search, and such a job is left to its user.
        overhead_seconds: time so far that neither trained nor waited for training.
        ran: results of the trials that ran here, in this run.
    """

    strategy: Strategy
    store: TrialStore
    executor: Executor
    function: Callable[[Assignment], Outcome]
    owner: str = "local"
    left: Callable[[], float] = lambda: float("inf")
    most_trials: int | None = None
    failed: Callable[[Assignment, str], Outcome] | None = None
    overhead_seconds: float = 0.0
    ran: list[Result] = field(default_factory=list)
    _proposals: list[Proposal] = field(default_factory=list, repr=False)
    _told: set[int] = field(default_factory=set, repr=False)
    _mine: set[int] = field(default_factory=set, repr=False)
    _sequence: int = -1  # of the last line of the log that the strategy has seen

    @property
    def done(self) -> int:
        """How many trials have ended, as far as this process knows."""
        return len(self._told)

    def run(self) -> list[StoredTrial]:
        """Search until the budget is used up; all trials so far, those of earlier runs and other machines included.

        Raises:
            InputError: the store cannot be used, or its log is that of another strategy.
            WispError: the executor cannot go on.
        """
        running = self.executor.run(self.function, self._assignments(), self.failed)
        try:
            with self._signs(), closing(running) as outcomes:
                for assignment, outcome in outcomes:
                    with self._counted(), self.store.turn() as turn:
                        self._take(turn, assignment.number, outcome)
        except KeyboardInterrupt:  # what ran did not die: it was asked to stop, and goes on with --resume
            with suppress(InputError), self.store.turn() as turn:
                turn.put_down(self._mine)
            raise
        return self.store.trials()

    def _assignments(self) -> Iterator[Assignment | None]:
        """What to run next, decided as late as possible; None while a result must come first."""
        while True:
            assignment: Assignment | None = None
            with self._counted():
                with self.store.turn() as turn:
                    self._catch_up(turn)
                    if self.left() <= 0 and self._has_candidate:
                        return
                    number = self._adopt(turn)
                    if number is None and self._is_full:
                        return
                    if number is None:
                        number = self._propose(turn)
                    elsewhere = turn.running_elsewhere(self.owner)
                if number is not None:
                    self._mine.add(number)
                    assignment = self._assignment(number)
            if assignment is None and not self._mine:
                if not elsewhere:
                    raise WispError("the strategy proposes nothing although nothing runs; this is a bug")
                time.sleep(_POLL_SECONDS)
            yield assignment

    def _adopt(self, turn: Turn) -> int | None:
        """A trial to run that nobody runs any more; one that every process died of has failed."""
        while True:
            adopted = turn.adopt(
                self.owner, silent_since=time.time() - _LEASE_SECONDS, own=frozenset(self._mine)
            )
            if adopted is None:
                return None
            if adopted.begun <= _MOST_BEGUN or self.failed is None:
                return adopted.trial
            reason = f"whatever ran it died, {adopted.begun - 1} times"
            self._take(turn, adopted.trial, self.failed(self._assignment(adopted.trial), reason))

    @property
    def _has_candidate(self) -> bool:
        """One trial there must be, however short the time, and a supernet is no network to go on with."""
        return any(not self._proposals[number].elastic for number in self._told | self._mine)

    @property
    def _is_full(self) -> bool:
        return (
            self.most_trials is not None and len(self._proposals) >= self.most_trials and self._has_candidate
        )

    def _propose(self, turn: Turn) -> int | None:
        """The strategy's next proposal, written down; None where it waits."""
        proposal = self.strategy.ask()
        if proposal is None:
            return None
        number = len(self._proposals)
        self._sequence += 1
        turn.ask(self._sequence, number, proposal, self.owner)
        self._proposals.append(proposal)
        return number

    def _assignment(self, number: int) -> Assignment:
        proposal = self._proposals[number]
        weights = None if proposal.start is None else self.store.weights(proposal.start)
        return Assignment(number, proposal, weights)

    def _take(self, turn: Turn, number: int, outcome: Outcome) -> None:
        """A result: into the log, and to the strategy."""
        self._catch_up(turn)
        self._mine.discard(number)
        self.ran.append(outcome.result)
        if number in self._told:  # taken over by another machine, which was faster
            return
        self._sequence += 1
        turn.tell(self._sequence, number, outcome.result, outcome.weights)
        self._tell(number, outcome.result)

    def _catch_up(self, turn: Turn) -> None:
        """Give the strategy what is new in the log."""
        for event in turn.events(self._sequence):
            if event.proposal is not None:
                proposal = self.strategy.ask()
                if proposal != event.proposal:
                    raise InputError(
                        f"search '{self.store.study}': trial {event.trial} was another proposal; go on with the "
                        "version of wisp and its libraries that it was begun with, or start again with --overwrite"
                    )
                self._proposals.append(event.proposal)
            elif event.result is not None:
                self._tell(event.trial, event.result)
            self._sequence = event.sequence

    def _tell(self, number: int, result: Result) -> None:
        self._told.add(number)
        self.strategy.tell(number, self._proposals[number], result)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.overhead_seconds += time.perf_counter() - began

    @contextmanager
    def _signs(self) -> Iterator[None]:
        """Give signs of life, so that no other machine takes over what runs here."""
        finished = threading.Event()

        def sign() -> None:
            while not finished.wait(_SIGN_SECONDS):
                # A database that is away for a while must not cost what runs here: the next sign may arrive. One that
                # stays away ends the search at its next turn.
                with suppress(InputError):
                    self.store.sign(self.owner)

        thread = threading.Thread(target=sign, daemon=True)
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join()
