"""Metrics for Prometheus, shared by all workers: histograms in seconds by model, version, route and protocol.

Each worker keeps its numbers in a file named by its slot, mapped into memory, so that a count costs a tenth of a microsecond and outlives a
kill; whichever worker is asked for ``/metrics`` adds all files up. A worker that is started again goes on with the numbers of its slot.

A file is a fixed number of records of 1 kB, so it never grows: one record holds one set of labels of one family. Where they run out, those
of versions that are no longer served are used again, and what then finds no place is counted under the labels ``other``.
"""

import bisect
import contextlib
import dataclasses
import itertools
import json
import math
import mmap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.lifecycle.payload import JsonObject

if TYPE_CHECKING:
    from prometheus_client import Metric

__all__ = ["Metrics", "range_of"]

_BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_BOUNDS = (*map(str, _BUCKETS), "+Inf")
_SUM, _ROWS = len(_BOUNDS), len(_BOUNDS) + 1
"""Where a record of `_SECONDS` has the sum of its seconds and its rows, after the counts of its buckets."""

_TINY = 1e-9

_RECORD = 1024
_DOUBLES = _RECORD // 8
_WIDTH = 20  # numbers at the end of a record
_LONGEST = _RECORD - 8 * _WIDTH - 2
_RECORDS = 4096
_SPARE = 64  # records that only ``other`` may take


@dataclasses.dataclass(frozen=True)
class _Family:
    """Metrics of one name.

    Attributes:
        name: as Prometheus knows it, without ``_total``.
        about: what is counted.
        labels: its labels; a set of them is a record.
    """

    name: str
    about: str
    labels: tuple[str, ...] = ()


_ARM = ("model", "version", "route")
_SECONDS = _Family("windtunnel_request_seconds", "Time from a request's arrival to its answer", (*_ARM, "protocol"))
_ROW_COUNT = _Family("windtunnel_rows", "Rows answered", _ARM)
_REQUESTS = _Family("windtunnel_requests", "Requests by how they ended", ("model", "protocol", "code"))
_CLASSES = _Family("windtunnel_predictions", "Answers by class", (*_ARM, "prediction"))
_ERRORS = _Family("windtunnel_errors", "Requests that a version could not answer, through no fault of theirs", _ARM)
_REFUSED = _Family("windtunnel_refused", "Requests whose values a version cannot take", _ARM)
_LOOKUPS = _Family("windtunnel_lookups", "Requests looked up among precomputed answers", ("model", "version", "found"))
_COMPARED = _Family("windtunnel_arm_answers", "Rows answered while a route has several arms, by class or range", (*_ARM, "range"))
_SHADOW = _Family("windtunnel_shadow_rows", "Rows answered in the shadow, by whether they agreed", ("model", "version", "agrees"))
_GUESSED = _Family(
    "windtunnel_guessed_rows",
    "Rows answered although a column was absent, or its category was never seen in training",
    ("model", "version", "column", "kind"),
)
_SHED = _Family("windtunnel_shed", "Requests refused for load", ("reason",))
_SWAPS = _Family("windtunnel_swaps", "Changes of versions, labels or routes that were taken over")
_LOG_ERRORS = _Family("windtunnel_log_errors", "Requests refused because the log could not be written")
_SET_ASIDE = _Family("windtunnel_log_lines_set_aside", "Damaged lines of the log that were not turned into Parquet")
_COUNTERS = (_REQUESTS, _CLASSES, _ERRORS, _REFUSED, _LOOKUPS, _COMPARED, _SHADOW, _GUESSED, _SHED, _SWAPS, _LOG_ERRORS, _SET_ASIDE)
_FIGURES = {_ERRORS.name: "errors", _REFUSED.name: "refused"}

Key = tuple[str, ...]
"""A family's name and the values of its labels."""


class _Records:
    """The records of one worker.

    Args:
        path: the file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        # ab: makes the file, and leaves the numbers of one that is there; truncate fills up with zeros
        with path.open("ab") as file:
            file.truncate(_RECORDS * _RECORD)
        with path.open("r+b") as file:
            self._bytes = mmap.mmap(file.fileno(), 0)
        self.numbers = memoryview(self._bytes).cast("d")
        self._places: dict[Key, int] = {key: place for place, key in enumerate(_keys(self._bytes)) if key}
        self._free = [place for place in range(_RECORDS - 1, -1, -1) if not _length(self._bytes, place)]

    def place(self, key: Key) -> int:
        """Where in `numbers` the numbers of a set of labels begin."""
        place = self._places.get(key)
        if place is None:
            place = self._new(key)
        return place * _DOUBLES + _DOUBLES - _WIDTH

    def _new(self, key: Key) -> int:
        raw = json.dumps(key).encode()
        if len(raw) > _LONGEST or (len(self._free) <= _SPARE and key != _other(key)):
            return self._places.get(_other(key)) or self._new(_other(key))
        place = self._free.pop()
        start = place * _RECORD
        self._bytes[start + 2 : start + 2 + len(raw)] = raw
        self._bytes[start : start + 2] = len(raw).to_bytes(2, "little")  # from here on it is there
        self._places[key] = place
        return place

    def keep(self, served: Collection[tuple[str, str]]) -> None:
        """Use the records of versions that are gone again, where half of all are taken."""
        if len(self._free) > _RECORDS // 2:
            return
        for key, place in list(self._places.items()):
            if key[0] in _OF_VERSIONS and (key[1], key[2]) not in served:
                start = place * _RECORD
                self._bytes[start : start + _RECORD] = bytes(_RECORD)
                del self._places[key]
                self._free.append(place)


_OF_VERSIONS = {family.name for family in (_SECONDS, *_COUNTERS) if family.labels[:2] == ("model", "version")}


def _other(key: Key) -> Key:
    return (key[0], *(["other"] * (len(key) - 1)))


def _length(raw: bytes | mmap.mmap, place: int) -> int:
    return int.from_bytes(raw[place * _RECORD : place * _RECORD + 2], "little")


def _keys(raw: bytes | mmap.mmap) -> Iterator[Key]:
    """The key of each record, empty for one that is free."""
    for place in range(len(raw) // _RECORD):
        length, start = _length(raw, place), place * _RECORD + 2
        yield tuple(json.loads(raw[start : start + length])) if length else ()


class Tally:
    """Counts answers to single rows of one arm, protocol and status, whose records are known: a quarter of a microsecond each.

    Args:
        numbers: those of all records.
        seconds: where the arm's seconds are.
        ends: where its good ends are.
        classes: finds where a class is.
    """

    def __init__(self, numbers: "memoryview[float]", seconds: int, ends: int, classes: Callable[[str], int]) -> None:
        self._numbers, self._seconds, self._ends, self._find = numbers, seconds, ends, classes
        self._classes: dict[str, int] = {}

    def answered(self, seconds: float) -> None:
        """A row was answered within so many seconds."""
        numbers, place = self._numbers, self._seconds
        numbers[place + bisect.bisect_left(_BUCKETS, seconds)] += 1.0
        numbers[place + _SUM] += seconds
        numbers[place + _ROWS] += 1.0
        numbers[self._ends] += 1.0

    def predicted(self, prediction: str) -> None:
        """A class was answered."""
        place = self._classes.get(prediction)
        if place is None:
            place = self._classes[prediction] = self._find(prediction)
        self._numbers[place] += 1.0


class Metrics:
    """The metrics of one worker.

    Args:
        folder: where all workers keep their numbers.
        slot: the worker's number.
    """

    MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, folder: Path, slot: int | str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._records = _Records(folder / f"{slot}.records")
        self._numbers = self._records.numbers
        # A set of labels is looked up once a request by a tuple that is at hand; its record is found through two dictionaries.
        self._arms: dict[tuple[str, str, str, str], int] = {}
        self._ends: dict[tuple[str, str, int], int] = {}

    def tally(self, model: str, version: str, route: str, protocol: str, ends: str) -> "Tally":
        """A counter of one arm's answers to single rows, good until the next swap.

        Args:
            model: what answers, like the next two.
            version: of the model.
            route: the arm.
            protocol: how it was asked.
            ends: the protocol's name where requests are counted by how they ended.
        """
        arm = (model, version, route)
        return Tally(
            self._numbers,
            self._records.place((_SECONDS.name, *arm, protocol)),
            self._records.place((_REQUESTS.name, model, ends, "200")),
            lambda prediction: self._records.place((_CLASSES.name, *arm, prediction)),
        )

    def answered(self, model: str, version: str, route: str, protocol: str, seconds: float, rows: int) -> None:
        """A request was answered."""
        key = (model, version, route, protocol)
        place = self._arms.get(key)
        if place is None:
            place = self._arms[key] = self._records.place((_SECONDS.name, *key))
        numbers = self._numbers
        numbers[place + bisect.bisect_left(_BUCKETS, seconds)] += 1.0
        numbers[place + _SUM] += seconds
        numbers[place + _ROWS] += rows

    def ended(self, model: str, protocol: str, code: int) -> None:
        """A request ended with a status code."""
        key = (model, protocol, code)
        place = self._ends.get(key)
        if place is None:
            place = self._ends[key] = self._records.place((_REQUESTS.name, model, protocol, str(code)))
        self._numbers[place] += 1.0

    def _count(self, family: _Family, *labels: str, by: float = 1.0) -> None:
        self._numbers[self._records.place((family.name, *labels))] += by

    def failed(self, model: str, version: str, route: str) -> None:
        """A version could not answer a request that was good."""
        self._count(_ERRORS, model, version, route)

    def refused(self, model: str, version: str, route: str) -> None:
        """A version cannot take the values of a request: the caller's fault, unless other versions can."""
        self._count(_REFUSED, model, version, route)

    def looked_up(self, model: str, version: str, *, found: bool) -> None:
        """A request was looked up among precomputed answers."""
        self._count(_LOOKUPS, model, version, str(found).lower())

    def predicted(self, model: str, version: str, route: str, prediction: str, rows: int = 1) -> None:
        """A class was answered for some rows."""
        self._count(_CLASSES, model, version, route, str(prediction), by=rows)

    def compared(self, model: str, version: str, route: str, task: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """What an arm answered, so that it can be compared with what the others answer to the same traffic."""
        for row in rows:
            self._count(_COMPARED, model, version, route, range_of(task, row))

    def guessed(self, model: str, version: str, absent: Iterable[str], unseen: Mapping[str, int], rows: int) -> None:
        """Columns that were absent in some rows and taken as null, and categories that the model was not trained with."""
        for column in absent:
            self._count(_GUESSED, model, version, column, "absent", by=rows)
        for column, count in unseen.items():
            self._count(_GUESSED, model, version, column, "unseen", by=count)

    def shadowed(self, model: str, version: str, *, agrees: bool, rows: int = 1) -> None:
        """Rows were answered in the shadow."""
        if rows:
            self._count(_SHADOW, model, version, str(agrees).lower(), by=rows)

    def shed(self, reason: str) -> None:
        """A request was refused for load."""
        self._count(_SHED, reason)

    def log_failed(self) -> None:
        """A request was refused because its line could not be written."""
        self._count(_LOG_ERRORS)

    def set_aside(self, lines: int) -> None:
        """Damaged lines of the log were put aside."""
        self._count(_SET_ASIDE, by=lines)

    def swapped(self, served: Collection[tuple[str, str]] | None = None) -> None:
        """A new state was taken over.

        Args:
            served: the models and versions that are served now, where that is known.
        """
        self._count(_SWAPS)
        if served is not None:
            self._records.keep(served)
            # the places that they remember may belong to other labels now
            self._arms.clear()
            self._ends.clear()

    # All workers --------------------------------------------------------------------------------------------------------------------

    def _totals(self) -> dict[Key, list[float]]:
        """Key -> numbers, added up over all workers."""
        found: dict[Key, list[float]] = {}
        for path in sorted(self._folder.glob("*.records")):
            raw = path.read_bytes()
            numbers = memoryview(raw).cast("d")
            for place, key in enumerate(_keys(raw)):
                if key:
                    end = (place + 1) * _DOUBLES
                    ours = [float(number) for number in numbers[end - _WIDTH : end]]
                    found[key] = [a + b for a, b in zip(found[key], ours, strict=True)] if key in found else ours
        return found

    def text(self, may: Callable[[str], bool] = lambda _: True) -> bytes:
        """All workers' metrics in Prometheus's text format.

        Args:
            may: whether a model's may be shown; those that belong to no model are shown to all.
        """
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(_Shown({key: numbers for key, numbers in self._totals().items() if _model_of(key) is None or may(key[1])}))
        return generate_latest(registry)

    def totals(self, model: str) -> dict[str, JsonObject]:
        """A model's figures by ``version/route``, over all workers.

        Returns:
            ``requests``, ``rows``, ``errors``, ``refused``, ``seconds`` in all; ``within``: seconds -> requests that took no longer;
            ``answers``: class or range of the answer (`range_of`) -> rows, counted while the route has several arms.
        """
        found: dict[str, JsonObject] = {}
        for key, numbers in self._totals().items():
            if _model_of(key) != model or key[0] not in _OF_ARMS:
                continue
            entry = found.setdefault(f"{key[2]}/{key[3]}", _nothing())
            if key[0] == _SECONDS.name:
                _add_seconds(entry, numbers)
            elif key[0] == _COMPARED.name:
                entry["answers"][key[4]] = entry["answers"].get(key[4], 0.0) + numbers[0]
            else:
                entry[_FIGURES[key[0]]] += numbers[0]
        return found

    @staticmethod
    def clear(folder: Path) -> None:
        """Forget all numbers: counters start at zero when the server does."""
        with contextlib.suppress(FileNotFoundError):
            for path in (*folder.glob("*.db"), *folder.glob("*.records")):
                path.unlink(missing_ok=True)


_OF_ARMS = {_SECONDS.name, _COMPARED.name, *_FIGURES}


def _nothing() -> dict[str, object]:
    return {"within": {}, "answers": {}, "requests": 0.0, "seconds": 0.0, "rows": 0.0, "errors": 0.0, "refused": 0.0}


def _add_seconds(entry: JsonObject, numbers: Sequence[float]) -> None:
    for bound, count in zip(_BOUNDS, itertools.accumulate(numbers[: len(_BOUNDS)]), strict=True):
        entry["within"][bound] = entry["within"].get(bound, 0.0) + count
    entry["requests"] += sum(numbers[: len(_BOUNDS)])
    entry["seconds"] += numbers[_SUM]
    entry["rows"] += numbers[_ROWS]


def _model_of(key: Key) -> str | None:
    return key[1] if key[0] not in {_SHED.name, _SWAPS.name, _LOG_ERRORS.name, _SET_ASIDE.name} else None


class _Shown:
    """Totals as prometheus_client's registry collects them.

    Args:
        totals: key -> numbers.
    """

    def __init__(self, totals: Mapping[Key, Sequence[float]]) -> None:
        self._totals = totals

    def collect(self) -> Iterable["Metric"]:
        """One family of metrics after the other."""
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        seconds = HistogramMetricFamily(_SECONDS.name, _SECONDS.about, labels=_SECONDS.labels)
        rows: dict[Key, float] = {}
        for key, numbers in self._of(_SECONDS):
            counts = itertools.accumulate(numbers[: len(_BOUNDS)])
            seconds.add_metric(key[1:], list(zip(_BOUNDS, counts, strict=True)), numbers[_SUM])
            rows[key[1:4]] = rows.get(key[1:4], 0.0) + numbers[_ROWS]
        yield seconds
        counted = CounterMetricFamily(_ROW_COUNT.name, _ROW_COUNT.about, labels=_ROW_COUNT.labels)
        for labels, count in rows.items():
            counted.add_metric(labels, count)
        yield counted
        for family in _COUNTERS:
            shown = CounterMetricFamily(family.name, family.about, labels=family.labels)
            for key, numbers in self._of(family):
                shown.add_metric(key[1:], numbers[0])
            yield shown

    def _of(self, family: _Family) -> Iterator[tuple[Key, Sequence[float]]]:
        return ((key, numbers) for key, numbers in self._totals.items() if key[0] == family.name)


def range_of(task: str, row: Mapping[str, Any]) -> str:
    """The range that an answer falls into: its class (multiclass), a twentieth (scores from 0 to 1), a quarter of an octave (numbers).

    Sorted by name, neighbouring ranges stand beside each other.

    Example:
        >>> range_of("binary", {"prediction": "1", "score": 0.93}), range_of("regression", {"prediction": -300.0})
        ('0.90', '-0432')
    """
    if task == "multiclass":
        return str(row["prediction"])
    value = float(row["prediction"] if task == "regression" else row["score"])
    if task != "regression" and 0.0 <= value <= 1.0:
        return f"{min(int(value * 20), 19) / 20:.2f}"
    if abs(value) < _TINY:
        return "0"
    return f"{'-' if value < 0 else '+'}{math.floor(4 * math.log2(abs(value))) + 400:04}"
