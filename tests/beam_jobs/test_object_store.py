"""Sources in an object store: a real S3 server on loopback, and what is said where its driver is not installed."""

import datetime as dt
import gzip
import io
import subprocess
import sys
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.beam_jobs.ingest import ingest
from windtunnel.beam_jobs.job import Progress
from windtunnel.cli.main import main
from windtunnel.lifecycle.contract.errors import UnavailableError, WindtunnelError
from windtunnel.lifecycle.contract.problem import Problem, parse
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.pins import files
from windtunnel.lifecycle.data.sources import files as source_files
from windtunnel.lifecycle.data.tables import load_table

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the server's and client's own

WINDOW = Window(dt.date(2013, 1, 1), dt.date(2013, 1, 4))


@pytest.fixture
def place(tmp_path: Path, bucket: str) -> Settings:
    return Settings(
        catalog_uri=f"sqlite:///{tmp_path}/c.db", warehouse=str(tmp_path / "w"), artifacts=str(tmp_path / "a"), landing=f"s3://{bucket}/in"
    )


def make(path: str, **source: object) -> Problem:
    return parse(
        {
            "name": "p",
            "owner": "o",
            "task": "regression",
            "source": {"format": "csv", "path": path, **source},
            "columns": {"k": "int64", "x": "float64"},
            "features": {"numeric": ["k"]},
            "label": {"column": "x"},
            "keys": ["k"],
        }
    )


def put(url: str, data: bytes) -> None:
    with fsspec.open(url, "wb") as file:
        file.write(data)


def csv(day: int, rows: int = 10) -> bytes:
    return ("k,x\n" + "".join(f"{day * 1000 + i},{i}.5\n" for i in range(rows))).encode()


def rows(place: Settings) -> int:
    return load_table(place, "p.examples").scan().to_arrow().num_rows


def test_days_by_template_are_read_and_only_what_changed_is_read_again(place, bucket):
    for day in (1, 2, 3):
        put(f"s3://{bucket}/in/2013/01/{day:02}.csv.gz", gzip.compress(csv(day)))
    problem = make("{landing}/{year}/{month}/{dom}.csv.gz")
    first = ingest(problem, WINDOW, place, Progress())
    assert (first.rows, rows(place)) == (30, 30)
    assert ingest(problem, WINDOW, place, Progress()) == first
    put(f"s3://{bucket}/in/2013/01/02.csv.gz", gzip.compress(csv(2, 25)))
    assert ingest(problem, WINDOW, place, Progress()).rows == 45


def test_a_glob_and_parquet(place, bucket):
    problem = make("{landing}/{day}/part-*.parquet", format="parquet")
    for day in (1, 2, 3):
        for part in range(2):
            sink = io.BytesIO()
            pq.write_table(pa.table({"k": pa.array(range(5), pa.int64()), "x": [1.0] * 5}), sink)
            put(f"s3://{bucket}/in/2013-01-{day:02}/part-{part}.parquet", sink.getvalue())
    assert ingest(problem, WINDOW, place, Progress()).rows == 30
    sink.seek(0)
    put(f"s3://{bucket}/in/2013-01-03/part-9.parquet", sink.getvalue())
    assert ingest(problem, WINDOW, place, Progress()).rows == 35, "a file that came since is seen"


def test_profile_of_a_path_and_a_glob(bucket, tmp_path, capsys):
    for day in (1, 2):
        put(f"s3://{bucket}/x/{day}.csv", csv(day))
    assert main(["profile", f"s3://{bucket}/x/*.csv"]) == 0
    assert capsys.readouterr().out.startswith("20 rows")
    assert main(["profile", f"s3://{bucket}/x/1.csv"]) == 0
    assert main(["profile", f"s3://{bucket}/x/3.csv"]) == 1
    assert "no such file" in capsys.readouterr().err
    put(f"s3://{bucket}/x/1.parquet", b"PAR1 and nothing more")
    assert main(["profile", f"s3://{bucket}/x/1.parquet"]) == 1
    error = capsys.readouterr().err
    assert "1.parquet" in error
    assert "Traceback" not in error


def test_a_whole_lake_may_be_in_the_store(place, bucket, tmp_path):
    """Tables, quarantine and statistics, not only what is landed."""
    put(f"s3://{bucket}/in/2013-01-01.csv", csv(1, 300) + b"broken,1\n")
    there = Settings(**{**place.to_dict(), "warehouse": f"s3://{bucket}/lake", "artifacts": f"s3://{bucket}/artifacts"})
    from windtunnel.beam_jobs.profile import profile

    problem = make("{landing}/{day}.csv")
    snapshot = ingest(problem, WINDOW, there, Progress())
    assert (snapshot.rows, snapshot.quarantined) == (300, 1)
    assert all(path.startswith("s3://") for path in files(there, snapshot))
    found = profile(problem, snapshot, there, Progress())
    assert found.rows == 300
    assert profile(problem, snapshot, there, Progress()) == found


def test_a_source_that_disappears_half_way(place, bucket, monkeypatch):
    """It was there when the run was planned, and is gone or another when it is read: nothing is committed."""
    url = f"s3://{bucket}/in/2013-01-01.csv"
    problem = make("{landing}/{day}.csv")
    real = source_files._open

    def gone(path):
        fsspec.filesystem("s3").rm(path)
        return real(path)

    def other(path):
        stream = real(path)
        put(path, csv(1, 12))
        return stream

    for meanwhile in (gone, other):
        put(url, csv(1))
        monkeypatch.setattr(source_files, "_open", meanwhile)
        with pytest.raises(UnavailableError, match=r"2013-01-01\.csv") as caught:
            ingest(problem, WINDOW, place, Progress())
        assert "again" in str(caught.value) or "no such file" in str(caught.value)
        assert rows(place) == 0
    monkeypatch.setattr(source_files, "_open", real)
    assert ingest(problem, WINDOW, place, Progress()).rows == 12


def test_a_store_that_is_out_of_reach_or_refuses(server, monkeypatch):
    with pytest.raises(UnavailableError):
        source_files.state_of("s3://no-such-bucket-of-ours/x.csv")
    fsspec.filesystem("s3").clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(WindtunnelError, match="s3://somewhere"):
        source_files.find("s3://somewhere/*.csv")
    fsspec.filesystem("s3").clear_instance_cache()


@pytest.mark.parametrize(
    ("url", "module", "extra"), [("s3://b/x.csv", "s3fs", "s3"), ("gs://b/x.csv", "gcsfs", "gcs"), ("az://b/x.csv", "adlfs", "azure")]
)
def test_a_driver_that_is_not_installed_is_named_with_its_extra(url, module, extra):
    code = f"import sys; sys.modules[{module!r}] = None; from windtunnel.cli.main import main; sys.exit(main(['profile', {url!r}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert f"pip install 'windtunnel[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_protocol(capsys):
    assert main(["profile", "nonsense://a/b.csv"]) == 1
    error = capsys.readouterr().err
    assert "nonsense" in error
    assert "Traceback" not in error
