"""The plugin as Airflow loads it: what it registers is there, answers, and asks who is calling."""

import json
import os
import subprocess
import sys

import pytest
from fastapi.testclient import TestClient

import windtunnel.operators
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.stages import STAGES
from windtunnel.lifecycle.record.ledger import Ledger
from windtunnel.operators.timetable import ClosedHistoryTimetable
from windtunnel.plugins import pages
from windtunnel.plugins.plugin import PREFIX, WindtunnelPlugin

LOADING = f"""
import json, sys
from airflow import plugins_manager
plugins_manager.ensure_plugins_loaded()
loaded = [name for name in ("windtunnel.plugins.pages", "pyiceberg", "mlflow", "sklearn", "apache_beam") if name in sys.modules]
apps, middlewares = plugins_manager.get_fastapi_plugins()
views, _ = plugins_manager._get_ui_plugins()
print(json.dumps({{
    "errors": plugins_manager.get_import_errors(),
    "names": [plugin.name for plugin in plugins_manager._get_plugins()[0]],
    "apps": [app["url_prefix"] for app in apps],
    "views": [view["url_route"] for view in views],
    "timetables": list(plugins_manager.get_timetables_plugins()),
    "info": [entry for entry in plugins_manager.get_plugin_info() if entry["name"] == {WindtunnelPlugin.name!r}],
    "loaded": loaded,
}}, default=str))
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    """What a process of Airflow says once it has loaded its plugins."""
    place = tmp_path_factory.mktemp("af")
    environment = os.environ | {"AIRFLOW_HOME": str(place), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    done = subprocess.run([sys.executable, "-c", LOADING], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_airflow_loads_it_once_and_without_an_error(airflow):
    assert airflow["errors"] == {}
    assert airflow["names"].count("windtunnel") == 1


def test_airflow_knows_what_it_registers(airflow):
    assert PREFIX in airflow["apps"]
    assert {view["url_route"] for view in WindtunnelPlugin.external_views} <= set(airflow["views"])
    assert f"{ClosedHistoryTimetable.__module__}.{ClosedHistoryTimetable.__qualname__}" in airflow["timetables"]
    (info,) = airflow["info"]
    assert (len(info["fastapi_apps"]), len(info["external_views"])) == (1, len(WindtunnelPlugin.external_views))


def test_no_process_of_airflow_pays_for_the_pages(airflow):
    assert airflow["loaded"] == []


@pytest.mark.parametrize("row", STAGES, ids=lambda row: row.name)
def test_airflow_keeps_the_link_of_every_stage(row):
    """A link that the provider does not register is dropped, without an error, where a serialised DAG is read."""
    operator = getattr(windtunnel.operators, row.operator)
    (link,) = operator.operator_extra_links
    path = f"{type(link).__module__}.{type(link).__name__}"
    from windtunnel.plugins.provider import get_provider_info

    assert path in get_provider_info()["extra-links"]
    assert link.name


def test_every_view_leads_to_a_route_of_the_application():
    paths = {route.path for route in pages.build().routes}
    for view in WindtunnelPlugin.external_views:
        path = view["href"].removeprefix(PREFIX).replace("{DAG_ID}", "{dag_id}")
        assert path in paths, view["href"]


@pytest.fixture
def client(tmp_path, monkeypatch):
    settings = Settings(artifacts=str(tmp_path / "art"), ledger_uri=f"sqlite:///{tmp_path}/ledger.db")
    monkeypatch.setattr(pages, "airflow_settings", lambda **_: settings)
    Ledger(settings).append("taxi", "decision", {"approved": False})
    return TestClient(pages.build(), raise_server_exceptions=False)


@pytest.mark.parametrize(
    "path",
    ["/", "/models/taxi", "/lineage/taxi", "/data/taxi/1/2013-01-01/2013-01-02", "/artifacts/taxi/profile/abc/report.html"],
)
def test_nobody_sees_a_page_without_a_login(client, path):
    """Airflow does not ask who is calling for what a plugin mounts: each route must."""
    assert client.get(path).status_code in {401, 403}


def test_no_route_is_open():
    """A route that is added without a check is found here."""
    from airflow.api_fastapi.core_api.security import get_user

    def asks(dependant):
        return dependant.call is get_user or any(asks(inner) for inner in dependant.dependencies)

    def unguarded(app):
        return [route.path for route in app.routes if hasattr(route, "dependant") and not asks(route.dependant)]

    app = pages.build()
    assert unguarded(app) == []
    app.add_api_route("/open", lambda: "everybody")
    assert unguarded(app) == ["/open"]
