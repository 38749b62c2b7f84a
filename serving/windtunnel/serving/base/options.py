"""What a server is told when it is started: shared by the supervisor and its workers."""

import dataclasses

__all__ = ["Options"]


@dataclasses.dataclass(frozen=True)
class Options:
    """What a server was told when it was started.

    Attributes:
        home: the folder of its state, copies and logs.
        host: the address that it listens on.
        port: of HTTP; 0 takes a free one.
        grpc_port: of gRPC; -1 for none, 0 takes a free one.
        workers: processes.
        max_body: bytes of a request at most.
        max_connections: HTTP connections of a worker at most.
        timeout: seconds of a request at most.
        max_age: seconds that a request may wait before new ones are refused.
        max_versions: versions of a model at most.
        log_sync: what the prediction log waits for: ``none`` or ``line``.
        log_age: seconds after which a log file with lines is closed and shipped.
        tokens: a file of further tokens.
        preload: bundles that become champions before the first request, ``MODEL=VERSION=FOLDER``.
        drain: seconds between the order to stop, from when on the server is not ready, and the end of serving.
        traces: where OpenTelemetry spans are sent (OTLP over HTTP); nothing for none.
        tls_certificate: the server's certificate (PEM); HTTPS and gRPC with TLS where it is given.
        tls_key: its key.
        tls_clients: certificates that clients must be signed by: mutual TLS.
    """

    home: str
    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int = -1
    workers: int = 1
    max_body: int = 4_000_000
    max_connections: int = 4096
    timeout: float = 30.0
    max_age: float = 0.5
    max_versions: int = 8
    log_sync: str = "none"
    log_age: float = 10.0
    tokens: str = ""
    preload: tuple[str, ...] = ()
    drain: float = 0.0
    traces: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    tls_clients: str = ""
