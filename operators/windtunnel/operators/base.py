"""What every stage's operator shares.

An operator is thin: it records what it was given, calls down when it runs, and hands on a small reference. What it takes, gives and links
to is its row in `windtunnel.lifecycle.contract.stages`.
"""

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, ExceptionRetryPolicy, RetryAction, RetryRule

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import ConfigurationError, WindtunnelError
from windtunnel.lifecycle.contract.problem import Problem, load, parse
from windtunnel.lifecycle.contract.run import Run, check_asked
from windtunnel.lifecycle.contract.stages import Stage, stage
from windtunnel.lifecycle.contract.window import Window, resolve_window
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.operators.settings import airflow_settings
from windtunnel.operators.telling import links

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.references import Reference

__all__ = ["RETRY_POLICY", "StageOperator", "Staged", "problem_of", "run_of"]

# One thread a task for numeric libraries: Airflow runs tasks side by side.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_ERRORS = "windtunnel.lifecycle.contract.errors."
RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(exception=f"{_ERRORS}ConflictError", action=RetryAction.RETRY, reason="someone else decided first; deciding anew"),
        RetryRule(exception=f"{_ERRORS}UnavailableError", action=RetryAction.RETRY, reason="out of reach for now"),
        RetryRule(exception=f"{_ERRORS}JobError", action=RetryAction.RETRY, reason="the job ended without a result"),
        # the first rule that fits counts: the base class last, or it would catch its own subclasses
        RetryRule(exception=f"{_ERRORS}WindtunnelError", action=RetryAction.FAIL, reason="trying again cannot help"),
    ]
)
"""A data problem fails at once, a network problem is retried; anything else as the task's ``retries`` say."""

_GRACE = 3.0  # seconds that children of a killed task get to end by themselves


def problem_of(problem: "Problem | Mapping[str, Any] | str | Path") -> Problem:
    """A problem from itself, from plain data, or from its file."""
    if isinstance(problem, Problem):
        return problem
    return parse(problem) if isinstance(problem, Mapping) else load(problem)


def run_of(context: Mapping[str, Any]) -> Run:
    """The run that a task belongs to, with what its trigger form said."""
    dag_run = context.get("dag_run")
    kind = getattr(dag_run, "run_type", "manual") or "manual"
    form = {**(getattr(dag_run, "conf", None) or {}), **{name: value for name, value in (context.get("params") or {}).items() if value}}
    return Run(
        dag_id=_text(getattr(dag_run, "dag_id", "")),
        run_id=_text(getattr(dag_run, "run_id", "") or context.get("run_id")),
        run_type=str(getattr(kind, "value", kind)),
        by=_text(getattr(dag_run, "triggering_user_name", "")),
        reason=_text(form.get("reason")),
        promotion=_text(form.get("promotion")),
        counterfactual=bool(form.get("counterfactual")),
    )


def _text(value: Any) -> str:
    return str(value or "")


class Staged:
    """What makes an operator a stage: its row, and what it does before and after its work. Mixed into Airflow's operators.

    A subclass names its row in ``stage``; templated fields, link, colour and docs then follow from it.
    """

    stage: ClassVar[str] = ""
    server: ClassVar[bool] = False
    """Whether the stage talks to the model server, and so needs its connection."""

    row: ClassVar[Stage]
    """The stage's row; a stage of your own gives it instead of ``stage``."""

    template_fields: Collection[str] = ()
    problem: Problem
    link: str
    result: JsonObject | None

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__dict__.get("stage"):
            cls.row = stage(cls.stage)
        if cls.__dict__.get("row"):
            row = cls.row
            own = cls.__dict__.get("template_fields", ())
            cls.template_fields = tuple(dict.fromkeys((*row.template_fields, *own)))
            cls.operator_extra_links = (getattr(links, row.link)(),)  # type: ignore[attr-defined]
            cls.ui_color = row.color  # type: ignore[attr-defined]

    def begin(self, context: "Context") -> RunContext:
        """Make ready: the run's conf is checked, settings and run are looked up.

        Raises:
            ConfigurationError: the run asks for what is not known, or for less than the problem demands.
        """
        for name in _THREADS:
            # setdefault: who sets a number in the deployment means it
            os.environ.setdefault(name, "1")
        quiet()
        conf = getattr(context.get("dag_run"), "conf", None) or {}
        declared = list(getattr(context.get("dag"), "params", None) or {})
        check_asked(conf, declared, self.problem.approval.promotion)
        return RunContext(self.problem, airflow_settings(server=self.server), run_of(context))

    def do(self, work: RunContext, **values: Any) -> Any:
        """Call the stage's function with its references and these values."""
        return self.row.function()(work, **self.references(), **values)

    def references(self) -> JsonObject:
        """The upstream references by name, checked to have arrived.

        Raises:
            ConfigurationError: one is missing: the upstream task did not return a reference; or it is of another kind.
        """
        from windtunnel.lifecycle.contract.references import of_kind

        arrived: JsonObject = {}
        for name, kind in self.row.takes.items():
            value = getattr(self, name)
            if value is None and name in self.row.optional:
                arrived[name] = None
                continue
            # XCom gives None for a task that was skipped or pushed nothing
            if not isinstance(value, Mapping):
                raise ConfigurationError(
                    f"task {self.task_id!r} got no {name} reference but {value!r}",  # type: ignore[attr-defined]
                    hint=f"pass {name}=UPSTREAM.output, and see that the upstream task succeeded in this run",
                )
            arrived[name] = of_kind(kind).from_dict(value)
        return arrived

    def finish(self, context: "Context", work: RunContext, reference: "Reference") -> JsonObject:
        """Write the stage into the run's manifest, which a replay compares with; answer what goes into XCom."""
        from windtunnel.lifecycle.record.manifest import record

        self.log.info("%s", reference)  # type: ignore[attr-defined]
        inputs = {name: getattr(self, name) for name in self.row.template_fields}
        record(work, self._record_name(context), inputs | self.extra_inputs(context), reference, kind=self.row.name)
        self.result = reference.to_dict()
        return self.result

    def _record_name(self, context: "Context") -> str:
        """The task's name in the manifest; each task of a mapped operator has its own."""
        index = getattr(context.get("ti"), "map_index", -1)
        name = str(self.task_id)  # type: ignore[attr-defined]
        return name if index is None or index < 0 else f"{name}.{index}"

    def extra_inputs(self, context: "Context") -> JsonObject:  # stages that have some look into it
        """What the output depends on besides the templated fields, the problem and the code."""
        return {}

    def on_kill(self) -> None:
        """End the processes that the task started: workers of a job, a smoke test; they would outlive it otherwise."""
        import psutil

        # listed before any is stopped: children of a dead process have another parent, and are not found any more
        children = psutil.Process().children(recursive=True)
        for child in children:
            child.terminate()
        _, alive = psutil.wait_procs(children, timeout=_GRACE)
        for child in alive:
            child.kill()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> "OperatorLineage[Any, Any]":
        """The datasets that the stage read and wrote; asked for by Airflow's OpenLineage provider where it is on."""
        from windtunnel.operators.telling.openlineage import lineage_of

        given = [getattr(self, name) for name in self.row.takes]
        return lineage_of(self.row, self.problem, airflow_settings(server=self.server), given, self.result)


class StageOperator(Staged, BaseOperator):
    """Base of the operators: a problem in, `run_stage` when it runs, a reference out.

    Args:
        problem: a problem, or the path of its file.
        **kwargs: what every Airflow operator takes.
    """

    ui_color = "#dbe7f5"

    def __init__(self, *, problem: Problem | JsonMapping | str | Path, **kwargs: Any) -> None:
        if not hasattr(self, "row"):
            raise ConfigurationError(
                f"{type(self).__name__} does not say which stage it is",
                hint="give the class stage = 'NAME' of a stage of ours, or row = Stage(...) for one of your own",
            )
        problem = problem_of(problem)
        with_defaults(self.row, problem, kwargs)
        super().__init__(**kwargs)
        self.problem = problem
        self.link = ""
        self.result = None

    def run_stage(self, context: "Context", work: RunContext) -> "Reference":  # stages that need it look into it
        """Do the stage's work and answer the reference that the next stage needs.

        `execute` calls it in the task's own process, with templated fields rendered. Set ``self.link`` as soon as there is something to
        look at, also when the stage then fails. By default the function of the stage's row is called with its references.
        """
        reference: Reference = self.do(work)
        return reference

    def execute(self, context: "Context") -> JsonObject:
        """Run the stage; errors of ours say what to do."""
        try:
            work = self.begin(context)
            reference = self.run_stage(context, work)
        except WindtunnelError as error:
            self.log.error("%s", error)  # Airflow logs the trace when it is raised again
            raise
        return self.finish(context, work, reference)

    def window(self, context: "Context") -> Window:
        """The window that this run is about."""
        window = resolve_window(context, self.problem.windows, self.problem.timezone)
        self.log.info("window %s to %s (%s), data cut-off %s", window.start, window.end, window.origin, window.cutoff)
        return window


def with_defaults(row: Stage, problem: Problem, kwargs: dict[str, object]) -> None:
    """Fill in what a stage's task has where the DAG does not say it: retry policy, alerts, docs."""
    kwargs.setdefault("retry_policy", RETRY_POLICY)
    kwargs.setdefault("doc_md", f"Leaves behind {row.leaves}.")
    if not row.asks:  # a task that waits for a person has its response_timeout
        kwargs.setdefault("execution_timeout", problem.dag.execution_timeout)
    if problem.alerts:
        from windtunnel.operators.telling.alerts import alerts_of

        kwargs.setdefault("on_failure_callback", alerts_of(problem))


def quiet() -> None:
    """Keep the log for what a person reads: libraries that tell every step are turned down."""
    noisy: Sequence[str] = ("great_expectations._docs_decorators", "apache_beam", "alembic", "httpx", "urllib3", "pyiceberg.io", "mlflow")
    for name in noisy:
        logging.getLogger(name).setLevel(logging.WARNING)
