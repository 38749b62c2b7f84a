"""Every row of the list of stages keeps what stages promise: see `StageConformance`."""

import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException
from airflow.serialization.serialized_objects import DagSerialization

from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.stages import LOOP, STAGES, stage, stages_table
from windtunnel.lifecycle.record.ledger import Ledger
from windtunnel.operators.settings import airflow_settings

sys.path.insert(0, str(Path(__file__).parent))
import stage_child

# Libraries that look into every module there is (optuna's inspection) trip over names that Airflow has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::airflow.utils.deprecation_tools.DeprecatedImportWarning")

ROOT = Path(__file__).parents[2]
ROWS = pytest.mark.parametrize("row", STAGES, ids=lambda row: row.name)
DAYS = ["2024-03-01", "2024-03-02", "2024-03-03"]
ORDER = [*LOOP, "predict", "monitor", "feedback"]


def _problem(landing):
    return {
        "name": "shop",
        "owner": "test@example.org",
        "task": "binary",
        "source": {"format": "csv", "path": f"{landing}/{{day}}.csv"},
        "columns": {"at": "date", "id": "int64", "a": "float64", "b": "float64", "y": "int64"},
        "event_time": {"column": "at"},
        "keys": ["id"],
        "label": {"column": "y", "positive": {"equals": 1}},
        "features": {"numeric": ["a", "b"]},
        "windows": {"train_days": 3, "history_end": "2024-03-04"},
        "model": {"family": "linear", "search": {"C": [0.1, 1.0]}},
        "budget": {"trials": 2},
        "gates": [{"metric": "auc", "at_least": 0.6}],
        "approval": {"promotion": "auto"},
        "serving": {"latency_p99_ms": 60000},
    }


class Shop:
    """A home with its settings, in which each stage is run once, in order."""

    def __init__(self, home, landing, kill_at=None):
        self.home, self.problem, self.references, self.touched = home, _problem(landing), {}, {}
        names = {
            "CATALOG_URI": f"sqlite:///{home}/catalog.db",
            "LEDGER_URI": f"sqlite:///{home}/ledger.db",
            "TRACKING_URI": f"sqlite:///{home}/mlflow.db",
            "WAREHOUSE": f"{home}/warehouse",
            "ARTIFACTS": f"{home}/artifacts",
            "SERVER_URL": f"{home}/served",
        }
        self.environment = {f"AIRFLOW__WINDTUNNEL__{name}": value for name, value in names.items()}
        os.environ.update(self.environment)
        self.first, self.second, self.entries = {}, {}, {}
        for name in ORDER:
            if kill_at is not None:
                self.kill(name, kill_at[name])
                self.first[name] = self.run(name)[0]
                continue
            self.first[name], self.touched[name] = self.run(name)
            before = len(Ledger(airflow_settings()).entries("shop"))
            self.second[name] = self.run(name)[0]
            self.entries[name] = len(Ledger(airflow_settings()).entries("shop")) - before

    def run(self, name, run_id="run"):
        """Run a stage's task to its end; answers its result, and how often it touched disks and databases."""
        values = stage_child.context(run_id)
        task = stage_child.rendered(stage_child.operator(name, self.problem, self.references), values)
        TOUCHES.home, TOUCHES.count = str(self.home), 0
        try:
            result = task.execute(values)
        finally:
            TOUCHES.home = ""
        if name != "predict":  # its rows are no examples
            self.references[stage(name).gives] = result
        return result, TOUCHES.count

    def kill(self, name, kill_at):
        """Run a stage's task in a process that dies half-way."""
        process = multiprocessing.get_context("forkserver").Process(
            target=stage_child.killed, args=(name, self.problem, self.references, self.environment, str(self.home), kill_at)
        )
        process.start()
        process.join(120)
        assert process.exitcode == -signal.SIGKILL, f"{name}: the process was to die at touch {kill_at}"


TOUCHES = stage_child.Touches()


@pytest.fixture(scope="module")
def landing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("landing")
    for number, day in enumerate(DAYS):
        rng = np.random.default_rng(number)
        a, b = rng.normal(size=300), rng.normal(size=300)
        y = (a - b / 2 + rng.normal(size=300) / 2 > 0).astype(int)
        pd.DataFrame({"at": day, "id": np.arange(300) + 1000 * number, "a": a, "b": b, "y": y}).to_csv(folder / f"{day}.csv", index=False)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _own_environment():
    before = dict(os.environ)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    multiprocessing.get_context("forkserver").set_forkserver_preload(["stage_child"])
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def shop(landing, tmp_path_factory):
    """Each stage run once, undisturbed."""
    return Shop(tmp_path_factory.mktemp("shop"), landing)


@pytest.fixture(scope="module")
def killed_shop(shop, tmp_path_factory, landing):
    """Each stage killed half-way, then run again."""
    halves = {name: max(count // 2, 1) for name, count in shop.touched.items()}
    return Shop(tmp_path_factory.mktemp("killed"), landing, halves)


PLACES = frozenset({"uri", "report", "docs", "entry", "run_id", "url", "snapshot_id", "new", "reason"})
"""What differs from home to home, and what is so only once: a version is new, a promotion has its reason."""

MEASURED = frozenset({"reasons", "digest"})
"""What has a latency in it, or hangs on one."""


def essence(value, without=frozenset()):
    """What must be the same however often a stage is run."""
    if isinstance(value, dict):
        left = {name: essence(entry, without) for name, entry in value.items() if name not in PLACES | without}
        if without and value.get("kind") in {"evaluation", "monitor", "feedback"}:
            left.pop("fingerprint", None)
            left.pop("figures", None)
        return left
    return value


class StageConformance:
    """What every stage promises. A stage that is added to the list is tested by it without another line."""

    @ROWS
    def test_its_row_names_what_there_is(self, row):
        import inspect

        import windtunnel.operators
        from windtunnel.lifecycle.contract.references import of_kind

        operator = getattr(windtunnel.operators, row.operator)
        assert operator.row is row
        assert operator.__name__ in windtunnel.operators.__all__
        assert operator.operator_extra_links[0].__class__.__name__ == row.link
        assert set(row.template_fields) <= set(operator.template_fields)
        for kind in [row.gives, *row.takes.values()]:
            assert of_kind(kind).kind == kind
        parameters = inspect.signature(row.function()).parameters
        assert next(iter(parameters)) == "context"
        assert set(row.takes) <= set(parameters)
        assert bool(row.replayed) != bool(row.not_replayed), "a stage is replayed, or says why not"
        if row.replayed:
            assert callable(row.function(row.replayed))

    @ROWS
    def test_it_survives_serialization_alone_and_mapped_in_a_bare_dag(self, row, landing):
        import windtunnel.operators

        operator = getattr(windtunnel.operators, row.operator)
        problem = parse(_problem(landing))
        given = {name: {"kind": kind} for name, kind in row.takes.items()}
        with DAG(dag_id="bare", schedule=None) as dag:
            operator(task_id="alone", problem=problem, **given)
            if row.template_fields:
                (last,) = list(row.template_fields)[-1:]
                rest = {name: value for name, value in given.items() if name != last}
                operator.partial(task_id="mapped", problem=problem, **rest).expand(**{last: [{"a": 1}, {"a": 2}]})
        again = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))
        alone = again.get_task("alone")
        assert list(alone.template_fields) == list(operator.template_fields)
        assert alone.ui_color == row.color
        assert len(alone.operator_extra_links) == 1
        assert alone.has_retry_policy
        if row.template_fields:
            assert again.get_task("mapped").is_mapped

    @ROWS
    def test_a_retry_changes_nothing(self, row, shop):
        assert essence(shop.second[row.name]) == essence(shop.first[row.name])
        assert shop.entries[row.name] == 0, "the ledger has each decision once"

    @pytest.mark.slow
    @ROWS
    def test_killed_half_way_and_run_again_it_leaves_the_same(self, row, shop, killed_shop):
        assert shop.touched[row.name] > 0
        without = MEASURED | {"fingerprint"} if row.name == "predict" else MEASURED  # its rows name the model by its digest
        assert essence(killed_shop.first[row.name], without) == essence(shop.first[row.name], without)

    def test_what_can_be_replayed_is_the_same_again(self, shop):
        from windtunnel.cli.record.replay import replay
        from windtunnel.lifecycle.record import manifest

        os.environ.update(shop.environment)
        said = []
        compared = replay(manifest.load(airflow_settings(), "shop", "run"), airflow_settings(), say=said.append)
        assert {stage.stage for stage in compared} == {row.name for row in STAGES if row.replayed}
        assert [stage for stage in compared if not stage.same] == []
        for row in STAGES:
            assert row.replayed or any(row.not_replayed in line for line in said), f"{row.name} says why it is not replayed"


class TestStages(StageConformance):
    """Over all rows."""


def test_what_is_not_deployed_is_skipped_with_the_reason_and_its_result_stays(shop):
    os.environ.update(shop.environment)
    pushed = {}
    values = stage_child.context("late")
    values["dag_run"].run_type.value = "backfill"
    values["ti"].xcom_push = lambda key, value: pushed.update({key: value})
    task = stage_child.operator("deploy", shop.problem, shop.references)
    with pytest.raises(AirflowSkipException, match="a backfill never touches production"):
        task.execute(values)
    assert pushed["return_value"]["deployed"] is False


def test_the_readme_has_the_table_of_stages():
    assert stages_table() in (ROOT / "README.md").read_text(encoding="utf-8"), "write windtunnel.lifecycle.contract.stages.stages_table()"
