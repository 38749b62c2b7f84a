"""The one table of routes: dispatch, access, the OpenAPI document and the table in docs/serving.md are made from it.

A row with a `codec` is a prediction: `windtunnel.serving.front.http.application` finds it without a framework. Every other row is an
endpoint of `windtunnel.serving.front.http.control`, which Starlette finds.
"""

import dataclasses
import enum
import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from windtunnel.lifecycle.payload import JsonMapping
from windtunnel.serving.front.http import formats, openapi
from windtunnel.serving.front.http.control import Control
from windtunnel.serving.front.http.predicting import Codec, Explained, Rows, Tensors

__all__ = ["TABLE", "Asks", "Route", "markdown"]

Endpoint = Callable[[Control, Request], Awaitable[Response]]


class Asks(enum.Enum):
    """What a route asks of its caller."""

    NOTHING = "nothing"
    TOKEN = "a token"  # noqa: S105 - no secret
    MODEL = "a token for the model"
    ADMIN = "a token that may change the model"


@dataclasses.dataclass(frozen=True)
class Route:
    """One row.

    Attributes:
        name: of the operation, unique; part of generated clients.
        method: HTTP's; GET answers HEAD too.
        path: with ``{model}`` and ``{version}``.
        about: what it is for, one line.
        asks: of its caller.
        endpoint: what answers it, unless it is a prediction.
        codec: how a prediction is read and written.
        body: the JSON Schema of its body for a model, where it has one.
        answer: the JSON Schema of its answer.
        options: whether it is there for a model, by its serving options.
        waits: whether it may take longer than other requests.
    """

    name: str
    method: str
    path: str
    about: str
    asks: Asks
    endpoint: Endpoint | None = None
    codec: Codec | None = None
    body: openapi.Schema | None = None
    answer: JsonMapping = dataclasses.field(default_factory=lambda: openapi.OBJECT)
    needs: str = ""
    waits: bool = False

    @property
    def open(self) -> bool:
        """Whether it asks for no token."""
        return self.asks is Asks.NOTHING


def _predictions() -> list[Route]:
    """The hot rows."""
    rows, tensors, invocations, instances = Rows(), Tensors(), formats.Invocations(), formats.Instances()
    asks, described = Asks.MODEL, openapi.PREDICTIONS
    return [
        Route("predict", "POST", "/v1/models/{model}/predict", "Answers for rows as objects", asks, None, rows, openapi.rows, described),
        Route(
            "explain",
            "POST",
            "/v1/models/{model}/explain",
            "Answers with what each column contributed",
            asks,
            None,
            Explained(),
            openapi.rows,
            described,
            needs="explain",
        ),
        Route("infer", "POST", "/v2/models/{model}/infer", "Open Inference Protocol: tensors", asks, None, tensors, openapi.tensors),
        Route(
            "infer_version",
            "POST",
            "/v2/models/{model}/versions/{version}/infer",
            "The same by a version or label",
            asks,
            None,
            tensors,
            openapi.tensors,
        ),
        Route(
            "kserve_predict",
            "POST",
            "/v1/models/{model}:predict",
            "KServe v1: instances",
            asks,
            None,
            instances,
            openapi.instances,
            openapi.PLAIN,
        ),
        Route(
            "invocations_of",
            "POST",
            "/models/{model}/invocations",
            "MLflow's scoring protocol, JSON or CSV",
            asks,
            None,
            invocations,
            openapi.invocations,
            openapi.PLAIN,
        ),
        Route(
            "invocations",
            "POST",
            "/invocations",
            "The same of the only model that the token may use, or of X-Windtunnel-Model",
            Asks.TOKEN,
            None,
            invocations,
            None,
            openapi.PLAIN,
        ),
    ]


def _health() -> list[Route]:
    """Probes, which ask for no token."""
    live = [("live", "/v2/health/live"), ("livez", "/livez"), ("healthz", "/healthz")]
    ready = [("ready", "/v2/health/ready"), ("readyz", "/readyz"), ("ping", "/ping")]
    mlflow = [("health", "/health"), ("model_ping", "/models/{model}/ping"), ("model_health", "/models/{model}/health")]
    found = [Route(name, "GET", path, "Whether the process is alive", Asks.NOTHING, Control.live) for name, path in live]
    found += [Route(name, "GET", path, "Whether requests can be answered", Asks.NOTHING, Control.ready) for name, path in ready]
    found += [Route(name, "GET", path, "The same in MLflow's words", Asks.NOTHING, Control.health) for name, path in mlflow]
    return found


def _metadata() -> list[Route]:
    """What there is."""
    model, token = Asks.MODEL, Asks.TOKEN
    found = [
        Route("server", "GET", "/v2", "The server's name, version and extensions", token, Control.server),
        Route("version", "GET", "/version", "The server's version, as text", token, Control.version),
        Route("version_of", "GET", "/models/{model}/version", "The same", token, Control.version),
        Route("models", "GET", "/v1/models", "The models that the token may use", token, Control.models),
        Route("kserve_ready", "GET", "/v1/models/{model}", "Whether a model is loaded, in KServe's words", model, Control.model_ready),
        Route("all_stats", "GET", "/v2/models/stats", "The protocol's statistics of all models", token, Control.all_stats),
    ]
    for name, path, about, endpoint in (
        ("model", "", "Versions, labels, inputs and outputs", Control.model),
        ("model_ready", "/ready", "Whether it is loaded", Control.model_ready),
        ("model_config", "/config", "Its configuration, as Triton's clients ask for it", Control.config),
        ("model_stats", "/stats", "Figures by version and route", Control.stats),
    ):
        found.append(Route(name, "GET", f"/v2/models/{{model}}{path}", about, model, endpoint))
        of_version = f"/v2/models/{{model}}/versions/{{version}}{path}"
        found.append(Route(f"{name}_version", "GET", of_version, "The same of a version or label", model, endpoint))
    return found


def _changes() -> list[Route]:
    """What changes what is served."""
    admin, path = Asks.ADMIN, "/v2/repository/models/{model}"
    return [
        Route("route", "GET", "/v2/models/{model}/route", "Labels, route and experiment", Asks.MODEL, Control.route),
        Route("set_route", "PUT", "/v2/models/{model}/route", "Replace the route", admin, Control.set_route, body=openapi.route),
        Route(
            "rewards",
            "POST",
            "/v2/models/{model}/rewards",
            "What the arms of an experiment were worth",
            admin,
            Control.rewards,
            body=openapi.rewards,
        ),
        Route(
            "index",
            "POST",
            "/v2/repository/index",
            "Every version that is loaded",
            Asks.TOKEN,
            Control.index,
            body=openapi.index,
            answer=openapi.LIST,
        ),
        Route("list_index", "GET", "/v2/repository/index", "The same", Asks.TOKEN, Control.index, answer=openapi.LIST),
        Route(
            "load", "POST", f"{path}/load", "Load a version, or make sure that all are", admin, Control.act, body=openapi.load, waits=True
        ),
        Route("label", "POST", f"{path}/label", "Move labels", admin, Control.act, body=openapi.label, waits=True),
        Route("unload", "POST", f"{path}/unload", "Unload a version, or all", admin, Control.act, body=openapi.unload, waits=True),
        Route("lookup", "POST", f"{path}/lookup", "Use precomputed answers", admin, Control.act, body=openapi.lookup, waits=True),
    ]


def _server() -> list[Route]:
    """The server itself."""
    return [
        Route("metrics", "GET", "/metrics", "Prometheus's text format", Asks.TOKEN, Control.metrics, answer=openapi.TEXT),
        Route("openapi", "GET", "/openapi.json", "The OpenAPI document", Asks.TOKEN, Control.openapi),
        Route("docs", "GET", "/docs", "The same as a page", Asks.TOKEN, Control.page, answer=openapi.TEXT),
        Route("home", "GET", "/", "The same page", Asks.TOKEN, Control.page, answer=openapi.TEXT),
    ]


TABLE: tuple[Route, ...] = (*_predictions(), *_health(), *_metadata(), *_changes(), *_server())
"""All routes; of two that match, the first counts."""


def markdown() -> str:
    """The table as docs/serving.md shows it.

    Example:
        >>> markdown().splitlines()[2]
        '| `POST /v1/models/M/predict` | Answers for rows as objects | a token for the model |'
    """
    lines = ["| route | what | asks for |", "|---|---|---|"]
    for row in TABLE:
        path = re.sub(r"\{(.)[a-z]*\}", lambda name: name[1].upper(), row.path)
        lines.append(f"| `{row.method} {path}` | {row.about} | {row.asks.value} |")
    return "\n".join(lines)
