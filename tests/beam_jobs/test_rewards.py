"""Rewards: counted from real feedback, told to a real server, which shares out traffic by them and ends a bad canary."""

import dataclasses
import datetime as dt
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from windtunnel.beam_jobs.feedback import feedback
from windtunnel.beam_jobs.job import Progress
from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.release.rewards import count_rewards, tell_server

AT = dt.datetime(2013, 1, 9, 12, tzinfo=dt.UTC)
FOLDER = Path(__file__).parent.parent / "serving"


def _helper(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module


def changed(world, **parts):
    return dataclasses.replace(world, problem=Problem.model_validate(world.problem.model_dump() | parts))


@pytest.fixture
def answered(world):
    """A day of flights that two arms answered, the champion well and the canary badly; and what nobody saw."""
    world.ingest("2013-01-08", "2013-01-10")
    flights = world.examples("2013-01-09")
    truth = np.array([value is not None and value > 15 for value in flights["arr_delay"].to_pylist()])
    good, bad = flights.slice(0, 300), flights.slice(300, 300)
    world.ask(good, AT, version="1", route="champion")
    world.ask(bad, AT, version="2", route="canary", scores=[0.1 if late else 0.9 for late in truth[300:600]])
    world.ask(good.slice(0, 50), AT - dt.timedelta(days=1), version="1", route="champion")
    world.ask(good.slice(0, 50), AT, version="3", route="challenger", shadow=True)
    return world, good, bad


def test_what_was_answered_since_the_experiment_began_counts_once(answered):
    world, good, bad = answered
    feedback(world.problem, world.window("2013-01-08", "2013-01-10"), world.settings, Progress())
    found = count_rewards(world.problem, world.settings, AT - dt.timedelta(hours=1))
    landed = [300 - part["arr_delay"].null_count for part in (good, bad)]
    assert set(found) == {"1/champion", "2/canary"}
    assert found["1/champion"] == {"count": landed[0], "total": landed[0]}
    assert found["2/canary"] == {"count": landed[1], "total": 0}
    earlier = count_rewards(world.problem, world.settings, AT - dt.timedelta(days=2))
    assert earlier["1/champion"]["count"] > landed[0]
    assert count_rewards(world.problem, world.settings, AT, dt.date(2013, 1, 9)) == {}, "nothing was known before that day"


def test_a_team_s_own_reward_and_kpi(answered, monkeypatch):
    world, _, _ = answered
    own = types.ModuleType("own_rewards")
    own.worth = lambda truth, said: np.where(truth == said, 0.75, 0.25)
    own.staffed_in_vain = lambda truth, said: -float(np.mean((said == 1) & (truth == 0)))
    own.wrong = lambda truth, _: truth * 7.0 + 3
    monkeypatch.setitem(sys.modules, "own_rewards", own)
    serving = world.problem.serving.model_dump()
    kpi = {"name": "desks", "function": "own_rewards:staffed_in_vain"}
    mine = changed(world, serving=serving | {"reward": "own_rewards:worth"}, kpi=kpi)
    feedback(mine.problem, mine.window("2013-01-08", "2013-01-10"), mine.settings, Progress())
    found = count_rewards(mine.problem, mine.settings, AT - dt.timedelta(hours=1))
    assert found["1/champion"]["total"] == pytest.approx(0.75 * found["1/champion"]["count"])
    assert found["2/canary"]["total"] == pytest.approx(0.25 * found["2/canary"]["count"])
    assert found["1/champion"]["kpi"] == 0
    assert found["2/canary"]["kpi"] < -0.5
    assert 0 < found["2/canary"]["kpi_error"] < 0.1
    broken = changed(world, serving=serving | {"reward": "own_rewards:wrong"})
    with pytest.raises(ConfigurationError, match="between 0 and 1"):
        count_rewards(broken.problem, broken.settings, AT - dt.timedelta(hours=1))


def test_feedback_tells_the_server_which_decides(answered, tmp_path):
    world, _, _ = answered
    models, conftest = _helper("serving_models"), _helper("conftest")
    server = conftest.Server(tmp_path / "h").start()
    try:
        for version, label in (("1", "champion"), ("2", "canary")):
            models.flight_bundle(tmp_path / version, "linear", seed=int(version))
            server.load(tmp_path / version, version, [label])
        mine = dataclasses.replace(world, settings=dataclasses.replace(world.settings, server_url=server.url, server_token=server.token))
        window = mine.window("2013-01-08", "2013-01-10")
        assert tell_server(mine.problem, mine.settings) == {}, "there is no experiment"
        route = {"arms": {"champion": 0.5, "canary": 0.5}, "experiment": {"bandit": True}}
        server.call("/v2/models/flight_delays/route", route, method="PUT")
        # The flights are of 2013: an experiment that began today has no answers yet.
        feedback(mine.problem, window, mine.settings, Progress())
        assert server.call("/v2/models/flight_delays/route")[1]["experiment"]["arms"]["canary"]["count"] == 0
        rewards = count_rewards(mine.problem, mine.settings, AT - dt.timedelta(hours=1))
        assert server.call("/v2/models/flight_delays/rewards", rewards)[0] == 200
        _, found = server.call("/v2/models/flight_delays/route")
        assert (found["experiment"]["decided"], found["experiment"]["winner"]) == (True, "champion")
        assert found["route"]["arms"]["champion"] > 0.9
        server.stop()
        assert tell_server(mine.problem, dataclasses.replace(mine.settings, server_url="http://127.0.0.1:9")) == {}
    finally:
        server.stop()
