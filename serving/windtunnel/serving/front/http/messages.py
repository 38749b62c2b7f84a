"""One HTTP request, whole, and one reply: what connections hand to routes and get back."""

import dataclasses
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from windtunnel.lifecycle.contract.errors import WindtunnelError
from windtunnel.serving.base import quickjson
from windtunnel.serving.base.values import InvalidInputError, invalid
from windtunnel.serving.front.access import Caller
from windtunnel.serving.routing.service import status_of

__all__ = ["JSON", "Ask", "Headers", "Refused", "Reply", "failure", "header_of", "json_of", "parsed", "raw_reply", "text_of"]

Headers = Mapping[bytes, bytes]
Pairs = tuple[tuple[bytes, bytes], ...]

JSON = b"application/json"
RETRY: Pairs = ((b"retry-after", b"1"),)
_UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE.value
_OPENINGS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: ".encode() for status in HTTPStatus}
_LONGEST_ID = 200
log = logging.getLogger("windtunnel.server")


class Refused(Exception):  # a way out of a handler, not an error of ours
    """Ends a request with a status and an error text.

    Args:
        status: of the reply.
        text: what is wrong and what to do.
        headers: of the reply, beside its type and length.
    """

    def __init__(self, status: int, text: str, headers: Pairs = ()) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


@dataclasses.dataclass(slots=True)
class Ask:
    """A request for a prediction, as every route of that kind gets it.

    Attributes:
        headers: by lower-case name; of a name that came twice the last.
        body: all of it, without its content coding.
        began: when it arrived, by `time.perf_counter`.
        model: the model that the URL names, or nothing.
        version: the version that the URL names, or nothing.
        caller: who is calling.
    """

    headers: Headers
    body: bytes
    began: float
    model: str
    version: str
    caller: Caller

    @property
    def wanted(self) -> str:
        """The version or label that is asked for; empty leaves it to the route."""
        return self.version or text_of(self.headers.get(b"x-windtunnel-version")) or ""

    @property
    def key(self) -> str | None:
        """What makes the choice of an arm stick."""
        return text_of(self.headers.get(b"x-windtunnel-key"))

    @property
    def identity(self) -> str:
        """The request's id by its header, or nothing."""
        value = self.headers.get(b"x-request-id")
        return value[:_LONGEST_ID].decode() if value and value.isascii() else ""


@dataclasses.dataclass(slots=True)
class Reply:
    """What a request gets.

    Attributes:
        status: HTTP's.
        content: the body.
        kind: its media type.
        headers: beside type and length.
    """

    status: int
    content: bytes
    kind: bytes = JSON
    headers: Pairs = ()


def json_of(value: Any, status: int = 200, headers: Pairs = ()) -> Reply:
    """A reply of JSON."""
    return Reply(status, quickjson.dumps(value), JSON, headers)


def raw_reply(reply: Reply, *, stays: bool, head_only: bool = False) -> bytes:
    """A reply as the bytes of HTTP/1.1.

    Args:
        reply: what to say.
        stays: whether the connection is kept for a next request.
        head_only: leave the body out, as the answer to HEAD.
    """
    more = b"".join([b"%s: %s\r\n" % pair for pair in reply.headers]) if reply.headers else b""
    end = b"\r\n" if stays else b"connection: close\r\n\r\n"
    return b"%s%s\r\ncontent-length: %d\r\n%s%s%s" % (
        _OPENINGS[reply.status],
        reply.kind,
        len(reply.content),
        more,
        end,
        b"" if head_only else reply.content,
    )


def failure(error: BaseException, path: str) -> Reply:
    """The reply for what went wrong, whatever it is: a JSON object with ``error``, and ``problems`` where fields are at fault."""
    match error:
        case Refused():
            return json_of({"error": error.text}, error.status, error.headers)
        case InvalidInputError():
            return json_of({"error": str(error), "problems": error.problems}, status_of(error))
        case WindtunnelError():
            status = status_of(error)
            return json_of({"error": str(error)}, status, RETRY if status == _UNAVAILABLE else ())
        case TimeoutError():
            return json_of({"error": "the request took too long"}, HTTPStatus.GATEWAY_TIMEOUT)
        case _:
            log.error("a request to %s failed", path, exc_info=error)
            return json_of({"error": "the server failed; its log says more"}, HTTPStatus.INTERNAL_SERVER_ERROR)


def parsed(raw: bytes) -> Any:
    """The values of a JSON body.

    Raises:
        Refused: it is no JSON.
        InvalidInputError: it is what some readers take for JSON: UTF-16, infinities, a key that is there twice.
    """
    try:
        return quickjson.strict(raw)
    except quickjson.NotStrictError as error:
        raise invalid([{"row": error.place, "field": error.field, "message": error.text}]) from error
    except (ValueError, RecursionError) as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from error


def header_of(identity: str) -> bytes:
    r"""An id as the value of a header: what may not stand there is percent-encoded.

    Example:
        >>> header_of("a b"), header_of("a\r\nb: c")
        (b'a b', b'a%0D%0Ab%3A%20c')
    """
    return (identity if identity.isascii() and identity.isprintable() else quote(identity, errors="replace")).encode()


def text_of(value: bytes | None) -> str | None:
    """A header's value as text."""
    return None if value is None else value.decode("latin-1")
