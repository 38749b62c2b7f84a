"""A problem: what a team registers, in one YAML file, for Windtunnel to keep a model fit for it.

The file is a contract with a published JSON Schema (`json_schema`); a wrong one is a `ProblemError` that names the file, the field and
the allowed values, which Airflow shows as an import error of that file alone.
"""

from windtunnel.lifecycle.contract.alert import Alert
from windtunnel.lifecycle.contract.problem.dividing import Splits, Windows
from windtunnel.lifecycle.contract.problem.features import Features
from windtunnel.lifecycle.contract.problem.gates import Approval, Gate, Limits
from windtunnel.lifecycle.contract.problem.label import Label, Positive
from windtunnel.lifecycle.contract.problem.model import Baseline, Budget, Explanations, Model
from windtunnel.lifecycle.contract.problem.monitoring import Monitoring, Retention
from windtunnel.lifecycle.contract.problem.parts import ColumnType, Task
from windtunnel.lifecycle.contract.problem.problem import Problem
from windtunnel.lifecycle.contract.problem.reading import LARGEST, json_schema, load, parse
from windtunnel.lifecycle.contract.problem.scheduling import AssetSchedule, DagOptions
from windtunnel.lifecycle.contract.problem.serving import Lookup, Manifests, Serving
from windtunnel.lifecycle.contract.problem.source import EventTime, Source
from windtunnel.lifecycle.contract.problem.worth import Costs, Kpi

__all__ = [
    "LARGEST",
    "Alert",
    "Approval",
    "AssetSchedule",
    "Baseline",
    "Budget",
    "ColumnType",
    "Costs",
    "DagOptions",
    "EventTime",
    "Explanations",
    "Features",
    "Gate",
    "Kpi",
    "Label",
    "Limits",
    "Lookup",
    "Manifests",
    "Model",
    "Monitoring",
    "Positive",
    "Problem",
    "Retention",
    "Serving",
    "Source",
    "Splits",
    "Task",
    "Windows",
    "json_schema",
    "load",
    "parse",
]
