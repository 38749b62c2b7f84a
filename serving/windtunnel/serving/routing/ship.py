"""The prediction log as Parquet: closed log files become files under ``predictions/PROBLEM/DAY/``, one row a predicted row.

The name of a Parquet file is that of the log file it came from, and the log file goes only when its Parquet file is whole: done twice, or
killed half-way, each answer is there once. `windtunnel.lifecycle.live.collecting` takes them into the table.
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

from windtunnel.lifecycle.data.predictions import LOGGED
from windtunnel.serving.base import quickjson
from windtunnel.serving.base.log import closed_files

__all__ = ["rows_of", "to_parquet"]


def to_parquet(home: Path) -> list[Path]:
    """Turn every closed log file of a server into Parquet; answers the new files."""
    written: list[Path] = []
    for path in closed_files(home / "log"):
        grouped: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for line in path.read_bytes().splitlines():
            entry = quickjson.loads(line)
            for row in rows_of(entry):
                grouped[entry["problem"], row["event_date"].isoformat()].append(row)
        for (problem, day), rows in grouped.items():
            target = home / "predictions" / problem / day / f"{path.stem}.parquet"
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_suffix(".tmp")
            pq.write_table(pa.Table.from_pylist(rows, schema=LOGGED), temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
            written.append(target)
        path.unlink()
    return written


def rows_of(entry: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """The rows of one log entry."""
    at = dt.datetime.fromtimestamp(entry["time"], dt.UTC)
    for index, (row, answer) in enumerate(zip(_rows(entry["inputs"]), _rows(entry["answers"]), strict=True)):
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


def _rows(values: Any) -> list[dict[str, Any]]:
    """Rows as rows: the log has one row as it was, and several as lists by column."""
    if isinstance(values, list):
        return values
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
