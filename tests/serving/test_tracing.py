"""Spans of requests, received by a real OTLP receiver on loopback."""

import http.server
import subprocess
import sys
import threading

import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_service


@pytest.fixture
def receiver():
    """An OTLP receiver: its URL, and the spans that it got."""
    spans = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            raw = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                import gzip

                raw = gzip.decompress(raw)
            message = trace_service.ExportTraceServiceRequest.FromString(raw)
            for resource in message.resource_spans:
                name = {entry.key: entry.value.string_value for entry in resource.resource.attributes}["service.name"]
                spans.extend((name, span) for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", spans
    server.shutdown()
    thread.join()
    server.server_close()


def values(span):
    return {entry.key: getattr(entry.value, entry.value.WhichOneof("value")) for entry in span.attributes}


def test_spans_of_requests(serve, bundles, rows, receiver):
    import tritonclient.grpc as triton
    from test_grpc import tensors

    url, spans = receiver
    server = serve("--traces", url, "--grpc-port", "0", "--preload", f"flight_delays=1={bundles['one']}")
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    server.predict(rows[:2], traceparent=parent, X_Request_Id="traced")
    assert server.call("/v1/models/nothing/predict", {"rows": rows[:1]})[0] == 404
    client = triton.InferenceServerClient(server.grpc)
    client.infer(
        "flight_delays",
        tensors(triton, rows[:1]),
        request_id="g1",
        headers={"authorization": "Bearer only-for-tests", "traceparent": parent},
    )
    client.close()
    server.stop()
    named = {}
    for service, span in spans:
        assert service == "windtunnel-server"
        named.setdefault((span.name, values(span).get("http.response.status_code")), []).append(span)
    found = next(span for span in named["POST /v1/models/{}/predict", 200])
    assert found.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert found.parent_span_id.hex() == "b7ad6b7169203331"
    about = {"request_id": "traced", "model": "flight_delays", "version": "1", "route": "champion", "rows": 2}
    assert about.items() <= {key.removeprefix("windtunnel."): value for key, value in values(found).items()}.items()
    assert found.end_time_unix_nano > found.start_time_unix_nano
    assert ("POST /v1/models/{}/predict", 404) in named
    called = next(span for span in named["grpc ModelInfer", 200])
    assert (called.trace_id.hex(), values(called)["windtunnel.request_id"]) == ("0af7651916cd43dd8448eb211c80319c", "g1")


def test_without_traces_nothing_of_it_is_imported():
    code = (
        "import sys; from windtunnel.serving.front import rpc, server; from windtunnel.serving.front.http import wire; "
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
