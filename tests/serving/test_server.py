import json
import os
import signal
import time

import pytest

from windtunnel.lifecycle.model import bundle
from windtunnel.serving.base import log
from windtunnel.serving.compiler.engine import Engine


def expected(folder, rows):
    return Engine.load(folder).predict_rows(rows)


def test_the_whole_life_of_a_server(serve, bundles, rows):
    server = serve("--workers", "2")
    assert server.call("/v2/models/flight_delays")[0] == 404
    server.load(bundles["one"], "1", ["champion"])
    found = server.predict(rows)
    assert (found["version"], found["route"]) == ("1", "champion")
    assert found["predictions"] == expected(bundles["one"], rows)

    server.load(bundles["two"], "2", ["challenger"])
    assert server.predict(rows)["version"] == "1"
    two = server.predict(rows, X_Windtunnel_Version="challenger")
    assert two["version"] == "2"
    assert two["predictions"] == expected(bundles["two"], rows)
    assert server.call("/v2/models/flight_delays/versions/2/infer", tensors(rows[:3]))[1]["model_version"] == "2"

    done = server.call(
        "/v2/repository/models/flight_delays/label", {"parameters": {"version": "2", "labels": ["champion"], "drop": ["challenger"]}}
    )
    assert done[0] == 200
    assert all(server.predict(rows[:1])["version"] == "2" for _ in range(20))
    assert server.call("/v2/repository/models/flight_delays/unload", {"parameters": {"version": "2"}})[0] == 400
    assert server.call("/v2/repository/models/flight_delays/unload", {"parameters": {"version": "1"}})[0] == 200
    assert [entry["version"] for entry in server.call("/v2/repository/index", {})[1]] == ["2"]
    # A restarted server serves the same again, even after a kill.
    server.stop(signal.SIGKILL)
    again = serve("--workers", "1")
    assert again.predict(rows)["predictions"] == expected(bundles["two"], rows)


def tensors(rows):
    kinds = {"dep_delay": "FP64", "sched_dep_time": "INT64", "distance": "INT64", "month": "INT64"}
    return {
        "inputs": [
            {"name": name, "shape": [len(rows)], "datatype": kinds.get(name, "BYTES"), "data": [row[name] for row in rows]}
            for name in rows[0]
        ]
    }


def test_who_is_calling(serve, bundles, rows, tmp_path):
    import hashlib

    limited = hashlib.sha256(b"shop").hexdigest()
    (tmp_path / "tokens.json").write_text(json.dumps({limited: {"name": "shop", "models": ["flight_delays"]}}))
    server = serve("--tokens", str(tmp_path / "tokens.json"))
    server.load(bundles["one"], "1", ["champion"])
    server.load(bundles["one"], "1", [], model="secret")
    body = {"rows": rows[:1]}
    for path in ("/v2", "/v2/models/flight_delays", "/metrics", "/openapi.json", "/docs", "/", "/nothing", "/v2/repository/index"):
        assert server.call(path, token="")[0] == 401, path
    for path in ("/v1/models/flight_delays/predict", "/v2/models/flight_delays/infer", "/v2/repository/models/a/load"):
        assert server.call(path, body, token="")[0] == 401
        assert server.call(path, body, token="wrong")[0] == 401
    assert server.call("/v2/health/live", token="")[0] == 200
    assert server.call("/v1/models/flight_delays/predict", body, token="shop")[0] == 200
    assert server.call("/v1/models/secret/predict", body, token="shop")[0] == 403
    assert server.call("/v2/repository/models/flight_delays/unload", {}, token="shop")[0] == 403
    assert server.call("/v2/models/flight_delays/route", {"arms": {}}, token="shop", method="PUT")[0] == 403


def test_a_request_that_does_not_fit_names_its_fields(serve, bundles, rows):
    server = serve()
    server.load(bundles["one"], "1", ["champion"])
    bad = {**rows[0], "dep_delay": "soon", "carrier": 5}
    bad["distnce"] = bad.pop("distance")
    status, body = server.call("/v1/models/flight_delays/predict", {"rows": [rows[0], bad]})
    assert status == 422
    assert {(p["row"], p["field"]) for p in body["problems"]} == {(1, "dep_delay"), (1, "carrier"), (1, "distance")}
    assert "distnce" in body["error"]
    cases = [
        ("/v1/models/flight_delays/predict", b"{", 400),
        ("/v1/models/flight_delays/predict", b"[1]", 422),
        ("/v1/models/flight_delays/predict", b'{"rows": []}', 422),
        ("/v1/models/flight_delays/predict", b'{"rows": [3]}', 422),
        ("/v1/models/flight_delays/predict", b"\xff\xfe", 422),
        ("/v1/models/flight_delays/predict", b"[" * 100_000, 400),
        ("/v1/models/flight_delays/predict", b'{"rows":[{"dep_delay":1e999}]}', 422),
        ("/v1/models/flight_delays/predict", b" " * 5_000_000, 413),
        ("/v1/models/nothing/predict", b'{"rows":[{}]}', 404),
        ("/v2/models/flight_delays/infer", b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1]}]}', 422),
        ("/v2/models/flight_delays/infer", b'{"inputs":[{"name":"dep_delay","shape":[2],"datatype":"FP64","data":[1]}]}', 422),
        ("/v2/models/flight_delays/infer", b'{"inputs":[{"name":"dep_delay","shape":[1],"datatype":"FP99","data":[1]}]}', 422),
        ("/v2/models/flight_delays/infer", b'{"inputs":[{"name":"carrier","shape":[1],"datatype":"BYTES","data":[7]}]}', 422),
        ("/v2/models/flight_delays/infer", b'{"inputs":7}', 422),
        ("/v2/repository/models/m/load", b'{"parameters":{"uri":"/nowhere","digest":"abc","version":"1"}}', 503),
        ("/v2/repository/models/m/load", b'{"parameters":{"uri":"/nowhere","digest":"../../x","version":"1"}}', 422),
        ("/v2/repository/models/m/load", b'{"parameters":{"digest":"abc","version":"1"}}', 422),
        ("/v2/repository/models/m%2F..%2Fx/load", b'{"parameters":{"uri":"/nowhere","digest":"abc","version":"1"}}', 404),
        ("/v2/repository/models/flight_delays/label", b'{"parameters":{"version":"1","labels":["7"]}}', 422),
        ("/v2/repository/models/flight_delays/label", b'{"parameters":{"version":"9","labels":["a"]}}', 404),
    ]
    for path, sent, code in cases:
        status, body = server.call(path, sent)
        assert status == code, (path, sent[:60], body)
        assert body["error"]
    assert server.call("/v1/models/flight_delays/predict")[0] == 405
    assert server.predict(rows)["predictions"] == expected(bundles["one"], rows)


def test_a_changed_bundle_is_not_loaded(serve, bundles, tmp_path):
    import shutil

    server = serve()
    folder = tmp_path / "changed"
    shutil.copytree(bundles["one"], folder)
    digest = bundle.read(folder).digest
    with (folder / "plan" / "plan.json").open("a") as file:
        file.write(" ")
    parameters = {"uri": str(folder), "digest": digest, "version": "1"}
    status, body = server.call("/v2/repository/models/m/load", {"parameters": parameters})
    assert (status, "digest" in body["error"]) == (422, True)
    (folder / "plan" / "plan.json").unlink()
    assert server.call("/v2/repository/models/m/load", {"parameters": parameters})[0] == 422
    assert server.call("/v2/repository/index", {})[1] == []


def test_weights_are_kept_and_keys_stick(serve, bundles, rows):
    server = serve()
    server.load(bundles["one"], "1", ["champion"])
    server.load(bundles["two"], "2", ["canary"])
    route = {"arms": {"champion": 0.8, "canary": 0.2}, "sticky": "tailnum", "shadow": ["canary"]}
    assert server.call("/v2/models/flight_delays/route", route, method="PUT")[0] == 200
    arms = [server.predict([{**rows[0], "tailnum": f"N{number}"}])["route"] for number in range(200)]
    assert 0.1 < arms.count("canary") / 200 < 0.3
    assert arms == [server.predict([{**rows[0], "tailnum": f"N{number}"}])["route"] for number in range(200)]
    assert server.predict(rows[:1], X_Windtunnel_Version="1")["version"] == "1"
    figures = server.call("/v2/models/flight_delays/stats")[1]["arms"]
    assert figures["1/champion"]["requests"] + figures["2/canary"]["requests"] == 400
    assert server.call("/v2/models/flight_delays/route", {"arms": {"nobody": 1}}, method="PUT")[0] == 400
    server.stop()  # all that was logged is shipped
    import pyarrow.dataset as ds

    logged = ds.dataset([str(path) for path in (server.home / "predictions").rglob("*.parquet")]).to_table(columns=["version", "shadow"])
    found = [(row["version"], row["shadow"]) for row in logged.to_pylist()]
    assert sum(not shadow for _, shadow in found) == 401
    assert {version for version, shadow in found if shadow} == {"2"}


def test_a_killed_worker_loses_nothing_that_was_answered(serve, bundles, rows):
    server = serve("--workers", "2")
    server.load(bundles["one"], "1", ["champion"])
    answered = []
    for number in range(60):
        if number in {20, 40}:
            server.wait(lambda: {0, 1} <= set(server.workers()))
            os.kill(server.workers()[number // 40], signal.SIGKILL)
        try:
            answered.append(server.predict(rows[:1], X_Request_Id=f"r{number}")["id"])
        except OSError:
            time.sleep(0.2)
    assert len(answered) > 50
    server.stop()
    assert set(answered) <= set(shipped_ids(server))


def shipped_ids(server):
    import pyarrow.dataset as ds

    files = [str(path) for path in (server.home / "predictions").rglob("*.parquet")]
    found = ds.dataset(files).to_table().column("request_id").to_pylist() if files else []
    return [*found, *(entry["id"] for entry in log.entries(server.home / "log"))]


def test_what_scikit_learn_answers_is_the_same_and_is_batched(serve, bundles, rows):
    from concurrent.futures import ThreadPoolExecutor

    server = serve()
    server.load(bundles["slow"], "1", ["champion"])
    assert server.call("/v2/models/flight_delays")[1]["platform"] == "windtunnel_pipeline"
    wanted = [expected(bundles["slow"], [row])[0] for row in rows]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda i: server.predict([rows[i % 16]])["predictions"][0], range(160)))
    for place, answer in enumerate(found):
        assert answer == pytest.approx(wanted[place % 16])
    # One bad row among good ones is refused alone.
    with ThreadPoolExecutor(16) as pool:
        codes = list(
            pool.map(
                lambda i: server.call("/v1/models/flight_delays/predict", {"rows": [rows[0] if i % 4 else {"dep_delay": "x"}]})[0],
                range(64),
            )
        )
    assert codes == [200 if i % 4 else 422 for i in range(64)]


def test_two_servers_on_one_home_are_refused(serve, short_path):
    import subprocess
    import sys

    serve()
    done = subprocess.run(
        [sys.executable, "-m", "windtunnel.serving.front.server", "--home", str(short_path / "home"), "--port", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "another server runs on" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bundle_can_be_champion_from_the_start(serve, bundles, rows):
    server = serve("--preload", f"flight_delays=3={bundles['two']}")
    assert server.predict(rows)["version"] == "3"
    assert server.predict(rows)["predictions"] == expected(bundles["two"], rows)


def test_the_server_imports_neither_airflow_nor_beam():
    import subprocess
    import sys

    code = (
        "import sys; from windtunnel.serving.front import rpc, server, smoke; "
        "from windtunnel.serving.front.http import wire; from windtunnel.serving.routing import ship; "
        "print(sorted({n.split('.')[0] for n in sys.modules} & {'airflow', 'apache_beam', 'mlflow', 'optuna', "
        "'great_expectations', 'pyiceberg', 'sqlalchemy'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
