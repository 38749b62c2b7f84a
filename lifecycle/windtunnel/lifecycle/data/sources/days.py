"""The day that a row says it belongs to."""

import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.contract.problem import Problem

__all__ = ["event_columns", "event_days"]


def event_columns(problem: Problem) -> list[str]:
    """The columns that say when a row happened; none if the problem names none."""
    return [name for name in (problem.event_time.model_dump().values() if problem.event_time else []) if name]


def event_days(problem: Problem, batch: pa.RecordBatch) -> pa.Array:
    """The day (date32) of each row's event time; null where it has none, or names no real day such as February 30.

    Example:
        >>> from windtunnel.lifecycle.contract.problem import parse
        >>> problem = parse({"name": "p", "owner": "o", "task": "regression", "source": {"format": "csv", "path": "x"},
        ...     "columns": {"y": "int32", "m": "int32", "d": "int32"}, "features": {"numeric": ["m"]}, "label": {"column": "d"},
        ...     "event_time": {"year": "y", "month": "m", "day": "d"}})
        >>> event_days(problem, pa.record_batch({"y": [2013, 2013], "m": [2, 2], "d": [28, 30]})).to_pylist()
        [datetime.date(2013, 2, 28), None]
    """
    event = problem.event_time
    if event is None:
        return pa.nulls(batch.num_rows, pa.date32())
    if event.column is not None:
        values = batch.column(event.column)
        if pa.types.is_string(values.type):
            head = pc.utf8_slice_codeunits(values, 0, 10)
            shaped = pc.match_substring_regex(head, r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$")
            return _real(pc.if_else(shaped, head, pa.scalar(None, pa.string())))
        return values if values.type == pa.date32() else pc.floor_temporal(values, unit="day").cast(pa.date32())
    year, month, day = (pc.cast(batch.column(name), pa.int64(), safe=False) for name in (event.year, event.month, event.day))
    possible = pc.and_(pc.is_in(month, pa.array(range(1, 13))), pc.and_(pc.greater_equal(year, 1), pc.less_equal(year, 9999)))
    text = pc.binary_join_element_wise(
        *(pc.utf8_lpad(pc.cast(part, pa.string()), width, "0") for part, width in ((year, 4), (month, 2), (day, 2))), "-"
    )
    return _real(pc.if_else(possible, text, pa.scalar(None, pa.string())))


def _real(text: pa.Array) -> pa.Array:
    """Dates of ISO texts; null for February 30, which `strptime` would roll over into March."""
    parsed = pc.strptime(text, "%Y-%m-%d", "s", error_is_null=True)
    same = pc.equal(pc.strftime(parsed, "%Y-%m-%d"), text)
    return pc.if_else(same, pc.cast(parsed, pa.date32()), pa.scalar(None, pa.date32()))
