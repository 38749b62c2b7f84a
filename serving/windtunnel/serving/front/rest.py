"""HTTP: the Open Inference Protocol v2, plain JSON, repository, metrics and health, as one bare ASGI application.

The two prediction routes are found by a few string comparisons and touch no framework: that is where the time of a request goes.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote

from windtunnel.lifecycle.contract.errors import WindtunnelError
from windtunnel.serving.base import quickjson
from windtunnel.serving.base.batch import Batch, Rows
from windtunnel.serving.base.values import InvalidInputError, invalid
from windtunnel.serving.compiler.explain import explain
from windtunnel.serving.front import v2
from windtunnel.serving.front.access import Access, Caller
from windtunnel.serving.routing.answer import Answer
from windtunnel.serving.routing.arms import told
from windtunnel.serving.routing.repository import Repository
from windtunnel.serving.routing.service import MAX_ROWS, Service, status_of

__all__ = ["Application"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = dict[bytes, bytes]
Target = tuple[str, str, str]
log = logging.getLogger("windtunnel.server")

_JSON = (b"content-type", b"application/json")
_MOST_DRAINED = 64_000_000
_MOST_TARGETS = 1000
_MOST_HELD = 256_000_000
"""Bytes of all requests that are being read or answered at once."""
_REASONS = {status.value: f"{status.value} {status.phrase}".encode() for status in HTTPStatus}
More = tuple[tuple[bytes, bytes], ...]


class Refused(Exception):  # noqa: N818 - a way out of a handler, not an error of ours
    """Ends a request with a status and an error text."""

    def __init__(self, status: int, text: str, headers: More = (), **more: Any) -> None:
        super().__init__(text)
        self.status, self.text, self.headers, self.more = status, text, headers, more


class Application:
    """The ASGI application of one worker.

    Args:
        service: answers predictions.
        access: knows who may do what.
        max_body: bytes of a request at most.
        timeout: seconds that a request may take to arrive and to be answered.
    """

    def __init__(self, service: Service, access: Access, max_body: int = 4_000_000, timeout: float = 30.0) -> None:
        self.service = service
        self.repository = Repository(service.models)
        self.access = access
        self.max_body = max_body
        self.timeout = timeout
        self.tracer = service.tracer
        self._held = 0
        self._targets: dict[bytes, Target] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1003})
            return
        began = time.perf_counter()
        headers: Headers = dict(scope["headers"])
        parts = _parts(scope)
        model = parts[2] if len(parts) > 2 and parts[1] == "models" else ""  # noqa: PLR2004 - /v2/models/{model}
        if self.tracer is None:
            status, body, more = await self._safely(scope, parts, headers, receive, began)
        else:
            route = "/".join("{}" if place in {2, 4} and parts[1] == "models" else part for place, part in enumerate(parts))
            name, carrier = f"{scope['method']} /{route}", {k.decode("latin-1"): v.decode("latin-1") for k, v in headers.items()}
            with self.tracer.request(name, carrier, http__request__method=scope["method"], http__route=f"/{route}") as span:
                status, body, more = await self._safely(scope, parts, headers, receive, began)
                span.ended(status)
        content = body if isinstance(body, bytes) else quickjson.dumps(body)
        self._ended(model, status)
        start = [] if any(name == b"content-type" for name, _ in more) else [_JSON]
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*start, (b"content-length", str(len(content)).encode()), *more],
            }
        )
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})

    async def _safely(self, scope: Scope, parts: list[str], headers: Headers, receive: Receive, began: float) -> tuple[int, Any, More]:
        """Status, body and headers, whatever happens."""
        held = 0
        try:
            held = self._hold(scope["method"], headers)
            # A load takes as long as the bundle is large; what it waits for has limits of its own.
            async with asyncio.timeout(None if parts[1:2] == ["repository"] else self.timeout):
                return await self._handle(scope, parts, headers, receive, began)
        except Exception as error:  # noqa: BLE001 - every error is answered
            return self._failure(error, scope["path"])
        finally:
            self._held -= held

    def _hold(self, method: str, headers: Headers) -> int:
        """Count the bytes that a request may bring, so that all of them together stay within bounds."""
        if method in {"GET", "HEAD"}:
            return 0
        length = headers.get(b"content-length", b"")
        size = min(int(length), self.max_body) if length.isdigit() else self.max_body
        if self._held and self._held + size > _MOST_HELD:
            self.service.metrics.shed("memory")
            raise Refused(503, "too many large requests at once; try again in a second", ((b"retry-after", b"1"),))
        self._held += size
        return size

    def _failure(self, error: Exception, path: str) -> tuple[int, Any, More]:
        """Status, body and headers for what went wrong."""
        match error:
            case Refused():
                return error.status, {"error": error.text, **error.more}, error.headers
            case WindtunnelError():
                status, body = status_of(error), dict[str, Any](error=str(error))
                if isinstance(error, InvalidInputError):
                    body["problems"] = error.problems
                return status, body, ((b"retry-after", b"1"),) if status == 503 else ()  # noqa: PLR2004
            case TimeoutError():
                return 504, {"error": f"the request took more than {self.timeout:g} s"}, ()
            case _:
                log.error("a request to %s failed", path, exc_info=error)
                return 500, {"error": "the server failed; its log says more"}, ()

    def _ended(self, model: str, status: int) -> None:
        self.service.metrics.ended(model if model in self.service.models.served else "", "http", status)

    # The short way -------------------------------------------------------------------------------------------------------------------

    def target(self, url: bytes) -> Target | None:
        """What a URL predicts, as ``(route, model, version)``; None for every other URL."""
        found = self._targets.get(url)
        if found is None and b"?" not in url:
            match _parts({"raw_path": url}):
                case ["v1", "models", model, "predict"]:
                    found = ("v1", model, "")
                case ["v2", "models", model, "infer"]:
                    found = ("v2", model, "")
                case ["v2", "models", model, "versions", version, "infer"]:
                    found = ("v2", model, version)
            if found is not None:
                if len(self._targets) >= _MOST_TARGETS:
                    self._targets.clear()
                self._targets[url] = found
        return found

    def quick(self, target: Target, pairs: list[tuple[bytes, bytes]], body: bytes, began: float) -> tuple[bytes, ...] | None:
        """Answer a prediction without waiting for anything.

        Args:
            target: from `target`.
            pairs: the request's headers.
            body: all of its body.
            began: when it arrived, by `time.perf_counter`.

        Returns:
            The answer's bytes but for the empty line before the last of them, which is the body; None where a queue, or another answer
            than to this one request, has to be waited for: then the ordinary way is to be taken.
        """
        route, model, version = target
        headers: Headers = dict(pairs)
        try:
            self._may(self._caller(headers, "POST", "POST"), model)
            served = self.service.models.served.get(model)
            if served is None or served.queues or len(body) > self.max_body or self.tracer is not None or self.service.log.sync:
                return None
            self._not_behind()
            if route == "v1":
                batch: Batch = self._rows(_parsed(body))
                identity = _identity(headers) or self.service.new_id()
                found = self.service.find(model, _wanted(headers), _text(headers.get(b"x-windtunnel-key")), batch)
                if self.service.is_large(found, batch):
                    return None
                content, more = self._shown(self.service.answer(found, batch, identity, "json", began))
            else:
                request, batch, found, identity = self._tensors(model, version, headers, body)
                if self.service.is_large(found, batch):
                    return None
                content, more = self._as_tensors(self.service.answer(found, batch, identity, "http", began), request)
            status = 200
        except Exception as error:  # noqa: BLE001 - every error is answered
            status, content, more = self._failure(error, f"/{route}/models/{model}")
        self._ended(model, status)
        raw = content if isinstance(content, bytes) else quickjson.dumps(content)
        lines = [b"%s: %s\r\n" % pair for pair in more]
        if not any(name == b"content-type" for name, _ in more):
            lines.append(b"content-type: application/json\r\n")
        return (b"HTTP/1.1 %s\r\ncontent-length: %d\r\n" % (_REASONS[status], len(raw)), *lines, raw)

    async def _handle(  # noqa: PLR0911 - one return a route
        self, scope: Scope, parts: list[str], headers: Headers, receive: Receive, began: float
    ) -> tuple[int, Any, More]:
        method = scope["method"]
        match parts:
            case ["v1", "models", model, "predict"]:
                caller = self._caller(headers, method, "POST")
                self._may(caller, model)
                return await self._plain(model, headers, receive, began)
            case ["v1", "models", model, "explain"]:
                self._may(self._caller(headers, method, "POST"), model)
                return await self._explained(model, headers, receive, began)
            case ["v2", "models", model, "infer"]:
                caller = self._caller(headers, method, "POST")
                self._may(caller, model)
                return await self._infer(model, "", headers, receive, began)
            case ["v2", "models", model, "versions", version, "infer"]:
                caller = self._caller(headers, method, "POST")
                self._may(caller, model)
                return await self._infer(model, version, headers, receive, began)
            case ["v2", "health", "live"] | ["healthz"] | ["livez"]:
                _only(method, "GET")
                return 200, {"live": True}, ()
            case ["invocations"]:  # SageMaker's own words for predict and ready
                caller = self._caller(headers, method, "POST")
                model = self._only_model()
                self._may(caller, model)
                return await self._plain(model, headers, receive, began)
            case ["v2", "health", "ready"] | ["readyz"] | ["ping"]:
                _only(method, "GET")
                ready = self.service.ready and not self.service.shed()
                return (200 if ready else 503), {"ready": ready}, ()
            case _:
                return await self._other(method, parts, headers, receive)

    async def _other(  # noqa: PLR0911, PLR0912 - one return a route
        self, method: str, parts: list[str], headers: Headers, receive: Receive
    ) -> tuple[int, Any, More]:
        service = self.service
        match parts:
            case ["v2"]:
                self._caller(headers, method, "GET")
                return 200, v2.server_metadata(), ()
            case ["v2", "models", model] | ["v2", "models", model, "versions", _]:
                self._may(self._caller(headers, method, "GET"), model)
                return 200, v2.model_metadata(service.models.get(model), parts[4] if len(parts) > 3 else ""), ()  # noqa: PLR2004
            case ["v2", "models", model, "ready"] | ["v2", "models", model, "versions", _, "ready"]:
                self._may(self._caller(headers, method, "GET"), model)
                served = service.models.get(model)
                if len(parts) > 4:  # noqa: PLR2004
                    served.route.named(parts[4])
                return 200, {"name": model, "ready": True}, ()
            case ["v2", "models", model, "stats"] | ["v2", "models", model, "versions", _, "stats"]:
                self._may(self._caller(headers, method, "GET"), model)
                served, totals = service.models.get(model), await asyncio.to_thread(service.metrics.totals, model)
                stats = v2.statistics(served, totals, parts[4] if len(parts) > 4 else "")  # noqa: PLR2004
                state = service.models.store.read()["models"].get(model, {})
                return 200, {"name": served.name, "arms": totals, "experiment": told(state), "model_stats": stats}, ()
            case ["v2", "models", model, "route"]:
                caller = self._caller(headers, method, "GET", "PUT")
                return await self._route(caller, method, model, receive, headers)
            case ["v2", "models", model, "rewards"]:
                self._admin(self._caller(headers, method, "POST"))
                return 200, await self.repository.reward(model, await self._json(receive, headers)), ()
            case ["v2", "repository", "index"]:
                self._caller(headers, method, "POST", "GET")
                return 200, v2.index(service.models.store.read(), service.models.served), ()
            case ["v2", "repository", "models", model, "load" | "unload" | "label" | "lookup" as action]:
                self._admin(self._caller(headers, method, "POST"))
                body = await self._json(receive, headers, empty=True)
                return 200, await self.repository.act(model, action, body.get("parameters", {}) if isinstance(body, dict) else None), ()
            case ["metrics"]:
                self._caller(headers, method, "GET")
                return 200, await asyncio.to_thread(service.metrics.text), ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),)
            case ["openapi.json"]:
                self._caller(headers, method, "GET")
                from windtunnel.serving.front.openapi import document

                return 200, document(service.models.served), ()
            case ["docs"] | []:
                self._caller(headers, method, "GET")
                from windtunnel.serving.front.openapi import page

                return 200, page(service.models.served), ((b"content-type", b"text/html; charset=utf-8"),)
            case _:
                # Who is nobody learns nothing, not even which routes there are.
                self._caller(headers, method, method)
                raise Refused(404, f"no such route: /{'/'.join(parts)}")

    # Predictions --------------------------------------------------------------------------------------------------------------------

    async def _plain(self, model: str, headers: Headers, receive: Receive, began: float) -> tuple[int, Any, More]:
        batch = self._rows(await self._json(receive, headers))
        identity = _identity(headers) or self.service.new_id()
        self._not_behind()
        found = self.service.find(model, _wanted(headers), _text(headers.get(b"x-windtunnel-key")), batch)
        return (200, *self._shown(await self.service.predict(found, batch, identity, "json", began)))

    async def _explained(self, model: str, headers: Headers, receive: Receive, began: float) -> tuple[int, Any, More]:
        """As `_plain`, and with what each column contributed: some hundred times the work, so not on the event loop."""
        batch = self._rows(await self._json(receive, headers))
        self._not_behind()
        found = self.service.find(model, _wanted(headers), _text(headers.get(b"x-windtunnel-key")), batch)
        answer = await self.service.predict(found, batch, _identity(headers) or self.service.new_id(), "json", began)
        why = await asyncio.to_thread(explain, answer.engine, batch.rows(), answer.scores)
        body, more = self._shown(answer)
        body["predictions"] = [{**row, **reasons} for row, reasons in zip(answer.rows, why, strict=True)]
        return 200, body, more

    def _only_model(self) -> str:
        names = list(self.service.models.served)
        if len(names) != 1:
            raise Refused(404, f"/invocations needs one model, but {len(names)} are served: POST to /v1/models/MODEL/predict")
        return names[0]

    def _rows(self, body: Any) -> Rows:
        rows = body.get("rows") if isinstance(body, dict) else None
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            raise invalid([{"row": 0, "field": "rows", "message": "must be a list of at least one object: column name -> value"}])
        return Rows(_few_enough(rows))

    def _shown(self, answer: Answer) -> tuple[Any, More]:
        body = {"id": answer.id, "model": answer.model, "version": answer.version, "route": answer.route, "predictions": answer.rows}
        return body, ((b"x-request-id", _header(answer.id)),)

    async def _infer(self, model: str, version: str, headers: Headers, receive: Receive, began: float) -> tuple[int, Any, More]:
        raw = await self._body(receive, headers)
        self._not_behind()
        request, batch, found, identity = self._tensors(model, version, headers, raw)
        return (200, *self._as_tensors(await self.service.predict(found, batch, identity, "http", began), request))

    def _tensors(self, model: str, version: str, headers: Headers, raw: bytes) -> tuple[v2.Request, Batch, Any, str]:
        request = v2.parse_http(raw, headers.get(b"inference-header-content-length"))
        self.service.models.get(model)
        if request.count > MAX_ROWS:
            raise Refused(413, f"{request.count} rows in one request; at most {MAX_ROWS}: score more with `windtunnel predict`")
        batch = request.batch()
        found = self.service.find(model, version or _wanted(headers), _text(headers.get(b"x-windtunnel-key")), batch)
        return request, batch, found, request.id or _identity(headers) or self.service.new_id()

    def _as_tensors(self, answer: Answer, request: v2.Request) -> tuple[Any, More]:
        body, length = v2.response_http(answer, request)
        more: More = ((b"x-request-id", _header(answer.id)),)
        if length is not None:
            more = (*more, (b"content-type", b"application/octet-stream"), (b"inference-header-content-length", str(length).encode()))
        return body, more

    def _not_behind(self) -> None:
        if self.service.shed():
            self.service.metrics.shed("lag")
            raise Refused(503, f"the server is {self.service.lag:.1f} s behind; try again in a second", ((b"retry-after", b"1"),))

    # Repository and routes ----------------------------------------------------------------------------------------------------------

    async def _route(self, caller: Caller, method: str, model: str, receive: Receive, headers: Headers) -> tuple[int, Any, More]:
        if method == "GET":
            self._may(caller, model)
            self.service.models.get(model)
            found = self.service.models.store.read()["models"].get(model, {})
            return 200, {"labels": found.get("labels", {}), "route": found.get("route", {}), "experiment": told(found)}, ()
        self._admin(caller)
        return 200, await self.repository.set_route(model, await self._json(receive, headers)), ()

    # Who, and what they sent --------------------------------------------------------------------------------------------------------

    def _caller(self, headers: Headers, method: str, *allowed: str) -> Caller:
        caller = self.access.caller(headers.get(b"authorization"))
        if caller is None:
            raise Refused(401, "a bearer token is needed: Authorization: Bearer TOKEN", ((b"www-authenticate", b"Bearer"),))
        _only(method, *allowed)
        return caller

    def _may(self, caller: Caller, model: str) -> None:
        if not caller.may(model):
            raise Refused(403, f"this token may not use model {model!r}")

    def _admin(self, caller: Caller) -> None:
        if not caller.admin:
            raise Refused(403, "this token may not change what is served")

    async def _json(self, receive: Receive, headers: Headers, *, empty: bool = False) -> Any:
        raw = await self._body(receive, headers)
        if empty and not raw:
            return {}
        return _parsed(raw)

    async def _body(self, receive: Receive, headers: Headers) -> bytes:
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.max_body:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_drained(receive), 5.0)
            raise Refused(413, f"the body has {length.decode('latin-1')} bytes; at most {self.max_body}")
        async with asyncio.timeout(self.timeout):
            return await self._received(receive)

    async def _received(self, receive: Receive) -> bytes:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the client went away")
        if not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > self.max_body:
                raise Refused(413, f"the body has more than {self.max_body} bytes")
            return body
        return await self._rest(receive, [message.get("body", b"")])

    async def _rest(self, receive: Receive, parts: list[bytes]) -> bytes:
        size = len(parts[0])
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "the client went away")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.max_body:
                parts = []  # nothing of it is kept, but the client may finish sending
            if size > _MOST_DRAINED or not message.get("more_body"):
                break
        if size > self.max_body:
            raise Refused(413, f"the body has more than {self.max_body} bytes")
        return b"".join(parts)


async def _drained(receive: Receive) -> None:
    """Read what a client still sends and drop it: one that is cut off while it sends sees a broken connection and no answer."""
    size = 0
    while size < _MOST_DRAINED:
        message = await receive()
        size += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return


def _parts(scope: Scope) -> list[str]:
    """The decoded parts of the path: a slash within a name stays part of the name."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    text = raw.split(b"?", 1)[0].decode("latin-1").strip("/")
    return [unquote(part) for part in text.split("/")] if "%" in text else (text.split("/") if text else [])


def _only(method: str, *allowed: str) -> None:
    if method not in allowed and not (method == "HEAD" and "GET" in allowed):
        raise Refused(405, f"{method} is not allowed here", ((b"allow", ", ".join(allowed).encode()),))


def _parsed(raw: bytes) -> Any:
    """The values of a JSON body."""
    try:
        return quickjson.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is not JSON: {error}") from error


def _few_enough(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(rows) > MAX_ROWS:
        raise Refused(413, f"{len(rows)} rows in one request; at most {MAX_ROWS}: score more with `windtunnel predict`")
    return rows


def _header(identity: str) -> bytes:
    """An id as the value of a header: what may not stand there is percent-encoded."""
    return (identity if identity.isascii() and identity.isprintable() else quote(identity, errors="replace")).encode()


def _wanted(headers: Headers) -> str:
    return _text(headers.get(b"x-windtunnel-version")) or ""


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _identity(headers: Headers) -> str:
    value = headers.get(b"x-request-id", b"")
    return value[:200].decode("latin-1") if value.isascii() else ""
