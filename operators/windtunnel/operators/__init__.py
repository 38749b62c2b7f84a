"""Airflow operators, one a stage of a model's life, and the DAGs made of them.

.. code-block:: python

    from windtunnel.operators import register_problems

    register_problems("problems", globals())  # every problem file beside this DAG file becomes its DAGs

Importing this costs milliseconds over Airflow itself: Beam, MLflow, Great Expectations and scikit-learn are imported when a task runs.
"""

import importlib
from typing import TYPE_CHECKING, Any

from windtunnel.lifecycle.contract.stages import STAGES

if TYPE_CHECKING:
    from windtunnel.operators.base import StageOperator
    from windtunnel.operators.dags.factory import lifecycle_dags
    from windtunnel.operators.dags.folders import check_problems, register_problems
    from windtunnel.operators.dags.housekeeping import HousekeepingOperator
    from windtunnel.operators.dags.maintenance import register_maintenance
    from windtunnel.operators.hook import WindtunnelHook
    from windtunnel.operators.stages.approve import ApproveOperator
    from windtunnel.operators.stages.balance import BalanceOperator
    from windtunnel.operators.stages.deploy import DeployOperator
    from windtunnel.operators.stages.evaluate import EvaluateOperator
    from windtunnel.operators.stages.feedback import FeedbackOperator
    from windtunnel.operators.stages.ingest import IngestOperator
    from windtunnel.operators.stages.monitor import MonitorOperator
    from windtunnel.operators.stages.predict import PredictOperator
    from windtunnel.operators.stages.preprocess import PreprocessOperator
    from windtunnel.operators.stages.profile import ProfileOperator
    from windtunnel.operators.stages.register import RegisterOperator
    from windtunnel.operators.stages.retrain import RetrainOperator
    from windtunnel.operators.stages.train import TrainOperator
    from windtunnel.operators.stages.tune import TuneOperator
    from windtunnel.operators.stages.validate import ValidateOperator

__all__ = [
    "ApproveOperator",
    "BalanceOperator",
    "DeployOperator",
    "EvaluateOperator",
    "FeedbackOperator",
    "HousekeepingOperator",
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
    "WindtunnelHook",
    "check_problems",
    "lifecycle_dags",
    "register_maintenance",
    "register_problems",
]

_ROOMS = {
    **{row.operator: f"stages.{row.name}" for row in STAGES},
    "RetrainOperator": "stages.retrain",
    "HousekeepingOperator": "dags.housekeeping",
    "StageOperator": "base",
    "WindtunnelHook": "hook",
    "check_problems": "dags.folders",
    "lifecycle_dags": "dags.factory",
    "register_maintenance": "dags.maintenance",
    "register_problems": "dags.folders",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"windtunnel.operators.{_ROOMS[name]}"), name)
