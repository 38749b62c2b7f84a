"""Airflow operators, one a stage of a model's life, and the DAGs made of them.

.. code-block:: python

    from windtunnel.operators import register_problems

    register_problems("problems", globals())  # every problem file beside this DAG file becomes its DAGs

Importing this costs milliseconds over Airflow itself: Beam, MLflow, Great Expectations and scikit-learn are imported when a task runs.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from windtunnel.operators.approve import ApproveOperator
    from windtunnel.operators.balance import BalanceOperator
    from windtunnel.operators.base import StageOperator
    from windtunnel.operators.dags import check_problems, lifecycle_dags, register_problems
    from windtunnel.operators.deploy import DeployOperator
    from windtunnel.operators.evaluate import EvaluateOperator
    from windtunnel.operators.feedback import FeedbackOperator
    from windtunnel.operators.ingest import IngestOperator
    from windtunnel.operators.monitor import MonitorOperator
    from windtunnel.operators.predict import PredictOperator
    from windtunnel.operators.preprocess import PreprocessOperator
    from windtunnel.operators.profile import ProfileOperator
    from windtunnel.operators.register import RegisterOperator
    from windtunnel.operators.retrain import RetrainOperator
    from windtunnel.operators.train import TrainOperator
    from windtunnel.operators.tune import TuneOperator
    from windtunnel.operators.validate import ValidateOperator

__all__ = [
    "ApproveOperator",
    "BalanceOperator",
    "DeployOperator",
    "EvaluateOperator",
    "FeedbackOperator",
    "IngestOperator",
    "MonitorOperator",
    "PredictOperator",
    "PreprocessOperator",
    "ProfileOperator",
    "RegisterOperator",
    "RetrainOperator",
    "StageOperator",
    "TrainOperator",
    "TuneOperator",
    "ValidateOperator",
    "check_problems",
    "lifecycle_dags",
    "register_problems",
]

_ROOMS = {"StageOperator": "base", "check_problems": "dags", "lifecycle_dags": "dags", "register_problems": "dags"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = _ROOMS.get(name, name.removesuffix("Operator").lower())
    return getattr(importlib.import_module(f"windtunnel.operators.{room}"), name)
