"""Where the earlier state is kept, and how its one absolute place becomes another."""

import sqlite3
import tarfile
from pathlib import Path

ARCHIVE = Path(__file__).parent / "state.tar.xz"
PLACE = "/windtunnel/place/of/the/earlier/state"
"""Stands in the archive for the folder where the state is."""


def unpack(home):
    """The state, as if it had been made in this folder."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(home, filter="data")
    relocate(home / "mlflow.db", PLACE, str(home))


def relocate(database, old, new):
    """Replace a folder in every text of an SQLite database."""
    with sqlite3.connect(database) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for _, column, kind, *_ in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
                if "CHAR" in kind.upper() or "TEXT" in kind.upper():
                    connection.execute(
                        f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) WHERE instr("{column}", ?)', (old, new, old)
                    )
    connection.execute("VACUUM")
    connection.close()
