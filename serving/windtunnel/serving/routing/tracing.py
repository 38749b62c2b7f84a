"""OpenTelemetry traces: one span a request, under the caller's own trace where it sends a W3C ``traceparent``.

Only there with the extra ``tracing`` and ``--traces URL``; without them no line of OpenTelemetry is imported or run.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from windtunnel.lifecycle.contract.errors import ConfigurationError

if TYPE_CHECKING:
    from windtunnel.serving.routing.answer import Answer

__all__ = ["Tracer"]


class Tracer:
    """Makes and sends the spans of one worker.

    Args:
        endpoint: where OTLP over HTTP is received, such as ``http://collector:4318/v1/traces``.
        slot: the worker's number, part of the spans' resource.

    Raises:
        ConfigurationError: the extra is not installed.
    """

    def __init__(self, endpoint: str, slot: int) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise ConfigurationError("--traces needs OpenTelemetry", hint="pip install 'windtunnel[tracing]'") from error
        resource = Resource.create({"service.name": "windtunnel-server", "service.instance.id": str(slot)})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint), schedule_delay_millis=1000))
        self._tracer = self._provider.get_tracer("windtunnel.serving")
        self._parent = TraceContextTextMapPropagator()

    @contextlib.contextmanager
    def request(self, name: str, carrier: Mapping[str, str], **attributes: Any) -> Iterator["Span"]:
        """The span of one request, current while the request is answered.

        Args:
            name: method and route.
            carrier: the request's headers, for ``traceparent`` and ``tracestate``.
            attributes: what is known from the start.
        """
        from opentelemetry.trace import SpanKind

        # OpenTelemetry's names have dots, which keywords cannot have
        found = {key.replace("__", "."): value for key, value in attributes.items()}
        with self._tracer.start_as_current_span(
            name, context=self._parent.extract(dict(carrier)), kind=SpanKind.SERVER, attributes=found
        ) as span:
            yield Span(span)

    def note(self, answer: "Answer") -> None:
        """Say in the current span what answered."""
        from opentelemetry.trace import get_current_span

        get_current_span().set_attributes(
            {
                "windtunnel.request_id": answer.id,
                "windtunnel.model": answer.model,
                "windtunnel.version": answer.version,
                "windtunnel.route": answer.route,
                "windtunnel.rows": len(answer.rows),
            }
        )

    def stop(self) -> None:
        """Send what is not yet sent."""
        self._provider.shutdown()


class Span:
    """A span while its request is answered.

    Args:
        span: OpenTelemetry's.
    """

    def __init__(self, span: Any) -> None:
        self._span = span

    def ended(self, status: int) -> None:
        """Say how the request ended; from 500 on it is an error of the server's."""
        from opentelemetry.trace import StatusCode

        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:  # HTTP's server errors
            self._span.set_status(StatusCode.ERROR)
