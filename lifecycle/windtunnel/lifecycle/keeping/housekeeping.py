"""Housekeeping of one problem: what is older than its rule says and needed by nobody goes, and readers are told when and why.

Safe beside running tasks: what they read is needed (`windtunnel.lifecycle.keeping.needs`), what they write is younger than any rule, and
only one housekeeping of a problem runs at a time. Safe when killed: each thing first gets its note of expiry, then stops counting, then
goes; the next call goes on.
"""

import contextlib
import dataclasses
import datetime as dt
import logging
from collections.abc import Callable, Iterator

from windtunnel.lifecycle.contract.errors import WindtunnelError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.keeping import files, lake, servers
from windtunnel.lifecycle.keeping.needs import Needs, needs_of
from windtunnel.lifecycle.keeping.report import Freed
from windtunnel.lifecycle.record.ledger import Ledger

__all__ = ["Freed", "Housekeeping", "housekeep"]

log = logging.getLogger("windtunnel.keeping")


@dataclasses.dataclass(frozen=True)
class Housekeeping:
    """What came of it.

    Attributes:
        problem: whose.
        dry: whether it was only looked at.
        freed: a row a kind.
        failed: kind -> why it could not be looked after this time.
    """

    problem: str
    dry: bool
    freed: list[Freed]
    failed: dict[str, str]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(entry.size for entry in self.freed)


def housekeep(problem: Problem, settings: Settings, *, dry: bool = False, now: dt.datetime | None = None) -> Housekeeping:
    """Remove what the problem's ``retention`` lets go.

    Args:
        problem: its ``retention`` has a rule a kind.
        settings: where everything is.
        dry: say what would go, and leave it.
        now: another moment, in tests.

    Raises:
        UnavailableError: the ledger or MLflow is out of reach: what is needed is not known, and nothing was removed.
    """
    now = now or dt.datetime.now(dt.UTC)
    freed: list[Freed] = []
    failed: dict[str, str] = {}
    with Ledger(settings).lock(f"housekeeping:{problem.name}"):
        needs = needs_of(problem, settings, now)
        for kind, look in _kinds(problem, settings, needs, now, dry=dry).items():
            with _noted(kind, failed):
                freed += look()
    for entry in freed:
        log.info("%s: %s", problem.name, entry)
    return Housekeeping(problem.name, dry, freed, failed)


def _kinds(problem: Problem, settings: Settings, needs: Needs, now: dt.datetime, *, dry: bool) -> dict[str, Callable[[], list[Freed]]]:
    """The kinds of things, each with what looks after it."""
    return {
        "artefacts": lambda: files.expire_artefacts(problem, settings, needs, now, dry=dry),
        "tables": lambda: lake.expire_tables(problem, settings, needs, now, dry=dry),
        "MLflow runs": lambda: servers.expire_runs(problem, settings, needs, now, dry=dry),
        "server copies": lambda: servers.expire_copies(problem, settings, needs, dry=dry),
        "server log": lambda: files.expire_log(problem, settings, now, dry=dry),
    }


@contextlib.contextmanager
def _noted(kind: str, failed: dict[str, str]) -> Iterator[None]:
    """One kind that cannot be looked after must not keep the others."""
    try:
        yield
    except (WindtunnelError, OSError) as error:
        log.warning("%s: %s", kind, error)
        failed[kind] = str(error)
