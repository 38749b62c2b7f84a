"""What the package adds is known everywhere. Run with this folder on PYTHONPATH: its dist-info is found like an installed package's."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scratch_parts
import yaml
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier

from windtunnel.lifecycle.contract.errors import ConfigurationError, ProblemError
from windtunnel.lifecycle.contract.problem import json_schema, load
from windtunnel.lifecycle.contract.seams.catalogue import SEAMS
from windtunnel.lifecycle.contract.seams.testing import SeamConformance
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window

ADDED = {
    "learners": "nearest",
    "transformers": "scratch_parts.Halver",
    "expectations": "column_values.even",
    "sources": "countdown",
    "targets": "memo",
    "metrics": "share_found",
    "baselines": "coin",
    "notifiers": "note",
    "pages": "digest",
}
VALUES = {
    "name": "scratch",
    "owner": "me",
    "task": "binary",
    "source": {"format": "countdown", "options": {"start": 5}},
    "columns": {"id": "int64", "size": "float64", "late": "float64"},
    "keys": ["id"],
    "label": {"column": "late", "positive": {"above": 1}},
    "features": {"numeric": ["size"]},
    "model": {"family": "nearest", "search": {"n_neighbors": [1, 3]}},
    "baseline": "coin",
    "gates": [{"metric": "share_found", "at_least": 0.5}],
    "serving": {"targets": ["memo:here"]},
    "alerts": [{"notifier": "note", "options": {"text": "hello"}}],
}


@pytest.fixture
def problem(tmp_path):
    path = tmp_path / "scratch.yaml"
    path.write_text(yaml.safe_dump(VALUES), encoding="utf-8")
    return load(path)


@pytest.fixture(params=SEAMS, ids=lambda seam: seam.registry.seam)
def seam(request):
    return request.param


class TestRows(SeamConformance):
    @pytest.fixture(autouse=True)
    def _one(self, seam):
        type(self).registry, type(self).name = seam.registry, ADDED[seam.registry.seam]


def test_the_problem_file_knows_them_all(problem):
    assert problem.model.family == "nearest"
    assert "nearest" in json_schema()["$defs"]["Model"]["properties"]["family"]["enum"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": {"family": "neares"}}, "did you mean 'nearest'"),
        ({"source": {"format": "countdown", "options": {"strat": 1}}}, "did you mean 'start'"),
        ({"baseline": "coyn"}, "did you mean 'coin'"),
        ({"gates": [{"metric": "share_fond", "at_least": 0}]}, "did you mean 'share_found'"),
        ({"serving": {"targets": ["mmemo:x"]}}, "did you mean 'memo:'"),
        ({"alerts": [{"notifier": "notte"}]}, "did you mean 'note'"),
    ],
)
def test_a_typo_in_their_names_is_an_error_of_the_file(tmp_path, change, says):
    path = tmp_path / "scratch.yaml"
    path.write_text(yaml.safe_dump(VALUES | change), encoding="utf-8")
    with pytest.raises(ProblemError, match=says):
        load(path)


def test_the_learner_is_made_with_its_defaults(problem):
    from windtunnel.lifecycle.learning.check import import_faults
    from windtunnel.lifecycle.learning.estimators import estimator

    assert estimator(problem, {}).n_neighbors == 3
    assert estimator(problem, {"n_neighbors": 1}).n_neighbors == 1
    assert import_faults(problem) == []


def test_the_transformer_is_fitted_kept_and_compiled(tmp_path):
    from windtunnel.beam_jobs.features import fit
    from windtunnel.lifecycle.model import bundle
    from windtunnel.serving.compiler.compile import compile_pipeline

    frame = pd.DataFrame({"size": [1.0, 4.0, 2.0, 3.0], "late": [0, 1, 0, 1]})
    frame.to_parquet(tmp_path / "rows.parquet")
    fitted = fit(scratch_parts.Halver(), str(tmp_path / "rows.parquet"), {"columns": ["size"]})
    assert fitted.top_.tolist() == [4.0]
    pipeline = Pipeline([("features", fitted), ("model", DecisionTreeClassifier().fit([[0.1], [0.4]], [0, 1]))])
    said = bundle.Bundle("scratch", "binary", ["0", "1"], 0.5, [bundle.Input("size", "float64", "float64")], "late", "2024-01-01")
    (tmp_path / "b").mkdir()
    bundle.write(tmp_path / "b", said, pipeline, {"inputs": [], "outputs": []})
    again = bundle.read_pipeline(tmp_path / "b")
    plan = compile_pipeline(again, said)
    assert np.allclose(plan.step.steps[0].run(np.array([[2.0]])), fitted.transform(pd.DataFrame({"size": [2.0]})))


def test_the_expectation_is_run(tmp_path):
    from windtunnel.beam_jobs.expectations import run_suite
    from windtunnel.beam_jobs.expectations.engine.kinds import ONE_ROW_AT_A_TIME

    pd.DataFrame({"n": [2, 4, 5]}).to_parquet(tmp_path / "n.parquet")
    suite = {"name": "s", "expectations": [{"type": "expect_column_values_to_be_even", "kwargs": {"column": "n"}}]}
    result = run_suite(suite, str(tmp_path / "n.parquet"), batch_rows=2)
    assert result["results"][0]["result"]["partial_unexpected_list"] == [5]
    assert "column_values.even.condition" in ONE_ROW_AT_A_TIME


def test_the_source_is_planned_and_read(problem):
    import datetime as dt

    from windtunnel.lifecycle.data.sources import plan, read

    (unit,) = plan(problem, Window(dt.date(2024, 1, 1), dt.date(2024, 1, 2)), Settings())
    (chunk,) = read(problem, unit.pieces[0], Settings())
    assert chunk.batch.column("id").to_pylist() == [5, 4, 3, 2, 1]


def test_the_target_is_pushed_to():
    from windtunnel.lifecycle.release.targets import router, target_of

    target = target_of(Settings(), "memo:here")
    target.push("m", "1", "folder", "digest", ["champion"])
    assert scratch_parts.MemoTarget.kept == [("m", "1", "digest")]
    assert router(target) is None


def test_the_metric_is_computed_where_a_gate_names_it(problem):
    from windtunnel.lifecycle.judging.evaluation import computed, needs_answers

    (row,) = computed(problem)
    assert needs_answers(problem)
    assert row.part("compute")(np.array([1, 1, 0]), np.array([0.9, 0.1, 0.9])) == 0.5


def test_the_baseline_is_fitted(problem):
    from windtunnel.lifecycle.judging.baselines import fit

    rows = pa.table({"size": [1.0, 2.0]})
    assert fit(problem, None, rows, pa.array([0, 1])).scores(rows.to_batches()[0]).tolist() == [[0.5, 0.5]] * 2


def test_the_notifier_is_told(problem):
    from windtunnel.operators.telling.alerts import alerts_of

    (notifier,) = alerts_of(problem)
    notifier.notify({"dag": None})
    assert scratch_parts.NoteNotifier.notes == ["hello"]


def test_the_page_lies_beside_the_stage_s_own(tmp_path):
    from windtunnel.lifecycle.data.artifacts import Stage

    for name in ("profile", "tune"):
        stage = Stage(Settings(artifacts=str(tmp_path)), "scratch", name, "0f")
        with stage.writing() as folder:
            stage.finish(folder, {"rows": 3})
    assert "['rows']" in (tmp_path / "scratch" / "profile" / "0f" / "digest.html").read_text()
    assert not (tmp_path / "scratch" / "tune" / "0f" / "digest.html").exists()


def test_no_package_can_take_a_name_of_ours(tmp_path, monkeypatch):
    from windtunnel.lifecycle.contract.seams.learners import LEARNERS

    info = tmp_path / "thief-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thief\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[windtunnel.learners]\nlinear = scratch_rows:NEAREST\nbroken = scratch_rows:COIN\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert LEARNERS["linear"].summary == "logistic or ridge regression"
    with pytest.raises(ConfigurationError, match=r"the package thief registers 'linear' .* which windtunnel has already"):
        list(LEARNERS)
    with pytest.raises(ConfigurationError, match=r"thief registers 'broken' .* is a BaselineRow, not a LearnerRow"):
        LEARNERS["broken"]
