"""Links from a task to something worth looking at.

A stage sets ``self.link`` while it runs; Airflow asks for it in the worker when the task has ended, well or not, and keeps the answer.
"""

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

import attrs
from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

    from windtunnel.lifecycle.contract.settings import Settings

__all__ = [
    "DataDocsLink",
    "DataVersionLink",
    "DecisionLink",
    "EndpointLink",
    "FeaturesLink",
    "FeedbackLink",
    "MlflowRunLink",
    "ModelVersionLink",
    "MonitorLink",
    "PredictionsLink",
    "ReportLink",
    "StageLink",
    "StatisticsLink",
    "TrialsLink",
    "artifact_url",
    "page_url",
]


def page_url(*parts: str) -> str:
    """The URL of a page of ours in Airflow's UI."""
    base = str(conf.get("api", "base_url", fallback="") or "").rstrip("/")
    return "/".join([f"{base}/windtunnel", *(quote(part, safe="") for part in parts)])


def artifact_url(settings: "Settings", uri: str) -> str:
    """The URL under which Airflow's UI shows an artefact of ours; other URLs are themselves."""
    root = settings.need("artifacts").rstrip("/") + "/"
    return page_url("artifacts", *uri[len(root) :].split("/")) if uri.startswith(root) else uri


@attrs.define()
class StageLink(BaseOperatorLink):
    """The link of a stage; subclasses only name it."""

    @property
    def name(self) -> str:
        """What the button says: the class name in words."""
        words = re.sub(r"(?<!^)(?=[A-Z])", " ", type(self).__name__.removesuffix("Link")).capitalize()
        return words.replace("Mlflow", "MLflow").replace("Data docs", "Data Docs")

    def get_link(self, operator: "BaseOperator", *, ti_key: "TaskInstanceKey") -> str:
        """What the stage set while it ran; empty when it did not get that far."""
        return str(getattr(operator, "link", ""))


class DataVersionLink(StageLink):
    """The snapshot: days, rows, quarantined rows."""


class StatisticsLink(StageLink):
    """Statistics and drift."""


class DataDocsLink(StageLink):
    """Great Expectations' result."""


class FeaturesLink(StageLink):
    """What every feature became."""


class TrialsLink(StageLink):
    """The search."""


class MlflowRunLink(StageLink):
    """The run in MLflow."""


class ReportLink(StageLink):
    """The evaluation report."""


class DecisionLink(StageLink):
    """The report that the decision was about."""


class ModelVersionLink(StageLink):
    """The registered version in MLflow."""


class EndpointLink(StageLink):
    """The model at the model server."""


class PredictionsLink(StageLink):
    """The table of predictions."""


class MonitorLink(StageLink):
    """What the monitor saw."""


class FeedbackLink(StageLink):
    """How predictions turned out."""
