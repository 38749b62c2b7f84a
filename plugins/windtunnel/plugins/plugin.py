"""The Airflow plugin: pages in the UI, and modules that the scheduler loads before it starts workers."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from windtunnel.operators.timetable import ClosedHistoryTimetable

__all__ = ["PREFIX", "WindtunnelPlugin"]

PREFIX = "/windtunnel"

_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _Pages:
    """An ASGI application that imports ours at the first request: every Airflow process loads plugins, only the API server answers."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        if self._app is None:
            from windtunnel.plugins.pages import build

            self._app = build()
        await self._app(scope, receive, send)


class WindtunnelPlugin(AirflowPlugin):
    """What Airflow's UI shows of Windtunnel."""

    name = "windtunnel"
    fastapi_apps: list[object] = [{"app": _Pages(), "url_prefix": PREFIX, "name": "Windtunnel"}]  # as the base class declares it
    timetables: list[object] = [ClosedHistoryTimetable]
    external_views: list[Any] = [
        {"name": "Models", "href": f"{PREFIX}/", "destination": "nav", "category": "browse", "url_route": "windtunnel"},
        {
            "name": "Data quality",
            "href": f"{PREFIX}/quality/",
            "destination": "nav",
            "category": "browse",
            "url_route": "windtunnel-data",
        },
        {"name": "Quality", "href": f"{PREFIX}/quality/{{DAG_ID}}", "destination": "dag", "url_route": "windtunnel-quality"},
        {"name": "Model", "href": f"{PREFIX}/models/{{DAG_ID}}", "destination": "dag", "url_route": "windtunnel-model"},
    ]
