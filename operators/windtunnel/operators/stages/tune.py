"""Tune: a search for parameters, inside a budget that a person confirmed."""

from typing import TYPE_CHECKING, Any

from windtunnel.operators.base import StageOperator
from windtunnel.operators.telling.links import artifact_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.context import RunContext
    from windtunnel.lifecycle.contract.references import Reference, TrialsRef

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

    stage = "tune"

    def __init__(
        self,
        *,
        features: object,
        balance: Any = None,
        trials: str | int = "{{ '' if params.get('trials') is none else params.get('trials') }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.features = features
        self.balance = balance
        self.trials = trials

    def run_stage(self, context: "Context", work: "RunContext") -> "Reference":
        """Search."""
        trials: TrialsRef = self.do(work, trials=int(self.trials) if str(self.trials) else None)
        page = work.settings.artifact_path(self.problem.name, "tune", trials.fingerprint, "trials.html")
        self.link = artifact_url(work.settings, page)
        return trials
