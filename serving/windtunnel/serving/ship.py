"""The prediction log as Parquet: closed log files become files under ``predictions/PROBLEM/DAY/``, one row a predicted row.

The name of a Parquet file is that of the log file it came from, and the log file goes only when its Parquet file is whole: done twice, or
killed half-way, each answer is there once.
"""

import argparse
import datetime as dt
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.lifecycle.errors import WindtunnelError
from windtunnel.lifecycle.fingerprint import fingerprint
from windtunnel.lifecycle.settings import Settings
from windtunnel.serving.log import closed_files

__all__ = ["SCHEMA", "main", "rows_of", "to_parquet", "to_tables"]

MARK = "ca"
"""What the digest in the name of a table's file begins with when it came from the log; batch-scored ones begin with ``ba``."""

SCHEMA = pa.schema(
    [
        pa.field("event_date", pa.date32()),
        pa.field("predicted_at", pa.timestamp("us", tz="UTC")),
        pa.field("request_id", pa.string()),
        pa.field("row", pa.int32()),
        pa.field("model", pa.string()),
        pa.field("version", pa.string()),
        pa.field("route", pa.string()),
        pa.field("shadow", pa.bool_()),
        pa.field("prediction", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("probabilities", pa.string()),
        pa.field("decision", pa.string()),
        pa.field("seconds", pa.float64()),
        pa.field("inputs", pa.string()),
    ]
)
"""The columns of ``<problem>.predictions``.

``event_date`` is the UTC day of the answer; ``prediction`` the class (for a regression the number as text); ``value`` the score (for a
regression the number); ``inputs`` the row as it was sent, as JSON, without redacted columns: keys that the model does not use are in it
too, and the truth is joined by them; ``probabilities`` is a JSON list, in the order of the classes.
"""


def to_parquet(home: Path) -> list[Path]:
    """Turn every closed log file of a server into Parquet; answers the new files."""
    written: list[Path] = []
    for path in closed_files(home / "log"):
        grouped: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for line in path.read_bytes().splitlines():
            entry = json.loads(line)
            for row in rows_of(entry):
                grouped[entry["problem"], row["event_date"].isoformat()].append(row)
        for (problem, day), rows in grouped.items():
            target = home / "predictions" / problem / day / f"{path.stem}.parquet"
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_suffix(".tmp")
            pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
            written.append(target)
        path.unlink()
    return written


def to_tables(home: Path, settings: Settings) -> dict[str, int]:
    """Put the Parquet files of a server into ``<problem>.predictions``; answers problem -> rows.

    A file is added once however often this runs: its name in the table is made from its name here. It is removed here once it is there.
    """
    from windtunnel.lifecycle import snapshots

    found: dict[str, int] = {}
    for folder in sorted((home / "predictions").glob("*/*")):
        files = sorted(folder.glob("*.parquet"))
        if not files:
            continue
        problem, day = folder.parent.name, folder.name
        name = snapshots.table_name(problem, "predictions")
        table = snapshots.open_table(settings, name, SCHEMA)
        paths = []
        for file in files:
            path = snapshots.day_path(table, day, MARK + fingerprint(str(home.resolve()), file.stem), 0)
            filesystem, place = fsspec.core.url_to_fs(path)
            filesystem.makedirs(place.rpartition("/")[0], exist_ok=True)
            filesystem.put_file(str(file), place)
            paths.append(path)
        rows = sum(pq.read_metadata(file).num_rows for file in files)
        # No file's digest begins with this, so nothing of the day is replaced: files are only added.
        snapshots.replace_days(settings, name, {day: paths}, among="-")
        for file in files:
            file.unlink()
        found[problem] = found.get(problem, 0) + rows
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m windtunnel.serving.ship --home DIR``: everything that is closed goes into the tables of the settings' catalog."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the server's home folder")
    given = parser.parse_args(arguments)
    try:
        to_parquet(given.home)
        sys.stdout.write(json.dumps(to_tables(given.home, Settings.from_environment())) + "\n")
    except WindtunnelError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def rows_of(entry: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """The rows of one log entry."""
    at = dt.datetime.fromtimestamp(entry["time"], dt.UTC)
    for index, (row, answer) in enumerate(zip(entry["inputs"], entry["answers"], strict=True)):
        prediction = answer["prediction"]
        number = isinstance(prediction, int | float)
        yield {
            "event_date": at.date(),
            "predicted_at": at,
            "request_id": entry["id"],
            "row": index,
            "model": entry["model"],
            "version": entry["version"],
            "route": entry["route"],
            "shadow": bool(entry.get("shadow", False)),
            "prediction": repr(prediction) if number else prediction,
            "value": float(prediction) if number else answer.get("score"),
            "probabilities": json.dumps(answer["probabilities"]) if "probabilities" in answer else None,
            "decision": answer.get("decision"),
            "seconds": entry["seconds"],
            "inputs": json.dumps(row),
        }


if __name__ == "__main__":
    sys.exit(main())
