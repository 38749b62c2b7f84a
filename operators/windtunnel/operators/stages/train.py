"""Train: a candidate, as a bundle of data and a run in MLflow."""

from typing import TYPE_CHECKING, Any

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.operators.base import StageOperator, remedied, run_of
from windtunnel.operators.telling.links import MlflowRunLink

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.references import Reference
    from windtunnel.lifecycle.contract.settings import Settings

__all__ = ["TrainOperator"]


class TrainOperator(StageOperator):
    """Train on the shards with the parameters that won, within the problem's memory budget.

    Args:
        problem: a problem, or the path of its file.
        snapshot: the snapshot reference (``ingest.output``): its data cut-off orders the model.
        features: the features reference (``preprocess.output``).
        trials: the trials reference (``tune.output``); None for the problem's parameters as they are.
        balance: the balance reference (``balance.output``); None for the problem's own remedy.
        **kwargs: what every Airflow operator takes.
    """

    template_fields = ("snapshot", "features", "trials", "balance")
    operator_extra_links = (MlflowRunLink(),)

    def __init__(self, *, snapshot: Any, features: Any, trials: Any = None, balance: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.snapshot = snapshot
        self.features = features
        self.trials = trials
        self.balance = balance

    def run_stage(self, context: "Context", settings: "Settings") -> "Reference":
        """Train and record."""
        from windtunnel.lifecycle.contract.references import FeaturesRef, SnapshotRef, TrialsRef
        from windtunnel.lifecycle.learning.training import train
        from windtunnel.lifecycle.record.tracking import run_url

        self.given(snapshot=self.snapshot, features=self.features)
        self.problem, chosen = remedied(self.problem, self.balance)
        candidate = train(
            RunContext(self.problem, settings, run_of(context)),
            SnapshotRef.from_dict(self.snapshot),
            FeaturesRef.from_dict(self.features),
            TrialsRef.from_dict(self.trials) if self.trials else None,
            chosen,
        )
        self.link = run_url(settings, self.problem.name, candidate.run_id)
        return candidate
