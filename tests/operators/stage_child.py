"""A stage's task in a process of its own, killed when it has touched disks and databases a number of times."""

import os
import signal
import sys
from types import SimpleNamespace

import mlflow  # noqa: F401 - imported before processes are forked from here
import sklearn.ensemble  # noqa: F401
from airflow.sdk import DAG

import windtunnel.beam_jobs.evaluate
import windtunnel.beam_jobs.expectations
import windtunnel.beam_jobs.features
import windtunnel.beam_jobs.feedback
import windtunnel.beam_jobs.ingest
import windtunnel.beam_jobs.monitor
import windtunnel.beam_jobs.predict
import windtunnel.beam_jobs.profile
import windtunnel.operators
from windtunnel.lifecycle.contract.stages import STAGES, stage

for _row in STAGES:
    getattr(windtunnel.operators, _row.operator)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Touches:
    """Counts what a process does to a folder and to databases, and kills the process at a number of them."""

    def __init__(self) -> None:
        self.home, self.count, self.kill_at = "", 0, 0
        sys.addaudithook(self._seen)

    def _seen(self, event: str, arguments: tuple) -> None:
        if not self.home:
            return
        if event == "open":
            mine = str(arguments[0]).startswith(self.home) and isinstance(arguments[2], int) and arguments[2] & _WRITING
        else:
            mine = event in {"os.rename", "sqlite3.connect", "os.mkdir"} and self.home in str(arguments)
        if mine:
            self.count += 1
            if self.count == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)


def context(run_id, **params):
    """A task's context, as Airflow gives it: a DAG without Params of ours."""
    run = SimpleNamespace(
        dag_id="bare", run_id=run_id, run_type=SimpleNamespace(value="manual"), conf={}, triggering_user_name="ada", run_after=None
    )
    return {"dag_run": run, "params": params, "run_id": run_id, "ti": SimpleNamespace(xcom_push=lambda **_: None, map_index=-1)}


def operator(name, problem, references, **more):
    """The operator of a stage, with references by kind."""
    row = stage(name)
    given = {argument: references[kind] for argument, kind in row.takes.items() if kind in references}
    return getattr(windtunnel.operators, row.operator)(task_id=name, problem=problem, **given, **more)


def rendered(task, values):
    """The operator with its templates rendered by Airflow, in a DAG that has no Params."""
    with DAG(dag_id="bare", schedule=None) as dag:
        pass
    dag.add_task(task)
    task.render_template_fields(values)
    return task


def killed(name, problem, references, environment, home, kill_at):
    """The body of the process."""
    os.environ.update(environment)
    touches = Touches()
    values = context("run")
    task = rendered(operator(name, problem, references), values)
    touches.home, touches.kill_at = home, kill_at
    task.execute(values)
