"""What the arms of a running experiment turned out to be worth: counted in the table of feedback, told to the model server.

An answer's reward is a number between 0 and 1: what ``serving.reward`` of the problem says of truth and prediction, else whether a class
was right. Where the problem's KPI has a function, its value is told too, with an error by groups of answers.
"""

import collections
import datetime as dt
import logging
import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.contract.errors import ConfigurationError, WindtunnelError
from windtunnel.lifecycle.contract.naming import imported
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.days import day_files
from windtunnel.lifecycle.data.parquet import batches
from windtunnel.lifecycle.data.predictions import answers_of
from windtunnel.lifecycle.data.tables import existing, table_name
from windtunnel.lifecycle.judging.sample import Sample
from windtunnel.lifecycle.release.targets import router, target_of

__all__ = ["count_rewards", "tell_server"]

log = logging.getLogger("windtunnel.rewards")

_COLUMNS = ("version", "route", "shadow", "predicted_at", "prediction", "value", "label", "known_on")
_SAMPLE = 100_000
_GROUPS = 20
_LEAST = 5 * _GROUPS
"""Answers that a KPI's error must rest on."""

_MIX = np.uint64(0x9E3779B97F4A7C15)


def tell_server(problem: Problem, settings: Settings, until: dt.date | None = None) -> dict[str, dict[str, float]]:
    """Tell the server's experiment of a problem, if there is one, what its arms were worth since it began.

    A server that is down, or of a kind that has no experiments, is no error: the next round tells it the same totals and more.
    """
    target = router(target_of(settings)) if settings.server_url else None
    if target is None:
        return {}
    try:
        experiment = target.route(problem.name).get("experiment")
        if not experiment:
            return {}
        found = count_rewards(problem, settings, dt.datetime.fromisoformat(experiment["started"]), until)
        if found:
            target.reward(problem.name, found)
    # A reward function that gives no rewards must be seen, unlike a server that is away.
    except ConfigurationError:
        raise
    except WindtunnelError as error:
        log.warning("%s: the server was not told what its arms are worth: %s", problem.name, error)
        return {}
    return found


def count_rewards(problem: Problem, settings: Settings, since: dt.datetime, until: dt.date | None = None) -> dict[str, dict[str, float]]:
    """Rewards of the answers given since a time whose truth is known, by ``version/arm``: totals, so counting twice tells the same.

    Args:
        problem: says how an answer is rewarded.
        settings: where the table of feedback is.
        since: when the experiment began.
        until: answers whose truth became known on or after this day are left out.

    Returns:
        ``count``, ``total``, and ``kpi`` with ``kpi_error`` where there are answers enough.

    Raises:
        ConfigurationError: the problem's function gives no rewards between 0 and 1.
    """
    table = existing(settings, table_name(problem, "feedback"))
    if table is None or (problem.task == "regression" and problem.serving.reward is None):
        return {}
    files = [entry.path for entry in day_files(table, since.date(), None) if entry.rows]
    rewards: dict[str, dict[str, float]] = {}
    samples: dict[str, Sample] = collections.defaultdict(lambda: Sample(_SAMPLE))
    seen = 0
    for batch in batches(files, _COLUMNS):
        rows = _shown(batch, since, until)
        if rows.num_rows:
            _add(problem, rows, seen, rewards, samples)
            seen += rows.num_rows
    for arm, sample in samples.items():
        rewards[arm] |= _kpi(problem, sample)
    return rewards


def _shown(batch: pa.RecordBatch, since: dt.datetime, until: dt.date | None) -> pa.Table:
    """The answers that somebody saw since the experiment began, and whose truth is known in time."""
    rows = pa.table({name: batch.column(name) for name in _COLUMNS})
    # Only answers that the experiment's route gave, and that somebody saw.
    wanted = pc.and_(
        pc.greater_equal(rows["predicted_at"], pa.scalar(since, rows.schema.field("predicted_at").type)),
        pc.and_(pc.invert(pc.fill_null(rows["shadow"], fill_value=False)), pc.is_valid(rows["route"])),
    )
    if until is not None:
        wanted = pc.and_(wanted, pc.less(rows["known_on"], pa.scalar(until, pa.date32())))
    return rows.filter(wanted)


def _add(problem: Problem, rows: pa.Table, seen: int, rewards: dict[str, dict[str, float]], samples: dict[str, Sample]) -> None:
    """Add what answers were worth to their arms, and keep a sample of each arm where a KPI is made from truth and prediction."""
    truth, said = rows["label"], answers_of(problem.task, rows)
    worth = _worth(problem, truth, said)
    # Multiplied by 2^64 over the golden ratio and folded, row numbers are as good as random keys for the sample.
    places = (np.arange(rows.num_rows) + seen).astype(np.uint64) * _MIX
    arms = pc.binary_join_element_wise(rows["version"], rows["route"], "/")
    for arm in pc.unique(arms).to_pylist():
        mine = pc.equal(arms, arm)
        mask = mine.to_numpy(zero_copy_only=False) if isinstance(mine, pa.Array) else mine.to_numpy()
        entry = rewards.setdefault(arm, {"count": 0.0, "total": 0.0})
        entry["count"] += float(mask.sum())
        entry["total"] += float(worth[mask].sum())
        if problem.kpi is not None and problem.kpi.function is not None:
            keys = places[mask]
            samples[arm].add(keys ^ (keys >> np.uint64(31)), pa.table({"truth": truth.filter(mine), "prediction": said.filter(mine)}))


def _worth(problem: Problem, truth: pa.ChunkedArray, said: pa.ChunkedArray) -> np.ndarray:
    name = problem.serving.reward
    if name is None:
        # As text: classes have names, while the label's column may hold numbers.
        return np.asarray(pc.fill_null(pc.equal(said.cast(pa.string()), truth.cast(pa.string())), fill_value=False)).astype(float)
    worth = np.asarray(imported(name, "serving.reward", problem.directory)(truth.to_numpy(), said.to_numpy()), dtype=float)
    if worth.shape != (len(truth),) or not np.all((worth >= 0) & (worth <= 1)):
        raise ConfigurationError(
            f"serving.reward {name!r} must give a number between 0 and 1 for each answer but gave {worth[:3].tolist()} ...",
            hint="scale it: an experiment compares means of numbers between 0 and 1",
        )
    return worth


def _kpi(problem: Problem, sample: Sample) -> dict[str, float]:
    """The KPI of an arm's answers, and the standard error of it by groups of them."""
    rows = sample.table()
    if problem.kpi is None or problem.kpi.function is None or rows is None or rows.num_rows < _LEAST:
        return {}
    function = imported(problem.kpi.function, "kpi.function", problem.directory)
    truth, said = rows["truth"].to_numpy(), rows["prediction"].to_numpy()
    # The KPI is any function, so its error comes from the spread between groups of answers.
    groups = np.array([float(function(truth[n::_GROUPS], said[n::_GROUPS])) for n in range(_GROUPS)])
    value, error = float(function(truth, said)), float(groups.std(ddof=1) / math.sqrt(_GROUPS))
    return {"kpi": value, "kpi_error": error} if math.isfinite(value) and math.isfinite(error) else {}
