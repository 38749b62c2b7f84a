"""Feedback and monitor over many logged answers: CPU seconds and peak memory, each size in a process of its own.

python benchmarks/feedback.py        # 0.1 and 1 million answers about 28 days of real flights
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from windtunnel.lifecycle.contract.context import RunContext

DAYS = 28


def measure(answers: int) -> dict[str, float]:
    import datetime as dt

    import pyarrow as pa

    from windtunnel.beam_jobs.feedback import feedback
    from windtunnel.beam_jobs.ingest import ingest
    from windtunnel.beam_jobs.job import Progress
    from windtunnel.beam_jobs.monitor import monitor
    from windtunnel.cli.running.landing import lay_out
    from windtunnel.lifecycle.contract.problem import load
    from windtunnel.lifecycle.contract.run import Run
    from windtunnel.lifecycle.contract.settings import Settings
    from windtunnel.lifecycle.contract.window import Window
    from windtunnel.lifecycle.data.parquet import write_file
    from windtunnel.lifecycle.data.predictions import LOGGED

    folder = Path(tempfile.mkdtemp())
    lay_out(folder / "landing")
    settings = Settings(
        catalog_uri=f"sqlite:///{folder}/catalog.db",
        warehouse=str(folder / "warehouse"),
        artifacts=str(folder / "artifacts"),
        landing=str(folder / "landing"),
        server_log=str(folder / "predictions"),
    )
    problem = load(Path(__file__).parents[1] / "dags" / "problems" / "flight_delays.yaml")
    window = Window(dt.date(2013, 1, 1), dt.date(2013, 1, 1) + dt.timedelta(days=DAYS))
    ingest(problem, window, settings, Progress())
    for day in window.days:
        lines = (folder / "landing" / f"flights_{day}.csv").read_text().splitlines()
        names = lines[0].split(",")
        # What a caller sends: everything that is known at departure, as JSON numbers and texts.
        kinds = {name: problem.columns[name] for name in [*problem.keys, *problem.features.columns]}
        sent = []
        for line in lines[1:]:
            row = dict(zip(names, line.split(","), strict=True))
            read = {
                name: None
                if row[name] == "NA"
                else row[name]
                if kind == "string"
                else float(row[name])
                if "float" in kind
                else int(row[name])
                for name, kind in kinds.items()
            }
            sent.append(json.dumps(read))
        count = answers // DAYS
        at = dt.datetime(day.year, day.month, day.day, 20, tzinfo=dt.UTC)
        columns = {
            "event_date": pa.repeat(pa.scalar(day, pa.date32()), count),
            "predicted_at": pa.repeat(pa.scalar(at, LOGGED.field("predicted_at").type), count),
            "request_id": pa.array([f"{day}-{i}" for i in range(count)]),
            "row": pa.repeat(pa.scalar(0, pa.int32()), count),
            "model": pa.repeat(problem.name, count),
            "version": pa.repeat("1", count),
            "route": pa.repeat("champion", count),
            "shadow": pa.repeat(pa.scalar(False), count),
            "prediction": pa.array([str(i % 2) for i in range(count)]),
            "value": pa.array([(i % 100) / 100 for i in range(count)]),
            "probabilities": pa.nulls(count, LOGGED.field("probabilities").type),
            "decision": pa.nulls(count, pa.string()),
            "seconds": pa.array([0.001 + (i % 1000) / 1e6 for i in range(count)]),
            "inputs": pa.array([sent[i % len(sent)] for i in range(count)]),
        }
        path = f"{folder}/predictions/{problem.name}/{day}/1-0.parquet"
        write_file(path.rpartition("/")[0], [pa.table(columns, schema=LOGGED)], LOGGED, lambda path=path: path)
    found: dict[str, float] = {}
    before = _cpu()
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    joined = feedback(problem, window, settings, Progress("feedback"))
    found |= {"feedback_cpu_s": _cpu() - before, "joined": joined.joined, "answers": joined.figures["answers"]}
    before = _cpu()
    monitor(RunContext(problem, settings, Run()), window, Progress("monitor"))
    found |= {"monitor_cpu_s": _cpu() - before, "rss_before_mb": base}
    return found | {"rss_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _cpu() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(int(sys.argv[1]))))
    else:
        for size in (100_000, 1_000_000):
            out = subprocess.run(
                [sys.executable, __file__, str(size)], capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
            )
            print(size, out.stdout.strip().splitlines()[-1])
