"""The raw columns of predicted rows, from the JSON of the model server's log or from a table that has them."""

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pjson

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.data.schema import arrow_schema

__all__ = ["inputs_of"]


def inputs_of(problem: Problem, predictions: pa.RecordBatch) -> pa.Table:
    """The raw columns of predicted rows as they were sent, in the problem's types; null where a row lacks one or it does not fit.

    The model server logs a row as JSON in the column ``inputs``; a table of predictions that has raw columns of its own is read too.

    Example:
        >>> from windtunnel.lifecycle.contract.problem import parse
        >>> problem = parse({"name": "p", "owner": "o", "task": "regression", "source": {"format": "csv", "path": "x"},
        ...     "columns": {"a": "int64", "y": "float64"}, "features": {"numeric": ["a"]}, "label": {"column": "y"}})
        >>> inputs_of(problem, pa.record_batch({"inputs": ['{"a": 3}', '{"a": "x"}', None]}))["a"].to_pylist()
        [3, None, None]
    """
    schema = arrow_schema(problem, day=False)
    if "inputs" not in predictions.schema.names:
        return _own_columns(schema, predictions)
    texts = pc.fill_null(predictions.column("inputs").cast(pa.string()), "{}").to_pylist()
    parsed = _inputs_at_once(schema, texts)
    return parsed if parsed is not None else _inputs_one_by_one(schema, texts)


def _own_columns(schema: pa.Schema, predictions: pa.RecordBatch) -> pa.Table:
    """The raw columns that a table of predictions has itself; null where it lacks one."""
    columns = []
    for field in schema:
        if field.name in predictions.schema.names:
            columns.append(predictions.column(field.name).cast(field.type, safe=False))
        else:
            columns.append(pa.nulls(predictions.num_rows, field.type))
    return pa.table(columns, schema=schema)


def _inputs_at_once(schema: pa.Schema, texts: list[str]) -> pa.Table | None:
    """All rows read by Arrow; None where a value is of another type, or NaN, or of a type that JSON does not have."""
    if not texts or any(pa.types.is_date(f.type) or pa.types.is_timestamp(f.type) or pa.types.is_decimal(f.type) for f in schema):
        return None
    body = ("\n".join(texts) + "\n").encode()
    parse = pjson.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    try:
        # In one block: Arrow refuses a row that reaches over more than two of them.
        rows = pjson.read_json(pa.BufferReader(body), pjson.ReadOptions(block_size=len(body) + 1), parse)
    except pa.ArrowException:
        return None
    # A blank text makes no row, and everything behind it would move up.
    return rows.select(schema.names) if rows.num_rows == len(texts) else None


def _inputs_one_by_one(schema: pa.Schema, texts: Sequence[str]) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    readers = {field.name: _reader(field.type) for field in schema}
    for text in texts:
        try:
            row = json.loads(text)
        except ValueError:
            row = {}
        row = row if isinstance(row, Mapping) else {}
        for name, values in columns.items():
            values.append(readers[name](row.get(name)))
    return pa.table({name: pa.array(values, schema.field(name).type) for name, values in columns.items()}, schema=schema)


def _reader(kind: pa.DataType) -> Callable[[object], object]:
    def whole(value: Any) -> int:
        number = int(value)
        # Only for its range: Arrow refuses a number that the type cannot hold.
        pa.scalar(number, kind)
        if number != float(value):
            raise ValueError(value)
        return number

    def moment(value: object) -> dt.datetime:
        found = dt.datetime.fromisoformat(str(value))
        return found.astimezone(dt.UTC).replace(tzinfo=None) if found.tzinfo else found

    converters: list[tuple[Callable[[Any], bool], Callable[[Any], Any]]] = [
        (pa.types.is_integer, whole),
        (pa.types.is_floating, float),
        (pa.types.is_boolean, lambda value: bool(value) if value in (0, 1) else None),
        (pa.types.is_date, lambda value: dt.date.fromisoformat(str(value)[:10])),
        (pa.types.is_timestamp, moment),
        (pa.types.is_decimal, lambda value: pa.scalar(Decimal(str(value)).quantize(Decimal(1).scaleb(-kind.scale)), kind).as_py()),
    ]
    convert = next((found for fits, found in converters if fits(kind)), str)

    def read(value: Any) -> object:
        try:
            return None if value is None else convert(value)
        except (ValueError, TypeError, ArithmeticError, pa.ArrowException):
            return None

    return read
