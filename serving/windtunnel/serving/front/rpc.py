"""gRPC: the Open Inference Protocol v2 and its repository extension, on the same event loop and models as HTTP."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from grpc import aio

from windtunnel.lifecycle.contract.errors import UnavailableError, WindtunnelError
from windtunnel.lifecycle.payload import JsonMapping
from windtunnel.serving.base.options import Options
from windtunnel.serving.base.values import InvalidInputError, Schema, invalid
from windtunnel.serving.front import v2
from windtunnel.serving.front.access import Access, Caller
from windtunnel.serving.front.rpc_rows import CONTENTS, PlainRows
from windtunnel.serving.protocol import open_inference_pb2 as pb
from windtunnel.serving.routing.answer import Answer
from windtunnel.serving.routing.models import Served
from windtunnel.serving.routing.repository import Repository
from windtunnel.serving.routing.router import Unknown
from windtunnel.serving.routing.service import MAX_ROWS, Service, Target, status_of
from windtunnel.serving.routing.work import INLINE_BYTES, Work

__all__ = ["start"]

log = logging.getLogger("windtunnel.server")

_OK, _UNAVAILABLE = 200, 503  # statuses are HTTP's words until they leave
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ABORTED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


async def start(service: Service, access: Access, options: Options) -> aio.Server:
    """A gRPC server that is listening; every worker listens on the same port."""
    limits = [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", options.max_body),
        ("grpc.max_send_message_length", 64_000_000),
    ]
    server = aio.server(options=limits, maximum_concurrent_rpcs=512)
    server.add_generic_rpc_handlers((_handler(_Servicer(service, access, options.timeout)),))
    host = f"[{options.host}]" if ":" in options.host else options.host
    address = f"{host}:{options.grpc_port}"
    if options.tls_certificate:
        server.add_secure_port(address, _credentials(options))
    else:
        server.add_insecure_port(address)
    await server.start()
    return server


def _handler(servicer: "_Servicer") -> object:
    """The servicer's methods under the standard's name of the service."""
    methods = {}
    for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
        call, kind, answer = getattr(servicer, method.name), getattr(pb, method.input_type.name), getattr(pb, method.output_type.name)
        if method.client_streaming:
            methods[method.name] = grpc.stream_stream_rpc_method_handler(call, response_serializer=answer.SerializeToString)
        else:
            reading = _reading(servicer.work, call, kind)
            methods[method.name] = grpc.unary_unary_rpc_method_handler(reading, response_serializer=_bytes_of)
    return grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods)


def _reading(
    work: Work, call: Callable[[Message, aio.ServicerContext], Awaitable[Message | bytes]], kind: type[Message]
) -> Callable[[bytes, aio.ServicerContext], Awaitable[Message | bytes]]:
    """A call that gets its message as bytes: grpc itself would answer those that are none with an unknown error."""

    async def read(raw: bytes, context: aio.ServicerContext) -> Message | bytes:
        try:
            message = await _parsed(work, raw, kind)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the bytes are no {kind.DESCRIPTOR.name}")
        except UnavailableError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return await call(message, context)

    return read


async def _parsed(work: Work, raw: bytes, kind: type[Message]) -> Any:
    """The message of some bytes; large ones are read beside the event loop.

    Raises:
        DecodeError: they are none.
        UnavailableError: too many large ones wait.
    """
    return await work.run(kind.FromString, raw) if len(raw) > INLINE_BYTES else kind.FromString(raw)


def _bytes_of(answer: Message | bytes) -> bytes:
    """A message as bytes, which the plainest already are."""
    return answer if isinstance(answer, bytes) else bytes(answer.SerializeToString())


def _credentials(options: Options) -> object:
    from pathlib import Path

    clients = Path(options.tls_clients).read_bytes() if options.tls_clients else None
    pair = (Path(options.tls_key or options.tls_certificate).read_bytes(), Path(options.tls_certificate).read_bytes())
    return grpc.ssl_server_credentials([pair], root_certificates=clients, require_client_auth=clients is not None)


class _Servicer:
    """The calls of the protocol; names and letter case are the standard's."""

    def __init__(self, service: Service, access: Access, timeout: float) -> None:
        self._timeout = timeout
        self._service = service
        self.work = service.work
        self._access = access
        self._repository = Repository(service.models)
        self._plain = PlainRows(service, access)

    async def ServerLive(self, request: pb.ServerLiveRequest, context: aio.ServicerContext) -> pb.ServerLiveResponse:
        """Whether the process is alive; asks for no token."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: aio.ServicerContext) -> pb.ServerReadyResponse:
        """Whether requests can be answered; asks for no token."""
        return pb.ServerReadyResponse(ready=self._service.ready and not self._service.shed())

    async def ModelReady(self, request: pb.ModelReadyRequest, context: aio.ServicerContext) -> pb.ModelReadyResponse:
        """Whether a model, or a version of it, is loaded."""

        async def work(caller: Caller) -> pb.ModelReadyResponse:
            served = self._service.models.served.get(request.name) if caller.may(request.name) else None
            found = served is not None and (not request.version or {request.version} & {*served.route.labels, *served.engines})
            return pb.ModelReadyResponse(ready=bool(found))

        return await self._guarded(context, "", work)

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: aio.ServicerContext) -> pb.ServerMetadataResponse:
        """The server's name, version and extensions."""

        async def work(_: Caller) -> pb.ServerMetadataResponse:
            return pb.ServerMetadataResponse(**v2.server_metadata())

        return await self._guarded(context, "", work)

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: aio.ServicerContext) -> pb.ModelMetadataResponse:
        """Versions, inputs and outputs of a model."""

        async def work(caller: Caller) -> pb.ModelMetadataResponse:
            found = v2.model_metadata(self._served(request.name, caller), request.version)
            tensor = pb.ModelMetadataResponse.TensorMetadata
            return pb.ModelMetadataResponse(
                name=found["name"],
                versions=found["versions"],
                platform=found["platform"],
                inputs=[tensor(**entry) for entry in found["inputs"]],
                outputs=[tensor(**entry) for entry in found["outputs"]],
            )

        return await self._guarded(context, request.name, work)

    async def ModelInfer(self, request: pb.ModelInferRequest, context: aio.ServicerContext) -> pb.ModelInferResponse | bytes:
        """Answers for tensors, one a column."""
        began, metadata = time.perf_counter(), _metadata(context)
        plain = self._plain.answer(request, metadata, began)
        if plain is not None:
            return plain

        async def work(_: Caller) -> pb.ModelInferResponse:
            return await self._infer(request, metadata, began)

        return await self._guarded(context, request.model_name, work)

    async def ModelStreamInfer(
        self, requests: AsyncIterator[bytes], context: aio.ServicerContext
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Answers for tensors as they come; an error is one request's, and the stream goes on."""
        metadata = _metadata(context)
        try:
            async for raw in requests:
                try:
                    request = await _parsed(self.work, raw, pb.ModelInferRequest)
                except UnavailableError as error:
                    yield pb.ModelStreamInferResponse(error_message=str(error))
                    continue
                yield await self._streamed(request, metadata)
        except DecodeError as error:  # a stream's messages are parsed as they come, outside of what grpc answers for itself
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the stream holds bytes that are no ModelInferRequest: {error}")

    async def _streamed(self, request: pb.ModelInferRequest, metadata: Mapping[str, str]) -> pb.ModelStreamInferResponse:
        """The answer to one request of a stream."""
        began = time.perf_counter()

        async def work(_: Caller) -> pb.ModelInferResponse:
            return await self._infer(request, metadata, began)

        status, answer = await self._safely(metadata, request.model_name, work, admin=False)
        self._ended(request.model_name, status)
        if status == _OK:
            return pb.ModelStreamInferResponse(infer_response=answer)
        # with the id: a stream has no status of its own for each request, and its client must know which one failed
        return pb.ModelStreamInferResponse(error_message=answer, infer_response=pb.ModelInferResponse(id=request.id))

    async def ModelConfig(self, request: pb.ModelConfigRequest, context: aio.ServicerContext) -> pb.ModelConfigResponse:
        """A model's metadata as a configuration, as Triton's clients ask for it."""

        async def work(caller: Caller) -> pb.ModelConfigResponse:
            found = v2.model_config(self._served(request.name, caller), request.version)
            del found["version_policy"]
            return json_format.ParseDict({"config": found}, pb.ModelConfigResponse())

        return await self._guarded(context, request.name, work)

    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: aio.ServicerContext) -> pb.RepositoryIndexResponse:
        """Every version that is loaded."""

        async def work(caller: Caller) -> pb.RepositoryIndexResponse:
            models = self._service.models
            entries = [
                pb.RepositoryIndexResponse.ModelIndex(name=e["name"], version=e["version"], state=e["state"], reason=e["reason"])
                for e in v2.index(models.store.read(), models.served)
                if caller.may(e["name"]) and (not request.ready or e["state"] == "READY")
            ]
            return pb.RepositoryIndexResponse(models=entries)

        return await self._guarded(context, "", work)

    async def ModelStatistics(self, request: pb.ModelStatisticsRequest, context: aio.ServicerContext) -> pb.ModelStatisticsResponse:
        """Rows, requests and seconds of each version of a model, or of one; of all models where none is named."""

        async def work(caller: Caller) -> pb.ModelStatisticsResponse:
            service, found = self._service, []
            for name in [request.name] if request.name else [name for name in service.models.served if caller.may(name)]:
                totals = await asyncio.to_thread(service.metrics.totals, name)
                found += v2.statistics(service.models.get(name), totals, request.version)
            return json_format.ParseDict({"model_stats": found}, pb.ModelStatisticsResponse())

        return await self._guarded(context, request.name, work)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: aio.ServicerContext
    ) -> pb.RepositoryModelLoadResponse:
        """Load a version by ``uri``, ``digest``, ``version`` and ``labels`` (separated by commas)."""

        async def work(_: Caller) -> pb.RepositoryModelLoadResponse:
            await self._repository.act(request.model_name, "load", _parameters(request.parameters))
            return pb.RepositoryModelLoadResponse()

        return await self._guarded(context, request.model_name, work, admin=True)

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: aio.ServicerContext
    ) -> pb.RepositoryModelUnloadResponse:
        """Stop serving a version, or the whole model."""

        async def work(_: Caller) -> pb.RepositoryModelUnloadResponse:
            await self._repository.act(request.model_name, "unload", _parameters(request.parameters))
            return pb.RepositoryModelUnloadResponse()

        return await self._guarded(context, request.model_name, work, admin=True)

    def _served(self, name: str, caller: Caller) -> Served:
        """A model.

        Raises:
            Unknown: there is none; names those that the caller may use.
        """
        served = self._service.models.served.get(name)
        if served is None:
            known = sorted(name for name in self._service.models.served if caller.may(name))
            raise Unknown(f"no model {name!r}", hint=f"models: {', '.join(known) or 'none'}")
        return served

    def _ended(self, model: str, status: int) -> None:
        # a name that is not served would be a label of the client's choice, a record for each
        self._service.metrics.ended(model if model in self._service.models.served else "", "grpc", status)

    async def _infer(self, message: pb.ModelInferRequest, metadata: Mapping[str, str], began: float) -> pb.ModelInferResponse:
        service = self._service
        if service.shed():
            service.metrics.shed("lag")
            raise _Refused(503, f"the server is {service.lag:.1f} s behind; try again in a second")
        large = message.ByteSize() > INLINE_BYTES  # read, and the answer written, beside the event loop
        request = await self.work.run(_request, message) if large else _request(message)
        wanted = message.model_version or metadata.get("x-windtunnel-version", "")
        batch = request.batch(lambda: _schema_of(service.find(message.model_name, wanted)))
        if batch.count > MAX_ROWS:
            raise _Refused(413, f"{batch.count} rows in one request; at most {MAX_ROWS}")
        found = service.find(message.model_name, wanted, metadata.get("x-windtunnel-key"), batch)
        answer = await service.predict(found, batch, request.id or service.new_id(), "grpc", began)
        return await self.work.run(_response, answer, request) if large else _response(answer, request)

    async def _guarded(
        self, context: aio.ServicerContext, model: str, work: Callable[[Caller], Awaitable[Message]], *, admin: bool = False
    ) -> Any:
        """Ask who is calling, do the work, and turn errors into status codes."""
        metadata, tracer = _metadata(context), self._service.tracer
        if tracer is None:
            status, answer = await self._safely(metadata, model, work, admin=admin)
        else:
            with tracer.request(f"grpc {work.__qualname__.split('.')[1]}", metadata, rpc__system="grpc") as span:
                status, answer = await self._safely(metadata, model, work, admin=admin)
                span.ended(status)
        self._ended(model, status)
        if status == _OK:
            return answer
        if status == _UNAVAILABLE:
            context.set_trailing_metadata((("retry-after", "1"),))
        await context.abort(_CODES[status], answer)
        raise AssertionError("abort raises")

    async def _safely(
        self, metadata: Mapping[str, str], model: str, work: Callable[[Caller], Awaitable[Message]], *, admin: bool
    ) -> tuple[int, Any]:
        """Status and answer, or the text of the error."""
        try:
            caller = self._caller(metadata.get("authorization"), model, admin=admin)
            async with asyncio.timeout(None if admin else self._timeout):
                return 200, await work(caller)
        except _Refused as refused:
            return refused.status, str(refused)
        except WindtunnelError as error:
            return status_of(error), str(error)
        except TimeoutError:
            return 504, f"the request took more than {self._timeout:g} s"
        except Exception:
            log.exception("a gRPC request failed")
            return 500, "the server failed; its log says more"

    def _caller(self, header: str | None, model: str, *, admin: bool) -> Caller:
        caller = self._access.caller(header.encode() if header is not None else None)
        if caller is None:
            raise _Refused(401, "a bearer token is needed in the metadata: authorization: Bearer TOKEN")
        if model and not caller.may(model):
            raise _Refused(403, f"this token may not use model {model!r}")
        if admin and not caller.admin:
            raise _Refused(403, "this token may not change what is served")
        return caller


def _schema_of(found: Target) -> Schema:
    return found[0].engines[found[2]].schema


class _Refused(Exception):  # a way out of a call
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def _metadata(context: aio.ServicerContext) -> dict[str, str]:
    # keys that end in -bin carry bytes (gRPC's binary metadata), and none of them is asked for
    return {str(key): value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def _parameters(found: JsonMapping) -> dict[str, object]:
    values = {}
    for name, parameter in found.items():
        kind = parameter.WhichOneof("parameter_choice")
        value = getattr(parameter, kind) if kind else None
        values[name] = v2.decode(name, value) if isinstance(value, bytes) else value
    return values


def _response(answer: Answer, request: v2.Request) -> Any:
    """The message of an answer."""
    response = pb.ModelInferResponse(model_name=answer.model, model_version=answer.version, id=answer.id)
    for name, text in ({"route": answer.route} | v2.guessed(answer)).items():
        response.parameters[name].string_param = text
    for name, datatype, shape, values in v2.tensors(answer, request):
        response.outputs.add(name=name, datatype=datatype, shape=shape)
        response.raw_output_contents.append(v2.raw_tensor(datatype, values))
    return response


def _request(message: pb.ModelInferRequest) -> v2.Request:
    """The request of a gRPC message.

    Raises:
        InvalidInputError: names the tensor that is not as the protocol has it.
    """
    if not message.inputs:
        raise invalid([{"row": 0, "field": "inputs", "message": "must have at least one tensor"}])
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise invalid([{"row": 0, "field": "raw_input_contents", "message": f"has {len(raw)} entries for {len(message.inputs)} inputs"}])
    tensors = []
    for place, entry in enumerate(message.inputs):
        count, width = v2.shape_of(entry.name, entry.datatype, list(entry.shape))
        if raw and entry.HasField("contents"):
            raise invalid([{"row": 0, "field": entry.name, "message": "has contents beside raw_input_contents: send either"}])
        values = v2.raw_values(entry.name, entry.datatype, raw[place], count * width) if raw else _contents(entry, count * width)
        tensors.append(v2.Tensor(entry.name, entry.datatype, values, width))
    if len(message.id) > 200:  # what fits a log line
        raise invalid([{"row": 0, "field": "id", "message": "must be a text of at most 200 characters"}])
    return v2.Request(message.id, tensors, {entry.name: True for entry in message.outputs})


def _contents(entry: Any, count: int) -> list[object]:
    if entry.datatype == "BYTES":
        values: list[Any] = [v2.decode(entry.name, value) for value in entry.contents.bytes_contents]
    elif entry.datatype in CONTENTS:
        values = list(getattr(entry.contents, CONTENTS[entry.datatype]))
    else:
        raise _no_contents(entry)
    if len(values) != count:
        raise invalid([{"row": 0, "field": entry.name, "message": f"has {len(values)} values for {count} rows"}])
    v2.check_range(entry.name, entry.datatype, values)
    return values


def _no_contents(entry: Any) -> InvalidInputError:
    return invalid([{"row": 0, "field": entry.name, "message": f"of datatype {entry.datatype} must be sent as raw contents"}])
