"""Statistics of whatever a person points at: files of any format, a table, or statistics that were kept."""

import argparse
import copy
import dataclasses
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.cli.terminal import count, counting, progress_of
from windtunnel.lifecycle.contract.errors import ConfigurationError, SchemaMismatchError, UnavailableError
from windtunnel.lifecycle.data.sources.files import border
from windtunnel.lifecycle.payload import JsonObject

if TYPE_CHECKING:
    from windtunnel.lifecycle.contract.problem import Problem
    from windtunnel.lifecycle.data.sources.untyped import Reading
    from windtunnel.lifecycle.statistics import TableStatistics
    from windtunnel.lifecycle.statistics.profiled import Profiled

__all__ = ["Loaded", "add_arguments", "add_options", "as_parquet", "describe", "load", "options_of", "part_of", "told", "write"]

_STATE = "statistics.arrow"


@dataclasses.dataclass
class Loaded:
    """Statistics, and what came of reading: rows that do not fit, and what was guessed."""

    profiled: "Profiled"
    reading: "Reading"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which part of the data, and how it is written."""
    parser.add_argument("--workers", type=int, default=1, help="more than one reads Parquet in a Beam pipeline of so many processes")
    parser.add_argument("--start", help="of a table: the first day, such as 2013-01-01")
    parser.add_argument("--end", help="of a table: the day after the last")
    parser.add_argument("--snapshot", help="of a table: a snapshot id or a tag; the newest version if not given")
    parser.add_argument(
        "--problem", metavar="FILE", help="a problem file: says what the label and the splits are, and how CSV is written (source.options)"
    )
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """How CSV is written: `source.options` of a problem file, under the same names."""
    group = parser.add_argument_group("how CSV is written (the problem file's source.options)")
    group.add_argument("--delimiter", metavar="CHARACTER", help="between cells (tab for a tabulator); looked for in the file if not given")
    group.add_argument("--quote", metavar="CHARACTER", help="around cells; '' for none; \" if not given")
    group.add_argument("--escape", metavar="CHARACTER", help="takes the next character literally; none if not given")
    group.add_argument("--encoding", metavar="NAME", help="such as latin-1; utf-8 if not given")
    group.add_argument("--header", action=argparse.BooleanOptionalAction, help="whether the first record names the columns")
    group.add_argument("--names", metavar="NAME,NAME", type=_listed, help="the columns' names, instead of a header's")
    group.add_argument("--skip-lines", metavar="LINES", type=int, help="lines before the header; looked for in the file if not given")
    group.add_argument("--nulls", metavar="TEXT,TEXT", type=_listed, help="texts that mean no value, such as 'NA,'; '' if not given")
    group.add_argument("--decimal-point", metavar="CHARACTER", help="before decimals; . if not given")
    group.add_argument("--thousands", metavar="CHARACTER", help="between thousands; none if not given")
    group.add_argument("--timestamp-formats", metavar="FORMAT,FORMAT", type=_listed, help="of dates and times, where not as ISO 8601")


def _listed(text: str) -> list[str]:
    return text.split(",")


def options_of(arguments: argparse.Namespace) -> JsonObject:
    """How CSV is written: the options of the problem file, and over them those of the command line.

    Raises:
        ConfigurationError: one of them is wrong.
    """
    from windtunnel.lifecycle.contract.problem import load as load_problem
    from windtunnel.lifecycle.contract.source_options import TextOptions

    options: dict[str, Any] = {}
    if getattr(arguments, "problem", None):
        source = load_problem(arguments.problem).source
        if source.format == "csv":  # read as ingest reads it: nothing is looked for in the file
            options |= dataclasses.asdict(TextOptions()) | source.options
    for name in TextOptions.names_of():
        value = getattr(arguments, name, None)
        if value is not None:
            options[name] = value
    if options.get("delimiter") in {"\\t", "tab"}:
        options["delimiter"] = "\t"
    TextOptions.of(options, "these options")
    return options


def load(
    data: Sequence[str], arguments: argparse.Namespace, slices: Sequence[Sequence[str]] = (), problem: "Problem | None" = None
) -> Loaded:
    """The statistics of data: paths, globs, folders, the name of a table, or statistics that were kept.

    Raises:
        UnavailableError: nothing is there.
        SourceFormatError: it cannot be read.
    """
    from windtunnel.lifecycle.data.sources.untyped import Reading

    reading, whole = Reading(), _empty(arguments, slices, problem)
    with counting("reading"):
        _read(data, arguments, whole, reading, slices, problem)
    _check_slices(whole, slices)
    return Loaded(whole, reading)


def _read(
    data: Sequence[str],
    arguments: argparse.Namespace,
    whole: "Profiled",
    reading: "Reading",
    slices: Sequence[Sequence[str]],
    problem: "Problem | None",
) -> None:
    from windtunnel.lifecycle.data.sources.files import find
    from windtunnel.lifecycle.data.sources.untyped import format_of

    options = options_of(arguments)
    parquet: list[str] = []
    for entry in data:
        kept = _kept(entry)
        if kept is not None:
            whole.merge(kept)
            continue
        paths = find(entry) or _table(entry, arguments)
        for path in paths:
            if format_of(path) == "parquet":
                parquet.append(path)
            else:
                whole.merge(_untyped(path, options, _empty(arguments, slices, problem), reading))
    for part in _parquet(parquet, arguments, _empty(arguments, slices, problem), slices):
        whole.merge(part)


def _empty(arguments: argparse.Namespace, slices: Sequence[Sequence[str]], problem: "Problem | None") -> "Profiled":
    from windtunnel.lifecycle.statistics.profiled import Profiled

    return Profiled(slices, None, problem, repeats=getattr(arguments, "readiness", False))


def _parquet(paths: list[str], arguments: argparse.Namespace, whole: "Profiled", slices: Sequence[Sequence[str]]) -> Iterable["Profiled"]:
    if not paths:
        return
    if arguments.workers > 1:
        if arguments.problem:
            raise ConfigurationError("--problem is read in one process", hint="leave out --workers")
        from windtunnel.beam_jobs.profile import profile_files
        from windtunnel.lifecycle.contract.settings import Settings

        yield from profile_files(paths, Settings(workers=arguments.workers), progress_of("profile"), slices=slices)
        return
    from windtunnel.lifecycle.data.days import day_of
    from windtunnel.lifecycle.statistics.scan import scan_groups, tasks_of

    first_test = _first_test_day(arguments)
    if not first_test:
        for path in paths:
            with border(path):
                for task in tasks_of([path]):
                    scan_groups(task, _Checked(whole, path))
        yield whole
        return
    for path in paths:
        part = copy.deepcopy(whole)
        with border(path):
            for task in tasks_of([path]):
                scan_groups(task, _Checked(part, path))
        part.splits = {"test" if day_of(path) >= first_test else "train": part.table}
        yield part


def _first_test_day(arguments: argparse.Namespace) -> str:
    """Of a problem that splits by time: the first day, ISO, of the test split of the window that ends on ``--end``."""
    if not arguments.problem:
        return ""
    from windtunnel.lifecycle.contract.problem import load
    from windtunnel.lifecycle.data.rows import first_test_day

    problem = load(arguments.problem)
    if problem.splits.by != "time":
        return ""
    if not arguments.end:
        raise ConfigurationError("the problem splits by time: the splits of which window?", hint="give --end, the day after its last")
    return first_test_day(problem, arguments.end).isoformat()


def _untyped(path: str, options: dict[str, object], empty: "Profiled", reading: "Reading") -> "Profiled":
    from windtunnel.lifecycle.data.sources.untyped import read_untyped

    whole, offset = copy.deepcopy(empty), 0
    with border(path):
        for batch in read_untyped(path, options, reading):
            if batch is None:
                whole, offset = copy.deepcopy(empty), 0
                continue
            _Checked(whole, path).add_batch(batch, os.fspath(Path(path).name), offset)
            offset += batch.num_rows
    return whole


@dataclasses.dataclass
class _Checked:
    """Statistics that say by column and row what they cannot be made of."""

    whole: "Profiled"
    path: str

    def add_batch(self, batch: Any, origin: str = "", offset: int = 0) -> None:
        from windtunnel.lifecycle.data.sources.columnar import check_readable

        check_readable(batch, self.path, offset)
        self.whole.add_batch(batch, origin, offset)
        count(batch.num_rows)


def as_parquet(data: Sequence[str], arguments: argparse.Namespace, folder: str) -> list[str]:
    """Data of any format as Parquet files: those that are no Parquet are read as `load` reads them and written to a folder.

    What came of reading goes to standard error.

    Raises:
        SourceFormatError: a file cannot be read.
    """
    from windtunnel.lifecycle.data.parquet import expand
    from windtunnel.lifecycle.data.sources.files import find
    from windtunnel.lifecycle.data.sources.untyped import Reading, format_of

    found: list[str] = []
    reading = Reading()
    for entry in data:
        paths = find(entry)
        if not paths or all(format_of(path) == "parquet" for path in paths):
            found += expand(entry)
            continue
        for path in paths:
            written = Path(folder) / f"{len(found)}.parquet"
            _write_parquet(path, options_of(arguments), reading, written)
            found.append(str(written))
    for line in told(reading):
        print(f"windtunnel {arguments.command}: {line}", file=sys.stderr)
    return found


def _write_parquet(path: str, options: dict[str, Any], reading: "Reading", written: Path) -> None:
    import pyarrow.parquet as pq

    from windtunnel.lifecycle.data.sources.untyped import read_untyped

    writer = None
    with border(path):
        for batch in read_untyped(path, options, reading):
            if writer is not None and (batch is None or not writer.schema.equals(batch.schema)):
                writer.close()
                writer = None
            if batch is not None:
                writer = writer or pq.ParquetWriter(written, batch.schema)
                writer.write_batch(batch)
        if writer is not None:
            writer.close()


def _kept(entry: str) -> "Profiled | None":
    """Statistics that a stage or ``--state`` wrote; None for anything else."""
    import pyarrow as pa

    from windtunnel.lifecycle.statistics.profiled import Profiled

    path = Path(entry) / _STATE if Path(entry).is_dir() else Path(entry)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        if file.read(6) != b"ARROW1":
            return None
    try:
        return Profiled.from_bytes(path.read_bytes())
    except (SchemaMismatchError, pa.ArrowException, OSError, LookupError, ValueError):
        return None  # somebody else's Arrow file: data, or damaged


def _table(entry: str, arguments: argparse.Namespace) -> list[str]:
    """The data files of a table of ours."""
    if not re.fullmatch(r"\w+\.\w+", entry):
        raise UnavailableError(f"{entry}: no such file", hint="give a path, a glob, a folder, or a table such as flight_delays.examples")
    from windtunnel.cli.instance.resolve import command_settings
    from windtunnel.lifecycle.data.pins import table_files

    settings = command_settings(arguments)
    if not settings.catalog_uri:
        raise UnavailableError(
            f"{entry}: no such file, and no catalog is set in which it could be a table",
            hint="`eval $(windtunnel env)` makes this command see the embedded instance's tables",
        )
    found = table_files(settings, entry, arguments.start, arguments.end, arguments.snapshot or "")
    if not found:
        raise UnavailableError(f"table {entry} has no rows between {arguments.start or 'its first day'} and {arguments.end or 'its last'}")
    return found


def _check_slices(found: "Profiled", slices: Sequence[Sequence[str]]) -> None:
    known = found.table.columns
    for name in (name for crossing in slices for name in crossing):
        if name not in known:
            raise ConfigurationError(f"there is no column {name!r} to slice by", hint=f"there are: {', '.join(known)}")


def part_of(found: "Profiled", name: str | None, split: str | None = None) -> "TableStatistics":
    """The whole table, or a slice or a split of it.

    Raises:
        ConfigurationError: there is no such slice or split.
    """
    if split:
        if name:
            raise ConfigurationError(f"give a slice ({name}) or a split ({split}), not both", hint="slices are kept of all rows")
        if split not in found.splits:
            raise ConfigurationError(
                f"there is no split {split!r}",
                hint=f"there are: {', '.join(found.splits)}" if found.splits else "give --problem, which says what the splits are",
            )
        return found.splits[split]
    if not name:
        return found.table
    wanted = name.replace(", ", ",")
    for key, statistics in found.slices.items():
        if key.replace(", ", ",") == wanted:
            return statistics
    raise ConfigurationError(f"there is no slice {name!r}", hint=f"there are: {', '.join(list(found.slices)[:20]) or 'none'}")


def describe(found: Loaded, label: str | None = None, sensitive: Sequence[str] = ()) -> JsonObject:
    """Everything that is known, as one object.

    Raises:
        ConfigurationError: a column that is named is not there.
    """
    from windtunnel.lifecycle.pages.eda import warnings_of
    from windtunnel.lifecycle.statistics import summarize
    from windtunnel.lifecycle.statistics.association import associations

    summary = summarize(found.profiled.table)
    for name in filter(None, (label, *sensitive)):
        if name not in summary["columns"]:
            raise ConfigurationError(f"there is no column {name!r}", hint=f"there are: {', '.join(summary['columns'])}")
    sample = found.profiled.table.sample.table
    association = associations(sample, list(summary["columns"]), label) if label else {}
    proxies = {name: associations(sample, list(summary["columns"]), name) for name in sensitive}
    described: dict[str, object] = {**summary, "warnings": warnings_of(summary, association, proxies)}
    if label:
        described |= {"label": label, "association": association, "association_rows": sample.num_rows}
    if proxies:
        described["proxies"] = proxies
    if found.profiled.labels:
        described["labels"] = found.profiled.label_counts()
    for part, kept in (("splits", found.profiled.splits), ("slices", found.profiled.slices)):
        if kept:
            described[part] = {name: summarize(statistics) for name, statistics in kept.items()}
    return described | _of_reading(found.reading)


def _of_reading(reading: "Reading") -> JsonObject:
    """What became of rows that do not fit, and how the files were read."""
    described: JsonObject = {}
    if reading.refused:
        described["skipped"] = {"rows": reading.refused, "samples": [dataclasses.asdict(entry) for entry in reading.samples]}
    if reading.notes or reading.options:
        described["reading"] = {"options": reading.options, "notes": reading.notes}
    return described


def told(reading: "Reading") -> list[str]:
    """What a person should know about how data was read, a line each."""
    lines = [f"{column}: {text}" if column else text for column, notes in reading.notes.items() for text in notes]
    if reading.options:
        lines.append(f"source.options as the file shows them: {json.dumps(reading.options, ensure_ascii=False)}")
    if reading.refused:
        shown = "; ".join(f"line {entry.line} {entry.column} {entry.reason}".replace("  ", " ") for entry in reading.samples)
        lines.append(f"{reading.refused:,} rows do not fit and were left out: {shown}")
    return lines


def write(path: str, data: bytes) -> None:
    """A file that is there whole or not at all.

    Raises:
        UnavailableError: it cannot be written.
    """
    temporary = Path(f"{path}.{os.getpid()}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UnavailableError(
            f"{path}: cannot be written: {error.strerror}", hint="is there such a folder, and room on the disk?"
        ) from error
