"""Explanations add up, whatever the model, and are a linear model's own terms."""

import itertools
import json
import math

import pytest
import serving_models
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from windtunnel.lifecycle.model import bundle
from windtunnel.serving.base.batch import from_rows
from windtunnel.serving.base.values import InvalidInputError
from windtunnel.serving.compiler.engine import Engine
from windtunnel.serving.compiler.explain import explain

TYPICAL = {"dep_delay": -2.0, "sched_dep_time": 1359, "distance": 872, "month": 7, "carrier": "UA", "origin": "EWR", "dest": "ORD"}


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained") / "b"
    serving_models.flight_bundle(folder, "trees", iterations=10, explain=True, baseline=TYPICAL)
    return folder


def of_rows(engine, rows):
    return explain(engine, rows, engine.scores(from_rows(engine.bundle.inputs, rows)))


def regression(folder, pipeline, names):
    frame = serving_models.flights(1500, 3).dropna(subset=[*serving_models.NUMERIC, "arr_delay"])
    x = frame[names].astype(float)
    typical = x.median().to_dict()
    pipeline.fit(x, frame["arr_delay"])
    serving_models.write(folder, pipeline, x, "regression", explain=True, baseline=typical)
    return Engine.load(folder), x, typical


def test_contributions_add_up_to_the_answer(explained):
    engine = Engine.load(explained)
    rows = bundle.read_samples(explained)["inputs"]
    base = engine.predict_rows([TYPICAL])[0]["score"]
    for row, entry in zip(rows, of_rows(engine, rows), strict=True):
        assert entry["base"] == base
        assert entry["base"] + sum(entry["contributions"].values()) == pytest.approx(engine.predict_rows([row])[0]["score"], abs=1e-12)
        usual = [name for name, value in TYPICAL.items() if row[name] == value]
        assert all(abs(entry["contributions"][name]) < 1e-12 for name in usual), "what is as usual explains nothing"


def test_a_linear_model_is_explained_by_its_terms(tmp_path):
    pipeline = make_pipeline(LinearRegression())
    engine, x, typical = regression(tmp_path / "b", pipeline, serving_models.NUMERIC)
    rows = serving_models.rows_of(x.head(5))
    for row, entry in zip(rows, of_rows(engine, rows), strict=True):
        for name, slope in zip(x.columns, pipeline[-1].coef_, strict=True):
            assert entry["contributions"][name] == pytest.approx(slope * (row[name] - typical[name]), abs=1e-8)


def test_up_to_seven_columns_they_are_shapley_s_values(tmp_path):
    engine, x, typical = regression(tmp_path / "b", make_pipeline(PolynomialFeatures(3), LinearRegression()), serving_models.NUMERIC)
    row = serving_models.rows_of(x.tail(1))[0]

    def worth(columns):
        return engine.predict_rows([{**typical, **{name: row[name] for name in columns}}])[0]["prediction"]

    (entry,) = of_rows(engine, [row])
    names = list(x.columns)
    for name in names:
        steps = [worth(order[: order.index(name) + 1]) - worth(order[: order.index(name)]) for order in itertools.permutations(names)]
        assert entry["contributions"][name] == pytest.approx(sum(steps) / math.factorial(len(names)), rel=1e-9, abs=1e-7)


def test_beyond_that_they_still_add_up_and_are_the_same_each_time(tmp_path):
    frame = serving_models.flights(1500, 3).dropna(subset=["arr_delay", "dep_delay"])
    names = [f"x{number}" for number in range(11)]
    x = frame[["dep_delay", "distance", "month"] * 4].iloc[:, :11].astype(float).set_axis(names, axis=1) * list(range(1, 12))
    pipeline = make_pipeline(PolynomialFeatures(2, interaction_only=True), LinearRegression()).fit(x, frame["arr_delay"])
    serving_models.write(tmp_path / "b", pipeline, x, "regression", explain=True, baseline=x.median().to_dict())
    engine = Engine.load(tmp_path / "b")
    rows = serving_models.rows_of(x.head(3))
    found = of_rows(engine, rows)
    assert found == of_rows(engine, rows)
    for row, entry in zip(rows, found, strict=True):
        answer = engine.predict_rows([row])[0]["prediction"]
        assert entry["base"] + sum(entry["contributions"].values()) == pytest.approx(answer, rel=1e-9)


def test_a_model_that_was_not_told_to_explain_says_so(bundles, explained, rows):
    with pytest.raises(InvalidInputError, match=r"serving\.explain"):
        of_rows(Engine.load(bundles["one"]), rows[:1])
    with pytest.raises(InvalidInputError, match="at most 100"):
        of_rows(Engine.load(explained), rows * 20)


def test_asked_for_over_every_protocol(serve, explained, bundles, rows):
    server = serve("--grpc-port", "0")
    server.load(explained, "1", ["champion"])
    server.load(bundles["two"], "2", ["other"])
    status, body = server.call("/v1/models/flight_delays/explain", {"rows": rows[:3]})
    assert status == 200
    plain = server.predict(rows[:3])["predictions"]
    wanted = of_rows(Engine.load(explained), rows[:3])
    for row, entry, why in zip(body["predictions"], plain, wanted, strict=True):
        assert row == {**entry, **why}
    assert "contributions" not in plain[0]
    inputs = [
        {"name": name, "datatype": "BYTES" if isinstance(value, str) else "FP64", "shape": [1], "data": [value]}
        for name, value in rows[0].items()
    ]
    asked = {"inputs": inputs, "outputs": [{"name": "score"}, {"name": "contributions"}]}
    _, tensors = server.call("/v2/models/flight_delays/infer", asked)
    outputs = {output["name"]: output["data"][0] for output in tensors["outputs"]}
    assert json.loads(outputs["contributions"]) == wanted[0]
    assert set(outputs) == {"score", "contributions"}
    status, body = server.call("/v1/models/flight_delays/explain", {"rows": rows[:1]}, X_Windtunnel_Version="2")
    assert (status, body["problems"][0]["field"]) == (422, "explain")
    assert server.call("/v1/models/flight_delays/explain", {"rows": rows[:1]}, token="no")[0] == 401
    assert "/v1/models/flight_delays/explain" in server.call("/openapi.json")[1]["paths"]
