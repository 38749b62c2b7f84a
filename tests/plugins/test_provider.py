"""What Airflow knows of the provider: by its own schema, and only what there is."""

import importlib
import json
from importlib.resources import files

import jsonschema
import pytest
from airflow.providers_manager import ProvidersManager
from airflow.sdk import Connection

import windtunnel.operators
from windtunnel.lifecycle.contract.stages import STAGES
from windtunnel.operators import WindtunnelHook
from windtunnel.plugins.provider import get_provider_info


def named(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_it_is_what_airflows_schema_asks_for():
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_it_names_every_stage_link_notifier_and_hook_there_is():
    info = get_provider_info()
    modules = {module for entry in info["operators"] for module in entry["python-modules"]}
    made = {getattr(windtunnel.operators, name).__module__ for name in windtunnel.operators.__all__ if name.endswith("Operator")}
    assert modules == made - {"windtunnel.operators.base"}
    assert {path.rpartition(".")[2] for path in info["extra-links"]} == {row.link for row in STAGES}
    for path in [*info["extra-links"], *info["notifications"], *(entry["hook-class-name"] for entry in info["connection-types"])]:
        assert named(path)


@pytest.mark.filterwarnings("ignore::airflow.utils.deprecation_tools.DeprecatedImportWarning")
def test_airflow_shows_a_form_for_the_connection():
    manager = ProvidersManager()
    assert "windtunnel" in manager.hooks
    assert manager.hooks["windtunnel"].hook_name == "Windtunnel model server"
    behaviour = manager.field_behaviours["windtunnel"]
    assert behaviour["relabeling"]["password"] == "Bearer token"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__WINDTUNNEL__LEDGER_URI", f"sqlite:///{tmp_path}/ledger.db")
    monkeypatch.setenv("AIRFLOW__WINDTUNNEL__SERVER_URL", "http://127.0.0.1:9")
    return tmp_path


def test_the_test_button_says_what_is_wrong(home):
    works, text = WindtunnelHook().test_connection()
    assert not works
    assert "out of reach" in text


def test_the_hook_reads_its_own_connection(home, monkeypatch):
    connection = Connection(conn_id="other", conn_type="windtunnel", host="127.0.0.1", port=8, schema="http", password="secret")
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", connection.get_uri())
    settings = WindtunnelHook("other").get_conn()
    assert (settings.server_url, settings.server_token) == ("http://127.0.0.1:8", "secret")


def test_without_a_champion_the_hook_says_so(home):
    assert WindtunnelHook().champion("nothing") is None
    assert WindtunnelHook().ledger("nothing") == []
    with pytest.raises(windtunnel.lifecycle.contract.errors.ConfigurationError, match="no version in production"):
        WindtunnelHook().predict("nothing", [{"a": 1}])
