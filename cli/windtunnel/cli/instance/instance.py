"""The embedded instance as one object: up, down, status, environment."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.cli.instance import database
from windtunnel.cli.instance.credentials import Credentials
from windtunnel.cli.instance.environment import ADMIN, KNOBS, instance_environment, loopback_without_proxy, settings_of
from windtunnel.cli.instance.files import read_json, write_json
from windtunnel.cli.instance.layout import Layout, home_folder
from windtunnel.cli.instance.ports import LOOPBACK, free_port, is_free
from windtunnel.cli.instance.process import Daemon, members, stop
from windtunnel.cli.instance.services import AIRFLOW, SERVICES, Service, airflow_health, answers, definitions
from windtunnel.cli.instance.waiting import Startup
from windtunnel.lifecycle.contract import calls
from windtunnel.lifecycle.contract.errors import ConfigurationError, UnavailableError, WindtunnelError
from windtunnel.lifecycle.payload import JsonObject

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from windtunnel.lifecycle.contract.settings import Settings

__all__ = ["Instance"]

_PREFERRED_PORTS = {"airflow": 8080, "mlflow": 5000, "server": 8090, "server_grpc": 8091}
_PORT_OF = {"airflow": "api-server", "mlflow": "mlflow", "server": "server", "server_grpc": "server"}
_LOCK_SECONDS = 300.0
_ATTEMPTS = 3


class _PortTakenError(UnavailableError):
    """Choosing another port helps."""


class Instance:
    """One embedded instance.

    Args:
        home: its folder; by default ``WINDTUNNEL_HOME`` or ``.windtunnel`` in the current folder.
        dags: the folder of DAG files; by default the one that the instance had before, or ``dags`` in the current folder.
        say: told what happens, one line each.

    Example:
        >>> from windtunnel.cli.instance import Instance
        >>> Instance("/nowhere/at/all").is_known
        False
    """

    def __init__(self, home: str | Path | None = None, dags: str | Path | None = None, say: Callable[[str], None] = lambda _: None) -> None:
        self.home = home_folder(home)
        self.layout = Layout(self.home)
        self._dags = None if dags is None else Path(dags).expanduser().absolute()
        self._say = say
        # This process speaks to the services too, as does whoever uses this object.
        os.environ.update(loopback_without_proxy())

    # What is known about it

    @property
    def is_known(self) -> bool:
        """Whether ``up`` has been run here."""
        return self.layout.state.exists()

    @property
    def state(self) -> JsonObject:
        """What an earlier ``up`` decided.

        Raises:
            ConfigurationError: there was none.
        """
        state = read_json(self.layout.state)
        if not state:
            raise ConfigurationError(f"no instance in {self.home}", hint="start one with `windtunnel up`")
        return state

    @property
    def credentials(self) -> Credentials:
        """Its passwords and tokens."""
        return Credentials.load(self.layout.secrets)

    @property
    def airflow_url(self) -> str:
        """Airflow's UI and REST API."""
        return f"http://{LOOPBACK}:{self.state['ports']['airflow']}"

    @property
    def admin(self) -> tuple[str, str]:
        """Name and password for Airflow's UI and REST API."""
        return ADMIN, self.credentials.admin

    def token(self) -> str:
        """A bearer token for Airflow's REST API.

        Raises:
            UnavailableError: Airflow does not answer.
        """
        body = json.dumps({"username": ADMIN, "password": self.credentials.admin}).encode()
        try:
            answer = calls.call(f"{self.airflow_url}/auth/token", body, {"Content-Type": "application/json"})
            return str(answer.json()["access_token"])
        except (WindtunnelError, ValueError, KeyError, TypeError) as error:
            raise UnavailableError(f"Airflow at {self.airflow_url} gives no token: {error}", hint="see `windtunnel status`") from error

    def environment(self) -> dict[str, str]:
        """The variables that make other programs work against this instance."""
        state = self.state
        own = instance_environment(self.layout, state["ports"], self._database(state), self.credentials, Path(state["dags"]))
        return {**{name: os.environ.get(name, value) for name, value in KNOBS.items()}, **own}

    def settings(self) -> "Settings":
        """The settings of section ``[windtunnel]``, the model server's token among them."""
        state = self.state
        return settings_of(self.layout, state["ports"], self._database(state), self.credentials.token)

    def status(self) -> JsonObject:
        """``{"services": {name: {"url", "healthy", "pid"}}}`` for airflow, mlflow, server and postgres."""
        state = self.state
        ports, url = state["ports"], self._database(state)
        pids = {name: self.daemon(name).pid for name in SERVICES}
        with ThreadPoolExecutor(max_workers=4) as threads:
            postgres = threads.submit(database.is_ready, url)
            health = threads.submit(airflow_health, ports["airflow"], self._started())
            mlflow = threads.submit(answers, f"http://{LOOPBACK}:{ports['mlflow']}/health")
            server = threads.submit(answers, f"http://{LOOPBACK}:{ports['server']}/v2/health/live")
        parts = {name: {"healthy": well and pids[name] is not None, "pid": pids[name]} for name, well in health.result().items()}
        embedded = not state.get("database")

        def service(port: str, *, healthy: bool, pid: int | None) -> JsonObject:
            return {"url": f"http://{LOOPBACK}:{ports[port]}", "healthy": healthy, "pid": pid}

        return {
            "services": {
                "airflow": {
                    **service("airflow", healthy=all(part["healthy"] for part in parts.values()), pid=pids["api-server"]),
                    "components": parts,
                },
                "mlflow": service("mlflow", healthy=mlflow.result() and pids["mlflow"] is not None, pid=pids["mlflow"]),
                "server": service("server", healthy=server.result() and pids["server"] is not None, pid=pids["server"]),
                "postgres": {
                    "url": url.render_as_string(hide_password=True).replace("%2F", "/"),
                    "healthy": postgres.result() and (pids["postgres"] is not None or not embedded),
                    "pid": pids["postgres"],
                },
            }
        }

    def daemon(self, name: str) -> Daemon:
        """The background process of a service."""
        return Daemon(name, self.layout.run, self.layout.logs)

    # Starting and stopping

    def up(self) -> JsonObject:
        """Start what does not run, replace what is not well, and wait until all is.

        Returns:
            The status.

        Raises:
            UnavailableError: a service does not come up; the message holds the end of its log.
        """
        self.layout.create()
        with self._lock("up"):
            for attempt in range(_ATTEMPTS):
                try:
                    self._bring_up()
                    break
                except OSError as error:
                    raise UnavailableError(
                        f"{error.filename or self.home}: {error.strerror or error}", hint="is the disk full, or the folder somebody else's?"
                    ) from error
                except _PortTakenError as error:
                    # Another program was quicker between our choice of a port and the service's start.
                    if attempt == _ATTEMPTS - 1:
                        raise
                    self._say(error.message)
        return self.status()

    def _bring_up(self) -> None:
        credentials = self.credentials
        state = self._decide(credentials)
        started = self._start_database(state, credentials)
        url = self._database(state)
        fresh = database.create_databases(url)
        services = definitions(self.layout, state["ports"], self.environment(), self._mlflow_uri(url))
        self._stop_changed(services)
        with ThreadPoolExecutor(max_workers=2) as threads:
            others = threads.submit(self._start_others, state, services, fresh)
            self._migrate_airflow(state, fresh)
            for name in AIRFLOW:
                self._ensure(services[name])
            others.result()
        # after both: the thread above writes down MLflow's version in it
        write_json(self.layout.state, state)
        startup = Startup(services, self.daemon, lambda name: self._check_port(state, name), self._say)
        startup.wait(state["ports"]["airflow"], lambda: self._started(started or 0.0), self._ensure)

    def down(self) -> bool:
        """Stop everything, also what a killed part left behind; gives whether anything ran."""
        if not self.layout.run.exists():
            return False
        with self._lock("down"):
            daemons = [self.daemon(name) for name in SERVICES if name != "postgres"]
            postgres = self.daemon("postgres")
            ran = any(daemon.file.exists() for daemon in (*daemons, postgres))
            stop(daemons, grace=8)
            # last: the others write to it until they end; SIGINT is its fast shutdown, where SIGTERM waits for every client
            stop([postgres], grace=20, how=signal.SIGINT)
        return ran

    def _decide(self, credentials: Credentials) -> JsonObject:
        """Take over earlier choices, choose what is missing, and remember it."""
        state = read_json(self.layout.state)
        # What a killed service left behind still holds its port.
        stop([daemon for daemon in map(self.daemon, SERVICES) if daemon.pid is None], grace=0)
        given = os.environ.get(database.DATABASE_VARIABLE, "")
        if given:
            state["database"] = database.external_url(given).render_as_string(hide_password=False)
        state["dags"] = str(self._dags_folder(str(state.get("dags") or "")))
        state["ports"] = self._ports(state.get("ports", {}))
        write_json(self.layout.state, state)
        write_json(self.layout.airflow / "passwords.json", {ADMIN: credentials.admin})
        return state

    def _dags_folder(self, known: str) -> Path:
        """The folder that was asked for, or the one it had before, or ``dags`` here; an empty one of its own where that is gone."""
        if self._dags is not None:
            if not self._dags.is_dir():
                raise ConfigurationError(f"the folder of DAGs {self._dags} does not exist", hint="give another one with --dags")
            return self._dags
        dags = Path(known) if known else Path("dags").absolute()
        if dags.is_dir():
            return dags
        if known:
            self._say(f"the folder of DAGs {dags} is gone; give another one with --dags")
        own = self.home / "dags"
        own.mkdir(exist_ok=True)
        return own

    def _ports(self, known: dict[str, Any]) -> dict[str, int]:
        """The ports it had before, or others where a service is down and another program has its port."""
        ports = {name: int(port) for name, port in known.items() if name in _PREFERRED_PORTS}
        for name, preferred in _PREFERRED_PORTS.items():
            before = ports.get(name)
            if before is not None and (self.daemon(_PORT_OF[name]).pid is not None or is_free(before)):
                continue
            ports[name] = free_port(preferred, set(ports.values()))
            if before is not None:
                self._say(f"port {before} is taken by another program: {name} moves to {ports[name]}")
        return ports

    def _database(self, state: JsonObject) -> "URL":
        if state.get("database"):
            return database.external_url(str(state["database"]))
        return database.Embedded(self.layout, self.credentials.database).url

    def _start_database(self, state: JsonObject, credentials: Credentials) -> float | None:
        """Make PostgreSQL answer; gives the time of its start if it had to be started."""
        url = self._database(state)
        if state.get("database"):
            database.wait_until_ready(url, seconds=15)
            return None
        daemon = self.daemon("postgres")
        if daemon.pid is not None and database.is_ready(url):
            return None
        began = time.time()
        stop([daemon], grace=5 if daemon.pid else 0, how=signal.SIGINT)
        embedded = database.Embedded(self.layout, credentials.database)
        daemon.start(embedded.prepare(), {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}, "", embedded.user)
        try:
            database.wait_until_ready(url, seconds=60, is_running=lambda: daemon.pid is not None)
        except UnavailableError as error:
            raise UnavailableError(f"{error.message}\n{daemon.tail()}", hint=error.hint) from error
        self._say(f"postgres is up ({time.time() - began:.1f} s)")
        return began

    def _mlflow_uri(self, url: "URL") -> str:
        return url.set(database="mlflow").render_as_string(hide_password=False)

    def _start_others(self, state: JsonObject, services: dict[str, Service], fresh: list[str]) -> None:
        version = metadata.version("mlflow")
        if state.get("mlflow") not in {None, version} and "mlflow" not in fresh:
            stop([self.daemon("mlflow")], grace=5)
            url = self._database(state).set(database="mlflow")
            # the password by the environment: arguments are seen by everybody on the machine
            self._run_once(
                "mlflow",
                [sys.executable, "-m", "mlflow", "db", "upgrade", url.set(password=None).render_as_string()],
                {"PGPASSWORD": url.password or ""},
            )
        state["mlflow"] = version
        self._ensure(services["mlflow"])
        self._ensure(services["server"])

    def _migrate_airflow(self, state: JsonObject, fresh: list[str]) -> None:
        version = metadata.version("apache-airflow-core")
        if state.get("airflow") == version and "airflow" not in fresh:
            return
        stop([self.daemon(name) for name in AIRFLOW], grace=8)
        began = time.time()
        # A crash of the machine in these seconds is repaired by migrating again: no need to wait for the disk at every statement.
        self._run_once("api-server", [sys.executable, "-m", "airflow", "db", "migrate"], {"PGOPTIONS": "-c synchronous_commit=off"})
        state["airflow"] = version
        write_json(self.layout.state, state)
        self._say(f"Airflow's database is migrated ({time.time() - began:.1f} s)")

    def _run_once(self, log: str, command: list[str], extra: dict[str, str]) -> None:
        path = self.daemon(log).log
        path.touch(mode=0o600)
        with path.open("ab") as file:
            done = subprocess.run(
                command,
                env={**os.environ, **self.environment(), **extra},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                check=False,
                cwd="/",
            )
        if done.returncode:
            raise UnavailableError(f"`{' '.join(command[2:4])}` failed:\n{self.daemon(log).tail()}", hint=f"see {path}")

    def _stop_changed(self, services: dict[str, Service]) -> None:
        """Stop the services that run with other settings than they should."""
        daemons = [self.daemon(name) for name in services]
        changed = [d for d in daemons if d.pid is not None and d.fingerprint != services[d.name].fingerprint]
        if changed:
            self._say(f"started again, because their settings or their code have changed: {', '.join(daemon.name for daemon in changed)}")
            stop(changed, grace=8)

    def _ensure(self, service: Service) -> None:
        """Start a service that does not run."""
        daemon = self.daemon(service.name)
        if daemon.pid is None:
            daemon.start(service.command, {**os.environ, **service.environment}, service.fingerprint)

    def _started(self, since: float = 0.0) -> dict[str, float]:
        """Since when a heartbeat of each part counts."""
        return {name: max(since, self.daemon(name).started) for name in AIRFLOW}

    def _check_port(self, state: JsonObject, name: str) -> None:
        """Raise where a service ended because its port belongs to somebody else."""
        for port, service in _PORT_OF.items():
            number = int(state["ports"][port])
            if service == name and not is_free(number) and not members([str(self.daemon(name).marker)]):
                raise _PortTakenError(f"port {number} of {name} was taken by another program meanwhile", hint="run `windtunnel up` again")

    @contextlib.contextmanager
    def _lock(self, what: str) -> Iterator[None]:
        """Only one ``up`` or ``down`` at a time."""
        with self.layout.lock.open("a", encoding="utf-8") as file:
            deadline = time.monotonic() + _LOCK_SECONDS
            told = False
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise UnavailableError(f"another up or down has been at work in {self.home} for {_LOCK_SECONDS:.0f} s") from error
                    if not told:
                        self._say(f"waiting for another up or down to end before {what}")
                        told = True
                    time.sleep(0.1)
            yield
