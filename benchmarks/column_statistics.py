"""Statistics of every column: ours as a loop, ours as a Beam pipeline with one and two workers, DuckDB and Polars; each in its own process.

python benchmarks/column_statistics.py 10 --runs 3              # the flights, 3.37 million rows
python benchmarks/column_statistics.py 100 --peers duckdb       # 33.7 million rows
python benchmarks/column_statistics.py distinct --peers duckdb  # 10 million rows, two columns in which every value is distinct
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from flights import DATA, flights

QUANTILES = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99]
OURS = ["loop", "beam", "beam-2"]


def distinct() -> Path:
    """Ten million rows of a random number and a text, all different."""
    path = DATA / "distinct.parquet"
    if not path.exists():
        DATA.mkdir(exist_ok=True)
        rng = np.random.default_rng(0)
        schema = pa.schema([("number", pa.float64()), ("text", pa.string())])
        with pq.ParquetWriter(path, schema) as writer:
            for start in range(0, 10_000_000, 131_072):
                rows = min(131_072, 10_000_000 - start)
                texts = pa.array([f"user-{(start + i) * 2654435761 % 2**32:010d}" for i in range(rows)])
                writer.write_table(pa.table({"number": rng.random(rows), "text": texts}, schema=schema), row_group_size=131_072)
    return path


def loop(path: str) -> int:
    """`windtunnel profile` without a page."""
    from windtunnel.cli.main import main

    with tempfile.TemporaryDirectory() as folder:
        return main(["profile", path, "--json", "-o", f"{folder}/s.json"])


def beam(path: str, workers: int) -> int:
    """The same by the pipeline of the profile job."""
    from windtunnel.beam_jobs.job import Progress
    from windtunnel.beam_jobs.profile import profile_files
    from windtunnel.lifecycle.contract.settings import Settings
    from windtunnel.lifecycle.statistics import summarize

    with tempfile.TemporaryDirectory() as folder:
        found = profile_files([path], Settings(artifacts=folder, workers=workers), Progress())
        return len(json.dumps(summarize(found[0].table)))


def duckdb(path: str) -> int:
    """Count, nulls, extremes, mean, deviation, quantiles, distinct (approximate) and the twenty most frequent values."""
    import duckdb as peer

    connection = peer.connect()
    size = 0
    schema = pq.read_schema(path)
    parts = []
    for field in schema:
        name = f'"{field.name}"'
        parts += [f"count({name})", f"min({name})", f"max({name})", f"approx_count_distinct({name})"]
        if pa.types.is_integer(field.type) or pa.types.is_floating(field.type):
            parts += [f"avg({name})", f"stddev_samp({name})", f"quantile_cont({name}, {QUANTILES})"]
    size += len(str(connection.execute(f"SELECT count(*), {', '.join(parts)} FROM '{path}'").fetchall()))
    for field in schema:
        query = f"SELECT \"{field.name}\", count(*) AS n FROM '{path}' GROUP BY 1 ORDER BY n DESC LIMIT 20"
        size += len(str(connection.execute(query).fetchall()))
    return size


def polars(path: str) -> int:
    """The same with Polars."""
    import polars as pl

    table = pl.scan_parquet(path)
    schema = table.collect_schema()
    asked = []
    for name, kind in schema.items():
        column = pl.col(name)
        asked += [column.count().alias(f"{name}-n"), column.min().alias(f"{name}-min"), column.max().alias(f"{name}-max")]
        asked.append(column.n_unique().alias(f"{name}-distinct"))
        if kind.is_numeric():
            asked += [column.mean().alias(f"{name}-mean"), column.std().alias(f"{name}-std")]
            asked += [column.quantile(q, "linear").alias(f"{name}-{q}") for q in QUANTILES]
    size = len(str(table.select(asked).collect().row(0)))
    for name in schema:
        size += len(table.select(pl.col(name).value_counts(sort=True).head(20)).collect())
    return size


def child(what: str, path: str) -> None:
    """Run one and say what it cost, children included."""
    start = time.perf_counter()
    actions = {"loop": loop, "beam": lambda p: beam(p, 1), "beam-2": lambda p: beam(p, 2), "duckdb": duckdb, "polars": polars}
    actions[what](path)
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime
    memory = max(own.ru_maxrss, others.ru_maxrss) / 1024
    print(json.dumps({"cpu": cpu, "wall": time.perf_counter() - start, "mb": memory}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", help="how often the flights are repeated, or 'distinct'")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--peers", default="duckdb,polars")
    parser.add_argument("--child")
    given = parser.parse_args()
    path = str(distinct() if given.data == "distinct" else flights(int(given.data)))
    if given.child:
        child(given.child, path)
        return
    print("| what | CPU s | wall s | peak MB of the largest process |\n|---|---|---|---|")
    for what in [*OURS, *filter(None, given.peers.split(","))]:
        runs = []
        for _ in range(given.runs):
            command = [sys.executable, __file__, given.data, "--child", what]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})
            runs.append(json.loads(done.stdout.splitlines()[-1]))
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        print(f"| {what} | {middle['cpu']:.2f} | {middle['wall']:.1f} | {middle['mb']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
