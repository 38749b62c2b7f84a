"""Waiting for services to be well: patient with what is only slow, not with what does nothing.

A service on a loaded machine may take minutes to answer. What tells it from one that hangs is not the clock but whether it is at work: its
log grows, or it uses the processor, waits for its turn on it, or waits for the disk.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from windtunnel.cli.instance.process import Daemon, members, stop
from windtunnel.cli.instance.services import Service, airflow_health, answers
from windtunnel.lifecycle.contract.errors import UnavailableError

__all__ = ["Activity", "Startup"]

_PATIENCE = 45.0  # seconds without work after which a service that does not answer is started again
_IDLE = 180.0  # seconds in which none of the missing services did any work: then it is given up
_BUDGET = 3600.0  # seconds in all
_RESTARTS = 2  # of one service within one up
_SHARE = 0.05  # of one processor, used or waited for: below that a process only looks at its clock now and then


@dataclass
class Activity:
    """How long a service has not been at work.

    Args:
        daemon: the service.
        clock: seconds; another one in tests.
    """

    daemon: Daemon
    clock: Callable[[], float] = time.monotonic
    _worked: float = field(init=False)
    _seen: tuple[float, float, int] = field(init=False)

    def __post_init__(self) -> None:
        self._worked = self.clock()
        self._seen = (self._worked, *self._measure())

    def idle(self) -> float:
        """Seconds since it was last at work, looked at now."""
        now, (then, before, size) = self.clock(), self._seen
        if now <= then:
            return now - self._worked
        busy, grown = self._measure()
        if grown != size or busy - before >= _SHARE * (now - then):
            self._worked = now
        self._seen = (now, busy, grown)
        return now - self._worked

    def _measure(self) -> tuple[float, int]:
        log = self.daemon.log.stat().st_size if self.daemon.log.exists() else 0
        return sum(_busy(pid) for pid in members([str(self.daemon.marker)])), log


def _busy(pid: int) -> float:
    """Seconds that a process has run, or was ready to run and had to wait for a processor; endless while it waits for the disk."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError, ValueError):
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_DISK_SLEEP:
            return time.monotonic()
        waited = 0.0
        with contextlib.suppress(OSError):  # Linux alone tells it
            waited = sum(int((task / "schedstat").read_text().split()[1]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9
        times = process.cpu_times()
        return float(times.user + times.system + waited)
    return 0.0


class Startup:
    """The services of one ``up`` until all are well.

    Args:
        services: those that were started, or found running.
        daemon: the process of a service.
        check_port: raises where a service ended because its port is somebody else's.
        say: told what happens.
    """

    def __init__(
        self,
        services: Mapping[str, Service],
        daemon: Callable[[str], Daemon],
        check_port: Callable[[str], None],
        say: Callable[[str], None],
    ) -> None:
        self._services, self._daemon, self._check_port, self._say = services, daemon, check_port, say
        self._began = time.time()
        self._restarts = dict.fromkeys(services, 0)
        self._activity = {name: Activity(daemon(name)) for name in services}
        self.missing, self.failed = set(services), set[str]()

    def wait(self, port: int, since: Callable[[], Mapping[str, float]], start: Callable[[Service], None]) -> None:
        """Wait until all are well; those that die meanwhile are started again, twice at most, and do not hold up the others.

        Args:
            port: of Airflow's api-server, which reports on all of its parts.
            since: from when on a heartbeat of each part counts.
            start: starts a service.

        Raises:
            UnavailableError: one does not come up; the message holds the end of its log.
        """
        with ThreadPoolExecutor(max_workers=len(self._services)) as threads:
            while self.missing - self.failed and not self._hopeless():
                self._round(threads, port, since(), start)
                time.sleep(0.2 if self.missing - self.failed else 0)
        if self.missing:
            tails = "\n".join(f"--- {name}\n{self._daemon(name).tail()}" for name in sorted(self.missing))
            names = ", ".join(sorted(self.missing))
            raise UnavailableError(f"{names} did not come up; the rest did\n{tails}", hint="see `windtunnel logs`")

    def _round(self, threads: ThreadPoolExecutor, port: int, since: Mapping[str, float], start: Callable[[Service], None]) -> None:
        """One look at all that is missing, asked side by side."""
        report = threads.submit(airflow_health, port, since)
        asked = {n: threads.submit(answers, self._services[n].url) for n in self.missing - self.failed if self._services[n].url}
        well = {name: future.result() for name, future in asked.items()}
        airflow = report.result()
        for name in sorted(self.missing - self.failed):
            healthy = well.get(name, airflow.get(name, False))
            # Airflow's other parts are known by the api-server's report alone.
            self._look(name, start, healthy=healthy, asked=name in well or airflow["api-server"])

    def _look(self, name: str, start: Callable[[Service], None], *, healthy: bool, asked: bool) -> None:
        """One look at one service: note it well, or start it again where it is gone or hangs."""
        daemon = self._daemon(name)
        if daemon.pid is None:
            self._check_port(name)
            self._again(name, start)
        elif healthy:
            self.missing.discard(name)
            self._say(f"{name} is well ({time.time() - self._began:.1f} s)")
        elif asked and self._activity[name].idle() > _PATIENCE:
            self._say(f"{name} runs but has neither answered nor worked for {_PATIENCE:.0f} s: started again")
            stop([daemon], grace=2)
            self._again(name, start)

    def _again(self, name: str, start: Callable[[Service], None]) -> None:
        if self._restarts[name] == _RESTARTS:
            self.failed.add(name)
            return
        self._restarts[name] += 1
        start(self._services[name])
        self._activity[name] = Activity(self._daemon(name))

    def _hopeless(self) -> bool:
        """Whether nothing that is missing has worked for long, or all of it takes longer than anybody would wait."""
        idle = min((self._activity[name].idle() for name in self.missing - self.failed), default=0.0)
        return idle > _IDLE or time.time() - self._began > _BUDGET
