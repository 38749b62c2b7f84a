"""Which values of columns the model server was asked about lately: values that no judged row has say where a model is not known to work."""

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from windtunnel.lifecycle.contract.errors import WindtunnelError
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.days import day_files
from windtunnel.lifecycle.data.parquet import open_parquet
from windtunnel.lifecycle.data.tables import load_table, table_name

__all__ = ["seen_live"]

_ROWS = 50_000
_VALUES = 5_000


def seen_live(settings: Settings, problem: str, columns: Sequence[str]) -> dict[str, dict[str, int]]:
    """Column -> value -> logged requests, among the newest 50,000 that the prediction log has; empty where nothing was logged.

    It looks at the log as it is now, whichever window is judged: it informs and decides nothing. Redacted columns are not in the log.

    Args:
        settings: where the catalog is.
        problem: whose log.
        columns: categorical columns.
    """
    found: dict[str, Counter[str]] = {column: Counter() for column in columns}
    if columns and settings.catalog_uri:
        for text in itertools.islice(_logged(_newest_files(settings, problem)), _ROWS):
            _count(found, text)
    return {column: dict(values) for column, values in found.items() if values}


def _newest_files(settings: Settings, problem: str) -> list[str]:
    """The files of logged requests, newest first; none where nothing was logged yet."""
    try:
        table = load_table(settings, table_name(problem, "predictions"))
        logged = "inputs" in table.schema().column_names
        return [file.path for file in reversed(day_files(table)) if file.rows] if logged else []
    except WindtunnelError:
        return []


def _logged(paths: Iterable[str]) -> Iterator[str | None]:
    for path in paths:
        with open_parquet(path) as file:
            for batch in file.iter_batches(columns=["inputs"]):
                yield from batch.column(0).to_pylist()


def _count(found: dict[str, Counter[str]], text: str | None) -> None:
    given = json.loads(text) if text else {}
    for column, values in found.items():
        value = given.get(column)
        if value is not None and (str(value) in values or len(values) < _VALUES):
            values[str(value)] += 1
