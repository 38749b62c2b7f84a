"""HTTP without connections: who may do what, the hot routes at once, all others by Starlette; every error is answered in JSON."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.routing import compile_path

from windtunnel.lifecycle.contract.errors import WindtunnelError
from windtunnel.serving.front.access import Access, Caller
from windtunnel.serving.front.http import framing
from windtunnel.serving.front.http.control import Control
from windtunnel.serving.front.http.express import Express, form_of
from windtunnel.serving.front.http.messages import Ask, Headers, Pairs, Refused, Reply, failure
from windtunnel.serving.front.http.predicting import Predicting
from windtunnel.serving.front.http.routes import TABLE, Asks, Route
from windtunnel.serving.routing.lane import Lanes
from windtunnel.serving.routing.repository import Repository
from windtunnel.serving.routing.service import Service
from windtunnel.serving.routing.work import INLINE_BYTES

__all__ = ["Application", "Target"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_MOST_TARGETS = 1000
_CHALLENGE: Pairs = ((b"www-authenticate", b"Bearer"),)


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """What the URL of a hot route names.

    Attributes:
        row: of the table of routes.
        model: or nothing.
        version: or nothing.
    """

    row: Route
    model: str
    version: str


class Application:
    """What one worker answers over HTTP.

    Args:
        service: answers predictions.
        access: knows who may do what.
        max_body: bytes of a request's body at most, unpacked.
        timeout: seconds that a request may take to be answered.
    """

    def __init__(self, service: Service, access: Access, max_body: int = 4_000_000, timeout: float = 30.0) -> None:
        self.service = service
        self.max_body = max_body
        self.timeout = timeout
        self._access = access
        self._predicting = Predicting(service)
        self._hot = [(compile_path(row.path)[0], row) for row in TABLE if row.codec is not None]
        self._targets: dict[bytes, Target] = {}
        self._lanes = Lanes(service, "http")
        self._starlette = self._made(Control(service, Repository(service.models), TABLE))

    # Who ------------------------------------------------------------------------------------------------------------------------------

    def caller(self, headers: Headers) -> Caller:
        """Who is calling.

        Raises:
            Refused: nobody that is known here.
        """
        found = self._access.caller(headers.get(b"authorization"))
        if found is None:
            raise Refused(HTTPStatus.UNAUTHORIZED, "a bearer token is needed: Authorization: Bearer TOKEN", _CHALLENGE)
        return found

    # The hot routes -------------------------------------------------------------------------------------------------------------------

    def target(self, url: bytes) -> Target | None:
        """The hot route of a URL; None for every other URL."""
        found = self._targets.get(url)
        if found is not None:
            return found
        path = _path_of(url)
        for pattern, row in self._hot:
            matched = pattern.match(path)
            if matched:
                if len(self._targets) >= _MOST_TARGETS:
                    self._targets.clear()
                names = matched.groupdict()
                found = self._targets[url] = Target(row, names.get("model", ""), names.get("version", ""))
                return found
        return None

    def at_once(self, target: Target, method: str, headers: Headers, body: bytes, began: float) -> Reply | None:
        """The reply to a prediction that waits for nothing; None where it must be waited for, by `answer`."""
        if self.service.tracer is not None or method == "OPTIONS":
            return None
        ask: Ask | None = None
        try:
            ask = self._ask(target, method, headers, body, began)
            reply = self._predicting.at_once(target.row.codec, ask) if target.row.codec is not None else None
        except Exception as error:  # noqa: BLE001 - every error is answered
            reply = failure(error, target.row.path)
        if reply is not None:
            self.ended(target.model if ask is None else ask.model, reply.status)
        return reply

    def express(self, head: framing.Head, target: Target) -> Express | None:
        """The short way of requests for one plain row that have this head; None where there is none."""
        service, codec = self.service, target.row.codec
        if codec is None or codec.explains or not 0 < head.length <= INLINE_BYTES or head.persists or b"content-encoding" in head.headers:
            return None
        try:
            ask = self._ask(target, head.method, head.headers, b"", 0.0)
            found = self._predicting.target(ask)
        except (Refused, WindtunnelError):  # which the ordinary way says to each of them
            return None
        lane = self._lanes.of(found, codec.protocol)
        form = None if lane is None else form_of(lane, codec.protocol, head.headers)
        return None if form is None else Express(service, form, ask.identity)

    def _ask(self, target: Target, method: str, headers: Headers, body: bytes, began: float) -> Ask:
        caller = self.caller(headers)
        if method != target.row.method:
            raise _not_allowed(method, target.row.method)
        coding = headers.get(b"content-encoding")
        if coding is not None:
            body = framing.decoded(body, coding, self.max_body)
        return Ask(headers, body, began, target.model, target.version, caller)

    # All routes -----------------------------------------------------------------------------------------------------------------------

    async def answer(self, method: str, url: bytes, headers: Headers, body: bytes, began: float) -> Reply:
        """The reply to any request, whatever happens."""
        target = self.target(url)
        tracer = self.service.tracer
        if tracer is None:
            reply = await self._answered(target, method, url, headers, body, began)
        else:
            route = _route_of(_path_of(url))
            carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
            with tracer.request(f"{method} {route}", carrier, http__request__method=method, http__route=route) as span:
                reply = await self._answered(target, method, url, headers, body, began)
                span.ended(reply.status)
        return reply

    async def _answered(self, target: Target | None, method: str, url: bytes, headers: Headers, body: bytes, began: float) -> Reply:
        ask: Ask | None = None
        try:
            if target is not None and method != "OPTIONS":
                ask = self._ask(target, method, headers, body, began)
                async with asyncio.timeout(self.timeout):
                    assert target.row.codec is not None  # hot rows have one
                    reply = await self._predicting.in_turn(target.row.codec, ask)
            else:
                reply = await self._cold(method, url, headers, body)
        except Exception as error:  # noqa: BLE001 - every error is answered
            reply = failure(error, _path_of(url))
        named = target.model if target is not None else _model_of(_path_of(url))
        self.ended(named if ask is None else ask.model, reply.status)
        return reply

    async def _cold(self, method: str, url: bytes, headers: Headers, body: bytes) -> Reply:
        """The reply to what is no prediction."""
        coding = headers.get(b"content-encoding")
        if coding is not None:
            self.caller(headers)  # nobody's bodies are unpacked for strangers
            body = framing.decoded(body, coding, self.max_body)
        return await self._by_starlette(method, url, headers, body)

    async def _by_starlette(self, method: str, url: bytes, headers: Headers, body: bytes) -> Reply:
        """Ask Starlette, whose messages are all in memory."""
        path, _, query = url.partition(b"?")
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": _path_of(url),
            "raw_path": path,
            "query_string": query,
            "headers": list(headers.items()),
            "root_path": "",
        }
        reply = Reply(HTTPStatus.OK, b"")

        async def receive() -> MutableMapping[str, object]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                reply.status = message["status"]
                given = dict(message["headers"])
                reply.kind = given.pop(b"content-type", reply.kind)
                given.pop(b"content-length", None)
                reply.headers = tuple(given.items())
            else:
                reply.content += message.get("body", b"")

        await self._starlette(scope, receive, send)
        return reply

    def ended(self, model: str, status: int) -> None:
        """Count a request by how it ended."""
        self.service.metrics.ended(model if model in self.service.models.served else "", "http", status)

    # Starlette ------------------------------------------------------------------------------------------------------------------------

    def _made(self, control: Control) -> Starlette:
        cold = [row for row in TABLE if row.endpoint is not None]
        routes = [StarletteRoute(row.path, self._guarded(row, control), methods=[row.method], name=row.name) for row in cold]
        return Starlette(routes=routes, exception_handlers={HTTPException: self._no_route, Exception: self._failed})

    def _guarded(self, row: Route, control: Control) -> Callable[[Request], Awaitable[Response]]:
        """A row's endpoint behind the question who is calling."""
        endpoint = row.endpoint
        assert endpoint is not None  # cold rows have one

        async def guarded(request: Request) -> Response:
            try:
                if row.asks is not Asks.NOTHING:
                    request.state.caller = self._may(row, request)
                # A load takes as long as the bundle is large; what it waits for has limits of its own.
                async with asyncio.timeout(None if row.waits else self.timeout):
                    return await endpoint(control, request)
            except Exception as error:  # noqa: BLE001 - every error is answered
                return _response(failure(error, row.path))

        return guarded

    def _may(self, row: Route, request: Request) -> Caller:
        """The caller of a route, who may do what it does.

        Raises:
            Refused: they may not.
        """
        caller, model = self.caller(dict(request.scope["headers"])), request.path_params.get("model")
        if model is not None and not caller.may(model):
            raise Refused(HTTPStatus.FORBIDDEN, f"this token may not use model {model!r}")
        if row.asks is Asks.ADMIN and not caller.admin:
            raise Refused(HTTPStatus.FORBIDDEN, "this token may not change what is served")
        return caller

    async def _no_route(self, request: Request, _: Exception) -> Response:
        """No such route, or not by this method; who is nobody learns not even that."""
        try:
            self.caller(dict(request.scope["headers"]))
        except Refused as refused:
            return _response(failure(refused, request.url.path))
        path = request.url.path
        allowed = _methods_of(path) if path != "/*" else ["GET", "HEAD", "OPTIONS", "POST", "PUT"]  # OPTIONS * asks about the whole server
        if not allowed or (path == "/*" and request.method != "OPTIONS"):
            return _response(failure(Refused(HTTPStatus.NOT_FOUND, f"no such route: {path}; GET /docs lists them"), path))
        if request.method == "OPTIONS":
            return Response(status_code=HTTPStatus.NO_CONTENT, headers={"allow": ", ".join(allowed)})
        return _response(failure(_not_allowed(request.method, *allowed), path))

    async def _failed(self, request: Request, error: Exception) -> Response:
        return _response(failure(error, request.url.path))

    # ASGI -----------------------------------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same as an ASGI application, for tests and for other servers: bodies are read whole, connections are theirs."""
        if scope["type"] != "http":
            return
        began, headers, body, more = time.perf_counter(), dict(scope["headers"]), b"", True
        while more and len(body) <= self.max_body:
            message = await receive()
            body, more = body + message.get("body", b""), bool(message.get("more_body"))
        url = (scope.get("raw_path") or scope["path"].encode()) + (b"?" + scope["query_string"] if scope.get("query_string") else b"")
        if len(body) > self.max_body:
            reply = failure(Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {self.max_body} bytes"), scope["path"])
        else:
            reply = await self.answer(scope["method"], url, headers, body, began)
        start = [(b"content-type", reply.kind), (b"content-length", str(len(reply.content)).encode()), *reply.headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": start})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply.content})


_PATTERNS = [(compile_path(row.path)[0], row.method) for row in TABLE]


def _methods_of(path: str) -> list[str]:
    """The methods that a path may be asked by; none where there is no such route."""
    found = {method for pattern, method in _PATTERNS if pattern.match(path)}
    if "GET" in found:
        found.add("HEAD")
    return sorted(found | {"OPTIONS"}) if found else []


def _not_allowed(method: str, *allowed: str) -> Refused:
    names = ", ".join(allowed)
    return Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{method} is not allowed here; {names} is", ((b"allow", names.encode()),))


def _path_of(url: bytes) -> str:
    """The decoded path of a target, which may be a whole URL."""
    from urllib.parse import unquote, urlsplit

    path = url.partition(b"?")[0].decode("latin-1")
    if not path.startswith("/"):
        path = urlsplit(path).path if "://" in path else f"/{path}"
    path = unquote(path) if "%" in path else path
    return path.rstrip("/") or "/"


def _model_of(path: str) -> str:
    parts = path.split("/", 4)
    return parts[3].partition(":")[0] if len(parts) > 3 and parts[2] == "models" else ""  # /v2/models/{model}


def _route_of(path: str) -> str:
    """A path with its names left out, for traces.

    Example:
        >>> _route_of("/v2/models/churn/versions/3/infer")
        '/v2/models/{}/versions/{}/infer'
    """
    parts = path.split("/")
    for place, part in enumerate(parts[:-1]):
        if part in {"models", "versions"}:
            parts[place + 1] = "{}"
    return "/".join(parts)


def _response(reply: Reply) -> Response:
    headers = {name.decode(): value.decode("latin-1") for name, value in reply.headers}
    return Response(reply.content, reply.status, headers, media_type=reply.kind.decode())
