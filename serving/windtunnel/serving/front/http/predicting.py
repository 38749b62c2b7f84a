"""The hot routes: a body becomes rows or columns, the service answers, the answer becomes a body again. One `Codec` a protocol."""

import asyncio
import dataclasses
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from windtunnel.serving.base import batch as batches
from windtunnel.serving.base import quickjson
from windtunnel.serving.base.batch import Batch
from windtunnel.serving.base.values import Schema, invalid
from windtunnel.serving.compiler.explain import explain
from windtunnel.serving.front import v2
from windtunnel.serving.front.http.messages import JSON, RETRY, Ask, Refused, Reply, header_of, parsed
from windtunnel.serving.routing.answer import Answer
from windtunnel.serving.routing.models import Served
from windtunnel.serving.routing.router import Unknown
from windtunnel.serving.routing.service import MAX_ROWS, Service, Target
from windtunnel.serving.routing.work import INLINE_BYTES

if TYPE_CHECKING:
    from windtunnel.lifecycle.payload import JsonObject

__all__ = ["Asked", "Codec", "Explained", "Predicting", "Rows", "Tensors"]


@dataclasses.dataclass(slots=True)
class Asked:
    """What a body asks for.

    Attributes:
        batch: the rows, in the shape in which they were sent.
        identity: the request's id.
        found: the model, arm and version that are to answer.
        extra: what the codec needs again to write the answer.
    """

    batch: Batch
    identity: str
    found: Target
    extra: Any = None


class Codec(Protocol):
    """One way to ask for predictions over HTTP; `Predicting` calls `read`, then the service, then `write`.

    Attributes:
        protocol: its name in log and metrics.
        explains: whether answers say what each column contributed, which is far more work.
    """

    protocol: str
    explains: bool

    def read(self, ask: Ask, service: Service) -> Asked:
        """What is asked.

        Raises:
            WindtunnelError, Refused: it is not as the protocol has it.
        """

    def write(self, answer: Answer, asked: Asked) -> Reply:
        """The answer as the protocol has it."""


class Rows:
    """``{"rows": [{column: value}]}``, the project's own way."""

    protocol = "json"
    explains = False

    def read(self, ask: Ask, service: Service) -> Asked:
        """Rows as JSON objects."""
        return self.asked(parsed(ask.body), ask, service)

    @staticmethod
    def asked(body: Any, ask: Ask, service: Service) -> Asked:
        """The rows of a body that was parsed already."""
        rows = body.get("rows") if isinstance(body, dict) else None
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            raise invalid([{"row": 0, "field": "rows", "message": "must be a list of at least one object: column name -> value"}])
        return asked_of(batches.Rows(rows), ask, service)

    def write(self, answer: Answer, asked: Asked) -> Reply:
        """One object a row, and who answered."""
        return said(answer, answer.json())


class Explained(Rows):
    """As `Rows`, and with what each column contributed."""

    explains = True

    def write(self, answer: Answer, asked: Asked) -> Reply:
        """One object a row with ``base`` and ``contributions``; some hundred times the work of an answer, so not for the event loop."""
        why = explain(answer.engine, asked.batch.rows(), answer.scores)
        return said(answer, quickjson.dumps([{**row, **reasons} for row, reasons in zip(answer.rows, why, strict=True)]))


class Tensors:
    """The Open Inference Protocol v2, as JSON or with raw bytes."""

    protocol = "http"
    explains = False

    def read(self, ask: Ask, service: Service) -> Asked:
        """One tensor a column, or one matrix of all columns."""
        request = v2.parse_http(ask.body, ask.headers.get(b"inference-header-content-length"))
        asked = asked_of(request.batch(lambda: schema_of(ask, service)), ask, service, request)
        asked.identity = request.id or asked.identity
        return asked

    def write(self, answer: Answer, asked: Asked) -> Reply:
        """One tensor an output column."""
        body, length = v2.response_http(answer, asked.extra)
        if length is None:
            return Reply(200, body, JSON, identified(answer))
        headers = (*identified(answer), (b"inference-header-content-length", str(length).encode()))
        return Reply(200, body, b"application/octet-stream", headers)


def schema_of(ask: Ask, service: Service) -> Schema:
    """What the version that answers takes, as far as that is known before the rows are."""
    served, _, version = service.find(ask.model, ask.wanted, ask.key)
    return served.engines[version].schema


def asked_of(batch: Batch, ask: Ask, service: Service, extra: object = None) -> Asked:
    """What rows ask for, once it is known which model is to answer them.

    Raises:
        Refused: they are too many: a batch job's business.
    """
    if batch.count > MAX_ROWS:
        text = f"{batch.count} rows in one request; at most {MAX_ROWS}: score more with `windtunnel predict`"
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
    found = service.find(ask.model, ask.wanted, ask.key, batch)
    return Asked(batch, ask.identity or service.new_id(), found, extra)


def said(answer: Answer, predictions: bytes) -> Reply:
    """One object a row, who answered, and what was guessed if anything was."""
    about: JsonObject = {"id": answer.id, "model": answer.model, "version": answer.version, "route": answer.route}
    if answer.guesses:
        about["guesses"] = answer.guesses.to_dict()
    return Reply(200, quickjson.dumps(about)[:-1] + b',"predictions":' + predictions + b"}", JSON, identified(answer))


def identified(answer: Answer) -> tuple[tuple[bytes, bytes]]:
    """The header that says the request's id."""
    return ((b"x-request-id", header_of(answer.id)),)


class Predicting:
    """Answers the hot routes of one worker.

    Args:
        service: what answers, whatever the protocol.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    def at_once(self, codec: Codec, ask: Ask) -> Reply | None:
        """The reply to a request that waits for nothing; None where it must wait, for which there is `in_turn`."""
        service = self._service
        served = self._allowed(ask)
        if served.queues or codec.explains or service.log.sync:
            return None
        asked = codec.read(ask, service)
        if service.is_large(asked.found, asked.batch):
            return None
        answer = service.answer(asked.found, asked.batch, asked.identity, codec.protocol, ask.began)
        return codec.write(answer, asked)

    def target(self, ask: Ask) -> Target:
        """What would answer a request, as far as that is known before its rows are.

        Raises:
            WindtunnelError, Refused: nothing would.
        """
        self._allowed(ask)
        return self._service.find(ask.model, ask.wanted, ask.key)

    async def in_turn(self, codec: Codec, ask: Ask) -> Reply:
        """The reply to a request, however long it takes."""
        self._allowed(ask)
        large = len(ask.body) > INLINE_BYTES  # read, and the answer written, beside the event loop
        asked = await self._service.work.run(codec.read, ask, self._service) if large else codec.read(ask, self._service)
        answer = await self._service.predict(asked.found, asked.batch, asked.identity, codec.protocol, ask.began)
        if codec.explains:
            return await asyncio.to_thread(codec.write, answer, asked)
        if large:
            return await self._service.work.run(codec.write, answer, asked)
        return codec.write(answer, asked)

    def _allowed(self, ask: Ask) -> Served:
        """The model that is asked for, where the caller may use it and the worker is not behind."""
        service, caller = self._service, ask.caller
        if not ask.model:
            ask.model = only_model(service, ask)
        if not caller.may(ask.model):
            raise Refused(HTTPStatus.FORBIDDEN, f"this token may not use model {ask.model!r}")
        served = service.models.served.get(ask.model)
        if served is None:
            raise no_model(service, ask.model, caller.models)
        if service.shed():
            service.metrics.shed("lag")
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"the server is {service.lag:.1f} s behind; try again in a second", RETRY)
        return served


def only_model(service: Service, ask: Ask) -> str:
    """The model of a route that names none: that of the header X-Windtunnel-Model, or the only one that the caller may use.

    Raises:
        Refused: there are several, or none.
    """
    wanted = ask.headers.get(b"x-windtunnel-model")
    if wanted is not None:
        return wanted.decode("latin-1")
    names = [name for name in service.models.served if ask.caller.may(name)]
    if len(names) != 1:
        text = f"this URL names no model, and there are {len(names)}: say which by the header X-Windtunnel-Model, or ask /models/MODEL/..."
        raise Refused(HTTPStatus.NOT_FOUND, text)
    return names[0]


def no_model(service: Service, model: str, may: frozenset[str]) -> Unknown:
    """The error for a model that is not served; names those that the caller may use, and no others."""
    known = sorted(name for name in service.models.served if "*" in may or name in may)
    return Unknown(f"no model {model!r}", hint=f"models: {', '.join(known) or 'none'}")
