"""Tune: a search for parameters, inside a budget that a person confirmed."""

from typing import TYPE_CHECKING, Any

from windtunnel.operators.base import StageOperator, remedied
from windtunnel.operators.telling.links import TrialsLink, artifact_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.references import Reference
    from windtunnel.lifecycle.contract.settings import Settings

__all__ = ["TuneOperator"]


class TuneOperator(StageOperator):
    """Search the problem's parameter space on the training shards.

    Args:
        problem: a problem, or the path of its file.
        features: the features reference (``preprocess.output``).
        balance: the balance reference (``balance.output``); None for the problem's own remedy.
        trials: how many trials at most (templated); empty means the problem's budget, 0 means no search.
        **kwargs: what every Airflow operator takes.
    """

    template_fields = ("features", "trials", "balance")
    operator_extra_links = (TrialsLink(),)

    def __init__(
        self,
        *,
        features: Any,
        trials: str | int = "{{ params.trials if params.trials is not none else '' }}",
        balance: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.features = features
        self.trials = trials
        self.balance = balance

    def run_stage(self, context: "Context", settings: "Settings") -> "Reference":  # noqa: ARG002
        """Search."""
        from windtunnel.lifecycle.contract.references import FeaturesRef
        from windtunnel.lifecycle.learning.tuning import tune

        self.given(features=self.features)
        self.problem, _ = remedied(self.problem, self.balance)
        trials = tune(self.problem, FeaturesRef.from_dict(self.features), settings, int(self.trials) if str(self.trials) else None)
        self.link = artifact_url(settings, settings.artifact_path(self.problem.name, "tune", trials.fingerprint, "trials.html"))
        return trials
