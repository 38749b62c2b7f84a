"""HTTP: the Open Inference Protocol v2, plain JSON, repository, metrics and health, as one bare ASGI application.

The two prediction routes are found by a few string comparisons and touch no framework: that is where the time of a request goes.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from windtunnel.lifecycle.errors import WindtunnelError
from windtunnel.serving import v2
from windtunnel.serving.access import Access, Caller
from windtunnel.serving.repository import Repository
from windtunnel.serving.service import MAX_ROWS, Service, status_of
from windtunnel.serving.values import InvalidInputError, invalid

__all__ = ["Application"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = dict[bytes, bytes]
log = logging.getLogger("windtunnel.server")

_JSON = (b"content-type", b"application/json")
_MOST_DRAINED = 64_000_000
_ENCODE = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Refused(Exception):  # noqa: N818 - a way out of a handler, not an error of ours
    """Ends a request with a status and an error text."""

    def __init__(self, status: int, text: str, headers: tuple[tuple[bytes, bytes], ...] = (), **more: Any) -> None:
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
        self.ready = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1003})
            return
        began = time.perf_counter()
        headers: Headers = dict(scope["headers"])
        model = ""
        more: tuple[tuple[bytes, bytes], ...] = ()
        try:
            parts = _parts(scope)
            model = parts[2] if len(parts) > 2 and parts[1] == "models" else ""  # noqa: PLR2004 - /v2/models/{model}
            status, body, more = await self._handle(scope, parts, headers, receive, began)
        except Refused as refused:
            status, body, more = refused.status, {"error": refused.text, **refused.more}, refused.headers
        except WindtunnelError as error:
            status, body = status_of(error), {"error": str(error)}
            if isinstance(error, InvalidInputError):
                body["problems"] = error.problems
            if status == 503:  # noqa: PLR2004
                more = ((b"retry-after", b"1"),)
        except TimeoutError:
            status, body = 504, {"error": f"the request took more than {self.timeout:g} s"}
        except Exception:
            log.exception("a request to %s failed", scope["path"])
            status, body = 500, {"error": "the server failed; its log says more"}
        content = body if isinstance(body, bytes) else _ENCODE(body).encode()
        known = model if model in self.service.models.served else ""
        self.service.metrics.ended(known, "http", status)
        start = [] if any(name == b"content-type" for name, _ in more) else [_JSON]
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*start, (b"content-length", str(len(content)).encode()), *more],
            }
        )
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})

    async def _handle(
        self, scope: Scope, parts: list[str], headers: Headers, receive: Receive, began: float
    ) -> tuple[int, Any, tuple[tuple[bytes, bytes], ...]]:
        method = scope["method"]
        match parts:
            case ["v1", "models", model, "predict"]:
                caller = self._caller(headers, method, "POST")
                self._may(caller, model)
                return await self._plain(model, headers, receive, began)
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
            case ["v2", "health", "ready"] | ["readyz"]:
                _only(method, "GET")
                ready = self.ready and not self.service.shed()
                return (200 if ready else 503), {"ready": ready}, ()
            case _:
                return await self._other(method, parts, headers, receive)

    async def _other(  # noqa: PLR0911 - one return a route
        self, method: str, parts: list[str], headers: Headers, receive: Receive
    ) -> tuple[int, Any, tuple[tuple[bytes, bytes], ...]]:
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
                served = service.models.get(model)
                return 200, {"name": served.name, "arms": service.metrics.totals(model)}, ()
            case ["v2", "models", model, "route"]:
                caller = self._caller(headers, method, "GET", "PUT")
                return await self._route(caller, method, model, receive, headers)
            case ["v2", "repository", "index"]:
                self._caller(headers, method, "POST", "GET")
                return 200, v2.index(service.models.store.read(), service.models.served), ()
            case ["v2", "repository", "models", model, "load" | "unload" | "label" as action]:
                self._admin(self._caller(headers, method, "POST"))
                body = await self._json(receive, headers, empty=True)
                return 200, await self.repository.act(model, action, body.get("parameters", {}) if isinstance(body, dict) else None), ()
            case ["metrics"]:
                self._caller(headers, method, "GET")
                return 200, await asyncio.to_thread(service.metrics.text), ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),)
            case ["openapi.json"]:
                self._caller(headers, method, "GET")
                from windtunnel.serving.openapi import document

                return 200, document(service.models.served), ()
            case ["docs"] | []:
                self._caller(headers, method, "GET")
                from windtunnel.serving.openapi import page

                return 200, page(service.models.served), ((b"content-type", b"text/html; charset=utf-8"),)
            case _:
                # Who is nobody learns nothing, not even which routes there are.
                self._caller(headers, method, method)
                raise Refused(404, f"no such route: /{'/'.join(parts)}")

    # Predictions --------------------------------------------------------------------------------------------------------------------

    async def _plain(
        self, model: str, headers: Headers, receive: Receive, began: float
    ) -> tuple[int, Any, tuple[tuple[bytes, bytes], ...]]:
        body = await self._json(receive, headers)
        rows = body.get("rows") if isinstance(body, dict) else None
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            raise invalid([{"row": 0, "field": "rows", "message": "must be a list of at least one object: column name -> value"}])
        if len(rows) > MAX_ROWS:
            raise Refused(413, f"{len(rows)} rows in one request; at most {MAX_ROWS}: score more with `windtunnel predict`")
        wanted, key = _wanted(headers), _text(headers.get(b"x-windtunnel-key"))
        identity = _identity(headers) or self.service.new_id()
        found = self.service.find(model, wanted, key, rows)
        answer = await self._timed(self.service.predict(found, rows, None, identity, "json", began))
        return (
            200,
            {
                "id": answer.id,
                "model": model,
                "version": answer.version,
                "route": answer.route,
                "predictions": answer.rows,
            },
            ((b"x-request-id", answer.id.encode("latin-1", "replace")),),
        )

    async def _infer(
        self, model: str, version: str, headers: Headers, receive: Receive, began: float
    ) -> tuple[int, Any, tuple[tuple[bytes, bytes], ...]]:
        raw = await self._body(receive, headers)
        request = v2.parse_http(raw, headers.get(b"inference-header-content-length"))
        identity = request.id or _identity(headers) or self.service.new_id()
        served = self.service.models.get(model)
        rows = request.rows()
        if len(rows) > MAX_ROWS:
            raise Refused(413, f"{len(rows)} rows in one request; at most {MAX_ROWS}: score more with `windtunnel predict`")
        found = self.service.find(model, version or _wanted(headers), _text(headers.get(b"x-windtunnel-key")), rows)
        columns = request.columns(served.engines[found[2]].bundle.inputs)
        answer = await self._timed(self.service.predict(found, rows, columns, identity, "http", began))
        body, length = v2.response_http(answer, request)
        more: tuple[tuple[bytes, bytes], ...] = ((b"x-request-id", answer.id.encode("latin-1", "replace")),)
        if length is not None:
            more = (*more, (b"content-type", b"application/octet-stream"), (b"inference-header-content-length", str(length).encode()))
        return 200, body, more

    async def _timed(self, work: Awaitable[Any]) -> Any:
        if self.service.shed():
            self.service.metrics.shed("lag")
            close = getattr(work, "close", None)
            if close is not None:
                close()
            raise Refused(503, f"the server is {self.service.lag:.1f} s behind; try again in a second", ((b"retry-after", b"1"),))
        return await work

    # Repository and routes ----------------------------------------------------------------------------------------------------------

    async def _route(
        self, caller: Caller, method: str, model: str, receive: Receive, headers: Headers
    ) -> tuple[int, Any, tuple[tuple[bytes, bytes], ...]]:
        if method == "GET":
            self._may(caller, model)
            self.service.models.get(model)
            found = self.service.models.store.read()["models"].get(model, {})
            return 200, {"labels": found.get("labels", {}), "route": found.get("route", {})}, ()
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
        try:
            return json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise Refused(400, f"the body is not JSON: {error}") from error

    async def _body(self, receive: Receive, headers: Headers) -> bytes:
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.max_body:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_drained(receive), 5.0)
            raise Refused(413, f"the body has {length.decode('latin-1')} bytes; at most {self.max_body}")
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the client went away")
        if not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > self.max_body:
                raise Refused(413, f"the body has more than {self.max_body} bytes")
            return body
        return await asyncio.wait_for(self._rest(receive, [message.get("body", b"")]), self.timeout)

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


def _wanted(headers: Headers) -> str:
    return _text(headers.get(b"x-windtunnel-version")) or ""


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _identity(headers: Headers) -> str:
    value = headers.get(b"x-request-id", b"")
    return value[:200].decode("latin-1") if value.isascii() else ""
