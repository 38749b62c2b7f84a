"""One worker process of the model server: an event loop with HTTP, gRPC and the follower of the shared state."""

import asyncio
import contextlib
import json
import logging
import os
import resource
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.serving.base.options import Options

if TYPE_CHECKING:
    from windtunnel.serving.front.access import Access
    from windtunnel.serving.front.http.wire import Connections
    from windtunnel.serving.routing.service import Service

__all__ = ["main"]

log = logging.getLogger("windtunnel.server")

_BACKLOG = 2048
_OWN_FILES = 64


async def serve(options: Options, slot: int, listener: socket.socket, *, supervised: bool = False) -> None:
    """Serve until SIGTERM or SIGINT, or until the supervisor is gone; requests that are under way are finished."""
    from windtunnel.serving.front.access import Access
    from windtunnel.serving.front.http.application import Application
    from windtunnel.serving.front.http.wire import Connections

    service = _service(options, slot)
    access = Access.of(os.environ.get("WINDTUNNEL_TOKEN", ""), Path(options.tokens) if options.tokens else None)
    application = Application(service, access, options.max_body, options.timeout)
    # before a request is taken: a worker without models would answer 404 to what the server has
    await service.models.apply()
    connections = Connections(application, options.timeout, _connections(options.max_connections))
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    if supervised:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        _orphaned(stopping)
    server = await loop.create_server(connections, sock=listener, ssl=_tls(options), backlog=_BACKLOG)
    rpc = await _rpc(service, access, options)
    background = [asyncio.create_task(work) for work in (service.models.follow(), _watch(service, connections))]
    # after the doors are open: a balancer sends as soon as it is told so
    service.ready = True
    (Path(options.home) / "run" / "served").touch()  # who dies before this would die again
    try:
        await stopping.wait()
        # first: balancers must see it while connections are still taken
        service.ready = False
        await connections.leave(server.close, options.drain)
    finally:
        service.ready = False
        server.close()
        for task in background:
            task.cancel()
        if rpc is not None:
            await rpc.stop(5.0)
        # before the log is closed: shadows and answers under way still write lines
        await service.drain()
        service.log.close()
        if service.tracer is not None:
            # sends what is left, which may wait for a collector that is slow
            await asyncio.to_thread(service.tracer.stop)


def _service(options: Options, slot: int) -> "Service":
    """What answers, with its models, log, metrics and traces."""
    from windtunnel.serving.base.log import PredictionLog
    from windtunnel.serving.base.metrics import Metrics
    from windtunnel.serving.routing.models import Models
    from windtunnel.serving.routing.service import Service
    from windtunnel.serving.routing.store import Store
    from windtunnel.serving.routing.tracing import Tracer
    from windtunnel.serving.routing.work import Work

    home = Path(options.home)
    models = Models(Store(home, options.max_versions), slot, options.max_age)
    lines = PredictionLog(home / "log", slot, options.log_sync, max_age=options.log_age)
    tracer = Tracer(options.traces, slot) if options.traces else None
    service = Service(models, lines, Metrics(home / "metrics", slot), tracer, Work(options.timeout))
    service.max_lag = options.max_age

    def swapped() -> None:
        service.metrics.swapped({(name, version) for name, served in models.served.items() for version in served.engines})

    models.on_swap = swapped
    return service


def _connections(most: int) -> int:
    """How many connections there may be: no more than the files that the process may open, less those that it needs itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, most + _OWN_FILES), hard))
            soft = min(hard, most + _OWN_FILES)
    return max(1, min(most, soft - _OWN_FILES))


def _tls(options: Options) -> ssl.SSLContext | None:
    """What HTTPS is served with, where it is."""
    if not options.tls_certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options.tls_certificate, options.tls_key or None)
    if options.tls_clients:
        context.load_verify_locations(options.tls_clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def _rpc(service: "Service", access: "Access", options: Options) -> Any:
    """The gRPC server, where there is one."""
    if options.grpc_port < 0:
        return None
    # grpc is an import of its own, which a server without that port need not have installed
    from windtunnel.serving.front import rpc

    return await rpc.start(service, access, options)


async def _watch(service: "Service", connections: "Connections") -> None:
    """Measure how far the loop is behind, close the log file when it is old, and connections that are too slow; idle, less often."""
    loop = asyncio.get_running_loop()
    swept, seen = 0.0, -1
    while True:
        answered = connections.requests + service.asked
        every = _BUSY if answered != seen else min(_IDLE, connections.slow / 4)
        seen, due = answered, loop.time() + every
        await asyncio.sleep(every)
        service.lag = max(0.0, loop.time() - due)
        service.log.rotate()
        if loop.time() - swept > min(1.0, connections.slow / 4):
            swept = loop.time()
            connections.sweep()


_BUSY, _IDLE = 0.05, 0.5
"""Seconds between two samples of how far the loop is behind: while requests come, and while none do."""


def _orphaned(stopping: asyncio.Event) -> None:
    """End with the supervisor, which holds the other end of standard input: nobody would start this worker again, or stop it."""
    loop = asyncio.get_running_loop()

    def ended() -> None:
        # an empty read is the end of the pipe; its other end closes however the supervisor dies, also by SIGKILL
        if not os.read(sys.stdin.fileno(), 1024):
            loop.remove_reader(sys.stdin.fileno())
            stopping.set()

    loop.add_reader(sys.stdin.fileno(), ended)


def main() -> int:
    """``python -m windtunnel.serving.front.worker FD SLOT``, options as a line of JSON on standard input; the supervisor starts it."""
    # One thread a worker: the cores are shared by requests, not by the loops inside of one.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    options = Options(**json.loads(sys.stdin.readline()))
    listener = socket.socket(fileno=int(sys.argv[1]))
    with contextlib.suppress(KeyboardInterrupt):
        import uvloop

        uvloop.run(serve(options, int(sys.argv[2]), listener, supervised=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
