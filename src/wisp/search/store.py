"""What a search remembers: every proposal, every result and the weights of every trial, in a database.

SQLite in a file by default; any SQLAlchemy URL (PostgreSQL, say) where several machines share a search. The truth is a
log: proposals and results in the order in which the strategy met them. A strategy that is given the same log again
stands where the other one stood, so whoever reads it can go on: the same machine after a kill, or another one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from wisp.errors import InputError
from wisp.search.strategy import Proposal, Result

_LARGEST_WEIGHTS = 1 << 30  # bytes; databases that choose a type by it (MySQL) take one that holds them
_SQLITE_WAIT_SECONDS = 60.0  # for another process's turn
_TABLES = sa.MetaData()
_STUDIES = sa.Table(
    "wisp_studies",
    _TABLES,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("settings", sa.Text, nullable=False),
    sa.Column("turns", sa.Integer, nullable=False),  # raised to take the lock; says nothing
)
_EVENTS = sa.Table(
    "wisp_events",
    _TABLES,
    sa.Column("study", sa.String(200), primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("trial", sa.Integer, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
_CLAIMS = sa.Table(  # trials that run, and who runs them
    "wisp_claims",
    _TABLES,
    sa.Column("study", sa.String(200), primary_key=True),
    sa.Column("trial", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("owner", sa.String(500), nullable=False),
    sa.Column("seen", sa.Double, nullable=False),  # time.time() of the owner's last sign of life
    sa.Column("begun", sa.Integer, nullable=False),  # how often, this time included
)
_WEIGHTS = sa.Table(
    "wisp_weights",
    _TABLES,
    sa.Column("study", sa.String(200), primary_key=True),
    sa.Column("trial", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("data", sa.LargeBinary(_LARGEST_WEIGHTS), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log; `proposal` belongs to an ask, `result` to a tell."""

    sequence: int
    kind: Literal["ask", "tell"]
    trial: int
    proposal: Proposal | None
    result: Result | None


@dataclass(frozen=True, slots=True)
class StoredTrial:
    """A trial as it stands; `result` is None while it runs."""

    number: int
    proposal: Proposal
    result: Result | None


class Adopted(NamedTuple):
    """A trial that was taken over, and how often it has been begun by now."""

    trial: int
    begun: int


class TrialStore:
    """One study in a database.

    Args:
        url: a SQLAlchemy URL, or the path of a SQLite file; tables are made where missing.
        study: name of the search; several may share a database.
        settings: what all that take part must agree on; anything that JSON can hold.
        decided: what the first one decides for all; see `begun_with`.

    Raises:
        InputError: the database cannot be used, or the study in it was begun with other settings.
    """

    def __init__(
        self,
        url: str | Path,
        study: str,
        settings: Mapping[str, Any],
        decided: Mapping[str, Any] | None = None,
    ) -> None:
        self.study = study
        self.where = str(url)
        self._engine = _open(url)
        wanted = json.dumps({**(decided or {}), **settings}, sort_keys=True)
        with self._errors():
            self._make_tables()
            with self._engine.begin() as connection:
                known = connection.scalar(sa.select(_STUDIES.c.settings).where(_STUDIES.c.name == study))
            if known is None:
                try:
                    with self._engine.begin() as connection:
                        connection.execute(_STUDIES.insert().values(name=study, settings=wanted, turns=0))
                except sa.exc.IntegrityError:  # another machine was faster
                    with self._engine.begin() as connection:
                        known = connection.scalar(
                            sa.select(_STUDIES.c.settings).where(_STUDIES.c.name == study)
                        )
        if known is not None:
            self._check(json.loads(known), json.loads(json.dumps(settings)))

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """Be the only one that reads and writes the log; what was written counts when the turn ends well.

        Raises:
            InputError: the database cannot be reached.
        """
        with self._errors(), self._engine.begin() as connection:
            # The update takes the study's row (on SQLite the file) until the end of the transaction.
            mine = _STUDIES.c.name == self.study
            connection.execute(_STUDIES.update().where(mine).values(turns=_STUDIES.c.turns + 1))
            yield Turn(connection, self.study)

    def trials(self) -> list[StoredTrial]:
        """All trials so far, by number."""
        with self._errors(), self._engine.begin() as connection:
            events = Turn(connection, self.study).events()
        results = {event.trial: event.result for event in events if event.kind == "tell"}
        return [
            StoredTrial(event.trial, event.proposal, results.get(event.trial))
            for event in events
            if event.proposal is not None
        ]

    def weights(self, trial: int) -> bytes | None:
        """The weights that a trial ended with; None where it kept none."""
        query = sa.select(_WEIGHTS.c.data).where(_WEIGHTS.c.study == self.study, _WEIGHTS.c.trial == trial)
        with self._errors(), self._engine.begin() as connection:
            data = connection.scalar(query)
        return None if data is None else bytes(data)

    def sign(self, owner: str) -> None:
        """A sign of life of `owner`, for all that it runs."""
        mine = (_CLAIMS.c.study == self.study) & (_CLAIMS.c.owner == owner)
        with self._errors(), self._engine.begin() as connection:
            connection.execute(_CLAIMS.update().where(mine).values(seen=time.time()))

    def _make_tables(self) -> None:
        """Several processes may do so at once; who comes second can meet the first one's half-made table."""
        for attempt in range(5):
            try:
                with self._engine.begin() as connection:
                    for table in _TABLES.sorted_tables:
                        connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
            except DBAPIError:
                if attempt == 4:
                    raise
                time.sleep(0.1 * 2**attempt)
            else:
                return

    def _check(self, known: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        for name, value in wanted.items():
            earlier, now = known.get(name), value
            if earlier == now:
                continue
            if isinstance(earlier, dict) and isinstance(now, dict):  # the one part of it that differs
                part = next(part for part in now | earlier if earlier.get(part) != now.get(part))
                name, earlier, now = f"{name}.{part}", earlier.get(part), now.get(part)  # noqa: PLW2901
            raise InputError(
                f"{self._shown}: the search '{self.study}' was begun with {name} = {earlier!r}, not {now!r}; use the "
                "same settings, or another --out or --study"
            )

    @property
    def _shown(self) -> str:
        """Where the database is, without a password."""
        return self._engine.url.render_as_string(hide_password=True) if "://" in self.where else self.where

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """The database's own errors, as one line."""
        try:
            yield
        except DBAPIError as error:
            raise InputError(f"{self._shown}: the database failed ({_line(error.orig or error)})") from error


class Turn:
    """The log, while nobody else writes to it."""

    def __init__(self, connection: sa.Connection, study: str) -> None:
        self._connection, self._study = connection, study

    def events(self, after: int = -1) -> list[Event]:
        """The log behind line `after`."""
        rows = self._connection.execute(
            sa.select(_EVENTS.c.sequence, _EVENTS.c.kind, _EVENTS.c.trial, _EVENTS.c.body)
            .where(_EVENTS.c.study == self._study, _EVENTS.c.sequence > after)
            .order_by(_EVENTS.c.sequence)
        )
        return [
            Event(
                sequence,
                kind,
                trial,
                Proposal.from_json(json.loads(body)) if kind == "ask" else None,
                Result.from_json(json.loads(body)) if kind == "tell" else None,
            )
            for sequence, kind, trial, body in rows
        ]

    def ask(self, sequence: int, trial: int, proposal: Proposal, owner: str) -> None:
        """Write down a proposal, and that `owner` runs it."""
        self._append(sequence, "ask", trial, proposal.to_json())
        self._connection.execute(
            _CLAIMS.insert().values(study=self._study, trial=trial, owner=owner, seen=time.time(), begun=1)
        )

    def tell(self, sequence: int, trial: int, result: Result, weights: bytes | None) -> None:
        """Write down a result, with the weights that others may begin with."""
        self._append(sequence, "tell", trial, result.to_json())
        self._connection.execute(_CLAIMS.delete().where(*self._claim(trial)))
        if weights is not None:
            self._connection.execute(_WEIGHTS.insert().values(study=self._study, trial=trial, data=weights))

    def put_down(self, trials: Iterable[int]) -> None:
        """These trials end with their process, which was asked to stop: that they were begun does not count."""
        for trial in trials:
            values = {"begun": _CLAIMS.c.begun - 1}
            self._connection.execute(_CLAIMS.update().where(*self._claim(trial)).values(**values))

    def owner(self, trial: int) -> str | None:
        """Who runs a trial; None where nobody does."""
        owner = self._connection.scalar(sa.select(_CLAIMS.c.owner).where(*self._claim(trial)))
        return None if owner is None else str(owner)

    def running_elsewhere(self, owner: str) -> int:
        """How many trials are with others than `owner`."""
        count = self._connection.scalar(
            sa.select(sa.func.count())
            .select_from(_CLAIMS)
            .where(_CLAIMS.c.study == self._study, _CLAIMS.c.owner != owner)
        )
        return int(count or 0)

    def adopt(self, owner: str, *, silent_since: float, own: frozenset[int] = frozenset()) -> Adopted | None:
        """Take over a trial that nobody runs any more; None where there is none.

        Args:
            owner: who takes it over.
            silent_since: a `time.time()`; who gave no sign of life since then has died.
            own: what `owner` runs. Other trials of the same name are from an earlier life of it.
        """
        rows = self._connection.execute(
            sa.select(_CLAIMS.c.trial, _CLAIMS.c.owner, _CLAIMS.c.seen, _CLAIMS.c.begun)
            .where(_CLAIMS.c.study == self._study)
            .order_by(_CLAIMS.c.trial)
        )
        for trial, current, seen, begun in rows.all():
            if (current == owner and trial not in own) or (current != owner and seen < silent_since):
                values = {"owner": owner, "seen": time.time(), "begun": begun + 1}
                self._connection.execute(_CLAIMS.update().where(*self._claim(trial)).values(**values))
                return Adopted(int(trial), int(begun) + 1)
        return None

    def _claim(self, trial: int) -> tuple[sa.ColumnElement[bool], ...]:
        return _CLAIMS.c.study == self._study, _CLAIMS.c.trial == trial

    def _append(self, sequence: int, kind: str, trial: int, body: Mapping[str, Any]) -> None:
        self._connection.execute(
            _EVENTS.insert().values(
                study=self._study, sequence=sequence, kind=kind, trial=trial, body=json.dumps(body)
            )
        )


def begun_with(url: str | Path, study: str) -> dict[str, Any] | None:
    """The settings that a study was begun with, and what was decided then; None where there is none of this name.

    Raises:
        InputError: the database cannot be used.
    """
    if "://" not in str(url) and not Path(url).is_file():
        return None
    engine = _open(url)
    try:
        with engine.begin() as connection:
            if not sa.inspect(connection).has_table(_STUDIES.name):
                return None
            known = connection.scalar(sa.select(_STUDIES.c.settings).where(_STUDIES.c.name == study))
        return None if known is None else dict(json.loads(known))
    except DBAPIError as error:
        shown = engine.url.render_as_string(hide_password=True)
        raise InputError(f"{shown}: the database failed ({_line(error.orig or error)})") from error
    finally:
        engine.dispose()


def _open(url: str | Path) -> sa.Engine:
    text = str(url)
    try:
        if "://" not in text:
            Path(text).parent.mkdir(parents=True, exist_ok=True)
            parsed = sa.URL.create("sqlite", database=text)
        else:
            parsed = sa.make_url(text)
        waits = parsed.get_backend_name() == "sqlite" and "timeout" not in parsed.query
        options = {"timeout": _SQLITE_WAIT_SECONDS} if waits else {}
        return sa.create_engine(parsed, pool_pre_ping="://" in text, connect_args=options)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, OSError) as error:
        raise InputError(
            f"--storage {text.partition('://')[0]}: cannot be used ({_line(error)}); give a SQLAlchemy URL such as "
            "postgresql+pg8000://user@host/database, with its driver installed"
        ) from error


def _line(error: BaseException) -> str:
    """The first line of an error's message."""
    return (str(error).splitlines() or [type(error).__name__])[0]
