"""The ledger: an append-only, hash-chained record of every decision about models.

Each entry carries the SHA-256 of the entry before it and of its own content, so that a changed, removed, inserted or reordered entry
breaks the chain (`Ledger.verify`). The database refuses UPDATE, DELETE and TRUNCATE by trigger; the chain shows what was done by somebody
who removed the trigger. Appending is serialised, and `Ledger.append` can compare and set: it fails with a `ConflictError` if somebody
else decided since the caller looked.

Kinds of entries: ``evaluation``, ``decision``, ``register``, ``promotion``, ``refusal``, ``rollback``, ``deployment``, and any other word
that a stage finds worth keeping.
"""

import contextlib
import datetime as dt
import fcntl
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool

from windtunnel.lifecycle.contract.errors import ConfigurationError, ConflictError, IntegrityError, UnavailableError
from windtunnel.lifecycle.contract.fingerprint import canonical
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.payload import JsonMapping, JsonObject

__all__ = ["DECISIVE", "GENESIS", "Entry", "InProduction", "Ledger", "Verified"]

GENESIS = "0" * 64
"""What the first entry of a ledger has as its previous hash."""

DECISIVE = ("promotion", "rollback")
"""The kinds of entries that change what is in production."""

_TABLE = "windtunnel_ledger"
_LOCK = 0x77696E64  # "wind": the advisory lock that serialises appends
_PAGE = 64  # entries of one page of `Ledger.newest_first`
_COLUMNS = "seq, problem, kind, at, key, payload, run, previous, hash"


@dataclass(frozen=True)
class Entry:
    """One entry.

    Attributes:
        seq: its place in the chain, from 1.
        problem: the problem's name.
        kind: what happened.
        at: when, ISO with time zone UTC; never before the entry in front of it.
        key: what makes it the only one of its problem and kind, or empty.
        payload: what was decided, on which evidence.
        run: who or what did it.
        previous: the hash of the entry before.
        hash: its own.
    """

    seq: int
    problem: str
    kind: str
    at: str
    key: str
    payload: JsonObject
    run: JsonObject
    previous: str
    hash: str


@dataclass(frozen=True)
class InProduction:
    """Which version was the champion at a moment, since when, and why.

    Attributes:
        entry: the promotion or rollback that made it so.
        until: the entry that ended it, or None if it is still the champion.
        evidence: the entries it rests on, oldest first: evaluation, decision, registration.
    """

    entry: Entry
    until: Entry | None
    evidence: list[Entry] = field(default_factory=list)

    @property
    def version(self) -> str:
        """The model version."""
        return str(self.entry.payload["version"])

    @property
    def by(self) -> str:
        """Who approved it: the person of the decision, else who rolled back or promoted."""
        if self.entry.kind == "rollback":
            return str(self.entry.run.get("by") or self.entry.run.get("dag_id") or "unknown")
        for entry in reversed(self.evidence):
            if entry.kind == "decision" and entry.payload.get("by"):
                return str(entry.payload["by"])
        return str(self.entry.payload.get("approved_by") or self.entry.run.get("by") or self.entry.run.get("dag_id") or "unknown")


@dataclass(frozen=True)
class Verified:
    """What `Ledger.verify` looked at."""

    entries: int
    head: str


class Ledger:
    """The ledger in one database.

    Args:
        settings: ``ledger_uri``, or ``catalog_uri`` where the catalog is an SQL one.

    Example:
        >>> import tempfile
        >>> ledger = Ledger(Settings(ledger_uri=f"sqlite:///{tempfile.mkdtemp()}/ledger.db"))
        >>> entry = ledger.append("churn", "decision", {"approved": True, "by": "ada"}, Run(dag_id="churn"))
        >>> entry.seq, ledger.verify().entries
        (1, 1)
    """

    def __init__(self, settings: Settings) -> None:
        self.uri = _uri(settings)
        self._engine = _engine(self.uri)
        self._ready = False

    @staticmethod
    def configured(settings: Settings) -> bool:
        """Whether the settings name a database for the ledger."""
        return bool(settings.ledger_uri) or (bool(settings.catalog_uri) and not settings.catalog_uri.startswith("http"))

    # Writing ------------------------------------------------------------------------------------------------------------------------

    def append(
        self,
        problem: Problem | str,
        kind: str,
        payload: JsonMapping,
        run: Run | None = None,
        *,
        expect: str | None = None,
        of: Sequence[str] = DECISIVE,
        key: str = "",
    ) -> Entry:
        """Append an entry.

        Args:
            problem: whose.
            kind: what happened.
            payload: plain data.
            run: who or what did it.
            expect: the hash that the newest entry of this problem and of the kinds `of` must have (empty: there must be none); None
                for no condition.
            of: the kinds that `expect` is about.
            key: if given, at most one entry of this problem, kind and key exists: a retry gets the first one back.

        Raises:
            ConflictError: somebody else decided since `expect` was read.
            UnavailableError: the database is out of reach.
        """
        name = _name(problem)
        payload_text, run_text = canonical(dict(payload)), canonical((run or Run()).to_dict())
        with self._writing() as connection:
            if key:
                found = connection.execute(
                    sa.text(f"SELECT {_COLUMNS} FROM {_TABLE} WHERE problem = :p AND kind = :k AND key = :y"),
                    {"p": name, "k": kind, "y": key},
                ).first()
                if found is not None:
                    return _entry(found)
            # After the lock and in the same transaction: nobody can decide between this look and the entry.
            if expect is not None:
                head = self._head(connection, name, of)
                if head != expect:
                    raise _lost(name, of, head, expect)
            last = connection.execute(sa.text(f"SELECT seq, at, hash FROM {_TABLE} ORDER BY seq DESC LIMIT 1")).first()
            seq, previous = (last.seq + 1, last.hash) if last else (1, GENESIS)
            now = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")
            at = max(now, last.at) if last else now  # clocks differ between machines; the chain's order is the truth
            digest = _digest(previous, seq, name, kind, at, key, payload_text, run_text)
            connection.execute(
                sa.text(f"INSERT INTO {_TABLE} ({_COLUMNS}) VALUES (:s, :p, :k, :a, :y, :l, :r, :v, :h)"),
                {
                    "s": seq,
                    "p": name,
                    "k": kind,
                    "a": at,
                    "y": key or None,
                    "l": payload_text,
                    "r": run_text,
                    "v": previous,
                    "h": digest,
                },
            )
        return Entry(seq, name, kind, at, key, json.loads(payload_text), json.loads(run_text), previous, digest)

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock of this name across processes and machines, for steps that must not run twice at once."""
        self._prepare()
        # PostgreSQL lets go of the lock at the end of the transaction, also where the process dies.
        if self._engine.dialect.name != "sqlite":
            number = int.from_bytes(hashlib.sha256(f"windtunnel:{name}".encode()).digest()[:8], "big", signed=True)
            with self._connect() as connection, connection.begin():
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:n)"), {"n": number})
                yield
            return
        path = Path(f"{self._engine.url.database}.{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock")
        with path.open("w", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # Reading ------------------------------------------------------------------------------------------------------------------------

    def head(self, problem: Problem | str, kinds: Sequence[str] = DECISIVE) -> str:
        """The hash of a problem's newest entry of some kinds; empty if there is none: what `append` takes as `expect`."""
        with self._reading() as connection:
            return self._head(connection, _name(problem), kinds)

    def entries(
        self,
        problem: Problem | str | None = None,
        kinds: Sequence[str] = (),
        *,
        key: str = "",
        since: str = "",
        until: str = "",
        limit: int = 0,
    ) -> list[Entry]:
        """Entries, oldest first.

        Args:
            problem: only this one's.
            kinds: only these.
            key: only with this key.
            since: at or after this ISO time.
            until: at or before it.
            limit: only the newest so many; 0 for all.
        """
        wheres, values = ["1 = 1"], dict[str, Any]()
        for column, operator, value in (
            ("problem", "=", _name(problem) if problem else ""),
            ("key", "=", key),
            ("at", ">=", _time(since, first=True) if since else ""),
            ("at", "<=", _time(until) if until else ""),
        ):
            if value:
                name = f"{column}{len(values)}"
                wheres.append(f"{column} {operator} :{name}")
                values[name] = value
        query = f"SELECT {_COLUMNS} FROM {_TABLE} WHERE {' AND '.join(wheres)}"  # names of columns only
        if kinds:
            query += " AND kind IN :kinds"
            values["kinds"] = list(kinds)
        statement = sa.text(f"{query} ORDER BY seq DESC" + (f" LIMIT {int(limit)}" if limit else ""))
        if kinds:
            statement = statement.bindparams(sa.bindparam("kinds", expanding=True))
        with self._reading() as connection:
            return [_entry(row) for row in connection.execute(statement, values)][::-1]

    def newest_first(self, problem: Problem | str, kinds: Sequence[str]) -> Iterator[Entry]:
        """A problem's entries of some kinds, newest first, read page by page: who stops early has not read the whole ledger."""
        # By the place in the chain, not by OFFSET: entries that come in meanwhile shift no page.
        before = 1 << 62
        statement = sa.text(
            f"SELECT {_COLUMNS} FROM {_TABLE} WHERE problem = :p AND kind IN :kinds AND seq < :s ORDER BY seq DESC LIMIT {_PAGE}"
        ).bindparams(sa.bindparam("kinds", expanding=True))
        while True:
            with self._reading() as connection:
                rows = connection.execute(statement, {"p": _name(problem), "kinds": list(kinds), "s": before}).all()
            yield from map(_entry, rows)
            if len(rows) < _PAGE:
                return
            before = rows[-1].seq

    def keyed(self, problem: Problem | str, kind: str, fingerprint: str) -> list[Entry]:
        """A problem's entries of a kind whose key is ``FINGERPRINT:...``, oldest first; by the index, however long the ledger is."""
        query = sa.text(f"SELECT {_COLUMNS} FROM {_TABLE} WHERE problem = :p AND kind = :k AND key >= :a AND key < :b ORDER BY seq")
        # Bounds that hold in every order of texts, also in those that pass over punctuation: hexadecimal digits come before g.
        bounds = {"a": fingerprint, "b": f"{fingerprint}g"}
        with self._reading() as connection:
            rows = connection.execute(query, {"p": _name(problem), "k": kind, **bounds}).all()
        return [entry for entry in map(_entry, rows) if entry.key.startswith(f"{fingerprint}:")]

    def entry(self, identity: str) -> Entry | None:
        """The entry whose hash begins so, or None.

        Raises:
            ConfigurationError: several do, or it is not hexadecimal.
        """
        if not identity or set(identity) - set("0123456789abcdef"):
            raise ConfigurationError(f"an entry is named by its hash, or the beginning of it, but got {identity!r}")
        # Not LIKE, which reads every row: no index serves it in SQLite, nor in PostgreSQL unless its collation is C.
        query = sa.text(f"SELECT {_COLUMNS} FROM {_TABLE} WHERE hash >= :h AND hash < :after ORDER BY hash LIMIT 2")
        with self._reading() as connection:
            rows = connection.execute(query, {"h": identity, "after": f"{identity}g"}).all()
        if len(rows) > 1:
            raise ConfigurationError(f"several entries begin with {identity!r}", hint="give more digits")
        return _entry(rows[0]) if rows else None

    def verify(self, known: Iterable[str] = ()) -> Verified:
        """Check the whole chain.

        Args:
            known: hashes that were seen before and must still be there: they show that the end was not cut off.

        Raises:
            IntegrityError: names the first entry that does not fit.
        """
        previous, seq, missing = GENESIS, 0, set(known)
        query = sa.text(f"SELECT {_COLUMNS} FROM {_TABLE} ORDER BY seq")
        with self._reading() as connection:
            for row in connection.execution_options(stream_results=True, yield_per=5000).execute(query):
                seq += 1
                number, problem, kind, at, key, payload, run, before, digest = row
                what = f"entry {number} ({kind} of {problem}, {at})"
                if number != seq:
                    raise IntegrityError(f"the ledger lacks entry {seq}: {what} follows entry {seq - 1}", seq=seq)
                if before != previous:
                    raise IntegrityError(f"{what} does not follow the entry before it: its previous hash is {before[:12]}", seq=seq)
                if _digest(before, number, problem, kind, at, key or "", payload, run) != digest:
                    raise IntegrityError(f"{what} was changed after it was written: its hash is not that of its content", seq=seq)
                previous = digest
                missing.discard(digest)
        if missing:
            raise IntegrityError(
                f"the ledger lost entries that were seen before: {', '.join(sorted(h[:12] for h in missing))}", missing=sorted(missing)
            )
        return Verified(seq, previous)

    def at(self, problem: Problem | str, time: str | dt.datetime) -> InProduction | None:
        """Which version was in production at a moment, on which evidence; None if none was.

        Args:
            problem: whose.
            time: a moment, ISO or a datetime; without a time zone it is UTC; a date alone is its last microsecond.
        """
        moment = _time(time)
        found: Entry | None = None
        ended: Entry | None = None
        for entry in self.entries(problem, DECISIVE):
            if entry.at > moment:
                ended = entry
                break
            found = entry
        if found is None:
            return None
        identities = [str(h) for h in found.payload.get("evidence", []) if h]
        evidence = [entry for entry in (self.entry(h) for h in identities) if entry is not None]
        return InProduction(found, ended, sorted(evidence, key=lambda entry: entry.seq))

    # The database -------------------------------------------------------------------------------------------------------------------

    def _head(self, connection: Connection, problem: str, kinds: Sequence[str]) -> str:
        statement = sa.text(f"SELECT hash FROM {_TABLE} WHERE problem = :p AND kind IN :kinds ORDER BY seq DESC LIMIT 1").bindparams(
            sa.bindparam("kinds", expanding=True)
        )
        return str(connection.execute(statement, {"p": problem, "kinds": list(kinds)}).scalar() or "")

    def _connect(self) -> Connection:
        try:
            return self._engine.connect()
        except sa.exc.OperationalError as error:
            raise UnavailableError(
                f"the ledger's database {self._engine.url.render_as_string()} is out of reach: {error.orig}",
                hint="is the database up? `windtunnel up` starts or repairs an embedded one",
            ) from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        self._prepare()
        with self._connect() as connection:
            yield connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        self._prepare()
        with self._connect() as connection:
            if self._engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:n)"), {"n": _LOCK})
            yield connection
            connection.commit()

    def _prepare(self) -> None:
        if self._ready:
            return
        with self._connect() as connection:
            sqlite = self._engine.dialect.name == "sqlite"
            if not sa.inspect(connection).has_table(_TABLE):
                connection.rollback()
                if sqlite:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                else:  # CREATE ... IF NOT EXISTS alone can collide in PostgreSQL's own tables
                    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:n)"), {"n": _LOCK})
                for statement in _SCHEMA + (_SQLITE_GUARD if sqlite else _POSTGRES_GUARD):
                    connection.exec_driver_sql(statement)
                connection.commit()
        self._ready = True


_SCHEMA = (
    f"""CREATE TABLE IF NOT EXISTS {_TABLE} (
    seq BIGINT PRIMARY KEY, problem TEXT NOT NULL, kind TEXT NOT NULL, at TEXT NOT NULL, key TEXT, payload TEXT NOT NULL,
    run TEXT NOT NULL, previous TEXT NOT NULL UNIQUE, hash TEXT NOT NULL UNIQUE)""",
    f"CREATE INDEX IF NOT EXISTS {_TABLE}_problem ON {_TABLE} (problem, kind, seq)",
    f"CREATE UNIQUE INDEX IF NOT EXISTS {_TABLE}_key ON {_TABLE} (problem, kind, key)",
)
_SQLITE_GUARD = tuple(
    f"""CREATE TRIGGER IF NOT EXISTS {_TABLE}_no_{verb.lower()} BEFORE {verb} ON {_TABLE}
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"""
    for verb in ("UPDATE", "DELETE")
)
_POSTGRES_GUARD = (
    f"""CREATE OR REPLACE FUNCTION {_TABLE}_refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$""",
    f"""CREATE OR REPLACE TRIGGER {_TABLE}_append_only BEFORE UPDATE OR DELETE ON {_TABLE}
    FOR EACH ROW EXECUTE FUNCTION {_TABLE}_refuse()""",
    f"""CREATE OR REPLACE TRIGGER {_TABLE}_no_truncate BEFORE TRUNCATE ON {_TABLE}
    FOR EACH STATEMENT EXECUTE FUNCTION {_TABLE}_refuse()""",
)


def _lost(name: str, of: Sequence[str], head: str, expect: str) -> ConflictError:
    return ConflictError(
        f"{name}: somebody else decided first: the newest of {', '.join(of)} is {head[:12] or 'none'}, not {expect[:12] or 'none'}",
        hint="look at the present champion and decide anew",
        expected=expect,
        found=head,
    )


def _uri(settings: Settings) -> str:
    uri = settings.ledger_uri or settings.catalog_uri
    if not uri or uri.startswith("http"):
        raise ConfigurationError(
            "the ledger needs a database, but [windtunnel] ledger_uri is empty" + (" and the catalog is a REST one" if uri else ""),
            hint="set ledger_uri to a SQLAlchemy URL of PostgreSQL, such as postgresql://user@host/windtunnel",
        )
    return uri


def _engine(uri: str) -> Engine:
    try:
        url = sa.make_url(uri)
    except sa.exc.ArgumentError as error:
        raise ConfigurationError("the ledger's URL is not a SQLAlchemy URL", hint="such as postgresql://user@host/windtunnel") from error
    backend = url.get_backend_name()
    if backend not in {"postgresql", "sqlite"}:
        raise ConfigurationError(f"the ledger cannot live in {backend!r}", hint="use PostgreSQL; SQLite for trying things out")
    if backend == "sqlite":
        if not url.database or url.database == ":memory:":
            raise ConfigurationError("a ledger in memory would forget everything", hint="give a file: sqlite:////folder/ledger.db")
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        # Transactions are ours to begin (BEGIN IMMEDIATE), so that a writer waits for the one before it instead of failing.
        return sa.create_engine(url, poolclass=NullPool, connect_args={"timeout": 60, "isolation_level": None})
    if url.drivername == "postgresql":  # SQLAlchemy 2.1 would take psycopg 3, which Airflow does not bring along
        url = url.set(drivername="postgresql+psycopg2")
    return sa.create_engine(url, poolclass=NullPool)


def _name(problem: Problem | str) -> str:
    return problem if isinstance(problem, str) else problem.name


def _time(value: str | dt.datetime, *, first: bool = False) -> str:
    try:
        moment = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(value)
    except ValueError as error:
        raise ConfigurationError(f"a time must be ISO, such as 2013-02-01T12:00, but got {value!r}") from error
    if isinstance(value, str) and len(value) == len("2013-02-01") and not first:
        moment = moment.replace(hour=23, minute=59, second=59, microsecond=999_999)
    moment = moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    return moment.isoformat(timespec="microseconds")


def _digest(previous: str, seq: int, problem: str, kind: str, at: str, key: str, payload: str, run: str) -> str:
    return hashlib.sha256(json.dumps([previous, seq, problem, kind, at, key, payload, run]).encode()).hexdigest()


def _entry(row: Any) -> Entry:
    return Entry(
        row.seq, row.problem, row.kind, row.at, row.key or "", json.loads(row.payload), json.loads(row.run), row.previous, row.hash
    )
