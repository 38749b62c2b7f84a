"""``windtunnel routes`` against a real server."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from windtunnel.cli.main import main

FOLDER = Path(__file__).parent.parent / "serving"


def _helper(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def served(tmp_path, monkeypatch):
    models = _helper("serving_models")
    conftest = _helper("conftest")
    server = conftest.Server(tmp_path / "h").start()
    try:
        for version, label in (("1", "champion"), ("2", "canary")):
            models.flight_bundle(tmp_path / version, "linear", seed=int(version))
            server.load(tmp_path / version, version, [label])
        monkeypatch.setenv("WINDTUNNEL_SERVER_URL", server.url)
        monkeypatch.setenv("WINDTUNNEL_TOKEN", server.token)
        yield server
    finally:
        server.stop()


def test_an_experiment_from_its_start_to_its_end(served, capsys):
    options = ["routes", "flight_delays", "--arm", "champion=1", "--arm", "canary=1", "--reference", "champion", "--sticky", "tailnum"]
    assert main([*options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {arm["arm"]: arm["weight"] for arm in found["arms"]} == {"champion": 1.0, "canary": 1.0}
    assert "not decided yet" in found["text"]
    models = _helper("serving_models")
    unknown = dict.fromkeys([*models.NUMERIC, *models.CATEGORICAL])
    for number in range(20):
        served.predict([unknown | {"dep_delay": 3.0, "tailnum": f"N{number}"}])
    served.call("/v2/models/flight_delays/rewards", {"1/champion": {"count": 500, "total": 300}, "2/canary": {"count": 500, "total": 400}})
    assert main(["routes", "flight_delays"]) == 0
    text = capsys.readouterr().out
    assert "decided" in text
    assert "canary is better" in text
    assert main(["routes", "flight_delays", "--json"]) == 0
    arms = {arm["arm"]: arm for arm in json.loads(capsys.readouterr().out)["arms"]}
    assert arms["champion"]["requests"] + arms["canary"]["requests"] == 20
    assert (arms["canary"]["worth"], arms["canary"]["judged"]) == (0.8, 500)
    assert arms["canary"]["low"] < 0.8 < arms["canary"]["high"]
    assert main(["routes", "flight_delays", "--reset"]) == 0
    assert "decided" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["flight_delays", "--bandit"], "there is no --arm"),
        (["flight_delays", "--arm", "canary=much"], "LABEL=WEIGHT"),
        (["flight_delays", "--arm", "nobody=1"], "nobody"),
        (["nobody"], "models: flight_delays"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(served, capsys, options, why):
    assert main(["routes", *options]) == 1
    assert why in capsys.readouterr().err
