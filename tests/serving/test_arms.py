"""Experiments over a route: what rewards do to weights, what is said of it, and what stays when workers and servers go."""

import pytest

ROUTE = {"arms": {"champion": 0.5, "canary": 0.5}, "sticky": "tailnum", "experiment": {"bandit": True, "seed": 3}}
PATH = "/v2/models/flight_delays"


@pytest.fixture
def server(serve, bundles):
    found = serve("--workers", "2")
    found.load(bundles["one"], "1", ["champion"])
    found.load(bundles["two"], "2", ["canary"])
    return found


def routed(server, rows, keys=60):
    return {n: server.predict([{**rows[0], "tailnum": f"N{n}"}])["route"] for n in range(keys)}


def test_a_bandit_s_weights_follow_the_rewards_and_keys_stick(server, rows):
    assert server.call(f"{PATH}/route", ROUTE, method="PUT")[0] == 200
    before = routed(server, rows)
    assert set(before.values()) == {"champion", "canary"}
    assert routed(server, rows) == before
    rewards = {"1/champion": {"count": 200, "total": 100}, "2/canary": {"count": 200, "total": 150}}
    assert server.call(f"{PATH}/rewards", rewards)[0] == 200
    _, found = server.call(f"{PATH}/route")
    weights = found["route"]["arms"]
    assert weights["canary"] > 0.9
    assert weights["champion"] >= 0.05
    after = routed(server, rows)
    moved = {before[n] for n in before if before[n] != after[n]}
    assert moved == {"champion"}, "keys only move towards the arm that is worth more"
    assert routed(server, rows) == after, "all workers share out alike"
    # The same totals again, as every round of feedback tells them, change nothing.
    assert server.call(f"{PATH}/rewards", rewards)[0] == 200
    assert server.call(f"{PATH}/route")[1]["route"]["arms"] == weights
    experiment = server.call(f"{PATH}/stats")[1]["experiment"]
    assert experiment["arms"]["canary"]["mean"] == 0.75
    assert experiment["arms"]["canary"]["low"] < 0.75 < experiment["arms"]["canary"]["high"]
    assert 0 < experiment["arms"]["canary"]["p"] <= 0.05
    assert (experiment["decided"], experiment["winner"]) == (True, "canary")
    # Later figures do not undo a decision, nor does a restart.
    server.call(f"{PATH}/rewards", {"1/champion": {"count": 400, "total": 300}, "2/canary": {"count": 400, "total": 290}})
    server.stop()
    server.start()
    assert server.call(f"{PATH}/route")[1]["experiment"]["winner"] == "canary"
    # The same route again goes on with it; another version under the label begins anew.
    server.call(f"{PATH}/route", ROUTE, method="PUT")
    assert server.call(f"{PATH}/route")[1]["experiment"]["decided"]
    server.call("/v2/repository/models/flight_delays/label", {"parameters": {"version": "1", "labels": ["canary"]}})
    server.call(f"{PATH}/route", ROUTE, method="PUT")
    _, anew = server.call(f"{PATH}/route")
    assert (anew["experiment"]["decided"], anew["route"]["arms"]) == (False, ROUTE["arms"])
    # Without an experiment there is nothing to reward.
    server.call(f"{PATH}/route", {}, method="PUT")
    status, body = server.call(f"{PATH}/rewards", {})
    assert (status, "no experiment" in body["error"]) == (400, True)


@pytest.mark.parametrize(
    ("experiment", "why"),
    [
        ({"reference": "nobody"}, "reference must be one of the arms"),
        ({"reference": []}, "reference must be one of the arms"),
        ({"alpha": 10**400}, "alpha must be above 0"),
        ({"alpha": 0}, "alpha must be above 0"),
        ({"alpha": True}, "alpha must be above 0"),
        ({"floor": 0.9}, "floor must be above 0"),
        ({"bandit": "yes"}, "bandit must be true or false"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"sedd": 1}, "has the fields"),
        ([], "has the fields"),
    ],
)
def test_a_wrong_experiment_says_what_is_wrong(experiment, why):
    from windtunnel.lifecycle.contract.errors import ConfigurationError
    from windtunnel.serving.routing.router import check_route

    model = {"labels": {"champion": "1"}, "versions": {"1": {}, "2": {}}}
    with pytest.raises(ConfigurationError, match=why):
        check_route(model, {"arms": {"champion": 1, "2": 1}, "experiment": experiment})
    with pytest.raises(ConfigurationError, match="two arms"):
        check_route(model, {"arms": {"champion": 1}, "experiment": {}})


@pytest.mark.parametrize(
    "rewards",
    [
        [],
        {"a": 3},
        {"a": {"count": 1}},
        {"a": {"count": 10**400, "total": 0}},
        {"a": {"count": 1, "total": 1, "kpi": "high"}},
        {"a": {"count": 1, "total": 2}},
        {"a": {"count": float("nan"), "total": 0}},
        {"a": {"count": 1, "total": 1, "x": 1}},
    ],
)
def test_wrong_rewards_are_refused(rewards):
    from windtunnel.lifecycle.contract.errors import ConfigurationError
    from windtunnel.serving.routing.arms import reward

    model = {"route": {"arms": {"a": 1, "b": 1}, "experiment": {"reference": "a", "alpha": 0.05, "bandit": False}}, "labels": {}}
    with pytest.raises(ConfigurationError, match="rewards"):
        reward(model, rewards)
