"""The simple models that a candidate stands beside: fitted on training rows, scored on the judged ones."""

import dataclasses
import datetime as dt
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sklearn import metrics

from windtunnel.beam_jobs.evaluate import run
from windtunnel.beam_jobs.job import Progress
from windtunnel.lifecycle.contract.errors import ProblemError
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.data.rows import DAY, label_of, split_of


def evaluation(world, model, **more):
    problem = world.problem.model_dump(mode="json", by_alias=True, exclude_none=True)
    spec = {"problem": problem, "model": str(model), "data": world.data, "output": str(world.folder / "out"), "end": "2013-02-01", **more}
    found = run(spec, Progress())
    return found, json.loads(Path(found["uri"], "evaluation.json").read_text())


def changed(world, **values):
    given = {**world.problem.model_dump(mode="json", by_alias=True, exclude_none=True), **values}
    return dataclasses.replace(world, problem=parse(given))


def parts(world):
    """Truth of the training rows, truth of the judged ones, and which rows these are."""
    label = np.array(label_of(world.problem, world.table).to_pylist(), dtype=object)
    test = split_of(world.problem, world.table, "2013-02-01")
    known = np.array([value is not None for value in label])
    return label[known & ~test], label[known & test], known & test


def test_the_single_best_feature_is_found_and_is_better_than_the_prior(binary):
    world = changed(binary, baseline="single_feature")
    reference, body = evaluation(world, binary.train())
    assert body["baseline"] == {"kind": "single_feature", "what": "the training rows' mean label by a alone"}
    _, truth, judged = parts(world)
    alone = metrics.roc_auc_score(truth.astype(int), np.array(binary.table["a"])[judged])
    assert reference["baseline"] == pytest.approx(alone, abs=0.03), "twenty cells lose little of the order"
    assert 0.5 < reference["baseline"] < reference["value"]
    assert body["baseline_differences"]["auc"]["low"] > 0
    assert body["slices"][0]["baseline"]["auc"] > 0.5
    assert "single_feature" in Path(reference["report"]).read_text()


def test_logistic_regression_is_as_good_as_the_candidate_that_is_one(binary):
    reference, body = evaluation(changed(binary, baseline={"kind": "logistic"}), binary.train())
    assert reference["baseline"] == pytest.approx(reference["value"], abs=0.01)
    assert body["baseline_figures"]["log_loss"] == pytest.approx(body["candidate"]["log_loss"], rel=0.02)


@pytest.mark.parametrize("kind", ["single_feature", "logistic"])
def test_several_classes_have_them_too(multiclass, kind):
    _, body = evaluation(changed(multiclass, baseline=kind), multiclass.train())
    _, prior = evaluation(multiclass, multiclass.folder / "model")
    assert prior["baseline"]["kind"] == "prior"
    assert body["baseline_figures"]["macro_f1"] > prior["baseline_figures"]["macro_f1"]
    assert body["baseline_figures"]["log_loss"] > body["candidate"]["log_loss"] - 0.02


@pytest.mark.parametrize(("kind", "constant"), [("mean", np.mean), ("median", np.median)])
def test_constants_have_every_metric(regression, kind, constant):
    _, body = evaluation(changed(regression, baseline=kind), regression.train())
    learnt, truth, _ = parts(regression)
    answer = np.full(len(truth), constant(learnt.astype(float)))
    figures = body["baseline_figures"]
    assert figures["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth.astype(float), answer), rel=1e-9)
    assert figures["mae"] == pytest.approx(metrics.mean_absolute_error(truth.astype(float), answer), rel=1e-9)
    assert figures["quantile_loss_90"] == pytest.approx(metrics.mean_pinball_loss(truth.astype(float), answer, alpha=0.9), rel=1e-9)


def test_linear_and_single_feature_of_a_number(regression):
    model = regression.train()
    _, linear = evaluation(changed(regression, baseline="linear"), model)
    _, single = evaluation(changed(regression, baseline="single_feature"), model)
    assert linear["baseline_figures"]["rmse"] == pytest.approx(linear["candidate"]["rmse"], rel=0.01)
    assert linear["candidate"]["rmse"] < single["baseline_figures"]["rmse"] < linear["baseline_figures"]["mae"] * 3


@pytest.mark.parametrize("delay", [0, 2])
def test_the_previous_value_is_the_newest_that_was_known(regression, delay):
    days = np.arange(regression.table.num_rows) // 600
    dates = pa.array([dt.date(2013, 1, 10) + dt.timedelta(days=int(day)) for day in days], pa.date32())
    table = regression.table.append_column(DAY, dates)
    path = regression.folder / "days.parquet"
    pq.write_table(table, path, row_group_size=900)
    label = {"column": "y", "delay_days": delay}
    source = {"format": "parquet", "path": "{day}.parquet"}
    world = changed(regression, baseline={"kind": "previous", "group": ["d"]}, label=label, source=source)
    _, body = evaluation(dataclasses.replace(world, data=[str(path)]), regression.train())
    y, group = np.array(table["y"].to_pylist(), dtype=float), np.array(table["d"])
    expected = np.empty(len(y))
    for row in range(len(y)):
        earlier = [day for day in range(days[row] - delay) if ((days == day) & (group == group[row]) & ~np.isnan(y)).any()]
        same = (days == earlier[-1]) & (group == group[row]) if earlier else np.ones(len(y), bool)
        expected[row] = np.nanmean(y[same])
    judged = split_of(world.problem, table, "2013-02-01") & pc.is_valid(table["y"]).to_numpy(zero_copy_only=False)
    assert body["baseline_figures"]["mae"] == pytest.approx(np.abs(expected[judged] - y[judged]).mean(), rel=1e-9)
    assert body["baseline"]["what"].startswith("the mean label of the same d")


def test_where_it_cannot_be_fitted_the_prior_stands_in_and_it_is_said(binary):
    _, body = evaluation(changed(binary, baseline="logistic"), binary.train(), rows="all")
    assert body["baseline"]["kind"] == "prior"
    assert body["baseline_figures"]["auc"] == 0.5
    assert "'logistic' was not fitted" in body["left_out"][0]


def test_a_baseline_of_another_task_is_refused(binary):
    with pytest.raises(ProblemError, match="must be one of prior, single_feature, logistic but is median"):
        changed(binary, baseline="median")
