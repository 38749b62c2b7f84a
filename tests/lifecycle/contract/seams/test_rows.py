"""Every row of every registry, and what the documentation makes of them."""

from pathlib import Path

import numpy as np
import pytest

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.seams import catalogue, transformers
from windtunnel.lifecycle.contract.seams.catalogue import SEAMS
from windtunnel.lifecycle.contract.seams.learners import LEARNERS, learner_of
from windtunnel.lifecycle.contract.seams.metrics import METRICS, lower_is_better
from windtunnel.lifecycle.contract.seams.testing import SeamConformance
from windtunnel.lifecycle.contract.seams.transformers import TRANSFORMERS
from windtunnel.lifecycle.judging.tallies import tally

ROOT = Path(__file__).parents[4]
ROWS = [(seam.registry, name) for seam in SEAMS for name in seam.registry.names]


@pytest.fixture(params=ROWS, ids=[f"{registry.seam}-{name}" for registry, name in ROWS])
def row(request):
    return request.param


class TestEveryRow(SeamConformance):
    @pytest.fixture(autouse=True)
    def _one(self, row):
        type(self).registry, type(self).name = row


def test_a_class_is_found_by_its_objects_and_not_by_its_name():
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.preprocessing import StandardScaler

    assert TRANSFORMERS.of(StandardScaler).name == "sklearn.preprocessing.StandardScaler"
    assert learner_of(RandomForestClassifier).name == "random_forest"
    for seeming in ("StandardScaler", "RandomForestClassifier"):
        stranger = type(seeming, (), {})
        assert TRANSFORMERS.of(stranger) is None
        assert learner_of(stranger) is None


def test_what_is_unknown_is_refused_with_the_names_and_the_likeliest():
    with pytest.raises(ConfigurationError, match=r"'random_forrest' is not a learner; allowed: .*; did you mean 'random_forest'\?"):
        LEARNERS["random_forrest"]


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression", "anomaly"])
def test_a_task_s_figures_are_its_metrics(task):
    counted = tally(task, ["a", "b"] if task == "multiclass" else [], 0.5)
    truth = np.array(["a", "b"], dtype=object) if task == "multiclass" else np.array([0, 1])
    counted.add(
        truth, np.array([[0.9, 0.1], [0.2, 0.8]]) if task in {"binary", "multiclass"} else np.array([[0.1], [0.8]]), np.array([0, 1])
    )
    figures = counted.figures()
    without = {"kpi", "objective", "expected_cost", "latency_p50_ms", "latency_p99_ms", "size_mb"}
    rows = {row.name for row in METRICS if task in row.tasks and row.needs != "sensitive"} - without
    assert set(figures) == rows


def test_what_is_lost_is_better_when_it_is_less():
    assert {name for name in METRICS.names if lower_is_better(name)} >= {"rmse", "worst_group_log_loss", "demographic_parity_difference"}
    assert not lower_is_better("demographic_parity_ratio")
    assert not lower_is_better("a name that nobody has")


def test_the_table_of_transformers_is_the_registry_s():
    text = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    assert transformers.table() in text, "python -c 'from windtunnel.lifecycle.contract.seams.transformers import table; print(table())'"


def test_the_table_of_what_can_be_added_is_the_registries():
    assert catalogue.table() in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), "print catalogue.table()"


@pytest.mark.parametrize("seam", SEAMS, ids=lambda seam: seam.registry.seam)
def test_what_the_table_names_is_there(seam):
    for name in (seam.code, seam.rows, seam.docs):
        assert (ROOT / name).exists(), name
    assert f"class {seam.registry.row.__name__}(" in (ROOT / seam.rows).read_text(encoding="utf-8")


def test_the_page_of_learners_names_them_all():
    text = (ROOT / "docs" / "learning.md").read_text(encoding="utf-8")
    for row in LEARNERS.own:
        assert f"| `{row.name}` | {row.summary} | {', '.join(row.tasks)} |" in text
