"""What every stage's operator shares.

An operator is thin: it records what it was given, calls down when it runs, and hands on a small reference.
"""

import logging
import os
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, ExceptionRetryPolicy, RetryAction, RetryRule

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import ConfigurationError, WindtunnelError
from windtunnel.lifecycle.contract.problem import Problem, load, parse
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.contract.window import Window, resolve_window
from windtunnel.operators.settings import airflow_settings

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.references import BalanceRef, Reference
    from windtunnel.lifecycle.contract.settings import Settings

__all__ = ["RETRY_POLICY", "StageOperator", "problem_of", "remedied", "run_of"]

# One thread a task for numeric libraries: Airflow runs tasks side by side.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_ERRORS = "windtunnel.lifecycle.contract.errors."
RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(exception=f"{_ERRORS}ConflictError", action=RetryAction.RETRY, reason="someone else decided first; deciding anew"),
        RetryRule(exception=f"{_ERRORS}UnavailableError", action=RetryAction.RETRY, reason="out of reach for now"),
        RetryRule(exception=f"{_ERRORS}JobError", action=RetryAction.RETRY, reason="the job ended without a result"),
        RetryRule(exception=f"{_ERRORS}WindtunnelError", action=RetryAction.FAIL, reason="trying again cannot help"),
    ]
)
"""A data problem fails at once, a network problem is retried; anything else as the task's ``retries`` say."""


def problem_of(problem: "Problem | Mapping[str, Any] | str | Path") -> Problem:
    """A problem from itself, from plain data, or from its file."""
    if isinstance(problem, Problem):
        return problem
    return parse(problem) if isinstance(problem, Mapping) else load(problem)


def remedied(problem: Problem, balance: Any) -> "tuple[Problem, BalanceRef]":
    """A problem with the remedy for unbalanced classes that was chosen, and the choice; without one, the problem's own.

    A problem whose rule is to ask, in a DAG where nobody is asked, does what it does when nobody answers.
    """
    from windtunnel.lifecycle.contract.references import BalanceRef

    own = problem.model.class_balance
    if isinstance(balance, Mapping):
        chosen = BalanceRef.from_dict(balance)
    elif own == "ask":
        chosen = BalanceRef(problem.model.unanswered, "the problem's rule", "nobody was asked")
    else:
        chosen = BalanceRef(own, "the problem's rule", f"model.class_balance is {own}")
    if chosen.remedy == own:
        return problem, chosen
    return problem.model_copy(update={"model": problem.model.model_copy(update={"class_balance": chosen.remedy})}), chosen


def run_of(context: Mapping[str, Any]) -> Run:
    """The run that a task belongs to, with what its trigger form said."""
    dag_run = context.get("dag_run")
    params = context.get("params") or {}
    kind = getattr(dag_run, "run_type", "manual") or "manual"
    conf = getattr(dag_run, "conf", None) or {}
    return Run(
        dag_id=str(getattr(dag_run, "dag_id", "") or ""),
        run_id=str(getattr(dag_run, "run_id", "") or context.get("run_id") or ""),
        run_type=str(getattr(kind, "value", kind)),
        by=str(getattr(dag_run, "triggering_user_name", "") or ""),
        reason=str(params.get("reason") or conf.get("reason") or ""),
        promotion=str(params.get("promotion") or conf.get("promotion") or ""),
        counterfactual=bool(params.get("counterfactual") or conf.get("counterfactual")),
    )


class StageOperator(BaseOperator):
    """Base of the operators: a problem in, `run_stage` when it runs, a reference out.

    Args:
        problem: a problem, or the path of its file.
        **kwargs: what every Airflow operator takes.
    """

    ui_color = "#dbe7f5"
    template_fields: Collection[str] = ()
    server: ClassVar[bool] = False
    """Whether the stage talks to the model server, and so needs its connection."""

    def __init__(self, *, problem: Problem | Mapping[str, Any] | str | Path, **kwargs: Any) -> None:
        kwargs.setdefault("retry_policy", RETRY_POLICY)
        super().__init__(**kwargs)
        self.problem = problem_of(problem)
        self.link = ""
        self.reference: dict[str, Any] | None = None

    @abstractmethod
    def run_stage(self, context: "Context", settings: "Settings") -> "Reference":
        """Do the stage's work and answer the reference that the next stage needs.

        `execute` calls it in the task's own process, with templated fields rendered. Set ``self.link`` as soon as there is something to
        look at, also when the stage then fails.
        """

    def execute(self, context: "Context") -> dict[str, Any]:
        """Run the stage; errors of ours say what to do."""
        for name in _THREADS:
            os.environ.setdefault(name, "1")
        quiet()
        settings = airflow_settings(server=self.server)
        try:
            reference = self.run_stage(context, settings)
        except WindtunnelError as error:
            self.log.error("%s", error)  # noqa: TRY400 - Airflow logs the trace when it is raised again
            raise
        self.log.info("%s", reference)
        self.remember(context, settings, reference)
        self.reference = reference.to_dict()
        return self.reference

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> "OperatorLineage[Any, Any]":  # noqa: ARG002 - the provider's signature
        """The datasets that the stage read and wrote; asked for by Airflow's OpenLineage provider where it is on."""
        from windtunnel.operators.telling.openlineage import lineage_of

        given = [getattr(self, name) for name in self.template_fields]
        return lineage_of(self.problem, airflow_settings(server=self.server), given, self.reference)

    def window(self, context: "Context") -> Window:
        """The window that this run is about."""
        window = resolve_window(context, self.problem.windows)
        self.log.info("window %s to %s (%s), data cut-off %s", window.start, window.end, window.origin, window.cutoff)
        return window

    def given(self, **references: Any) -> dict[str, Any]:
        """The upstream references by name, checked to have arrived.

        Raises:
            ConfigurationError: one is missing: the upstream task did not return a reference.
        """
        for name, value in references.items():
            if not isinstance(value, Mapping):
                raise ConfigurationError(
                    f"task {self.task_id!r} got no {name} reference but {value!r}",
                    hint=f"pass {name}=UPSTREAM.output, and see that the upstream task succeeded in this run",
                )
        return references

    def remember(self, context: "Context", settings: "Settings", reference: "Reference") -> None:
        """Write the stage into the run's manifest, which a replay compares with."""
        from windtunnel.lifecycle.record.manifest import record

        inputs = {name: getattr(self, name) for name in self.template_fields}
        record(RunContext(self.problem, settings, run_of(context)), self.task_id, inputs | self.parameters(context), reference)

    def parameters(self, context: "Context") -> dict[str, Any]:  # noqa: ARG002 - stages that have some look into it
        """What the output depends on besides the templated fields, the problem and the code."""
        return {}


def quiet() -> None:
    """Keep the log for what a person reads: libraries that tell every step are turned down."""
    noisy: Sequence[str] = ("great_expectations._docs_decorators", "apache_beam", "alembic", "httpx", "urllib3", "pyiceberg.io", "mlflow")
    for name in noisy:
        logging.getLogger(name).setLevel(logging.WARNING)
