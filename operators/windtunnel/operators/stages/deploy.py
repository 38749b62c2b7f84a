"""Deploy: a version goes into production, or it is said why not."""

from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowSkipException

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.operators.base import StageOperator, problem_of
from windtunnel.operators.telling import events
from windtunnel.operators.telling.links import page_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.context import RunContext
    from windtunnel.lifecycle.contract.references import DeploymentRef, Reference

__all__ = ["DeployOperator"]


class DeployOperator(StageOperator):
    """Smoke-test a version, push it to the model server and make it the champion.

    A backfilled or late run never displaces a champion with a newer data cut-off: it deploys nothing, the ledger says so, and the task is
    shown as skipped. The asset ``NAME.model`` has an event for each promotion, and for nothing else.

    Args:
        problem: a problem, or the path of its file.
        candidate: the candidate reference (``train.output``).
        version: the version reference (``register.output``).
        **kwargs: what every Airflow operator takes.
    """

    stage = "deploy"
    server = True

    def __init__(self, *, problem: Problem | JsonMapping | str | Path, candidate: object, version: object, **kwargs: object) -> None:
        problem = problem_of(problem)
        kwargs.setdefault("outlets", [events.outlet(problem)])
        super().__init__(problem=problem, **kwargs)
        self.candidate = candidate
        self.version = version

    def run_stage(self, context: "Context", work: "RunContext") -> "Reference":
        """Deploy; where another version was promoted since the evaluation, judge against that one and decide anew."""
        deployment: DeploymentRef = self.do(work)
        self.link = page_url("models", self.problem.name)
        return deployment

    def finish(self, context: "Context", work: "RunContext", reference: "Reference") -> JsonObject:
        """Tell that there is a new champion; where there is none the task is shown as skipped, with the reason."""
        result = super().finish(context, work, reference)
        if not result["deployed"]:
            if context.get("ti") is not None:
                context["ti"].xcom_push(key="return_value", value=result)  # for whoever asks why: a skipped task returns nothing
            raise AirflowSkipException(f"version {result['version']} is not deployed: {result['reason']}")
        events.model_promoted(context, work, result)
        return result
