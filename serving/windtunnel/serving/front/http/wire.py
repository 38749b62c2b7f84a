"""Connections: HTTP/1.1 on asyncio's own protocols, with a limit to everything that a client may make a worker keep.

A request for a prediction that waits for nothing is answered as soon as its last byte is read, in the same turn of the event loop, with one
write. All others are a task each; while one runs, the connection's next request waits unread. Clients mostly send the same head again and
again, so heads are parsed once and looked up by their bytes.
"""

import array
import asyncio
import contextlib
import dataclasses
import fcntl
import functools
import termios
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

from windtunnel.serving.front.http.application import Application, Target
from windtunnel.serving.front.http.express import Express
from windtunnel.serving.front.http.framing import MOST_HEAD, Chunks, Head, check_size, head_of
from windtunnel.serving.front.http.messages import RETRY, Refused, Reply, failure, raw_reply
from windtunnel.serving.routing.work import INLINE_BYTES

__all__ = ["Budget", "Connection", "Connections"]

_MOST_HEADS = 512
_MOST_KNOWN_HEAD = 2048
_MOST_DRAINED = 64_000_000
_IDLE = 75.0
_DEAF = 0.2  # until the supervisor has surely stopped new connections
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Budget:
    """Bytes of all bodies that are being read or answered at once.

    Args:
        most: of them together.
    """

    def __init__(self, most: int = 256_000_000) -> None:
        self._most = most
        self.taken = 0

    def take(self, size: int) -> None:
        """Take some.

        Raises:
            Refused: there is not so much left.
        """
        # the first is always taken, however large: its own limit is that of one body, and else it could never be answered
        if self.taken and self.taken + size > self._most:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "too many large requests at once; try again in a second", RETRY)
        self.taken += size


@dataclasses.dataclass(slots=True)
class _Known:
    """A head that was read before.

    Attributes:
        head: what it says.
        target: its hot route, if it has one.
        express: the short way of its requests, if they have one.
        served: the state that the short way was sought in.
    """

    head: Head
    target: Target | None
    express: Express | None = None
    served: object = None


class Connections:
    """The connections of one worker.

    Args:
        application: what answers.
        slow: seconds that a request may take to arrive, or an answer to be taken.
        most: connections at once; one more is told 503 and closed.

    Attributes:
        leaving: whether the worker is about to end: every answer says ``Connection: close``.
        requests: how many were answered.
    """

    def __init__(self, application: Application, slow: float = 30.0, most: int = 4096) -> None:
        self.application = application
        self.budget = Budget()
        self.leaving = False
        self.requests = 0
        self.open: set[Connection] = set()
        self.most = most
        self.slow = slow
        self._heads: dict[bytes, _Known] = {}

    def __call__(self) -> "Connection":
        """A protocol for a new connection."""
        return Connection(self)

    def head(self, raw: bytes) -> "_Known":
        """A head and its hot route, parsed once for all requests that have the same."""
        known = self._heads.get(raw)
        if known is None:
            head = head_of(raw)
            known = _Known(head, self.application.target(head.url))
            # A bounded memory of heads: clients repeat theirs, and one that sends ever new ones must not fill it.
            if len(raw) <= _MOST_KNOWN_HEAD:
                if len(self._heads) >= _MOST_HEADS:
                    # all at once: those in use come back with their next request, and no order of use has to be kept for each
                    self._heads.clear()
                self._heads[raw] = known
        return known

    def express(self, known: "_Known") -> Express | None:
        """The short way of a head, sought once a swap; None where it has none now."""
        service = self.application.service
        if known.target is None or service.shed():
            return None
        # A swap puts a new mapping in place, so identity says whether the short way is still that of what is served.
        if known.served is not service.models.served:
            known.served, known.express = service.models.served, self.application.express(known.head, known.target)
        return known.express

    def sweep(self) -> None:
        """Close connections that say nothing, or send or take too slowly; called every second or so."""
        now = time.monotonic()
        # A copy: closing takes a connection out of the set.
        for connection in list(self.open):
            connection.close_if_overdue(now, _IDLE, self.slow)

    async def leave(self, stop: Callable[[], None], drain: float, linger: float = 1.0, patience: float = 10.0) -> None:
        """Answer what still comes, each with ``Connection: close``, then close what is idle and finish the rest.

        The supervisor lets no new connection in after ``drain`` seconds; those that were on their way are still taken, and answered.

        Args:
            stop: ends the taking of new connections, for which it is time when nobody is left or the time is over.
            drain: seconds in which new connections are taken as ever: a balancer has to notice first.
            linger: seconds more, which end with the last connection.
            patience: seconds for what is under way.
        """
        self.leaving = True
        await asyncio.sleep(drain + _DEAF)
        await self._until(lambda: not self.open, linger)
        # only now: closing the listener resets whoever was let in by the kernel but not taken yet
        stop()
        for connection in list(self.open):
            connection.close_if_idle()
        await self._until(lambda: not self.open, patience)
        for connection in list(self.open):
            connection.abort()

    @staticmethod
    async def _until(so: Callable[[], bool], seconds: float) -> None:
        ends = time.monotonic() + seconds
        while not so() and time.monotonic() < ends:  # noqa: ASYNC110 - of many connections, each ends by itself
            await asyncio.sleep(0.02)


class Connection(asyncio.Protocol):
    """One connection.

    Args:
        connections: all of them.
    """

    def __init__(self, connections: Connections) -> None:
        self._all = connections
        self._app = connections.application
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._known: _Known | None = None
        self._parts: list[bytes] = []
        self._size = 0  # bytes of the body so far
        self._chunks: Chunks | None = None
        self._taken = 0  # of the budget
        self._dropping = -1  # bytes that may still be dropped; -1 where the body is wanted
        self._task: asyncio.Task[Reply] | None = None
        self._blocked = False
        self._paused = False
        self._ended = False
        self._fresh = True
        self._since = time.monotonic()

    # What asyncio calls ---------------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has no such base
        if len(self._all.open) >= self._all.most:
            self._app.service.metrics.shed("connections")
            self._refuse(Refused(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections; try again in a second", RETRY))
        # also one that is refused: it is swept, and counted, until it has gone
        self._all.open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone, and with it whoever waited for an answer."""
        self._all.open.discard(self)
        # a protocol is told of the loss whichever way the connection ended: what it took of the budget must come back here
        self._give_back()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """The client takes its answers too slowly: no more are made for it."""
        self._blocked, self._since = True, time.monotonic()

    def resume_writing(self) -> None:
        """The client took them."""
        self._blocked, self._since = False, time.monotonic()
        self._advance()

    def eof_received(self) -> bool:
        """The client sends no more; what it asked is answered, if it still reads."""
        self._ended = True
        # true keeps the half that is written open: clients may shut their side down after the request and still read
        return self._task is not None

    def data_received(self, data: bytes) -> None:
        """Some bytes came."""
        if self._dropping >= 0:
            self._drop(data)
            return
        # time runs from the first byte of a request: one byte every few seconds must not start it again
        if not self._buffer and self._known is None:
            self._since = time.monotonic()
        # mostly a request comes whole: then nothing is joined
        self._buffer = self._buffer + data if self._buffer else bytes(data)
        self._advance()

    # One request after the other ------------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Go on with what was read, until more is needed or an answer is waited for."""
        try:
            while self._buffer and self._task is None and not self._blocked and self._dropping < 0:
                if self._known is None and not self._read_head():
                    return
                if not self._read_body():
                    return
                self._reply()
            self._pace()
        except Refused as refused:
            self._refuse(refused)

    def _pace(self) -> None:
        """Let pipelined requests wait where they are while there is enough to do."""
        # TCP itself makes the client wait: what is not read stays in its own buffers.
        full = len(self._buffer) > MOST_HEAD
        if self._transport is None or full == self._paused or self._transport.is_closing():
            return
        self._paused = full
        if full:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _read_head(self) -> bool:
        """Whether the head is there; then ``_known`` is it."""
        buffer = self._buffer
        # bounded: a head that trickles in would otherwise be searched from its beginning, without end
        end = buffer.find(b"\r\n\r\n", 0, MOST_HEAD)
        if end < 0:
            if buffer.startswith(b"\r\n"):  # some clients send one more line after a body
                self._buffer = buffer.lstrip(b"\r\n")
                return bool(self._buffer) and self._read_head()
            check_size(buffer)
            if b"\n\n" in buffer:
                raise Refused(HTTPStatus.BAD_REQUEST, "the request is not HTTP/1.1: lines end with CR LF")
            return False
        raw, self._buffer = buffer[: end + 4], buffer[end + 4 :]
        self._known = self._all.head(raw.lstrip(b"\r\n") if raw[:1] == b"\r" else raw)
        if self._known.head.length:
            self._begin_body(self._known.head)
        return True

    def _begin_body(self, head: Head) -> None:
        """Look at what is to come before any of it is kept: strangers' large bodies and too large ones are dropped."""
        if head.length > self._app.max_body:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has {head.length} bytes; at most {self._app.max_body}")
        missing = head.length - len(self._buffer)
        # The token is asked for before memory is given away; small bodies are there already, and are judged with the answer.
        if head.length < 0 or head.expects or missing > INLINE_BYTES:
            self._app.caller(head.headers)
        if head.length < 0:
            self._chunks = Chunks()
        elif missing > 0:
            self._take(head.length)
        # After the checks: who is refused never sends the body.
        if head.expects and missing and self._transport is not None:
            self._transport.write(_CONTINUE)

    def _read_body(self) -> bool:
        """Whether the body is there; then ``_parts`` are it, and the buffer is what follows."""
        assert self._known is not None  # see _advance
        length = self._known.head.length
        if self._chunks is not None:
            return self._read_chunks(self._chunks)
        part = self._buffer
        if self._size + len(part) > length:
            part, self._buffer = part[: length - self._size], part[length - self._size :]
        else:
            self._buffer = b""
        self._parts.append(part)
        self._size += len(part)
        return self._size == length

    def _read_chunks(self, chunks: Chunks) -> bool:
        part = chunks.feed(self._buffer)
        self._buffer = b""
        if part:
            self._take(len(part))
            self._parts.append(part)
            self._size += len(part)
        if self._size > self._app.max_body:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {self._app.max_body} bytes")
        if chunks.ended:
            self._buffer, self._chunks = chunks.rest, None
        return chunks.ended

    def _take(self, size: int) -> None:
        self._all.budget.take(size)
        self._taken += size

    def _give_back(self) -> None:
        self._all.budget.taken -= self._taken
        self._taken = 0

    # Answers --------------------------------------------------------------------------------------------------------------------------

    def _reply(self) -> None:
        """Answer the request that was read, at once or by a task."""
        assert self._known is not None  # see _advance
        head, target, body, began = self._known.head, self._known.target, b"".join(self._parts), time.perf_counter()
        self._parts = []
        express = self._all.express(self._known)
        if express is not None and self._stays(head):
            sent = express.reply(body, began)
            if sent is not None:
                self._send(sent)
                return
        if target is not None and len(body) <= INLINE_BYTES:
            reply = self._app.at_once(target, head.method, head.headers, body, began)
            if reply is not None:
                self._write(head, reply)
                return
        self._task = asyncio.get_running_loop().create_task(self._app.answer(head.method, head.url, head.headers, body, began))
        self._task.add_done_callback(functools.partial(self._answered, head))

    def _answered(self, head: Head, task: "asyncio.Task[Reply]") -> None:
        # cancelled by the loss of the connection: nobody is left to be answered
        if task.cancelled() or self._transport is None:
            return
        # asked for in any case: an exception that nobody takes is logged by asyncio when the task is collected
        self._task = None
        error = task.exception()
        self._write(head, task.result() if error is None else failure(error, head.url.decode("latin-1")))
        if not self._transport.is_closing():
            self._advance()

    def _write(self, head: Head, reply: Reply) -> None:
        """Send a reply; the connection is ready for the next request, or closed."""
        stays = self._stays(head)
        if head.persists and stays:
            reply.headers = (*reply.headers, (b"connection", b"keep-alive"))
        self._send(raw_reply(reply, stays=stays, head_only=head.method == "HEAD"))
        if not stays:
            self._close()

    def _stays(self, head: Head) -> bool:
        """Whether the connection is kept for a next request."""
        return head.stays and not self._all.leaving and not self._ended

    def _send(self, raw: bytes) -> None:
        """Send the bytes of a reply, and forget its request."""
        assert self._transport is not None  # a connection that is not made reads nothing
        self._transport.write(raw)
        self._all.requests += 1
        self._fresh = False
        self._known, self._size, self._since = None, 0, time.monotonic()
        if self._taken:
            self._give_back()

    def _refuse(self, refused: Refused) -> None:
        """Answer what cannot be read on; the rest of it is dropped for a while, or the client would see a reset and no answer."""
        assert self._transport is not None
        reply = failure(refused, "")
        self._app.ended("", reply.status)
        head_only = self._known is not None and self._known.head.method == "HEAD"
        self._transport.write(raw_reply(reply, stays=False, head_only=head_only))
        self._parts, self._buffer, self._chunks = [], b"", None
        self._give_back()
        self._dropping, self._since = _MOST_DRAINED, time.monotonic()
        # the client sees the end of the answer at once, while what it still sends is read and dropped
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:  # TLS has no half of a connection
            asyncio.get_running_loop().call_later(1.0, self._transport.close)

    def _drop(self, data: bytes) -> None:
        self._dropping -= len(data)
        # more than anybody sends by mistake: then a reset is what it gets
        if self._dropping < 0 and self._transport is not None:
            self._transport.abort()

    # Ways out -------------------------------------------------------------------------------------------------------------------------

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def _stuck(self) -> bool:
        """Whether the client takes no answer, or sends on what is dropped."""
        return self._blocked or self._dropping >= 0

    @property
    def _idle(self) -> bool:
        """Whether nothing of a request is here."""
        return self._task is None and self._known is None and not self._buffer

    def close_if_idle(self) -> None:
        """Close unless a request is being read or answered, or lies in the socket unread: it will be, and is answered.

        To close a socket with something unread resets the connection: the client would not know whether it was heard.
        """
        if self._idle and not self._unread():
            self._close()

    def _unread(self) -> bool:
        """Whether bytes came that the loop has not read yet."""
        found = self._transport.get_extra_info("socket") if self._transport is not None else None
        waiting = array.array("i", [0])
        with contextlib.suppress(OSError):
            fcntl.ioctl(-1 if found is None else found.fileno(), termios.FIONREAD, waiting)
        return waiting[0] > 0

    def close_if_overdue(self, now: float, idle: float, slow: float) -> None:
        """Close if it has been idle, sending one request, or taking one answer for too long."""
        if self._task is not None or self._transport is None or self._transport.is_closing():
            return
        # one that has never sent anything gets the shorter time of a request, which it still owes
        waits = self._idle and not self._stuck and not self._fresh
        if now - self._since <= (idle if waits else slow):
            return
        if self._stuck:
            self.abort()
        elif self._idle:
            self.close_if_idle()
        else:
            self._refuse(Refused(HTTPStatus.REQUEST_TIMEOUT, f"the request took more than {slow:g} s to arrive"))
