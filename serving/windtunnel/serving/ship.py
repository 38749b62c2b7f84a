"""The prediction log as Parquet: closed log files become files under ``predictions/PROBLEM/DAY/``, one row a predicted row.

The name of a Parquet file is that of the log file it came from, and the log file goes only when its Parquet file is whole: done twice, or
killed half-way, each answer is there once.
"""

import datetime as dt
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.serving.log import closed_files

__all__ = ["SCHEMA", "rows_of", "to_parquet"]

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
        pa.field("probabilities", pa.list_(pa.float64())),
        pa.field("decision", pa.string()),
        pa.field("seconds", pa.float64()),
        pa.field("inputs", pa.string()),
    ]
)
"""The columns of ``<problem>.predictions``.

``event_date`` is the UTC day of the answer; ``prediction`` the class (for a regression the number as text); ``value`` the score (for a
regression the number); ``inputs`` the row as it was sent, as JSON, without redacted columns: keys that the model does not use are in it
too, and the truth is joined by them.
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
            "probabilities": answer.get("probabilities"),
            "decision": answer.get("decision"),
            "seconds": entry["seconds"],
            "inputs": json.dumps(row),
        }
