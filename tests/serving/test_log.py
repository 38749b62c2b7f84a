"""The prediction log: nothing half-written, nothing twice, nothing redacted in it."""

import json
import resource
import signal

import pyarrow.parquet as pq
import pytest

from windtunnel.serving.base.log import LogUnavailableError, PredictionLog, closed_files, entries
from windtunnel.serving.routing import ship

ENTRY = {
    "time": 1_385_000_000.0,
    "problem": "flight_delays",
    "model": "flight_delays",
    "version": "1",
    "route": "champion",
    "protocol": "json",
    "seconds": 0.001,
    "inputs": [{"dep_delay": 1.0, "tailnum": "N1"}, {"dep_delay": None}],
    "answers": [{"prediction": "1", "score": 0.7}, {"prediction": "0", "score": 0.1}],
}


def test_a_torn_line_is_cut_and_the_rest_is_kept(tmp_path):
    log = PredictionLog(tmp_path, 0)
    log.append({**ENTRY, "id": "a"})
    with (tmp_path / "active" / "0.jsonl").open("ab") as file:
        file.write(b'{"id": "torn')
    assert [entry["id"] for entry in entries(tmp_path)] == ["a"]
    again = PredictionLog(tmp_path, 0, "line")
    again.append({**ENTRY, "id": "b\ud800"})
    again.close()
    assert [entry["id"] for entry in entries(tmp_path)] == ["a", "b\ud800"]
    assert len(closed_files(tmp_path)) == 2


def test_a_full_disk_leaves_whole_lines_only(tmp_path):
    log = PredictionLog(tmp_path, 0)
    log.append({**ENTRY, "id": "a"})
    size = (tmp_path / "active" / "0.jsonl").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, before[1]))  # a write then stops in the middle, as on a full disk
    try:
        for name in ("b", "c"):
            with pytest.raises(LogUnavailableError, match=r"full|cannot be written"):
                log.append({**ENTRY, "id": name})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
    log.append({**ENTRY, "id": "d"})
    assert [entry["id"] for entry in entries(tmp_path)] == ["a", "d"]
    log.close()


def test_turned_into_parquet_twice_is_once(tmp_path):
    log = PredictionLog(tmp_path / "log", 0)
    log.append({**ENTRY, "id": "r0"})
    log.close()
    (closed,) = closed_files(tmp_path / "log")
    lines = closed.read_bytes()
    (first,) = ship.to_parquet(tmp_path)
    closed.write_bytes(lines)  # killed before it could remove what it had turned
    assert ship.to_parquet(tmp_path) == [first]
    assert not closed_files(tmp_path / "log")
    rows = pq.read_table(first).to_pylist()
    assert [(row["request_id"], row["row"], row["value"]) for row in rows] == [("r0", 0, 0.7), ("r0", 1, 0.1)]
    assert json.loads(rows[0]["inputs"])["tailnum"] == "N1"


def test_what_is_redacted_is_not_written(serve, bundles, rows, tmp_path):
    import serving_models

    serving_models.flight_bundle(tmp_path / "b", "linear", redact=["carrier", "tailnum"])
    server = serve()
    server.load(tmp_path / "b", "1", ["champion"])
    server.predict([{**rows[0], "tailnum": "N14228"}])
    server.stop()
    found = b"".join(
        path.read_bytes() for path in server.home.rglob("*") if path.is_file() and "models" not in path.parts and path.suffix != ".db"
    )
    assert b"N14228" not in found
    assert list((server.home / "predictions" / "flight_delays").iterdir())


def test_sampled_and_redacted_all_the_way_into_the_table(serve, rows, tmp_path):
    import serving_models

    from windtunnel.lifecycle.contract.settings import Settings
    from windtunnel.lifecycle.data.days import day_files
    from windtunnel.lifecycle.data.parquet import batches
    from windtunnel.lifecycle.data.tables import existing
    from windtunnel.lifecycle.live.collecting import collect

    serving_models.flight_bundle(tmp_path / "b", "linear", redact=["carrier", "tailnum"], log_sample=0.5)
    server = serve("--workers", "2")
    server.load(tmp_path / "b", "1", ["champion"])
    ids = [server.predict([{**rows[number % 16], "tailnum": f"SECRET-{number}"}])["id"] for number in range(200)]
    server.stop()
    catalog = {"catalog_uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": str(tmp_path / "w"), "artifacts": str(tmp_path / "a")}
    settings = Settings(**catalog, server_log=str(server.home / "predictions"))
    kept = collect("flight_delays", settings)
    assert 60 < kept < 140, "half of 200 requests, give or take six standard deviations"
    table = existing(settings, "flight_delays.predictions")
    found = [row for batch in batches([entry.path for entry in day_files(table)]) for row in batch.to_pylist()]
    assert len({row["request_id"] for row in found}) == len(found) == kept
    assert {row["request_id"] for row in found} < set(ids)
    for row in found:
        assert not {"carrier", "tailnum"} & set(json.loads(row["inputs"]))
        assert "SECRET" not in str(row)
        assert json.loads(row["inputs"])["origin"] in {"EWR", "JFK", "LGA"}
    assert not any(b"SECRET" in path.read_bytes() for path in (tmp_path / "w").rglob("*") if path.is_file())
