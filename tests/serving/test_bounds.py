"""What could grow without a bound does not, and what is damaged stops nothing."""

import asyncio
import json
import shutil
import stat
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from windtunnel.lifecycle.contract.errors import IntegrityError
from windtunnel.lifecycle.model import bundle
from windtunnel.serving.base.log import PredictionLog, closed_files, entries
from windtunnel.serving.base.metrics import Metrics
from windtunnel.serving.front.access import Access
from windtunnel.serving.routing.ship import to_parquet
from windtunnel.serving.routing.store import Store

ROUNDS = 1000


def entry(identity):
    return {
        "id": identity,
        "time": 1700000000.5,
        "problem": "flights",
        "model": "m",
        "version": "1",
        "route": "champion",
        "protocol": "json",
        "seconds": 0.001,
        "inputs": [{"a": 1.5}],
        "answers": [{"prediction": "1", "score": 0.75}],
    }


DAMAGE = {
    "NULs after a power cut": b"\0" * 4096,
    "half a line": json.dumps(entry("half")).encode()[:-40],
    "no log line": b'{"id": "x"}',
    "a number": b"7",
    "another type": json.dumps(entry("odd") | {"time": "now"}).encode(),
    "fewer answers": json.dumps(entry("fewer") | {"answers": []}).encode(),
    "a way out": json.dumps(entry("out") | {"problem": "../../out"}).encode(),
    "no text": b"\xff\xfe\xfd",
    "a version that is none": json.dumps(entry("list") | {"version": [1]}).encode(),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_line_is_put_aside_and_the_rest_goes_on(tmp_path, kind):
    lines = PredictionLog(tmp_path / "log", 0)
    lines.append(entry("before"))
    lines.close()
    (path,) = closed_files(tmp_path / "log")
    with path.open("ab") as file:
        file.write(DAMAGE[kind] + b"\n" + json.dumps(entry("after")).encode() + b"\n")
    later = PredictionLog(tmp_path / "log", 1)
    later.append(entry("later"))
    later.close()
    (tmp_path / "log" / "closed" / "somebody-elses.jsonl").write_bytes(b"x\n")
    assert [line["id"] for line in entries(tmp_path / "log") if isinstance(line, dict) and "model" in line][:1] == ["before"]
    counted = []
    written = to_parquet(tmp_path, counted.append)
    assert sorted(name for file in written for name in pq.read_table(file).column("request_id").to_pylist()) == ["after", "before", "later"]
    assert counted == [1]
    (aside,) = (tmp_path / "log" / "damaged").iterdir()
    assert aside.read_bytes() == DAMAGE[kind] + b"\n"
    assert not closed_files(tmp_path / "log")
    assert not (tmp_path.parent / "out").exists()
    assert {stat.S_IMODE(file.stat().st_mode) & 0o007 for file in (*written, aside)} == {0}


def test_log_files_are_not_kept_once_they_are_parquet(tmp_path):
    lines = PredictionLog(tmp_path / "log", 0)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(ROUNDS):
        lines.append(entry(str(number)))
        lines.rotate(force=True)
        if number % 250 == 249:
            to_parquet(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert not list((tmp_path / "log").rglob("*.jsonl"))
    for number in range(300):  # and of damaged ones a hundred
        (tmp_path / "log" / "closed" / f"{number}-0.jsonl").write_bytes(b"\0\n")
    to_parquet(tmp_path)
    assert len(list((tmp_path / "log" / "damaged").iterdir())) == 100


def test_metrics_do_not_grow_with_versions(tmp_path):
    metrics = Metrics(tmp_path, 0)
    size = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    for number in range(5 * ROUNDS):
        version = str(number)
        metrics.answered("m", version, "champion", "json", 0.001, 2)
        metrics.predicted("m", version, "champion", f"class {number}")
        metrics.ended("m", "http", 200)
        metrics.swapped({("m", version)})
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == size
    text = metrics.text().decode()
    assert 'windtunnel_requests_total{code="200",model="m",protocol="http"} 5000.0' in text
    assert f'version="{5 * ROUNDS - 1}"' in text
    assert len(text) < 8_000_000
    assert Metrics(tmp_path, 0).totals("m") == metrics.totals("m")  # a worker that is started again goes on


def test_metrics_that_find_no_place_are_counted_together(tmp_path):
    metrics = Metrics(tmp_path, 0)
    for number in range(6 * ROUNDS):
        metrics.predicted("m", "1", "champion", f"class {number}")
    metrics.failed("m", "1", "x" * 5000)
    counted = [float(line.rpartition(" ")[2]) for line in metrics.text().decode().splitlines() if line.startswith("windtunnel_predictions")]
    assert sum(counted) == 6 * ROUNDS
    assert 'prediction="other"' in metrics.text().decode()
    assert 'windtunnel_errors_total{model="other",route="other",version="other"} 1.0' in metrics.text().decode()


def test_callers_are_remembered_within_bounds():
    access = Access.of("secret")
    for number in range(20 * ROUNDS):
        access.caller(b"Bearer secret" + b" " * number)
        access.caller(b"Bearer %d" % number)
    assert len(access._seen) <= 10_000
    assert sum(map(len, access._seen)) < 2_000_000


def test_copies_of_bundles_go_with_their_versions(tmp_path, bundles):
    from windtunnel.serving.routing.models import Models

    async def load_again_and_again():
        models = Models(Store(tmp_path / "home", max_versions=3), 0)
        folder = tmp_path / "source"
        for number in range(60):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(bundles["two"], folder)
            described = json.loads((folder / "model.json").read_text())
            described["lineage"]["round"] = number  # another digest each time
            (folder / "model.json").write_text(json.dumps(described))
            digest = bundle.read(folder).digest
            await models.load("m", str(folder), digest, str(number), ["champion"])
            if number % 10 == 0:
                with pytest.raises(IntegrityError):
                    await models.load("m", str(folder), "ab" * 32, "bad", [])
        return models

    models = asyncio.run(load_again_and_again())
    copies = [path for path in (tmp_path / "home" / "models").iterdir() if not path.name.startswith(".source-")]
    assert len(copies) == 3
    assert len(list((tmp_path / "home" / "models").iterdir())) == 6
    assert len(models._loaded) == 3


def test_a_bundle_may_not_point_out_of_itself(tmp_path, bundles):
    store = Store(tmp_path / "home")
    digest = bundle.read(bundles["one"]).digest
    for number, spoil in enumerate((_link, _link_to_a_folder, _way_out)):
        folder = tmp_path / f"bad-{number}"
        shutil.copytree(bundles["one"], folder)
        spoil(folder)
        with pytest.raises(IntegrityError):
            store.fetch(str(folder), digest)
    assert [path.name for path in (tmp_path / "home" / "models").iterdir()] == []


def _link(folder):
    (folder / "more").symlink_to("/etc/hostname")


def _link_to_a_folder(folder):
    shutil.move(folder / "plan", folder.parent / "plan")
    (folder / "plan").symlink_to(folder.parent / "plan")


def _way_out(folder):
    described = json.loads((folder / "model.json").read_text())
    described["files"]["../../etc/hostname"] = "0" * 64
    (folder / "model.json").write_text(json.dumps(described))


def test_a_load_records_where_the_copy_came_from(serve, bundles, rows):
    server = serve()
    server.load(bundles["one"], "1", ["champion"])
    digest = bundle.read(bundles["one"]).digest
    parameters = {"uri": "https://elsewhere.example/bundle", "digest": digest, "version": "2"}
    assert server.call("/v2/repository/models/flight_delays/load", {"parameters": parameters})[0] == 200
    state = json.loads((server.home / "state.json").read_text())
    assert {entry["uri"] for entry in state["models"]["flight_delays"]["versions"].values()} == {str(bundles["one"])}
    # A load that names nothing makes sure that what is known is served, as Triton's clients ask for it.
    assert server.call("/v2/repository/models/flight_delays/load", {})[0] == 200
    assert server.call("/v2/repository/models/flight_delays/load", b"")[0] == 200
    assert server.call("/v2/repository/models/nothing/load", {})[0] == 404
    assert server.predict(rows[:1])["version"] == "1"
