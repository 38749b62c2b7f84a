"""An MLflow store, made once a session (its database takes seconds), and candidates to register."""

import shutil
import sys
from pathlib import Path

import pytest

from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.settings import Settings

sys.path.insert(0, str(Path(__file__).parent))  # spawned processes import the shop by name
from judged import Shop


@pytest.fixture
def settings(tmp_path, empty_mlflow):
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    return Settings(
        artifacts=str(tmp_path / "artifacts"),
        ledger_uri=f"sqlite:///{tmp_path}/ledger.db",
        tracking_uri=f"sqlite:///{tmp_path}/mlflow.db",
    )


@pytest.fixture
def problem():
    return parse(
        {
            "name": "churn",
            "owner": "crm@example.org",
            "task": "binary",
            "source": {"format": "csv", "path": "x.csv"},
            "columns": {"age": "int64", "plan": "string", "left": "string"},
            "label": {"column": "left", "positive": {"equals": "Yes"}},
            "features": {"numeric": ["age"], "categorical": ["plan"]},
            "approval": {"promotion": "auto"},
        }
    )


@pytest.fixture
def shop(settings, problem, tmp_path):
    return Shop(settings, problem, tmp_path / "bundles")
