"""Labels that people gave, in the table ``<problem>.labels``: the row's keys, the label, who gave it and when."""

import dataclasses
import datetime as dt
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from windtunnel.lifecycle.contract.errors import ConfigurationError, DataError, SchemaMismatchError, SourceFormatError
from windtunnel.lifecycle.contract.fingerprint import fingerprint
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.days import day_files, day_path, replace_days
from windtunnel.lifecycle.data.parquet import write_file
from windtunnel.lifecycle.data.rows import DAY, label_of
from windtunnel.lifecycle.data.schema import arrow_type
from windtunnel.lifecycle.data.tables import open_table, table_name
from windtunnel.lifecycle.live.known_keys import split_by_known_key
from windtunnel.lifecycle.record.ledger import Ledger

__all__ = ["AddedLabels", "add_labels", "label_type", "labels_schema"]

_TRUE, _FALSE = {"1", "true", "yes", "1.0"}, {"0", "false", "no", "0.0"}


@dataclasses.dataclass(frozen=True)
class AddedLabels:
    """What became of labels that people gave.

    Attributes:
        added: how many were added to ``<problem>.labels``.
        apart: how many have a key that no example and no answer has; they are kept in ``<problem>.labels_apart``.
        first: the key of the first of those.
    """

    added: int
    apart: int = 0
    first: dict[str, object] | None = None


def label_type(problem: Problem) -> pa.DataType:
    """The type of labels in the feedback table: 0 and 1 as int32, a number, or a class name."""
    if problem.task == "regression":
        return pa.float64()
    return pa.string() if problem.task == "multiclass" else pa.int32()


def labels_schema(problem: Problem) -> pa.Schema:
    """The columns of ``<problem>.labels``: the keys, the label as text, who gave it and when; `DAY` is the day it was given."""
    keys = [pa.field(name, arrow_type(problem.columns[name])) for name in problem.keys]
    return pa.schema(
        [
            *keys,
            pa.field("label", pa.string()),
            pa.field("by", pa.string()),
            pa.field("at", pa.timestamp("us", tz="UTC")),
            pa.field(DAY, pa.date32()),
        ]
    )


def add_labels(
    problem: Problem, source: str | Path | pa.Table, settings: Settings, by: str = "", at: dt.datetime | None = None
) -> AddedLabels:
    """Add labels that people gave to the table ``<problem>.labels``; the same file again adds nothing.

    A label whose key no row has would wait for ever without anybody knowing: it is kept apart, in ``<problem>.labels_apart``, and counted.

    Args:
        problem: whose; it must name ``keys``.
        source: a CSV or Parquet file, or a table, with the key columns and ``label`` (a class, 0 or 1, or a number); ``by`` and ``at`` (an
            ISO time with zone) where it has them. Instead of ``label`` it may have the problem's own label column.
        settings: name the catalog.
        by: who gave those that do not say.
        at: when, for those that do not say; now by default.

    Returns:
        how many labels were added, and how many are kept apart.

    Raises:
        ConfigurationError: the problem names no keys, or nobody is said to have given a label.
        SourceFormatError: the file cannot be read.
        SchemaMismatchError: a column is missing or of another type.
        DataError: a row has no key, or a label that the task does not know.
    """
    if not problem.keys:
        raise ConfigurationError(
            f"problem {problem.name!r} names no keys, so a label cannot say which row it is for", hint="add keys to it"
        )
    where = "the labels" if isinstance(source, pa.Table) else str(source)
    given = source if isinstance(source, pa.Table) else _read_labels(problem, where)
    labels = _labels(problem, given, where, by, at or dt.datetime.now(dt.UTC))
    # A file that does not say when is the same file tomorrow, so its name leaves the time out.
    timeless = [DAY] if "at" in given.column_names else [DAY, "at"]
    known, unknown = split_by_known_key(problem, labels, settings)
    added = _add(problem, known, settings, "labels", timeless, where)
    if not unknown.num_rows:
        return AddedLabels(added)
    _add(problem, unknown, settings, "labels_apart", timeless, where)
    return AddedLabels(added, unknown.num_rows, unknown.select(problem.keys).slice(0, 1).to_pylist()[0])


def _add(problem: Problem, labels: pa.Table, settings: Settings, kind: str, timeless: list[str], where: str) -> int:
    """Put labels into a table of theirs, by the day they were given; a file that is there already is not added again."""
    schema, name = labels_schema(problem), table_name(problem, kind)
    # Over the labels as they were read: the same ones in another format are the same file.
    digest = fingerprint(labels.drop_columns(timeless).to_pylist())
    open_table(settings, name, schema)
    with Ledger(settings).lock(f"labels:{problem.name}"):  # adding to a day is reading it and replacing it
        # Opened again: what stood there before the lock may be history.
        table = open_table(settings, name, schema)
        there = day_files(table)
        if any(entry.digest == digest for entry in there):
            return 0
        days: dict[str, list[str]] = {}
        for day in sorted(pc.unique(labels[DAY]).to_pylist()):
            part = labels.filter(pc.equal(labels[DAY], pa.scalar(day, pa.date32())))
            path = day_path(table, day, digest, 0)
            write_file(path.rpartition("/")[0], [part], schema, functools.partial(str, path))
            days[day.isoformat()] = [*(entry.path for entry in there if entry.day == day.isoformat()), path]
        if days:
            replace_days(settings, name, days, {"windtunnel.source": where})
    return int(labels.num_rows)


def _read_labels(problem: Problem, where: str) -> pa.Table:
    try:
        with fsspec.open(where, "rb") as file:
            if where.endswith((".parquet", ".pq")):
                return pq.read_table(pa.BufferReader(file.read()), page_checksum_verification=True)
            # As they are written: inference would make numbers or truth values of the names of classes.
            kinds = {name: arrow_type(problem.columns[name]) for name in problem.keys} | {"label": pa.string(), "by": pa.string()}
            options = pcsv.ConvertOptions(column_types=kinds | {"at": pa.string()}, strings_can_be_null=True)
            return pcsv.read_csv(pa.BufferReader(file.read()), convert_options=options)
    except FileNotFoundError as error:
        raise SourceFormatError(f"{where}: no such file", path=where) from error
    except (pa.ArrowException, OSError) as error:
        raise SourceFormatError(
            f"{where}: cannot be read as labels: {error}", hint="a CSV with a header, or Parquet", path=where
        ) from error


def _labels(problem: Problem, given: pa.Table, where: str, by: str, at: dt.datetime) -> pa.Table:
    """Checked labels in the table's schema."""
    missing = [name for name in problem.keys if name not in given.column_names]
    if missing:
        raise SchemaMismatchError(
            f"{where}: lacks the key columns {missing}; there are: {', '.join(given.column_names)}",
            hint=f"a row is named by: {', '.join(problem.keys)}",
            columns=missing,
        )
    columns: dict[str, Any] = {}
    for name in problem.keys:
        try:
            columns[name] = given[name].combine_chunks().cast(arrow_type(problem.columns[name]))
        except pa.ArrowException as error:
            raise SchemaMismatchError(f"{where}: column {name!r} is not {problem.columns[name]}: {error}", column=name) from error
        if columns[name].null_count:
            row = pc.index(pc.is_null(columns[name]), pa.scalar(value=True)).as_py()
            raise DataError(
                f"{where}: row {row + 1} has no {name!r}, so it names no row", hint="fill it in or take the row out", row=row + 1
            )
    columns["label"] = _label_texts(problem, given, where)
    texts = given["by"].combine_chunks().cast(pa.string()) if "by" in given.column_names else pa.nulls(given.num_rows, pa.string())
    columns["by"] = pc.fill_null(texts, by) if by else texts
    if columns["by"].null_count:
        raise ConfigurationError(f"{where}: some labels do not say who gave them", hint="give a column `by`, or the argument by")
    columns["at"] = _times(given, where, at)
    columns[DAY] = columns["at"].cast(pa.timestamp("us")).cast(pa.date32(), safe=False)
    return pa.table(columns, schema=labels_schema(problem))


def _times(given: pa.Table, where: str, at: dt.datetime) -> pa.Array:
    kind = pa.timestamp("us", tz="UTC")
    if "at" not in given.column_names:
        return pa.array([at] * given.num_rows, kind)
    values = []
    for row, value in enumerate(given["at"].to_pylist()):
        try:
            found = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(str(value)) if value is not None else at
        except ValueError as error:
            raise DataError(
                f"{where}: row {row + 1}: at={value!r} is not an ISO time", hint="such as 2026-01-31T12:00:00Z", row=row + 1
            ) from error
        values.append(found if found.tzinfo else found.replace(tzinfo=dt.UTC))
    return pa.array(values, kind)


def _label_texts(problem: Problem, given: pa.Table, where: str) -> pa.Array:
    """Labels as text, one spelling each: ``0`` and ``1``, a class, or a number."""
    if "label" not in given.column_names:
        if problem.label.column not in given.column_names:
            raise SchemaMismatchError(
                f"{where}: has neither a column 'label' nor {problem.label.column!r}; there are: {', '.join(given.column_names)}",
                hint="name the labels' column `label`",
            )
        found = label_of(problem, given)
        texts = [None if value is None else str(value) for value in found.to_pylist()]
    else:
        texts = [None if value is None else str(value).strip() for value in given["label"].to_pylist()]
    answer = []
    for row, text in enumerate(texts):
        read = _label_text(problem, text)
        if read is None:
            allowed = {"regression": "a number", "multiclass": f"one of {problem.label.classes}"}.get(problem.task, "0 or 1")
            raise DataError(f"{where}: row {row + 1}: label {text!r} is not {allowed}", hint="mend it or take the row out", row=row + 1)
        answer.append(read)
    return pa.array(answer, pa.string())


def _label_text(problem: Problem, text: str | None) -> str | None:
    if not text:
        return None
    if problem.task == "multiclass":
        return _class_text(problem.label.classes, text)
    if problem.task == "regression":
        return _number_text(text)
    positive = problem.label.positive.equals if problem.label.positive else None
    if text.casefold() in _TRUE or (positive is not None and text == str(positive)):
        return "1"
    return "0" if text.casefold() in _FALSE else None


def _class_text(classes: Sequence[str] | None, text: str) -> str | None:
    """A class that is declared; where none are, any text but NaN."""
    if classes is None:
        return None if text.casefold() == "nan" else text
    return text if text in classes else None


def _number_text(text: str) -> str | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return repr(number) if np.isfinite(number) else None
