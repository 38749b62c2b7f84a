"""The Iceberg catalog: opened once a process, and what its databases and object stores raise turned into our errors."""

import contextlib
import functools
import os
import random
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from windtunnel.lifecycle.contract.errors import ConfigurationError, UnavailableError
from windtunnel.lifecycle.contract.settings import Settings

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog


__all__ = ["ATTEMPTS", "catalog", "pause", "reaching"]


ATTEMPTS = 60
"""How often a change of a table is tried while others keep changing it."""

_FIRST_USERS = 5


def catalog(settings: Settings) -> "Catalog":
    """The Iceberg catalog of the settings: SQL (PostgreSQL, SQLite) or, for an http(s) URL, REST.

    Raises:
        ConfigurationError: the settings do not name one.
        UnavailableError: it is out of reach.
    """
    # By process: a forked child must not talk over the connections of its parent.
    return _catalog(settings.need("catalog_uri"), settings.need("warehouse"), os.getpid())


@functools.lru_cache(maxsize=8)
def _catalog(uri: str, warehouse: str, _process: int) -> "Catalog":
    import sqlalchemy.exc

    kind = "rest" if uri.startswith(("http://", "https://")) else "sql"
    uri = re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", uri)  # the driver that is installed, not SQLAlchemy's default
    # Two first users of an empty database make the catalog's tables at once: whoever loses finds them made. SQLite says so by an
    # OperationalError, PostgreSQL by an IntegrityError or a ProgrammingError.
    lost = (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError, sqlalchemy.exc.OperationalError)
    for attempt in range(_FIRST_USERS):
        with contextlib.suppress(*lost):
            return _opened(kind, uri, warehouse)
        pause(attempt)
    return _opened(kind, uri, warehouse)


def _opened(kind: str, uri: str, warehouse: str) -> "Catalog":
    import sqlalchemy.exc
    from pyiceberg.catalog import load_catalog

    try:
        # In an object store by the same driver, and so with the same settings, as everything else that is read and written here.
        remote = "://" in warehouse and not warehouse.startswith("file://")
        how = {"py-io-impl": "pyiceberg.io.fsspec.FsspecFileIO"} if remote else {}
        return load_catalog("windtunnel", type=kind, uri=uri, warehouse=warehouse.rstrip("/"), **how)
    except (sqlalchemy.exc.NoSuchModuleError, sqlalchemy.exc.ArgumentError) as error:
        raise ConfigurationError(f"setting catalog_uri is not a database URL: {error}", hint="such as postgresql://user@host/db") from error
    except (sqlalchemy.exc.OperationalError, OSError) as error:
        # A lost race for the catalog's own tables, which `_catalog` tries again.
        if "already exists" in str(error):
            raise
        raise UnavailableError(f"the Iceberg catalog is out of reach: {error}", hint="is its server up? see `windtunnel status`") from error


def pause(attempt: int) -> None:
    """Wait for a random moment, longer with each attempt, so that contenders for one table do not meet again."""
    time.sleep(random.uniform(0.02, min(0.1 * (attempt + 1), 1.0)))  # hides nothing


@contextlib.contextmanager
def reaching(name: str) -> Iterator[None]:
    """Turns what databases and object stores raise when they are out of reach into our retryable error."""
    import sqlalchemy.exc
    from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException, RESTError

    try:
        yield
    except sqlalchemy.exc.OperationalError as error:
        if "locked" in str(error):  # SQLite: another process writes
            raise CommitFailedException(str(error)) from error
        raise UnavailableError(f"table {name}: the Iceberg catalog is out of reach: {error}", table=name) from error
    except sqlalchemy.exc.IntegrityError as error:  # two processes made the same thing
        raise CommitFailedException(str(error)) from error
    except (CommitStateUnknownException, RESTError, ConnectionError) as error:
        raise UnavailableError(f"table {name}: the Iceberg catalog is out of reach: {error}", table=name) from error
