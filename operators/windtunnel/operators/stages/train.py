"""Train: a candidate, as a bundle of data and a run in MLflow."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.operators.base import StageOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.context import RunContext
    from windtunnel.lifecycle.contract.references import CandidateRef, Reference

__all__ = ["TrainOperator"]


class TrainOperator(StageOperator):
    """Train on the shards with the parameters that won, within the problem's memory budget.

    Mapped over parameters it trains a candidate for each: ``TrainOperator.partial(...).expand(parameters=[{...}, {...}])``.

    Args:
        problem: a problem, or the path of its file.
        snapshot: the snapshot reference (``ingest.output``): its data cut-off orders the model.
        features: the features reference (``preprocess.output``).
        trials: the trials reference (``tune.output``); None for the problem's parameters as they are.
        balance: the balance reference (``balance.output``); None for the problem's own remedy.
        parameters: parameters of the estimator that go before those of the search and of the problem.
        **kwargs: what every Airflow operator takes.
    """

    stage = "train"

    def __init__(
        self, *, snapshot: object, features: Any, trials: Any = None, balance: object = None, parameters: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.snapshot = snapshot
        self.features = features
        self.trials = trials
        self.balance = balance
        self.parameters = parameters

    def run_stage(self, context: "Context", work: "RunContext") -> "Reference":
        """Train and record."""
        from windtunnel.lifecycle.record.tracking import run_url

        if self.parameters is not None and not isinstance(self.parameters, Mapping):
            raise ConfigurationError(
                f"task {self.task_id!r}: parameters must be a mapping of names to values but got {self.parameters!r}",
                hint="such as parameters={'learning_rate': 0.1}; mapped: .expand(parameters=[{...}, {...}])",
            )
        candidate: CandidateRef = self.do(work, parameters=self.parameters)
        self.link = run_url(work.settings, self.problem.name, candidate.run_id)
        return candidate
