"""Monitoring: when a live model is no longer fit, and what to do then.

Every check answers with alerts that say the figure, the limit and what to do; those that training again would mend are reasons to retrain.
"""

import collections
import dataclasses
import datetime as dt
import json
import math
from collections.abc import Mapping, Sequence

import numpy as np

from windtunnel.lifecycle.contract.calls import bearer, call
from windtunnel.lifecycle.contract.errors import UnavailableError, WindtunnelError
from windtunnel.lifecycle.contract.problem import Gate, Problem
from windtunnel.lifecycle.contract.seams.metrics import lower_is_better
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.live.outcomes import Outcome
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.lifecycle.record.champion import Champion

__all__ = [
    "PERCENTILES",
    "Findings",
    "Histogram",
    "Latencies",
    "MonitoringAlert",
    "Server",
    "check_drift",
    "check_latency",
    "check_quality",
    "check_server",
    "check_skew",
    "check_staleness",
    "look_at_server",
]

PERCENTILES = (0.5, 0.9, 0.99)

_LEAST_ROWS = 100
"""Labelled answers that a live metric, and rows that a drift, must rest on to raise an alert."""

_LEAST_REQUESTS = 20
"""Requests that a percentile or an error share must rest on to raise an alert."""

_DROP = 0.05
"""The share of the evaluated metric that the live one may lose, beyond its interval, before it is an alert."""

_SKEW = 0.01
"""The share of answers in which a feature may have been sent with another value than the ingested row has."""

_ERRORS = 0.01
"""The share of requests that the server may fail (status 500 and above)."""

_DISTINCT = 50_000
_TIMEOUT = 5.0


@dataclasses.dataclass(frozen=True)
class MonitoringAlert:
    """Something is wrong.

    Attributes:
        check: which check found it, such as ``staleness``.
        text: figure, limit, what to do.
        retrain: whether training again would mend it.
    """

    check: str
    text: str
    retrain: bool = False


@dataclasses.dataclass
class Findings:
    """What the checks of a window say, gathered.

    Attributes:
        alerts: what is wrong.
        notes: what could not be looked at, and why.
        figures: what was measured, by name.
        sections: the page's parts.
    """

    alerts: list[MonitoringAlert] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    sections: JsonObject = dataclasses.field(default_factory=dict)

    def take(self, checked: tuple[list[MonitoringAlert], dict[str, float]]) -> None:
        """Take in what a check answered."""
        self.alerts += checked[0]
        self.figures |= checked[1]


# Latency ----------------------------------------------------------------------------------------------------------------------------


class Latencies:
    """Times of requests, counted by microsecond; beyond 50,000 distinct times they are rounded up to three digits.

    Percentiles are by the "higher" method: the smallest time that was really seen and that at least the share of all others did not exceed.

    Example:
        >>> times = Latencies()
        >>> times.add([0.100, 0.102, 0.100, 0.100, 0.099, 0.104, 0.110, 0.090, 3.0, 0.095])
        >>> times.percentile(0.5), times.percentile(0.9)
        (0.1, 3.0)
    """

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: collections.Counter[int] = collections.Counter({int(time): count for time, count in (counts or {}).items()})

    def add(self, seconds: Sequence[float] | np.ndarray) -> None:
        """Count times in seconds; what is no time (null, negative) is left out."""
        values = np.asarray(seconds, dtype=np.float64)
        values = np.round(values[np.isfinite(values) & (values >= 0)] * 1e6).astype(np.int64)
        self.counts.update(dict(zip(*(part.tolist() for part in np.unique(values, return_counts=True)), strict=True)))
        self._shrink()

    def merge(self, other: "Latencies") -> None:
        """Take in others."""
        self.counts.update(other.counts)
        self._shrink()

    @property
    def requests(self) -> int:
        """How many times were counted."""
        return self.counts.total()

    def percentile(self, share: float) -> float:
        """The time in seconds that so many requests did not exceed; NaN without any."""
        if not self.counts:
            return math.nan
        times = np.array(sorted(self.counts))
        ends = np.cumsum([self.counts[int(time)] for time in times])
        # Rounded first: a product such as 0.07 * 100 lies a little above 7, and ceil() would climb a rank.
        rank = math.ceil(round(share * (self.requests - 1), 9))
        return float(times[np.searchsorted(ends, rank + 1)]) / 1e6

    def _shrink(self) -> None:
        if len(self.counts) <= _DISTINCT:
            return
        old, self.counts = self.counts, collections.Counter()
        for time, count in old.items():
            step = 10 ** max(len(str(time)) - 3, 0)
            # Rounded up: a percentile may be called too long, never too short.
            self.counts[-(-time // step) * step] += count


@dataclasses.dataclass(frozen=True)
class Histogram:
    """A histogram of the server's: upper bounds in seconds, ascending, and how many requests did not exceed each."""

    bounds: tuple[float, ...] = ()
    cumulative: tuple[float, ...] = ()

    @property
    def requests(self) -> int:
        """How many requests were counted."""
        return int(self.cumulative[-1]) if self.cumulative else 0

    def percentile(self, share: float) -> float:
        """The upper bound in seconds of the bucket that the percentile falls into; infinite beyond the last bound.

        Example:
            >>> Histogram((0.001, 0.01, math.inf), (90, 99, 100)).percentile(0.9)
            0.01
        """
        if not self.requests:
            return math.nan
        rank = math.ceil(round(share * (self.requests - 1), 9))
        return next(bound for bound, count in zip(self.bounds, self.cumulative, strict=True) if count >= rank + 1)


# The model server -------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Server:
    """What the model server says of itself.

    Attributes:
        url: where it is; empty if the settings name no server over HTTP.
        error: why it could not be asked; empty if it could.
        labels: label -> version, of the problem's model.
        codes: HTTP status (or its like) -> requests since the server started.
        seconds: version -> times of its requests since the server started.
    """

    url: str = ""
    error: str = ""
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    codes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    seconds: Mapping[str, Histogram] = dataclasses.field(default_factory=dict)


def look_at_server(settings: Settings, model: str) -> Server:
    """Ask the model server for readiness, labels and metrics; a server that is down is an answer, not an error."""
    url = settings.server_url.rstrip("/")
    if not url.startswith(("http://", "https://")):
        return Server()
    try:
        _ask(settings, f"{url}/v2/health/ready")
        index = json.loads(_ask(settings, f"{url}/v2/repository/index", b"{}"))
        labels = {label: str(entry["version"]) for entry in index if entry.get("name") == model for label in entry.get("labels", [])}
        codes, seconds = read_metrics(_ask(settings, f"{url}/metrics").decode(), model)
    except WindtunnelError as error:
        return Server(url, str(error.details.get("reason") or error.message))
    except (ValueError, KeyError, TypeError) as error:
        return Server(url, str(error) or type(error).__name__)
    return Server(url, "", labels, codes, seconds)


def read_metrics(text: str, model: str) -> tuple[dict[str, int], dict[str, Histogram]]:
    """Requests by code, and times by version, of a model in Prometheus's text format.

    Raises:
        ValueError: it is something else.

    Example:
        >>> read_metrics('windtunnel_requests_total{model="m",protocol="http",code="200"} 3.0', "m")
        ({'200': 3}, {})
    """
    from prometheus_client.parser import text_string_to_metric_families

    codes: collections.Counter[str] = collections.Counter()
    buckets: dict[str, collections.Counter[float]] = {}
    for sample in (sample for family in text_string_to_metric_families(text) for sample in family.samples):
        if sample.labels.get("model") != model:
            continue
        if sample.name == "windtunnel_requests_total":
            codes[sample.labels.get("code", "")] += int(sample.value)
        elif sample.name == "windtunnel_request_seconds_bucket":
            of_version = buckets.setdefault(sample.labels.get("version", ""), collections.Counter())
            # Cumulative counts of several protocols add up to cumulative counts.
            of_version[float(sample.labels["le"])] += int(sample.value)
    seconds = {v: Histogram(tuple(sorted(c)), tuple(float(c[bound]) for bound in sorted(c))) for v, c in buckets.items()}
    return dict(codes), seconds


def _ask(settings: Settings, url: str, body: bytes | None = None) -> bytes:
    """What the server answers to a question that it must be able to answer.

    Raises:
        UnavailableError: it does not answer, or says that it cannot.
    """
    answer = call(url, body, {"Content-Type": "application/json", **bearer(settings.server_token)}, patience=_TIMEOUT)
    if answer.is_error:
        raise UnavailableError(f"{answer.url.path} answered {answer.status_code}")
    return answer.content


# Checks -----------------------------------------------------------------------------------------------------------------------------


def check_staleness(
    problem: Problem, present: Champion, newest: dt.date | None, end: dt.date
) -> tuple[list[MonitoringAlert], dict[str, float]]:
    """Whether the champion is too old for the data that is there, and whether data still arrives.

    Args:
        problem: the limit is ``monitoring.stale_days``.
        present: the champion.
        newest: the newest day with rows, before `end`.
        end: the end of the window: now, in data time.
    """
    limit = problem.monitoring.stale_days
    cutoff = dt.date.fromisoformat(present.cutoff)
    age, behind = (end - cutoff).days, (newest + dt.timedelta(days=1) - cutoff).days if newest else 0
    figures = {"champion.age_days": float(age), "champion.behind_days": float(behind)}
    alerts = []
    if behind > limit:
        alerts.append(
            MonitoringAlert(
                "staleness",
                f"the champion, version {present.version}, learned from data up to {present.cutoff}; there are {behind} newer days, limit "
                f"monitoring.stale_days = {limit}: retrain it",
                retrain=True,
            )
        )
    gap = (end - newest).days - 1 if newest else age
    figures["data.gap_days"] = float(gap)
    if gap > limit:
        seen = f"the newest rows are of {newest}" if newest else "there are no rows at all"
        alerts.append(
            MonitoringAlert(
                "data",
                f"{seen}, {gap} days before {end}, limit monitoring.stale_days = {limit}: look at the source and at the runs of ingest",
            )
        )
    return alerts, figures


def check_drift(problem: Problem, drift: JsonMapping, what: str, name: str) -> tuple[list[MonitoringAlert], dict[str, float]]:
    """Whether features drifted from what the champion learned from.

    Args:
        problem: its features and sensitive columns are watched.
        drift: what `windtunnel.lifecycle.statistics.drift.compare` found.
        what: what was compared, in words.
        name: what was compared, in figures.
    """
    watched = [c for c in dict.fromkeys([*problem.features.columns, *problem.sensitive]) if c in drift["columns"]]
    figures = {f"{name}.{c}": float(drift["columns"][c]["psi"]) for c in watched if drift["columns"][c]["psi"] is not None}
    alerts = [
        MonitoringAlert(
            "drift",
            f"{what}: feature {column!r} is not what the champion learned from: {'; '.join(drift['columns'][column]['reasons'])} (limit "
            f"monitoring.drift = {drift['limit']:g}, {drift['rows'][1]:,} rows against {drift['rows'][0]:,}): see whether the source "
            "changed; if the world did, retrain",
            retrain=True,
        )
        for column in watched
        if column in drift["drifted"] and drift["rows"][1] >= _LEAST_ROWS
    ]
    return alerts, figures


def check_skew(shares: Mapping[str, float], compared: int) -> tuple[list[MonitoringAlert], dict[str, float]]:
    """Whether the model is asked with other values than it learns from, for the very same rows."""
    alerts = [
        MonitoringAlert(
            "skew",
            f"feature {feature!r} was sent with another value than the ingested row has in {share:.1%} of {compared:,} answers, limit "
            f"{_SKEW:.0%}: make the caller compute it as the source does; training again does not help",
        )
        for feature, share in shares.items()
        if share > _SKEW and compared >= _LEAST_REQUESTS
    ]
    return alerts, {f"skew.{feature}": share for feature, share in shares.items()}


def check_quality(problem: Problem, present: Champion, live: Outcome | None) -> tuple[list[MonitoringAlert], dict[str, float]]:
    """Whether the champion still does what it did when it was evaluated, and what the gates ask for.

    Args:
        problem: its gates with a fixed bound hold for the live model as well, where their metric can be told from answers.
        present: the champion, with what it was worth.
        live: what its answers turned out to be worth.
    """
    if live is None:
        return [], {}
    figures = {f"live.{metric}": value for metric, value in live.figures.items()} | {"live.rows": float(live.rows)}
    if present.value is not None:
        figures[f"evaluated.{present.metric}"] = present.value
    if live.rows < _LEAST_ROWS:
        return [], figures
    alerts = [alert for gate in problem.gates if (alert := _gate_alert(gate, live)) is not None]
    fallen = _fallen(present, live)
    return alerts if fallen is None else [*alerts, fallen], figures


def _gate_alert(gate: Gate, live: Outcome) -> MonitoringAlert | None:
    """A gate with a fixed bound holds for the live model too, where its metric can be told from answers."""
    value = live.figures.get(gate.metric)
    name, bound = ("at_least", gate.at_least) if gate.at_least is not None else ("at_most", gate.at_most)
    if value is None or bound is None or gate.slices:
        return None
    broken = value < bound if name == "at_least" else value > bound
    if not broken:
        return None
    text = (
        f"live {gate.metric} is {value:.4g} in {live.rows:,} labelled answers, limit {name} = {bound:g} of its gate: retrain, and roll "
        "back if an earlier version was better"
    )
    return MonitoringAlert("quality", text, retrain=True)


def _fallen(present: Champion, live: Outcome) -> MonitoringAlert | None:
    """Whether the whole 95 % interval of the live figure lies beyond what the evaluated one allows: chance alone raises no alarm."""
    if present.value is None or present.metric != live.metric or live.value is None or live.interval is None:
        return None
    less = lower_is_better(live.metric)
    # By the size of the figure, since some (R2) may be negative.
    limit = present.value + abs(present.value) * (_DROP if less else -_DROP)
    low, high = live.interval
    beyond = low > limit if less else high < limit
    if not beyond:
        return None
    text = (
        f"live {live.metric} is {live.value:.4g} (95 % interval {low:.4g} to {high:.4g}, {live.rows:,} labelled answers), but was "
        f"{present.value:.4g} when it was evaluated, limit {limit:.4g}: look at drift and at slices; retrain"
    )
    return MonitoringAlert("quality", text, retrain=True)


def check_latency(problem: Problem, times: Latencies | Histogram, what: str, name: str) -> tuple[list[MonitoringAlert], dict[str, float]]:
    """Whether answers take too long: the limit is ``serving.latency_p99_ms``."""
    figures = {f"{name}.requests": float(times.requests)}
    for share in PERCENTILES:
        value = times.percentile(share) * 1e3
        if math.isfinite(value):
            figures[f"{name}.p{share * 100:g}_ms"] = value
    p99, limit = times.percentile(0.99) * 1e3, problem.serving.latency_p99_ms
    # Not "p99 <= limit": NaN, the percentile of nothing, must raise no alert.
    if times.requests < _LEAST_REQUESTS or not p99 > limit:
        return [], figures
    took = f"within {p99:,.4g} ms" if math.isfinite(p99) else "in more than the longest time that is measured"
    text = (
        f"{what}: 99 % of {times.requests:,} requests were answered {took}, limit serving.latency_p99_ms = {limit:g}: "
        "look at the server's load and workers, or deploy a smaller model"
    )
    return [MonitoringAlert("latency", text)], figures


def check_server(problem: Problem, server: Server, present: Champion | None) -> tuple[list[MonitoringAlert], dict[str, float]]:
    """Whether the server is up, serves the champion and does not fail requests."""
    if not server.url:
        return [], {}
    if server.error:
        text = f"the model server at {server.url} does not answer: {server.error}: `windtunnel status` tells more, `windtunnel up` repairs"
        return [MonitoringAlert("server", text)], {"server.up": 0.0}
    figures, alerts = {"server.up": 1.0}, []
    served = server.labels.get("champion", "")
    if present is not None and served != present.version:
        said = f"version {served}" if served else "no version"
        text = (
            f"the model server calls {said} of {problem.name} champion, but the ledger says version {present.version}: deploy it again, "
            f"`windtunnel rollback` and the deploy task both put the server right"
        )
        alerts.append(MonitoringAlert("server", text))
    failing, counted = _check_errors(problem, server)
    alerts, figures = alerts + failing, figures | counted
    version = present.version if present else served
    if version in server.seconds:
        slow, times = check_latency(problem, server.seconds[version], f"version {version} on the server", "server")
        alerts, figures = alerts + slow, figures | times
    return alerts, figures


def _check_errors(problem: Problem, server: Server) -> tuple[list[MonitoringAlert], dict[str, float]]:
    """How many requests the server itself failed; what callers did wrong is not counted."""
    requests = sum(server.codes.values())
    # gRPC's codes are words; of these two kinds are the server's own failures.
    failed = sum(count for code, count in server.codes.items() if code.startswith("5") or code in {"INTERNAL", "UNAVAILABLE"})
    figures = {"server.requests": float(requests), "server.failed": float(failed)}
    if requests < _LEAST_REQUESTS or failed / requests <= _ERRORS:
        return [], figures
    text = (
        f"the model server failed {failed:,} of {requests:,} requests for {problem.name} ({failed / requests:.1%}), "
        f"limit {_ERRORS:.0%}: look at its log and load"
    )
    return [MonitoringAlert("server", text)], figures
