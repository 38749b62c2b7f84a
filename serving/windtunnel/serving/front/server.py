"""The model server: ``python -m windtunnel.serving --home DIR --host 127.0.0.1 --port P [--grpc-port G] [--workers N]``.

This process only supervises: it holds the listening socket, starts the workers, starts again what dies, and ships full log files. The
token is taken from the environment variable WINDTUNNEL_TOKEN; with one, every route but health asks for it.
"""

import argparse
import contextlib
import ctypes
import dataclasses
import fcntl
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from windtunnel.lifecycle.contract.errors import ConfigurationError, UnavailableError, WindtunnelError
from windtunnel.serving.base.extras import check_extras
from windtunnel.serving.base.options import Options

if TYPE_CHECKING:
    from windtunnel.lifecycle.payload import JsonObject

__all__ = ["Supervisor", "add_arguments", "main", "options_of"]

log = logging.getLogger("windtunnel.server")

_HOPELESS = 3
"""Starts of every worker after which a server that has never served gives up."""


class Supervisor:
    """Starts workers and keeps them alive.

    Args:
        options: what the command line said.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._home = Path(options.home)
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._started: dict[int, float] = {}
        self._stopping = threading.Event()
        self._deaths = 0
        self._called = threading.Event()  # a signal came: to stop, or of a worker that ended

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT.

        Raises:
            ConfigurationError: another server runs on the same home, or a library is not installed.
            UnavailableError: the port is taken, or no worker ever becomes ready.
        """
        check_extras(self._options)
        self._home.mkdir(parents=True, exist_ok=True)
        with self._only_one(), _listen(self._options.host, self._options.port) as listener:
            from windtunnel.serving.base.metrics import Metrics

            Metrics.clear(self._home / "metrics")
            # before any worker: the first one that is ready serves them already
            for entry in self._options.preload:
                preload(self._home, entry)
            # of an earlier server: their process ids may belong to others by now, and a change would wait for them
            for path in (self._home / "run").glob("worker-*.json"):
                path.unlink(missing_ok=True)
            (self._home / "run" / "served").unlink(missing_ok=True)
            options = dataclasses.replace(
                self._options,
                port=listener.getsockname()[1],
                grpc_port=_free(self._options.host) if self._options.grpc_port == 0 else self._options.grpc_port,
            )
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._told_to_stop)
            # wakes the loop below at once: a dead worker's slot would else stay empty for up to five seconds
            signal.signal(signal.SIGCHLD, lambda *_: self._called.set())
            for slot in range(options.workers):
                self._start(slot, options, listener)
            self._announce(options)
            shipping = threading.Thread(target=self._ship, daemon=True)
            shipping.start()
            try:
                while not self._stopping.is_set():
                    self._called.wait(5.0)
                    self._called.clear()
                    self._revive(options, listener)
            finally:
                self._stopping.set()
                self._stop(listener)
            # two at once would turn the same log file into Parquet, and the second find it gone
            shipping.join(timeout=10)
            self._ship_once()  # what the workers closed when they stopped
        return 0

    def _told_to_stop(self, *_: object) -> None:
        self._stopping.set()
        self._called.set()

    def _start(self, slot: int, options: Options, listener: socket.socket) -> None:
        worker = subprocess.Popen(
            [sys.executable, "-m", "windtunnel.serving.front.worker", str(listener.fileno()), str(slot)],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            start_new_session=True,  # a Ctrl-C is the supervisor's to pass on, so that requests are finished
        )
        pipe: IO[bytes] | None = worker.stdin
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.write(json.dumps(dataclasses.asdict(options)).encode() + b"\n")
                pipe.flush()  # and it stays open: a worker whose pipe ends knows that its supervisor is gone
        self._workers[slot], self._started[slot] = worker, time.monotonic()

    def _revive(self, options: Options, listener: socket.socket) -> None:
        for slot, worker in list(self._workers.items()):
            code = worker.poll()
            if code is None:
                continue
            if self._stopping.is_set():
                return
            # each pipe is a descriptor: a worker that dies again and again would use them up
            if worker.stdin is not None:
                worker.stdin.close()
            # One that dies as soon as it is started would otherwise be started many times a second.
            if time.monotonic() - self._started[slot] < 1.0 and self._stopping.wait(1.0):
                return
            self._deaths += 1
            if self._deaths >= _HOPELESS * options.workers and not (self._home / "run" / "served").exists():
                raise UnavailableError(
                    f"no worker became ready in {self._deaths} starts, the last ended with status {code}", hint="the log above says why"
                )
            log.warning("worker %s ended with %s: starting it again", slot, code)
            self._start(slot, options, listener)

    def _stop(self, listener: socket.socket) -> None:
        for worker in self._workers.values():
            worker.terminate()
        # the workers go on taking connections meanwhile: a balancer has to notice that they are not ready
        time.sleep(self._options.drain)
        # after the drain, and before the close, which resets those that nobody took yet
        _deafen(listener)
        listener.close()
        for worker in self._workers.values():
            try:
                worker.wait(timeout=15 + self._options.drain)
            # longer than a worker's own patience: only one that hangs is killed
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()

    def _announce(self, options: Options) -> None:
        from windtunnel.lifecycle.files import write_atomically

        scheme = "https" if options.tls_certificate else "http"
        where: JsonObject = {"pid": os.getpid(), "url": f"{scheme}://{options.host}:{options.port}", "workers": options.workers}
        if options.grpc_port >= 0:
            where["grpc"] = f"{options.host}:{options.grpc_port}"
        write_atomically(self._home / "server.json", json.dumps(where))
        log.info("serving at %s%s", where["url"], f", gRPC at {where['grpc']}" if "grpc" in where else "")

    def _ship(self) -> None:
        """Turn closed log files into Parquet until the server stops."""
        while not self._stopping.wait(2.0):
            self._ship_once()

    def _ship_once(self) -> None:
        from windtunnel.serving.base.metrics import Metrics
        from windtunnel.serving.routing import ship

        def damaged(lines: int) -> None:
            log.warning("%s damaged lines of the prediction log were put aside in %s", lines, self._home / "log" / "damaged")
            Metrics(self._home / "metrics", "supervisor").set_aside(lines)

        try:
            ship.to_parquet(self._home, damaged)
        except (WindtunnelError, OSError, ValueError) as error:
            log.warning("the prediction log was not turned into Parquet, and stays as it is: %s", error)

    @contextlib.contextmanager
    def _only_one(self) -> Any:
        with (self._home / "server.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigurationError(f"another server runs on {self._home}", hint="stop it, or give another --home") from error
            yield


def preload(home: Path, entry: str) -> None:
    """Make a bundle the champion of a model in a server's home before it starts.

    Raises:
        ConfigurationError: the entry is not ``MODEL=VERSION=FOLDER`` (or a URI), or there is no bundle.
    """
    from windtunnel.lifecycle.data.artifacts import local_copy
    from windtunnel.lifecycle.model import bundle
    from windtunnel.serving.routing.store import Store, empty_model

    model, _, rest = entry.partition("=")
    version, _, folder = rest.partition("=")
    if not (model and version and folder):
        raise ConfigurationError(f"--preload must be MODEL=VERSION=FOLDER but is {entry!r}")
    store = Store(home)
    with local_copy(folder) as copy:
        found = bundle.read(copy)
    store.fetch(folder, found.digest)

    def edit(models: dict[str, Any]) -> None:
        known = models.setdefault(model, empty_model())
        known["versions"][version] = {"uri": folder, "digest": found.digest, "problem": found.problem}
        known["labels"]["champion"] = version

    store.change(edit)


@contextlib.contextmanager
def _listen(host: str, port: int) -> Any:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        # a server that is started again would else wait for the old connections' TIME_WAIT
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise UnavailableError(f"cannot listen on {host}:{port}: {error.strerror}", hint="give another --port") from error
        listener.listen(2048)
        yield listener


_DROP_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
"""A packet filter: load the byte of TCP's flags; where SYN is set, drop the packet; else take it."""

_SO_ATTACH_FILTER = 26


def _deafen(listener: socket.socket) -> None:
    """Let no new connection in, while the workers take those that are on their way.

    A listening socket that is closed resets whoever was let in but not taken yet, and there is always somebody. A client whose first packet
    is dropped sends it again after a second, and is refused then, or let in by the next server: it never thinks that it was heard.
    """
    code = b"".join(struct.pack("HBBI", *line) for line in _DROP_SYN)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HL", len(_DROP_SYN), ctypes.addressof(buffer))
    with contextlib.suppress(OSError):  # not on Linux: as it was
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _free(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a server: also those of ``windtunnel serve``."""
    parser.add_argument("--home", required=True, help="folder of the server's state, model copies and logs")
    parser.add_argument("--host", default=Options.host, help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=Options.port, help="HTTP port; 0 takes a free one (default %(default)s)")
    parser.add_argument("--grpc-port", type=int, default=Options.grpc_port, help="gRPC port; 0 takes a free one; none by default")
    parser.add_argument("--workers", type=int, default=Options.workers, help="worker processes (default %(default)s)")
    parser.add_argument("--max-body", type=int, default=Options.max_body, help="bytes of a request at most (default %(default)s)")
    parser.add_argument(
        "--max-connections",
        type=int,
        default=Options.max_connections,
        help="HTTP connections of a worker at most; one more gets 503 (default %(default)s)",
    )
    parser.add_argument("--timeout", type=float, default=Options.timeout, help="seconds of a request at most (default %(default)s)")
    parser.add_argument(
        "--max-age", type=float, default=Options.max_age, help="seconds a request may wait before new ones get 503 (default %(default)s)"
    )
    parser.add_argument("--max-versions", type=int, default=Options.max_versions, help="versions of a model at most (default %(default)s)")
    parser.add_argument("--log-sync", choices=["none", "line"], default=Options.log_sync, help="wait for the disk with every log line?")
    parser.add_argument("--log-age", type=float, default=Options.log_age, help="seconds until a log file is closed (default %(default)s)")
    parser.add_argument("--tokens", default="", help="JSON file of further tokens: SHA-256 -> {name, models, admin}")
    parser.add_argument(
        "--preload",
        action="append",
        default=[],
        metavar="MODEL=VERSION=FOLDER",
        help="a bundle that is champion from the start; repeatable",
    )
    parser.add_argument(
        "--drain",
        type=float,
        default=Options.drain,
        help="seconds to go on serving, not ready, after the order to stop (default %(default)s)",
    )
    parser.add_argument("--traces", default="", metavar="URL", help="send OpenTelemetry spans there, by OTLP over HTTP")
    parser.add_argument("--tls-certificate", default="", help="PEM certificate: serve HTTPS")
    parser.add_argument("--tls-key", default="", help="its PEM key")
    parser.add_argument("--tls-clients", default="", help="PEM certificates that clients must be signed by (mutual TLS)")


def options_of(given: argparse.Namespace) -> Options:
    """The options of a parsed command line.

    Raises:
        ConfigurationError: a number is out of range.
    """
    if given.workers < 1:
        raise ConfigurationError(f"--workers must be at least 1 but got {given.workers}")
    for name in ("port", "grpc_port"):
        if not -1 <= getattr(given, name) < 1 << 16:
            raise ConfigurationError(f"--{name.replace('_', '-')} must be a port but got {getattr(given, name)}")
    return Options(**{field.name: getattr(given, field.name) for field in dataclasses.fields(Options)})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m windtunnel.serving", description=__doc__)
    add_arguments(parser)
    parser.add_argument("how", nargs="?", choices=["serve"], help="as SageMaker starts an image: serve the bundle in /opt/ml/model on 8080")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        given = parser.parse_args(arguments)
        if given.how == "serve":
            given.port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
            name, version = os.environ.get("WINDTUNNEL_MODEL", "model"), os.environ.get("WINDTUNNEL_VERSION", "1")
            given.preload = [*given.preload, f"{name}={version}={os.environ.get('SM_MODEL_DIR', '/opt/ml/model')}"]
        return Supervisor(options_of(given)).run()
    except WindtunnelError as error:
        sys.stderr.write(f"windtunnel serve: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
