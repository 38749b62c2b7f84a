"""Metrics for Prometheus, shared by all workers: histograms in seconds by model, version, route and protocol.

Each worker keeps its numbers in files named by its slot; whichever worker is asked for ``/metrics`` adds all of them up. A worker that is
started again goes on with the numbers of its slot.
"""

import contextlib
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Metrics", "range_of"]

_BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_WITHIN = "windtunnel_request_seconds_bucket"
_ANSWERS = "windtunnel_arm_answers_total"
_FIGURES = {
    "windtunnel_request_seconds_count": "requests",
    "windtunnel_request_seconds_sum": "seconds",
    "windtunnel_rows_total": "rows",
    "windtunnel_errors_total": "errors",
    "windtunnel_refused_total": "refused",
}


_TINY = 1e-9


class Metrics:
    """The metrics of one worker.

    Args:
        folder: where all workers keep their numbers.
        slot: the worker's number.
    """

    def __init__(self, folder: Path, slot: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Read by prometheus_client when it is imported, so it is imported here and not above.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        from prometheus_client import CollectorRegistry, Counter, Histogram, values

        values.ValueClass = values.MultiProcessValue(process_identifier=lambda: slot)  # type: ignore[no-untyped-call]
        self._folder = folder
        nowhere = CollectorRegistry()
        self._seconds: Histogram = Histogram(
            "windtunnel_request_seconds",
            "Time from a request's arrival to its answer",
            ["model", "version", "route", "protocol"],
            buckets=_BUCKETS,
            registry=nowhere,
        )
        self._requests: Counter = Counter(
            "windtunnel_requests", "Requests by how they ended", ["model", "protocol", "code"], registry=nowhere
        )
        self._rows: Counter = Counter("windtunnel_rows", "Rows answered", ["model", "version", "route"], registry=nowhere)
        self._predictions: Counter = Counter(
            "windtunnel_predictions", "Answers by class", ["model", "version", "route", "prediction"], registry=nowhere
        )
        self._errors: Counter = Counter(
            "windtunnel_errors",
            "Requests that a version could not answer, through no fault of theirs",
            ["model", "version", "route"],
            registry=nowhere,
        )
        self._refused: Counter = Counter(
            "windtunnel_refused", "Requests whose values a version cannot take", ["model", "version", "route"], registry=nowhere
        )
        self._looked_up: Counter = Counter(
            "windtunnel_lookups", "Requests looked up among precomputed answers", ["model", "version", "found"], registry=nowhere
        )
        self._compared: Counter = Counter(
            "windtunnel_arm_answers",
            "Rows answered while a route has several arms, by class or range of the answer",
            ["model", "version", "route", "range"],
            registry=nowhere,
        )
        self._shadow: Counter = Counter(
            "windtunnel_shadow_rows",
            "Rows answered in the shadow, by whether they agreed",
            ["model", "version", "agrees"],
            registry=nowhere,
        )
        self._guessed: Counter = Counter(
            "windtunnel_guessed_rows",
            "Rows answered although a column was absent, or its category was never seen in training",
            ["model", "version", "column", "kind"],
            registry=nowhere,
        )
        self._shed: Counter = Counter("windtunnel_shed", "Requests refused because the queue was too old", ["reason"], registry=nowhere)
        self._swaps: Counter = Counter("windtunnel_swaps", "Changes of versions, labels or routes that were taken over", registry=nowhere)
        self._log_errors: Counter = Counter(
            "windtunnel_log_errors", "Requests refused because the log could not be written", registry=nowhere
        )
        # Labelled children are looked up once: the look-up costs more than the count.
        self._known_seconds: dict[tuple[str, str, str, str], Histogram] = {}
        self._known_requests: dict[tuple[str, str, int], Counter] = {}
        self._known_rows: dict[tuple[str, str, str], Counter] = {}
        self._known_classes: dict[tuple[str, str, str, str], Counter] = {}

    def answered(self, model: str, version: str, route: str, protocol: str, seconds: float, rows: int) -> None:
        """A request was answered."""
        key = (model, version, route, protocol)
        histogram = self._known_seconds.get(key)
        if histogram is None:
            histogram = self._known_seconds[key] = self._seconds.labels(*key)
        histogram.observe(seconds)
        counter = self._known_rows.get(key[:3])
        if counter is None:
            counter = self._known_rows[key[:3]] = self._rows.labels(*key[:3])
        counter.inc(rows)

    def failed(self, model: str, version: str, route: str) -> None:
        """A version could not answer a request that was good."""
        self._errors.labels(model, version, route).inc()

    def refused(self, model: str, version: str, route: str) -> None:
        """A version cannot take the values of a request: the caller's fault, unless other versions can."""
        self._refused.labels(model, version, route).inc()

    def looked_up(self, model: str, version: str, *, found: bool) -> None:
        """A request was looked up among precomputed answers."""
        self._looked_up.labels(model, version, str(found).lower()).inc()

    def ended(self, model: str, protocol: str, code: int) -> None:
        """A request ended with a status code."""
        key = (model, protocol, code)
        counter = self._known_requests.get(key)
        if counter is None:
            counter = self._known_requests[key] = self._requests.labels(model, protocol, str(code))
        counter.inc()

    def guessed(self, model: str, version: str, absent: Iterable[str], unseen: Mapping[str, int], rows: int) -> None:
        """Columns that were absent in some rows and taken as null, and categories that the model was not trained with."""
        for column in absent:
            self._guessed.labels(model, version, column, "absent").inc(rows)
        for column, count in unseen.items():
            self._guessed.labels(model, version, column, "unseen").inc(count)

    def predicted(self, model: str, version: str, route: str, prediction: str, rows: int = 1) -> None:
        """A class was answered for some rows."""
        key = (model, version, route, prediction)
        counter = self._known_classes.get(key)
        if counter is None:
            counter = self._known_classes[key] = self._predictions.labels(*key)
        counter.inc(rows)

    def compared(self, model: str, version: str, route: str, task: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """What an arm answered, so that it can be compared with what the others answer to the same traffic."""
        for row in rows:
            self._compared.labels(model, version, route, range_of(task, row)).inc()

    def shadowed(self, model: str, version: str, *, agrees: bool, rows: int = 1) -> None:
        """Rows were answered in the shadow."""
        if rows:
            self._shadow.labels(model, version, str(agrees).lower()).inc(rows)

    def shed(self, reason: str) -> None:
        """A request was refused for load."""
        self._shed.labels(reason).inc()

    def log_failed(self) -> None:
        """A request was refused because its line could not be written."""
        self._log_errors.inc()

    def swapped(self) -> None:
        """A new state was taken over."""
        self._swaps.inc()

    def text(self) -> bytes:
        """All workers' metrics in Prometheus's text format."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
        return bytes(generate_latest(registry))

    def totals(self, model: str) -> dict[str, dict[str, Any]]:
        """A model's figures by ``version/route``, over all workers.

        Returns:
            ``requests``, ``rows``, ``errors``, ``refused``, ``seconds`` in all; ``within``: seconds -> requests that took no longer;
            ``answers``: class or range of the answer (`range_of`) -> rows, counted while the route has several arms.
        """
        from prometheus_client import CollectorRegistry
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
        found: dict[str, dict[str, Any]] = {}
        for sample in (sample for family in registry.collect() for sample in family.samples):
            labels = sample.labels
            if labels.get("model") != model or "route" not in labels or sample.name not in {*_FIGURES, _WITHIN, _ANSWERS}:
                continue
            empty = {"within": {}, "answers": {}, **dict.fromkeys(_FIGURES.values(), 0.0)}
            entry = found.setdefault(f"{labels['version']}/{labels['route']}", empty)
            if sample.name == _ANSWERS:
                entry["answers"][labels["range"]] = entry["answers"].get(labels["range"], 0.0) + sample.value
            elif sample.name == _WITHIN:
                entry["within"][labels["le"]] = entry["within"].get(labels["le"], 0.0) + sample.value
            else:
                entry[_FIGURES[sample.name]] += sample.value
        return found

    @staticmethod
    def clear(folder: Path) -> None:
        """Forget all numbers: counters start at zero when the server does."""
        with contextlib.suppress(FileNotFoundError):
            for path in folder.glob("*.db"):
                path.unlink(missing_ok=True)


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
