"""From a problem to its DAGs.

A DAG file needs two lines; the operators serve in anybody's own DAG just as well:

.. code-block:: python

    from windtunnel.operators import register_problems

    register_problems("problems", globals())
"""

from collections.abc import Callable
from typing import Any

from airflow.sdk import DAG, Param, TaskGroup, XComArg

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.run import PROMOTIONS, stricter
from windtunnel.lifecycle.contract.stages import STAGES, Stage, resolve, stage
from windtunnel.operators.dags.options import common_of, retraining_options, timetable_of

__all__ = ["lifecycle_dags", "retraining_dag"]

_MONITORING, _FEEDBACK = "_monitoring", "_feedback"


def lifecycle_dags(problem: Problem, *, auto_register: bool = True) -> list[DAG]:
    """The three DAGs of a problem: retraining (named as the problem), monitoring and feedback.

    Args:
        problem: whose.
        auto_register: whether Airflow finds them where they are built; without it, only where a DAG file's globals name them.
    """
    return [build(problem, auto_register=auto_register) for build in (retraining_dag, _monitoring_dag, _feedback_dag)]


def retraining_dag(problem: Problem, *, auto_register: bool = True) -> DAG:
    """The retraining DAG of a problem: from ingest to deploy, each stage given what the stages before it hand on."""
    options = retraining_options(problem) | {"auto_register": auto_register}
    schedule = timetable_of(problem, problem.schedule)
    with DAG(dag_id=problem.name, schedule=schedule, params=_params(problem), **options, **common_of(problem)) as dag:
        groups = {name: TaskGroup(name, prefix_group_id=False, tooltip=tip) for name, tip in _GROUPS.items()}
        handed_on: dict[str, XComArg] = {}  # kind of reference -> the newest of it
        before = None
        for row in STAGES:
            if row.group not in groups or (row.when and not _WHEN[row.when](problem)):
                continue
            with groups[row.group]:
                task = _operator(row)(
                    task_id=row.name, problem=problem, **{name: handed_on[kind] for name, kind in row.takes.items() if kind in handed_on}
                )
            # also where a stage takes no reference from the one before: all keep the order of the table
            if before is not None:
                before >> task
            handed_on[row.gives] = task.output
            handed_on |= {kind: XComArg(task, key) for kind, key in row.hands_on.items()}
            before = task
    return dag


def _operator(row: Stage) -> Any:
    return resolve(f"{row.module}:{row.operator}")


_GROUPS = {
    "data": "new rows, and whether they may be learned from",
    "learning": "features, parameters, a model, and what it is worth",
    "decision": "whether it goes into production",
}
"""Task groups of the retraining DAG; task ids have no prefix."""


def _asks(problem: Problem) -> bool:
    return problem.model.class_balance == "ask" and problem.task in {"binary", "multiclass"}


_WHEN: dict[str, Callable[[Problem], bool]] = {"class_balance": _asks}
"""Conditions of rows: `Stage.when` -> whether a problem asks for the stage."""


def _monitoring_dag(problem: Problem, *, auto_register: bool) -> DAG:
    with _looking_back(problem, _MONITORING, auto_register=auto_register) as dag:
        monitor = _operator(stage("monitor"))(task_id="monitor", problem=problem)
        if problem.monitoring.retrain:
            from windtunnel.operators.stages.retrain import RetrainOperator  # what it imports costs every parse a tenth of a second

            RetrainOperator(task_id="retrain", found=monitor.output, trigger_dag_id=problem.name)
    return dag


def _feedback_dag(problem: Problem, *, auto_register: bool) -> DAG:
    with _looking_back(problem, _FEEDBACK, auto_register=auto_register) as dag:
        _operator(stage("feedback"))(task_id="feedback", problem=problem)
    return dag


def _looking_back(problem: Problem, suffix: str, *, auto_register: bool) -> DAG:
    """An empty DAG on the monitoring schedule, with a window to choose, one run at a time."""
    return DAG(
        dag_id=problem.name + suffix,
        schedule=timetable_of(problem, problem.monitoring.schedule),
        params=_window_params(problem),
        max_active_runs=1,
        auto_register=auto_register,
        **common_of(problem),
    )


def _window_params(problem: Problem) -> dict[str, Param]:
    windows = problem.windows
    newest = f" The data ends on {windows.history_end}." if windows.history_end else ""
    return {
        "window_end": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Data cut-off",
            description="The day after the last one to learn from. Empty: the run's own data interval, or the newest data." + newest,
            section="Window",
        ),
        "window_start": Param(
            None,
            type=["null", "string"],
            format="date",
            title="First day",
            description=f"Empty: {windows.train_days} days before the cut-off.",
            section="Window",
        ),
    }


def _params(problem: Problem) -> dict[str, Param]:
    """The trigger form."""
    return {
        **_window_params(problem),
        "data_version": Param(
            None,
            type=["null", "string"],
            pattern="^[0-9]+$",
            title="Data version",
            description="A snapshot id of the table of examples: learn from it as it was, without looking at the source. Empty: ingest.",
            section="Window",
        ),
        "trials": Param(
            problem.budget.trials,
            type="integer",
            minimum=0,
            maximum=1000,
            title="Search budget (trials)",
            description="How many parameter sets are tried. 0: none, train with the problem's own parameters.",
            section="Learning",
        ),
        "promotion": Param(
            problem.approval.promotion,
            type="string",
            enum=[name for name in PROMOTIONS if stricter(name, problem.approval.promotion) == name],
            values_display={
                "auto": "auto: when every gate passed",
                "ask": "ask: a person decides in Airflow",
                "never": "never: train and register only",
            },
            title="Promotion",
            description="Who lets the new model into production; a run may only be stricter than the problem's file.",
            section="Decision",
        ),
        "counterfactual": Param(
            False,
            type="boolean",
            title="Counterfactual",
            description="Only ask what would have been champion then: judged against the champion of its day; nothing is registered or "
            "deployed. Mostly for backfills: --dag-run-conf '{\"counterfactual\": true}'.",
            section="Decision",
        ),
        "reason": Param(
            None,  # the form takes an empty text for a missing one, and would not let the run start
            type=["null", "string"],
            maxLength=500,
            title="Reason",
            description="Why this run; it goes into the ledger.",
            section="Decision",
        ),
    }
