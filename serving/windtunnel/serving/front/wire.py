"""The server's HTTP connections: uvicorn's, with a short way for predictions that need nothing from anybody else.

A request for a prediction by a compiled model is answered as soon as its last byte is read, in the same turn of the event loop, with one
write: no task, no ASGI messages. All other requests take uvicorn's ordinary way to the same application. Connections that send too slowly,
or nothing, are closed by `sweep`, so that they cost no timer each.
"""

import math
import time
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from windtunnel.serving.front.rest import Application

__all__ = ["connections_for", "sweep"]

_MOST_BODY = 65536
_NEVER = math.inf
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def connections_for(application: Application) -> type["_Wire"]:
    """The protocol class for uvicorn's option ``http``, bound to one application."""
    return type("Wire", (_Wire,), {"application": application})


def sweep(connections: Iterable[Any], idle: float, slow: float) -> None:
    """Close connections that have been idle, or within one request, for too many seconds; called every second or so."""
    now = time.monotonic()
    for connection in list(connections):
        if isinstance(connection, _Wire):
            connection.close_if_overdue(now, idle, slow)


class _Wire(HttpToolsProtocol):
    application: Application

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._target: tuple[str, str, str] | None = None
        self._parts: list[bytes] = []
        self._reading = True
        self._since = time.monotonic()
        self._began = 0.0
        self._leaving = False

    # What the parser reports ---------------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._target, self._parts = None, []
        self._reading, self._since = True, time.monotonic()

    def on_headers_complete(self) -> None:
        free = self.cycle is None or self.cycle.response_complete
        if (
            free
            and not self.expect_100_continue
            and not self.pipeline
            and not self.flow.write_paused
            and self.parser.get_method() == b"POST"
        ):
            self._target = self.application.target(self.url)
        if self._target is None or self.parser.get_http_version() != "1.1" or self.parser.should_upgrade():
            self._ordinary()
        self._began = time.perf_counter()

    def on_body(self, body: bytes) -> None:
        if self._target is None:
            super().on_body(body)
            return
        self._parts.append(body)
        if sum(map(len, self._parts)) > _MOST_BODY:
            self._ordinary()

    def on_message_complete(self) -> None:
        if self._target is None:
            super().on_message_complete()
            return
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        answer = self.application.quick(self._target, self.headers, body, self._began)
        if answer is None:
            self._ordinary()
            super().on_message_complete()
            return
        stays = self.parser.should_keep_alive() and not self._leaving
        self.transport.write(b"".join((*answer[:-1], b"\r\n" if stays else b"connection: close\r\n\r\n", answer[-1])))
        self._target = None
        self._reading, self._since = False, time.monotonic()
        self.server_state.total_requests += 1
        if not stays:
            self.transport.close()

    # Ways out ------------------------------------------------------------------------------------------------------------------------

    def _ordinary(self) -> None:
        """Go uvicorn's way with this request, whatever was read of it so far."""
        url, headers, expects, parts = self.url, self.headers, self.expect_100_continue, self._parts
        self._target, self._parts, self._since = None, [], _NEVER
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        self.scope["headers"] = headers
        super().on_headers_complete()
        for part in parts:
            super().on_body(part)

    def shutdown(self) -> None:
        if self._target is not None:
            self._leaving = True
        else:
            super().shutdown()

    def close_if_overdue(self, now: float, idle: float, slow: float) -> None:
        """Close the connection if it has been idle, or sending one request, for too long."""
        if now - self._since <= (slow if self._reading else idle) or self.transport.is_closing():
            return
        if self._target is not None or self.url_begun():
            self.transport.write(_TOO_SLOW)
        self.transport.close()

    def url_begun(self) -> bool:
        """Whether a part of a request has arrived."""
        return self._reading and bool(getattr(self, "url", b""))
