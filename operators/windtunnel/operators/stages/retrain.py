"""Retrain: what the monitor saw starts a new run."""

from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk.exceptions import AirflowSkipException

from windtunnel.lifecycle.contract.references import MonitorRef
from windtunnel.operators.base import RETRY_POLICY

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["RetrainOperator"]


class RetrainOperator(TriggerDagRunOperator):
    """Start the retraining DAG for the reasons that the monitor gives; without a reason the task is skipped.

    Args:
        found: the monitor's reference (``monitor.output``).
        **kwargs: what `TriggerDagRunOperator` takes; ``trigger_dag_id`` must be given.
    """

    template_fields = (*TriggerDagRunOperator.template_fields, "found")

    def __init__(self, *, found: Any, **kwargs: Any) -> None:
        kwargs.setdefault("retry_policy", RETRY_POLICY)
        kwargs.setdefault("logical_date", None)  # as of now: the newest data
        super().__init__(**kwargs)
        self.found = found

    def execute(self, context: "Context") -> None:
        """Start the run, or skip."""
        reasons = MonitorRef.from_dict(self.found).reasons
        if not reasons:
            raise AirflowSkipException("the champion is fit: there is no reason to retrain")
        # no longer than the trigger form lets a reason be, or Airflow would not start the run
        self.conf = {**(self.conf or {}), "reason": ("monitoring: " + "; ".join(reasons))[:500]}
        super().execute(context)
