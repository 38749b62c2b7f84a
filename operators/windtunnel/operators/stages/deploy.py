"""Deploy: a version goes into production, or it is said why not."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import ConflictError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.operators.base import StageOperator, problem_of, run_of
from windtunnel.operators.telling.links import EndpointLink, page_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.references import Reference
    from windtunnel.lifecycle.contract.settings import Settings

__all__ = ["DeployOperator"]


class DeployOperator(StageOperator):
    """Smoke-test a version, push it to the model server and make it the champion.

    A backfilled or late run never displaces a champion with a newer data cut-off: it deploys nothing, and the ledger says so.

    Args:
        problem: a problem, or the path of its file.
        candidate: the candidate reference (``train.output``).
        version: the version reference (``register.output``).
        **kwargs: what every Airflow operator takes.
    """

    template_fields = ("candidate", "version")
    operator_extra_links = (EndpointLink(),)
    server = True

    def __init__(self, *, problem: Problem | Mapping[str, Any] | str | Path, candidate: Any, version: Any, **kwargs: Any) -> None:
        problem = problem_of(problem)
        kwargs.setdefault("outlets", [Asset(name=f"{problem.name}.model", uri=f"windtunnel://{problem.name}/model")])
        super().__init__(problem=problem, **kwargs)
        self.candidate = candidate
        self.version = version

    def run_stage(self, context: "Context", settings: "Settings") -> "Reference":
        """Deploy; where another version was promoted since the evaluation, judge against that one and decide anew."""
        from windtunnel.lifecycle.contract.references import CandidateRef, VersionRef
        from windtunnel.lifecycle.release.deployment import deploy

        self.given(candidate=self.candidate, version=self.version)
        candidate, version, run = CandidateRef.from_dict(self.candidate), VersionRef.from_dict(self.version), run_of(context)
        try:
            deployment = deploy(RunContext(self.problem, settings, run), candidate, version)
        except ConflictError as error:
            from windtunnel.beam_jobs.evaluate import judge_again

            self.log.info("%s", error)
            deployment = deploy(
                RunContext(self.problem, settings, run), candidate, judge_again(RunContext(self.problem, settings, run), version)
            )
        self.link = page_url("models", self.problem.name)
        return deployment
