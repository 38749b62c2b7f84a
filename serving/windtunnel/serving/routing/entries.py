"""Lines of the prediction log as the rows of the table of predictions, gathered by column."""

import datetime as dt
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from windtunnel.lifecycle.data.predictions import LOGGED
from windtunnel.lifecycle.payload import JsonMapping
from windtunnel.serving.base import quickjson, rowjson

__all__ = ["Entries", "day_of", "spellings"]


class Entries:
    """The rows of some log entries, of one problem and day."""

    def __init__(self) -> None:
        self._lists: dict[str, list[Any]] = {name: [] for name in LOGGED.names}
        self._singles: list[tuple[Any, ...]] = []  # rows that follow those of the lists

    def add(self, entry: JsonMapping) -> None:
        """The rows of one more entry: all, or none if it is no entry of a log.

        Args:
            entry: a line: ``inputs`` and ``answers`` are a list of rows each, or lists by column; ``names`` are classes' (`spellings`).

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it is no entry of a log.
        """
        answers = entry["answers"]
        if type(answers) is list and type(entry["inputs"]) is list and len(answers) == 1:
            self._singles.append(_single(entry, answers[0]))
            return
        answers = _by_column(answers)
        count = len(answers["prediction"])
        if not count:
            raise ValueError("an entry without answers")
        found = {name: [value] * count for name, value in _same(entry).items()} | _answered(answers, count, entry.get("names", {}))
        found["inputs"] = _inputs(entry["inputs"])
        if any(len(values) != count for values in found.values()):
            raise ValueError(f"an entry with {count} answers and {len(found['inputs'])} inputs")
        self._take_singles()
        for name, values in found.items():
            self._lists[name].extend(values)

    def table(self) -> pa.Table:
        """All rows so far.

        Raises:
            pyarrow.ArrowException: a value is not of its column's type.
        """
        self._take_singles()
        arrays = [pa.array(self._lists[field.name], _CARRIED.get(field.type, field.type)) for field in LOGGED]
        return pa.table(arrays, LOGGED.names).cast(LOGGED)

    def _take_singles(self) -> None:
        for name, values in zip(_ORDER, zip(*self._singles, strict=True), strict=False):
            self._lists[name].extend(values)
        self._singles.clear()


_CARRIED = {pa.date32(): pa.int32(), pa.timestamp("us", tz="UTC"): pa.int64()}
"""Days and microseconds since 1970 are gathered as numbers, a third of the cost of Python's own times."""

_ORDER = (
    *("event_date", "predicted_at", "request_id", "model", "version", "route", "shadow", "seconds"),
    *("row", "prediction", "value", "probabilities", "decision", "inputs"),
)
"""The columns in the order of `_single`."""


def _single(entry: JsonMapping, answer: JsonMapping) -> tuple[Any, ...]:
    """The row of an entry that has one, as most have: a fifth of the cost of doing it by column."""
    (inputs,) = entry["inputs"]
    when = entry["time"]
    prediction, probabilities = answer["prediction"], answer.get("probabilities")
    number = "score" not in answer
    return (
        _days(when),
        _microseconds(when),
        entry["id"],
        entry["model"],
        entry["version"],
        entry["route"],
        bool(entry.get("shadow", False)),
        entry["seconds"],
        0,
        repr(prediction) if number else _class_names([prediction], entry.get("names", {}))[0],
        float(prediction) if number else answer.get("score"),
        None if probabilities is None else quickjson.dumps(probabilities).decode(),
        answer.get("decision"),
        quickjson.dumps(inputs).decode(),
    )


def day_of(entry: JsonMapping) -> dt.date:
    """The day (UTC) that an entry was answered on."""
    return _day(_days(entry["time"]))


@functools.lru_cache(maxsize=16)
def _day(days: int) -> dt.date:
    return dt.date(1970, 1, 1) + dt.timedelta(days)


def _days(when: float) -> int:
    return int(when // 86_400)


def _microseconds(when: float) -> int:
    whole = int(when)
    return whole * 1_000_000 + round((when - whole) * 1e6)


def _same(entry: JsonMapping) -> dict[str, object]:
    """What all rows of an entry have in common."""
    return {
        "event_date": _days(entry["time"]),
        "predicted_at": _microseconds(entry["time"]),
        "request_id": entry["id"],
        "model": entry["model"],
        "version": entry["version"],
        "route": entry["route"],
        "shadow": bool(entry.get("shadow", False)),
        "seconds": entry["seconds"],
    }


def spellings(names: Mapping[Any, str]) -> dict[str, str]:
    """What a log line has to say of the names of classes, which its answers hold in the label's type: those that are not simply its text.

    Args:
        names: class -> name, of an engine.

    Returns:
        the class as JSON -> its name; mostly nothing.

    Example:
        >>> spellings({0: "0", 1: "1"}), spellings({False: "0", True: "1"})
        ({}, {'false': '0', 'true': '1'})
    """
    return {_text(value): name for value, name in names.items() if _text(value) != name}


def _text(value: Any) -> str:
    return value if type(value) is str else quickjson.dumps(value).decode()


def _class_names(predictions: Sequence[Any], names: Mapping[str, str]) -> list[str]:
    """The names of classes that were logged in the label's type, or by their names, as once they always were."""
    kinds = set(map(type, predictions))
    if kinds == {str}:
        return list(predictions)
    if len(kinds) != 1 or not kinds <= {bool, int, float}:
        raise TypeError("answers are classes of one type")
    texts = {value: _text(value) for value in set(predictions)}
    return [names.get(texts[value], texts[value]) for value in predictions]


def _answered(answers: Mapping[str, Sequence[Any]], count: int, names: Mapping[str, str]) -> dict[str, list[Any]]:
    """What rows differ in, but for their inputs."""
    predictions = list(answers["prediction"])
    number = "score" not in answers  # every class comes with one
    nothing = [None] * count
    probabilities = answers.get("probabilities")
    return {
        "row": list(range(count)),
        "prediction": [repr(value) for value in predictions] if number else _class_names(predictions, names),
        "value": [float(value) for value in predictions] if number else list(answers.get("score", nothing)),
        "probabilities": nothing if probabilities is None else [quickjson.dumps(row).decode() for row in probabilities],
        "decision": list(answers.get("decision", nothing)),
    }


def _inputs(inputs: Any) -> list[str]:
    texts = rowjson.objects(inputs) if isinstance(inputs, dict) else map(quickjson.dumps, inputs)
    return [text.decode() for text in texts]


def _by_column(answers: Any) -> Mapping[str, Sequence[Any]]:
    if isinstance(answers, dict):
        return answers
    return {name: [row[name] for row in answers] for name in (answers[0] if answers else ())}
