"""What a request gets, whatever protocol it came by."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from windtunnel.lifecycle.payload import JsonObject
from windtunnel.serving.base import quickjson, rowjson
from windtunnel.serving.compiler.engine import Engine, Guesses

__all__ = ["Answer"]


class Answer:
    """What a request gets.

    Attributes:
        id: the request's.
        model: its name.
        version: the version that answered.
        route: the arm: a label, or the version itself.
        engine: what answered.
        scores: the score matrix.
        guesses: columns that were absent and categories that the model never saw.
    """

    __slots__ = ("_columns", "_rows", "engine", "guesses", "id", "model", "route", "scores", "version")

    def __init__(
        self, identity: str, model: str, version: str, route: str, engine: Engine, scores: np.ndarray, guesses: Guesses | None = None
    ) -> None:
        self.id, self.model, self.version, self.route, self.engine, self.scores = identity, model, version, route, engine, scores
        self.guesses = guesses or Guesses()
        self._rows: list[dict[str, object]] | None = None
        self._columns: JsonObject | None = None

    @property
    def count(self) -> int:
        """Rows."""
        return len(self.scores)

    @property
    def columns(self) -> dict[str, Any]:
        """The answer by column: lists of texts, float arrays."""
        if self._columns is None:
            self._columns = self.engine.columns(self.scores)
        return self._columns

    @property
    def named(self) -> JsonObject:
        """`columns`, with classes by their names: what can be compared with the answers of other versions."""
        names = self.engine.names
        if not names:
            return self.columns
        return {**self.columns, "prediction": [names[value] for value in self.columns["prediction"]]}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The answer as one JSON object a row."""
        if self._rows is None:
            self._rows = self.engine.answers(self.scores) if self.count == 1 else rows_of(self.columns)
        return self._rows

    def json(self) -> bytes:
        """`rows` as JSON."""
        return quickjson.dumps(self.rows) if self.count == 1 else rowjson.array(self.columns)

    def logged(self) -> list[JsonObject] | JsonObject:
        """The answer as the log keeps it: a row as a row, several as column name -> list of values."""
        if self.count == 1:
            return self.rows
        return {name: values.tolist() if isinstance(values, np.ndarray) else values for name, values in self.columns.items()}


def rows_of(columns: Mapping[str, object]) -> list[dict[str, object]]:
    """Columns as one JSON object a row.

    Example:
        >>> rows_of({"prediction": ["late", "on time"], "score": np.array([0.7, 0.2])})
        [{'prediction': 'late', 'score': 0.7}, {'prediction': 'on time', 'score': 0.2}]
    """
    names = tuple(columns)
    lists = [values.tolist() if isinstance(values, np.ndarray) else values for values in columns.values()]
    return [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]
