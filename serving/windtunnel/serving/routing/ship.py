"""The prediction log as Parquet: closed log files become files under ``predictions/PROBLEM/DAY/``, one row a predicted row.

The name of a Parquet file is that of the log file it came from, and the log file goes only when its Parquet file is whole: done twice, or
killed half-way, each answer is there once. `windtunnel.lifecycle.live.collecting` takes them into the table.
"""

import os
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq

from windtunnel.serving.base import quickjson
from windtunnel.serving.base.log import closed_files
from windtunnel.serving.routing.entries import Entries, day_of

__all__ = ["to_parquet"]


def to_parquet(home: Path) -> list[Path]:
    """Turn every closed log file of a server into Parquet; answers the new files."""
    written: list[Path] = []
    for path in closed_files(home / "log"):
        grouped: dict[tuple[str, str], Entries] = defaultdict(Entries)
        for line in path.read_bytes().splitlines():
            entry = quickjson.loads(line)
            grouped[entry["problem"], day_of(entry).isoformat()].add(entry)
        for (problem, day), rows in grouped.items():
            target = home / "predictions" / problem / day / f"{path.stem}.parquet"
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_suffix(".tmp")
            pq.write_table(rows.table(), temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
            written.append(target)
        path.unlink()
    return written
