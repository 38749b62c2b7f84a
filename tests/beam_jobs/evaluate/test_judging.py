"""The whole seam: rows, champion, gates, ledger; and what happens when something is wrong."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.beam_jobs.evaluate import run
from windtunnel.beam_jobs.job import Progress
from windtunnel.lifecycle.contract.errors import ConfigurationError, DataError, EmptyWindowError, IntegrityError
from windtunnel.lifecycle.contract.problem import parse


def spec(world, model, **more):
    return {
        "problem": world.problem.model_dump(mode="json", by_alias=True),
        "model": str(model),
        "data": world.data,
        "output": str(world.folder / "out"),
        "end": "2013-02-01",
        **more,
    }


def evaluation(world, model, **more):
    found = run(spec(world, model, **more), Progress())
    return found, json.loads(Path(found["uri"], "evaluation.json").read_text())


def changed(world, **values):
    given = {**world.problem.model_dump(mode="json", by_alias=True, exclude_none=True), **values}
    return dataclasses.replace(world, problem=parse(given))


def without_names(body):
    """What does not differ from one computation to the next: all but names and what was measured."""
    body["candidate"] = {key: value for key, value in body["candidate"].items() if not key.startswith("latency_")}
    body["gates"] = [gate for gate in body["gates"] if not gate["gate"].startswith("latency_")]
    return {key: value for key, value in body.items() if key != "fingerprint"}


@pytest.mark.parametrize(
    "how",
    [
        {"runner_options": "--direct_runner_bundle_repeat=1"},
        pytest.param({"workers": 2}, marks=pytest.mark.slow),
    ],
    ids=["every bundle twice", "two workers"],
)
def test_however_it_runs_it_judges_the_same(binary, how):
    model = binary.train()
    _, once = evaluation(binary, model)
    _, again = evaluation(binary, model, **how)

    def close(one, other, where=""):
        if isinstance(one, dict):
            assert one.keys() == other.keys(), where
            for key in one:
                close(one[key], other[key], f"{where}.{key}")
        elif isinstance(one, list):
            assert len(one) == len(other), where
            for i, (a, b) in enumerate(zip(one, other, strict=True)):
                close(a, b, f"{where}[{i}]")
        elif isinstance(one, float):
            assert other == pytest.approx(one, rel=1e-9, abs=1e-9), where
        else:
            assert one == other, where

    close(without_names(once), without_names(again))


def test_champion_and_candidate_are_judged_on_the_same_rows(binary):
    good, poor = binary.train(name="good"), binary.train(columns=("b",), name="poor")
    world = changed(binary, gates=[{"metric": "auc", "above_champion_by": 0.02}, {"metric": "worst_group_auc", "above_champion_by": 0}])
    reference, body = evaluation(world, good, champion=str(poor))
    assert reference["passed"]
    assert reference["champion"] == body["champion_figures"]["auc"] < reference["value"]
    assert body["differences"]["auc"]["low"] > 0
    reference, body = evaluation(world, poor, champion=str(good))
    assert not reference["passed"]
    assert any("FAILED: auc better than the champion" in line for line in reference["reasons"])


def test_better_overall_but_worse_for_the_worst_group_can_be_blocked(binary):
    """The candidate is the champion with the answers of group q turned round and those of group p made perfect-ish."""
    model = binary.train()
    _, body = evaluation(binary, model)
    groups = body["fairness"]["d"]["groups"]
    assert groups["q"]["auc"] < groups["p"]["auc"]
    assert body["candidate"]["worst_group_auc"] == groups["q"]["auc"]
    assert {"demographic_parity_difference", "equalized_odds_difference", "equalized_odds_ratio"} <= set(body["candidate"])


def test_the_noisy_group_is_found_as_a_weak_spot(binary):
    world = changed(binary, features={"numeric": ["a", "b"], "categorical": ["c", "d"]})
    _, body = evaluation(world, binary.train())
    assert any(spot["columns"] == ["d"] and spot["values"] == ["q"] for spot in body["found"])
    assert body["looked_at"]["cells"] > 20


def test_size_is_judged_and_latency_waits_for_the_machine_that_serves(binary):
    model = binary.train()
    gates = [
        {"metric": "latency_p99_ms", "at_most": 1000},
        {"metric": "latency_p50_ms", "at_most": 1e-6},
        {"metric": "size_mb", "at_most": 5},
    ]
    reference, body = evaluation(changed(binary, gates=gates, serving={"size_mb": 1e-6, "latency_p99_ms": 1000}), model)
    assert not [name for name in body["candidate"] if name.startswith("latency_")], "it is no function of model and data"
    verdicts = [(gate["gate"], gate["passed"]) for gate in body["gates"]]
    assert verdicts == [
        ("latency_p99_ms at most 1000", True),
        ("latency_p50_ms at most 1e-06", True),
        ("size_mb at most 5", True),
        ("size_mb at most 1e-06", False),
    ]
    assert [gate["hard"] for gate in body["gates"]] == [True, True, False, True]
    assert not reference["passed"]
    assert all(gate["reason"].startswith("measured when it is deployed") for gate in body["gates"][:2])


def test_costs_objectives_and_kpi(binary, tmp_path, monkeypatch):
    (tmp_path / "kpis.py").write_text("def hits(truth, prediction):\n    return float(((truth == 1) & (prediction == 1)).sum())\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    world = changed(
        binary,
        costs={"false_positive": 1, "false_negative": 4},
        objectives={"auc": 1.0, "expected_cost": 0.5},
        kpi={"name": "hits", "function": "kpis:hits"},
    )
    model = binary.train()
    _, body = evaluation(world, model)
    figures = body["candidate"]
    (tn, fp), (fn, tp) = body["pictures"]["confusion"]
    assert figures["expected_cost"] == pytest.approx((fp + 4 * fn) / (tn + fp + fn + tp))
    assert body["pictures"]["costs"]["cost"] <= figures["expected_cost"]
    assert body["pictures"]["costs"]["threshold"] < 0.5, "missing one is dearer than a false alarm"
    assert figures["objective"] == pytest.approx(figures["auc"] - 0.5 * figures["expected_cost"])
    assert figures["kpi"] == tp


def test_values_without_a_judged_row_are_listed(binary):
    table = binary.table.set_column(3, "c", pa.array(["rare" if i == 0 else v for i, v in enumerate(binary.table["c"].to_pylist())]))
    path = binary.folder / "rare.parquet"
    pq.write_table(table, path)
    world = dataclasses.replace(binary, data=[str(path)])
    _, body = evaluation(world, binary.train())
    assert body["unseen"] == [{"column": "c", "count": 1, "values": [{"value": "rare", "rows": 1}]}]


def test_the_report_stands_alone_and_has_three_readings(binary):
    found, body = evaluation(binary, binary.train())
    text = Path(found["report"]).read_text()
    for reading in ("To lead", "To use", "To develop", "Model card"):
        assert reading in text
    assert "<svg" in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text
    assert body["explanations"]["importance"][0]["column"] == "a"


@pytest.mark.parametrize("task", ["multiclass", "regression", "anomaly"])
def test_every_task_has_a_report(task, request):
    world = request.getfixturevalue(task)
    found, body = evaluation(world, world.train())
    assert Path(found["report"]).read_text().count("<section>") >= 5
    assert body["found"] is not None
    assert body["explanations"]["importance"]


def test_no_test_row_is_an_error_that_says_so(binary):
    world = changed(binary, splits={"test": 0.0})
    with pytest.raises(EmptyWindowError, match="none in the test split"):
        evaluation(world, binary.train())


def test_one_label_alone_cannot_be_judged(binary):
    table = binary.table.set_column(5, "y", pa.array(["no"] * binary.table.num_rows))
    path = binary.folder / "one.parquet"
    pq.write_table(table, path)
    model = binary.train()
    with pytest.raises(EmptyWindowError, match="the same label"):
        evaluation(dataclasses.replace(binary, data=[str(path)]), model)


def test_a_changed_bundle_is_refused(binary):
    model = binary.train()
    with (model / "pipeline.skops").open("ab") as file:
        file.write(b"x")
    with pytest.raises(IntegrityError, match=r"pipeline\.skops"):
        evaluation(binary, model)


def test_a_damaged_champion_is_left_out_and_named(binary):
    good, broken = binary.train(name="good"), binary.train(name="broken")
    (broken / "pipeline.skops").write_bytes(b"")
    _, body = evaluation(binary, good, champion=str(broken))
    assert body["champion_figures"] is None
    assert any("could not be scored" in line for line in body["left_out"])


def test_columns_that_are_missing_are_named(binary):
    model = binary.train()
    path = binary.folder / "short.parquet"
    pq.write_table(binary.table.drop(["b"]), path)
    with pytest.raises(ConfigurationError, match="lack: b"):
        evaluation(dataclasses.replace(binary, data=[str(path)]), model)
    with pytest.raises(ConfigurationError, match="lacks 'output'"):
        run({"problem": {}, "model": "", "data": ""}, Progress())


def test_a_model_that_cannot_take_nulls_says_so(binary):
    values = np.array(binary.table["a"].to_pylist())
    table = binary.table.set_column(1, "a", pa.array(values, mask=np.arange(len(values)) % 11 == 0))
    path = binary.folder / "nulls.parquet"
    pq.write_table(table, path, row_group_size=500)
    model = binary.train()
    with pytest.raises(DataError, match="the candidate cannot answer the held-out rows: the model cannot take null"):
        evaluation(dataclasses.replace(binary, data=[str(path)]), model)


def test_rows_without_any_label_cannot_be_judged(binary):
    path = binary.folder / "nothing.parquet"
    pq.write_table(binary.table.set_column(5, "y", pa.nulls(binary.table.num_rows, pa.string())), path)
    with pytest.raises(EmptyWindowError, match="0 of them with a label"):
        evaluation(dataclasses.replace(binary, data=[str(path)]), binary.train())


def test_shap_values_are_in_the_report_where_the_problem_asks(binary):
    found, body = evaluation(changed(binary, explanations={"shap": True, "rows": 50}), binary.train())
    assert body["explanations"]["shap"]["columns"][0]["column"] == "a"
    assert "SHAP values" in Path(found["report"]).read_text()
