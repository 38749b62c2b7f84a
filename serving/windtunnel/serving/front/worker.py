"""One worker process of the model server: an event loop with HTTP, gRPC and the follower of the shared state."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

from windtunnel.serving.base.options import Options

__all__ = ["main"]

log = logging.getLogger("windtunnel.server")

_KEEP_ALIVE = 75
"""Seconds that a connection may be idle."""


async def serve(options: Options, slot: int, listener: socket.socket) -> None:
    """Serve until told to stop; requests that are under way are finished."""
    import uvicorn

    from windtunnel.serving.base.log import PredictionLog
    from windtunnel.serving.base.metrics import Metrics
    from windtunnel.serving.front.access import Access
    from windtunnel.serving.front.rest import Application
    from windtunnel.serving.front.wire import connections_for
    from windtunnel.serving.routing.models import Models
    from windtunnel.serving.routing.service import Service
    from windtunnel.serving.routing.store import Store
    from windtunnel.serving.routing.tracing import Tracer

    home = Path(options.home)
    models = Models(Store(home, options.max_versions), slot, options.max_age)
    metrics = Metrics(home / "metrics", slot)
    lines = PredictionLog(home / "log", slot, options.log_sync, max_age=options.log_age)
    service = Service(models, lines, metrics, Tracer(options.traces, slot) if options.traces else None)
    service.max_lag = options.max_age
    access = Access.of(os.environ.get("WINDTUNNEL_TOKEN", ""), Path(options.tokens) if options.tokens else None)
    application = Application(service, access, options.max_body, options.timeout)
    await models.apply()
    secure: dict[str, Any] = {}
    if options.tls_certificate:
        secure = {"ssl_certfile": options.tls_certificate, "ssl_keyfile": options.tls_key or None}
        if options.tls_clients:
            secure |= {"ssl_ca_certs": options.tls_clients, "ssl_cert_reqs": ssl.CERT_REQUIRED}
    config = uvicorn.Config(
        application,
        http=connections_for(application),
        loop="none",
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=10,
        **secure,
    )
    server = _leaving(uvicorn.Server, config, service, options.drain)
    rpc = None
    if options.grpc_port >= 0:
        from windtunnel.serving.front import rpc as protocol

        rpc = await protocol.start(service, access, options)
    background = [
        asyncio.create_task(work) for work in (models.follow(), _watch(service, lines), _sweep(server, options.timeout), _orphaned(server))
    ]
    service.ready = True
    try:
        await server.serve(sockets=[listener])
    finally:
        service.ready = False
        for task in background:
            task.cancel()
        if rpc is not None:
            await rpc.stop(5.0)
        await service.drain()
        lines.close()
        if service.tracer is not None:
            await asyncio.to_thread(service.tracer.stop)


def _leaving(kind: Any, config: Any, service: Any, seconds: float) -> Any:
    """A uvicorn server that, once told to stop, is not ready at once but serves on for some seconds: a balancer has time to notice."""
    loop = asyncio.get_running_loop()

    class Server(kind):
        def handle_exit(self, number: int, frame: Any) -> None:
            service.ready = False
            if seconds > 0 and not self.should_exit:
                loop.call_soon_threadsafe(loop.call_later, seconds, super().handle_exit, number, frame)
            else:
                super().handle_exit(number, frame)

    return Server(config)


async def _sweep(server: Any, slow: float) -> None:
    """Close connections that say nothing for too long."""
    from windtunnel.serving.front.wire import sweep

    while True:
        await asyncio.sleep(min(1.0, slow / 4))
        sweep(server.server_state.connections, _KEEP_ALIVE, slow)


async def _watch(service: Any, lines: Any) -> None:
    """Measure how far the loop is behind, and close the log file when it is old."""
    loop = asyncio.get_running_loop()
    every = 0.05
    while True:
        due = loop.time() + every
        await asyncio.sleep(every)
        service.lag = max(0.0, loop.time() - due)
        lines.rotate()


async def _orphaned(server: Any) -> None:
    """End with the supervisor: nobody would start this worker again, or stop it."""
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 - nobody sets an event when a process dies
        await asyncio.sleep(0.5)
    server.should_exit = True


def main() -> int:
    """``python -m windtunnel.serving.front.worker FD SLOT``, options as JSON on standard input: started by the supervisor only."""
    # One thread a worker: the cores are shared by requests, not by the loops inside of one.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # uvicorn raises a signal again once it has stopped: by then it has done its work, and the log is still to be closed.
    signal.signal(signal.SIGTERM, lambda *_: None)
    options = Options(**json.loads(sys.stdin.read()))
    listener = socket.socket(fileno=int(sys.argv[1]))
    with contextlib.suppress(KeyboardInterrupt):
        import uvloop

        uvloop.run(serve(options, int(sys.argv[2]), listener))
    return 0


if __name__ == "__main__":
    sys.exit(main())
