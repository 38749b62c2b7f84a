"""The routes beside predictions, as Starlette endpoints: health, metadata, figures, routes of models, the repository, metrics, pages."""

import asyncio
from http import HTTPStatus
from importlib import metadata
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from windtunnel.lifecycle.payload import JsonMapping
from windtunnel.serving.base import quickjson
from windtunnel.serving.base.metrics import Metrics
from windtunnel.serving.front import v2
from windtunnel.serving.front.access import Caller
from windtunnel.serving.front.http import openapi
from windtunnel.serving.front.http.messages import parsed
from windtunnel.serving.front.http.predicting import no_model
from windtunnel.serving.routing.arms import told
from windtunnel.serving.routing.models import Served
from windtunnel.serving.routing.repository import Repository
from windtunnel.serving.routing.service import Service

__all__ = ["Control"]


class Control:
    """The endpoints; each is named by a row of the table of routes, which has already asked who is calling.

    Args:
        service: what answers predictions.
        repository: what changes models.
        rows: the table of routes, for its own description.
    """

    def __init__(self, service: Service, repository: Repository, rows: tuple[openapi.Described, ...]) -> None:
        self._service = service
        self._repository = repository
        self._rows = rows

    # Health ---------------------------------------------------------------------------------------------------------------------------

    async def live(self, request: Request) -> Response:
        """Whether the process is alive."""
        return said({"live": True})

    async def ready(self, request: Request) -> Response:
        """Whether requests can be answered."""
        ready = self._service.ready and not self._service.shed()
        return said({"ready": ready}, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)

    async def health(self, request: Request) -> Response:
        """As `ready`, in MLflow's words: an empty line."""
        found = await self.ready(request)
        return PlainTextResponse("\n", found.status_code)

    async def version(self, request: Request) -> Response:
        """The version, as text."""
        return PlainTextResponse(metadata.version("windtunnel"))

    # Models ---------------------------------------------------------------------------------------------------------------------------

    async def server(self, request: Request) -> Response:
        """The server's name, version and extensions."""
        return said(v2.server_metadata())

    async def models(self, request: Request) -> Response:
        """The models that the caller may use, in KServe's words."""
        caller = caller_of(request)
        return said({"models": [name for name in self._service.models.served if caller.may(name)]})

    async def model_ready(self, request: Request) -> Response:
        """Whether a model, or a version of it, is loaded."""
        served, version = self._served(request)
        if version:
            served.route.named(version)
        return said({"name": served.name, "ready": bool(served.engines)})

    async def model(self, request: Request) -> Response:
        """Versions, labels, inputs and outputs of a model."""
        return said(v2.model_metadata(*self._served(request)))

    async def config(self, request: Request) -> Response:
        """The same as a model configuration, as Triton's clients ask for it."""
        return said(v2.model_config(*self._served(request)))

    async def stats(self, request: Request) -> Response:
        """Requests and seconds by version and route."""
        served, version = self._served(request)
        totals = await asyncio.to_thread(self._service.metrics.totals, served.name)
        stats = v2.statistics(served, totals, version)
        return said({"name": served.name, "arms": totals, "experiment": told(self._state(served.name)), "model_stats": stats})

    async def all_stats(self, request: Request) -> Response:
        """The protocol's statistics of all models that the caller may use."""
        stats: list[dict[str, object]] = []
        for name, served in self._service.models.served.items():
            if caller_of(request).may(name):
                stats += v2.statistics(served, await asyncio.to_thread(self._service.metrics.totals, name))
        return said({"model_stats": stats})

    async def route(self, request: Request) -> Response:
        """Labels, route and experiment of a model."""
        served, _ = self._served(request)
        state = self._state(served.name)
        return said({"labels": state.get("labels", {}), "route": state.get("route", {}), "experiment": told(state)})

    async def set_route(self, request: Request) -> Response:
        """Replace a model's route."""
        return said(await self._repository.set_route(request.path_params["model"], await json_body(request)))

    async def rewards(self, request: Request) -> Response:
        """Tell a model's experiment what its arms were worth."""
        return said(await self._repository.reward(request.path_params["model"], await json_body(request)))

    # Repository -----------------------------------------------------------------------------------------------------------------------

    async def index(self, request: Request) -> Response:
        """Every version of the models that the caller may use."""
        body = await json_body(request, empty=True)
        ready = isinstance(body, dict) and body.get("ready") is True
        caller, models = caller_of(request), self._service.models
        entries = [entry for entry in v2.index(models.store.read(), models.served) if caller.may(entry["name"])]
        return said([entry for entry in entries if not ready or entry["state"] == "READY"])

    async def act(self, request: Request) -> Response:
        """Load, label, unload a version, or let precomputed answers be used."""
        body = await json_body(request, empty=True)
        parameters = body.get("parameters", {}) if isinstance(body, dict) else None
        action = request.url.path.rpartition("/")[2]
        return said(await self._repository.act(request.path_params["model"], action, parameters))

    # The server itself ----------------------------------------------------------------------------------------------------------------

    async def metrics(self, request: Request) -> Response:
        """All workers' metrics in Prometheus's text format: those of the models that the caller may use."""
        text = await asyncio.to_thread(self._service.metrics.text, caller_of(request).may)
        return Response(text, media_type=Metrics.MEDIA_TYPE)

    async def openapi(self, request: Request) -> Response:
        """The OpenAPI document of what the caller may use."""
        return said(openapi.document(self._rows, self._visible(request)))

    async def page(self, request: Request) -> Response:
        """The same as a page to read."""
        return HTMLResponse(openapi.page(self._rows, self._visible(request)))

    # ----------------------------------------------------------------------------------------------------------------------------------

    def _visible(self, request: Request) -> dict[str, Served]:
        caller = caller_of(request)
        return {name: served for name, served in self._service.models.served.items() if caller.may(name)}

    def _served(self, request: Request) -> tuple[Served, str]:
        """The model of a URL, and the version that it names or nothing."""
        name = request.path_params["model"]
        served = self._service.models.served.get(name)
        if served is None:
            raise no_model(self._service, name, caller_of(request).models)
        return served, request.path_params.get("version", "")

    def _state(self, model: str) -> JsonMapping:
        found: JsonMapping = self._service.models.store.read()["models"].get(model, {})
        return found


def said(value: Any, status: int = HTTPStatus.OK) -> Response:
    """A reply of JSON, written as everywhere else."""
    return Response(quickjson.dumps(value), status, media_type="application/json")


def caller_of(request: Request) -> Caller:
    """Who is calling, as the table of routes found out."""
    found: Caller = request.state.caller
    return found


async def json_body(request: Request, *, empty: bool = False) -> Any:
    """The values of a JSON body; an empty one may stand for no values."""
    raw = await request.body()
    return {} if empty and not raw.strip() else parsed(raw)
