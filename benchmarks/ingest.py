"""Ingest of CSV into the versioned table, beside pyarrow.csv reading the same bytes into the same types; each in its own process.

python benchmarks/ingest.py 10    # one day file of 3.37 million rows, and the 365 real day files
"""

import argparse
import datetime as dt
import json
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.csv as pa_csv
from flights import DATA, raw

RUNS = [
    ("imports", "one"),
    ("alone", "one"),
    ("ingested", "one"),
    ("read_alone", "one"),
    ("read_alone", "dirty"),
    ("alone", "days"),
    ("ingested", "days"),
]
QUOTED = 12
SPOILED = 0.001
PROBLEM = Path(__file__).parent.parent / "dags" / "problems" / "flight_delays.yaml"


def landing(times: int) -> Path:
    """Folders of day files: `one` holds all rows as a single day, `days` the real 365."""
    folder = DATA / f"landing_x{times}"
    if not folder.exists():
        (folder / "one").mkdir(parents=True)
        (folder / "days").mkdir()
        frame = raw()
        text = frame.to_csv(index=False, na_rep="NA")
        header, _, body = text.partition("\n")
        with (folder / "one" / "flights_2013-01-01.csv").open("w") as file:
            file.write(header + "\n")
            for _ in range(times):
                file.write(body)
        for (year, month, day), rows in frame.groupby(["year", "month", "day"]):
            rows.to_csv(folder / "days" / f"flights_{year}-{month:02}-{day:02}.csv", index=False, na_rep="NA")
    return folder


def alone(folder: Path) -> int:
    """pyarrow.csv with the declared types, batch by batch, written nowhere."""
    from windtunnel.lifecycle.contract.problem import load
    from windtunnel.lifecycle.data.schema import arrow_schema

    schema = arrow_schema(load(PROBLEM), day=False)
    convert = pa_csv.ConvertOptions(column_types=schema, include_columns=schema.names, null_values=["NA", ""], strings_can_be_null=True)
    rows = 0
    for path in sorted(folder.glob("*.csv")):
        reader = pa_csv.open_csv(path, read_options=pa_csv.ReadOptions(use_threads=False, block_size=4 << 20), convert_options=convert)
        rows += sum(batch.num_rows for batch in reader)
    return rows


def ingested(folder: Path) -> int:
    """The stage: fingerprint, read, check, write Parquet, commit."""
    from windtunnel.beam_jobs.ingest import ingest
    from windtunnel.beam_jobs.job import Progress
    from windtunnel.lifecycle.contract.problem import load
    from windtunnel.lifecycle.contract.settings import Settings
    from windtunnel.lifecycle.contract.window import Window

    with tempfile.TemporaryDirectory() as place:
        settings = Settings(catalog_uri=f"sqlite:///{place}/c.db", warehouse=f"{place}/w", artifacts=f"{place}/a", landing=str(folder))
        return ingest(load(PROBLEM), Window(dt.date(2013, 1, 1), dt.date(2014, 1, 1)), settings, Progress()).rows


def read_alone(folder: Path) -> int:
    """The reader of the stage, its rows written nowhere: over clean rows (`one`), and where 0.1 % are bad (`dirty`)."""
    from windtunnel.lifecycle.contract.problem import load
    from windtunnel.lifecycle.contract.settings import Settings
    from windtunnel.lifecycle.data.sources import Piece, read

    problem = load(PROBLEM)
    return sum(chunk.rows for path in sorted(folder.glob("*.csv")) for chunk in read(problem, Piece(0, str(path)), Settings()))


def dirty(folder: Path) -> None:
    """The rows of `one`, one in a thousand with a cell too many, a text for a number, a stray quote, or a quote that is never closed."""
    if (folder / "dirty").exists():
        return
    (folder / "dirty").mkdir()
    pick = random.Random(0)
    spoil = [
        lambda line: line.rstrip("\n") + ",1\n",
        lambda line: "x" + line,
        lambda line: line.replace(",", ',"', 3),
        lambda line: ",".join('"open' if i == QUOTED else cell for i, cell in enumerate(line.split(","))),
    ]
    with (folder / "one" / "flights_2013-01-01.csv").open() as source, (folder / "dirty" / "flights_2013-01-01.csv").open("w") as sink:
        sink.write(next(source))
        for line in source:
            sink.write(pick.choice(spoil)(line) if pick.random() < SPOILED else line)


def imports(_folder: Path) -> int:
    """What starting the process costs."""
    import pyiceberg.catalog.sql

    import windtunnel.beam_jobs.ingest

    return 0 if windtunnel.beam_jobs.ingest and pyiceberg.catalog.sql else 1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("times", type=int)
    parser.add_argument("--child", nargs=2)
    given = parser.parse_args()
    folder = landing(given.times)
    if given.child:
        rows = globals()[given.child[0]](folder / given.child[1])
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(json.dumps({"rows": rows, "cpu": used.ru_utime + used.ru_stime, "mb": used.ru_maxrss / 1024}))
        return
    dirty(folder)
    print("| what | files | rows | CPU s | peak MB |\n|---|---|---|---|---|")
    for what, which in RUNS:
        done = subprocess.run(
            [sys.executable, __file__, str(given.times), "--child", what, which], capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"| {what} | {which} | {found['rows']:,} | {found['cpu']:.2f} | {found['mb']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
