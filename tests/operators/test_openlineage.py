"""What stages tell OpenLineage; and that nothing of it is imported where it is off."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.stages import STAGES, stage
from windtunnel.operators.telling.openlineage import DATA_SETS, NO_DATA_SETS, lineage_of

DAGS = Path(__file__).parents[2] / "dags"
SETTINGS = Settings(catalog_uri="postgresql+psycopg2://ada:secret@db:5432/wt", landing="/landing", tracking_uri="http://mlflow:5000")
SNAPSHOT = {"kind": "snapshot", "table": "churn.examples", "snapshot_id": 7, "rows": 10, "start": "2013-01-01", "end": "2013-02-01"}


def problem(**source):
    return parse(
        {
            "name": "churn",
            "owner": "o@example.org",
            "task": "binary",
            "source": {"format": "csv", "path": "{landing}/{day}.csv", **source},
            "columns": {"age": "int64", "left": "string"},
            "label": {"column": "left", "positive": {"equals": "Yes"}},
            "features": {"numeric": ["age"]},
        }
    )


@pytest.mark.parametrize(
    ("source", "namespace", "name"),
    [
        ({}, "file", "/landing/{day}.csv"),
        ({"path": "s3://lake/raw/{day}.csv"}, "s3://lake", "raw/{day}.csv"),
        ({"format": "iceberg", "path": "", "table": "crm.people"}, "postgresql://db:5432", "crm.people"),
        ({"format": "sql", "path": "", "query": "select 1", "connection": "crm"}, "connection://crm", "select 1"),
        ({"format": "python", "path": "", "generator": "rows:make"}, "python", "rows:make"),
    ],
)
def test_every_kind_of_source_has_a_name_and_no_password(source, namespace, name):
    found = lineage_of(stage("ingest"), problem(**source), SETTINGS, [], SNAPSHOT)
    assert [(dataset.namespace, dataset.name) for dataset in found.inputs] == [(namespace, name)]
    table, quarantine = found.outputs
    assert quarantine.name == "churn.quarantine"
    assert (table.namespace, table.name) == ("postgresql://db:5432", "churn.examples")
    assert table.facets["columnLineage"].fields["age"].inputFields[0].name == name
    assert "secret" not in repr(found)


def test_what_was_not_deployed_is_no_output():
    version = {"kind": "version", "model": "churn", "version": "3"}
    for deployed in (True, False):
        found = lineage_of(stage("deploy"), problem(), SETTINGS, [version], {"kind": "deployment", "version": "3", "deployed": deployed})
        assert [dataset.name for dataset in found.inputs] == ["models/churn"]
        assert len(found.outputs) == deployed


def test_nothing_of_it_is_imported_where_it_is_off():
    code = f"""
import runpy, sys
runpy.run_path({str(DAGS / "lifecycle.py")!r})
from airflow import plugins_manager
plugins_manager.ensure_plugins_loaded() if hasattr(plugins_manager, "ensure_plugins_loaded") else plugins_manager._get_plugins()
print([name for name in sys.modules if name.split(".")[0] == "openlineage" or "openlineage.extractors" in name])
"""
    environment = {name: value for name, value in os.environ.items() if "OPENLINEAGE" not in name}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_every_kind_of_reference_is_a_data_set_or_says_why_not():
    kinds = {kind for row in STAGES for kind in [row.gives, *row.takes.values()]} | {"lookup"}
    assert kinds == DATA_SETS | set(NO_DATA_SETS)
    assert not DATA_SETS & set(NO_DATA_SETS)
