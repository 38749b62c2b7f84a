"""Running a suite over Parquet, as plain data: a suite's JSON in, Great Expectations' result as JSON out."""

import dataclasses
import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import great_expectations as gx
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from windtunnel.beam_jobs.expectations.engine.known import STATISTICS
from windtunnel.beam_jobs.expectations.engine.questions import COUNTING, PROGRESS, Counting
from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.naming import did_you_mean
from windtunnel.lifecycle.contract.seams.expectations import import_expectations
from windtunnel.lifecycle.data.parquet import BATCH_ROWS
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.lifecycle.quality.suites import describe, normal
from windtunnel.lifecycle.statistics.counting import COLUMN_BYTES
from windtunnel.lifecycle.statistics.table import TableStatistics

__all__ = ["Failure", "failures_of", "run_suite", "suite_of"]


@dataclasses.dataclass(frozen=True)
class Failure:
    """An expectation that was not met.

    Attributes:
        expected: the expectation as one line.
        got: what was found instead.
        severity: ``critical``, ``warning`` or ``info``.
        column: the column that it is about, if one.
        samples: rows that did not do, at most 20.
        error: whether it could not be worked out at all.
    """

    expected: str
    got: str
    severity: str
    column: str
    samples: list[dict[str, object]]
    error: bool = False

    def __str__(self) -> str:
        return f"{self.expected}: {self.got}"


def suite_of(values: Mapping[str, object], where: str = "suite") -> gx.ExpectationSuite:
    """A suite of GX's from plain data.

    Raises:
        ConfigurationError: an expectation is unknown, or its arguments are wrong; says which.
    """
    values = normal(values, where)
    import_expectations()
    suite = gx.ExpectationSuite(name=values["name"], meta={**values["meta"]})  # given expectations, it drops those that are wrong
    for number, entry in enumerate(values["expectations"]):
        try:
            suite.expectations.append(ExpectationConfiguration(**{k: v for k, v in entry.items() if k in _FIELDS}).to_domain_obj())
        except Exception as error:
            known = _hint(entry["type"])
            raise ConfigurationError(f"{where}: expectation {number}, {entry['type']}: {_first_line(error)}", hint=known) from error
    return suite


_FIELDS = {"type", "kwargs", "meta", "notes", "description", "severity", "id"}


def run_suite(
    values: Mapping[str, object],
    data: str | Sequence[str],
    *,
    result_format: Mapping[str, object] | str = "SUMMARY",
    batch_rows: int = BATCH_ROWS,
    distinct_bytes: int = COLUMN_BYTES,
    distinct_limit: int | None = None,
    progress: Callable[[int], None] | None = None,
    counting: Counting | None = None,
    statistics: TableStatistics | None = None,
) -> JsonObject:
    """Validate Parquet files.

    Args:
        values: the suite, as plain data.
        data: a path, a folder, a glob, or several of them.
        result_format: as GX documents it.
        batch_rows: rows a chunk.
        distinct_bytes: bytes of distinct values held in memory, a column.
        distinct_limit: distinct values held in memory at most, whatever they take; None for as many as fit.
        progress: told the rows of every chunk.
        counting: another way of counting distinct rows: `route.beam_counting` gives one that runs on any Beam runner.
        statistics: of these very rows: what they answer exactly is not read again.

    Returns:
        GX's result (``ExpectationSuiteValidationResult.to_json_dict()``).

    Raises:
        ConfigurationError: the suite is wrong.
        SourceFormatError: a file is damaged, or none is there.
    """
    suite = suite_of(values)
    asset, batch = _asset()
    asset.path = data if isinstance(data, str) else list(data)
    asset.batch_rows, asset.distinct_bytes, asset.distinct_limit = batch_rows, distinct_bytes, distinct_limit
    tokens = PROGRESS.set(progress), COUNTING.set(counting), STATISTICS.set(statistics)
    try:
        form = dict(result_format) if isinstance(result_format, Mapping) else result_format
        result = batch.get_batch().validate(suite, result_format=form)
    finally:
        PROGRESS.reset(tokens[0])
        COUNTING.reset(tokens[1])
        STATISTICS.reset(tokens[2])
    # By way of text, as GX's own dictionary still has dates and NumPy's numbers in it.
    return json.loads(json.dumps(result.to_json_dict(), default=str))


@functools.cache
def _asset() -> tuple[Any, Any]:
    """One context a process, with one asset that is given other files each time: adding either writes the whole configuration anew."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    asset = context.data_sources.add_arrow("windtunnel").add_parquet_asset("data", path=[])
    return asset, asset.add_batch_definition_whole_dataframe("all")


def failures_of(result: JsonMapping) -> list[Failure]:
    """The expectations of a result that were not met, critical ones first."""
    found = []
    for entry in result["results"]:
        if entry["success"]:
            continue
        config = entry["expectation_config"]
        details = entry.get("result") or {}
        error = _exception(entry)
        rows = details.get("unexpected_rows")
        found.append(
            Failure(
                expected=describe(config),
                got=error or _got(details),
                severity=str(config.get("severity") or "critical"),
                column=str(config["kwargs"].get("column") or ""),
                samples=[dict(row) for row in rows[:20]] if isinstance(rows, list) else [],
                error=bool(error),
            )
        )
    order = {"critical": 0, "warning": 1, "info": 2}
    return sorted(found, key=lambda failure: order.get(failure.severity, 0))


def _got(details: JsonMapping) -> str:
    if "unexpected_count" in details:
        values = details.get("partial_unexpected_list") or []
        distinct = list(dict.fromkeys(json.dumps(value, default=str, ensure_ascii=False) for value in values))[:5]
        such = f", such as {', '.join(distinct)}" if distinct else ""
        percent = details.get("unexpected_percent")
        share = f" ({percent:.3g} %)" if isinstance(percent, int | float) else ""
        return f"{details['unexpected_count']:,} of {details.get('element_count', 0):,} rows are not so{share}{such}"
    text = json.dumps(details.get("observed_value"), default=str, ensure_ascii=False)
    return f"observed {text if len(text) <= 200 else text[:197] + '...'}"


def _exception(entry: JsonMapping) -> str:
    info = entry.get("exception_info") or {}
    parts = [info] if "raised_exception" in info else [part for part in info.values() if isinstance(part, Mapping)]
    messages = [str(part.get("exception_message")) for part in parts if part.get("raised_exception")]
    hint = " (write bounds of times with a time: 2020-01-02T00:00:00)" if any("datetime.date" in text for text in messages) else ""
    return f"could not be worked out: {'; '.join(dict.fromkeys(messages))}{hint}" if messages else ""


def _hint(kind: str) -> str:
    """Which expectation may have been meant."""
    known = [re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in dir(gx.expectations) if name.startswith("Expect")]
    return did_you_mean(kind, known) if kind not in known else ""


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:300] or type(error).__name__
