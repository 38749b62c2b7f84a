"""The job against scikit-learn in memory, on the same held-out rows."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from windtunnel.beam_jobs.evaluate import run
from windtunnel.beam_jobs.job import Progress
from windtunnel.lifecycle.data.rows import label_of, split_of
from windtunnel.lifecycle.model import bundle as bundles


def evaluation(world, model, **more):
    spec = {
        "problem": world.problem.model_dump(mode="json", by_alias=True),
        "model": str(model),
        "data": world.data,
        "output": str(world.folder / "out"),
        "end": "2013-02-01",
        **more,
    }
    found = run(spec, Progress())
    return found, json.loads(Path(found["uri"], "evaluation.json").read_text())


def test_binary_metrics_are_scikit_learns(binary):
    model = binary.train()
    reference, body = evaluation(binary, model)
    truth, answer, _ = binary.judged(model)
    truth, score = truth.astype(int), answer[:, 1]
    said = score >= 0.5
    expected = {
        "auc": metrics.roc_auc_score(truth, score),
        "pr_auc": metrics.average_precision_score(truth, score),
        "log_loss": metrics.log_loss(truth, score),
        "brier": metrics.brier_score_loss(truth, score),
        "precision": metrics.precision_score(truth, said),
        "recall": metrics.recall_score(truth, said),
        "f1": metrics.f1_score(truth, said),
        "mcc": metrics.matthews_corrcoef(truth, said),
        "accuracy": metrics.accuracy_score(truth, said),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, said),
    }
    assert body["rows"]["judged"] == len(truth)
    for name, value in expected.items():
        assert body["candidate"][name] == pytest.approx(value, abs=1e-12), name
    assert reference["metric"] == "auc"
    assert reference["baseline"] == 0.5
    low, high = body["intervals"]["auc"]
    assert low < expected["auc"] < high
    assert 0.01 < high - low < 0.06


def test_multiclass_metrics_are_scikit_learns(multiclass):
    model = multiclass.train()
    _, body = evaluation(multiclass, model)
    truth, answer, _ = multiclass.judged(model)
    classes = np.array(["high", "low", "mid"])
    said = classes[answer.argmax(axis=1)]
    truth = truth.astype(str)
    assert body["candidate"]["macro_f1"] == pytest.approx(metrics.f1_score(truth, said, average="macro"), abs=1e-12)
    assert body["candidate"]["weighted_f1"] == pytest.approx(metrics.f1_score(truth, said, average="weighted"), abs=1e-12)
    assert body["candidate"]["accuracy"] == pytest.approx(metrics.accuracy_score(truth, said), abs=1e-12)
    assert body["candidate"]["log_loss"] == pytest.approx(metrics.log_loss(truth, answer, labels=classes), abs=1e-9)
    assert body["candidate"]["auc"] == pytest.approx(metrics.roc_auc_score(truth, answer, multi_class="ovr", labels=classes), abs=1e-9)
    ranked = metrics.average_precision_score(metrics_of(truth, classes), answer, average="macro")
    assert body["candidate"]["pr_auc"] == pytest.approx(ranked, abs=1e-9)
    sure, right = answer.max(axis=1), said == truth
    cells = np.minimum((sure * 20).astype(int), 19)
    expected = sum(abs(sure[cells == cell].sum() - right[cells == cell].sum()) for cell in range(20)) / len(truth)
    assert body["candidate"]["ece"] == pytest.approx(expected, abs=1e-9)
    assert body["candidate"]["macro_precision"] == pytest.approx(
        metrics.precision_score(truth, said, average="macro", zero_division=0), abs=1e-12
    )
    assert body["candidate"]["macro_recall"] == pytest.approx(metrics.recall_score(truth, said, average="macro"), abs=1e-12)
    for name in ("auc", "pr_auc", "macro_f1", "log_loss", "brier", "ece"):
        low, high = body["intervals"][name]
        assert low < body["candidate"][name] < high, name
    labels = np.array(multiclass.table["y"].drop_null().to_pylist())
    counts = {c: (labels == c).sum() - (truth == c).sum() for c in classes}
    majority = max(counts, key=counts.get)
    assert body["baseline_figures"]["accuracy"] == pytest.approx((truth == majority).mean(), abs=1e-12)


def metrics_of(truth, classes):
    """One column a class: whether the row is of it."""
    return (truth[:, None] == classes[None, :]).astype(int)


def test_regression_metrics_are_scikit_learns(regression):
    model = regression.train()
    reference, body = evaluation(regression, model)
    truth, answer, _ = regression.judged(model)
    truth = truth.astype(float)
    assert body["candidate"]["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, answer), rel=1e-9)
    assert body["candidate"]["mae"] == pytest.approx(metrics.mean_absolute_error(truth, answer), rel=1e-9)
    assert body["candidate"]["r2"] == pytest.approx(metrics.r2_score(truth, answer), rel=1e-6)
    assert body["candidate"]["quantile_loss_90"] == pytest.approx(metrics.mean_pinball_loss(truth, answer, alpha=0.9), rel=1e-9)
    assert body["candidate"]["median_ae"] == pytest.approx(metrics.median_absolute_error(truth, answer), rel=0.1)
    assert reference["baseline"] > reference["value"]


def test_slices_are_the_metrics_of_their_rows(binary):
    model = binary.train()
    _, body = evaluation(binary, model)
    truth, answer, rows = binary.judged(model)
    c = np.array(rows["c"].to_pylist())
    held = {entry["name"]: entry for entry in body["slices"]}
    assert set(held) >= {"c = x", "c = y", "c = z", "d = p", "d = q", "c = x and d = p"}
    for value in "xyz":
        figures, mine = held[f"c = {value}"]["figures"], c == value
        assert held[f"c = {value}"]["rows"] == mine.sum()
        assert figures["auc"] == pytest.approx(metrics.roc_auc_score(truth[mine].astype(int), answer[mine, 1]), abs=2e-3)
        assert figures["recall"] == pytest.approx(metrics.recall_score(truth[mine].astype(int), answer[mine, 1] >= 0.5), abs=1e-12)


def test_anomalies_are_ranked_by_how_unusual_they_are(anomaly):
    model = anomaly.train()
    reference, body = evaluation(anomaly, model)
    label = np.array(label_of(anomaly.problem, anomaly.table).to_pylist(), dtype=object)
    test = split_of(anomaly.problem, anomaly.table, "2013-02-01") & np.array([value is not None for value in label])
    bundle, pipeline = bundles.read(model), bundles.read_pipeline(model)
    frame = anomaly.table.to_pandas().loc[test, list(bundle.dtypes)]
    expected = metrics.roc_auc_score(label[test].astype(int), -pipeline.score_samples(frame))
    assert expected > 0.7
    assert reference["value"] == pytest.approx(expected, abs=1e-9)
    assert "log_loss" not in body["candidate"]
