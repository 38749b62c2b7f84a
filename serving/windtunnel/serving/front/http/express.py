"""Requests for one plain row, whole: a body to a reply, without anything between that a thousand requests have in common.

What is not the plain case goes the ordinary way: by `windtunnel.serving.front.http.predicting`, which also says what is wrong.
"""

from windtunnel.serving.base import quickjson
from windtunnel.serving.front import v2
from windtunnel.serving.front.http.formats import JSON_KINDS, kind_of
from windtunnel.serving.front.http.messages import Headers, header_of
from windtunnel.serving.front.http.plain_forms import FORMS, Form
from windtunnel.serving.front.http.raw_tensors import RawTensors
from windtunnel.serving.routing.lane import SIMPLE, Lane
from windtunnel.serving.routing.service import Service

__all__ = ["Express", "form_of"]


def form_of(lane: Lane, protocol: str, headers: Headers) -> Form | None:
    """The form of requests with some headers; None where none of them is plain."""
    if protocol == "mlflow" and kind_of(headers) not in JSON_KINDS:
        return None
    length = headers.get(b"inference-header-content-length")
    if protocol != "http" or length is None:
        return FORMS[protocol](lane) if protocol in FORMS else None
    plain = length.isdigit() and len(length) <= v2.MOST_DIGITS and lane.engine.bundle.task in SIMPLE
    return RawTensors(lane, int(length)) if plain else None


class Express:
    """What one head asks for, whose requests differ in their bodies only.

    Args:
        service: counts ids.
        form: reads and writes.
        identity: the id that the head has, or nothing.
    """

    def __init__(self, service: Service, form: Form, identity: str) -> None:
        self._service, self._form = service, form
        self._identity = (quickjson.encode(identity), header_of(identity)) if identity else None
        self._models, self._served = service.models, service.models.served

    def reply(self, body: bytes, began: float) -> bytes | None:
        """The whole reply to a request; None where it has to go the ordinary way."""
        form = self._form
        row = form.read(body) if self._models.served is self._served else None
        if row is None:
            return None
        identity, header = self._identity or self._new_id()
        answer = form.lane.answer(row, identity, began)
        if answer is None:
            return None
        content, kind = form.write(*answer, identity)
        return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n\r\n%b" % (
            kind,
            len(content),
            header,
            content,
        )

    def _new_id(self) -> tuple[bytes, bytes]:
        identity = self._service.new_id().encode()
        return b'"%b"' % identity, identity
