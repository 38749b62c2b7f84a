"""Background processes: started once, recognised again, and stopped with everything that they started.

A process id alone says little: it may have been given to somebody else. Every service therefore holds a descriptor on a marker file
below ``run/``, which its forks inherit, and carries a variable with the same path, which the programs that it executes inherit. Whoever
has neither is not ours and is never signalled.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from windtunnel.cli.instance.files import read_json, write_json
from windtunnel.lifecycle.contract.errors import UnavailableError

__all__ = ["Daemon", "members", "stop"]

MARKER_VARIABLE = "WINDTUNNEL_SERVICE"
_LOG_LIMIT = 20_000_000  # bytes; a larger log is set aside when its service starts


@dataclass(frozen=True)
class Daemon:
    """One background process and what it is known by.

    Attributes:
        name: the service's name, also that of its log.
        run: the folder of the process files.
        logs: the folder of the logs.
    """

    name: str
    run: Path
    logs: Path

    @property
    def file(self) -> Path:
        """Holds the process id and the fingerprint of what was started."""
        return self.run / f"{self.name}.json"

    @property
    def marker(self) -> Path:
        """The file that the service and its forks keep open."""
        return self.run / f"{self.name}.marker"

    @property
    def log(self) -> Path:
        """What the service prints."""
        return self.logs / f"{self.name}.log"

    @property
    def fingerprint(self) -> str:
        """Of the command and environment that the recorded process was started with."""
        return str(read_json(self.file).get("fingerprint", ""))

    @property
    def started(self) -> float:
        """When the recorded process was started, in seconds since 1970; 0 if none was."""
        return float(read_json(self.file).get("started", 0.0))

    @property
    def pid(self) -> int | None:
        """The process id, if that process lives and is this service."""
        pid = read_json(self.file).get("pid")
        return pid if isinstance(pid, int) and _is_alive(pid) and _belongs(pid, {str(self.marker)}) else None

    def start(self, command: Sequence[str], environment: Mapping[str, str], fingerprint: str, user: str | None = None) -> int:
        """Start the command; what an earlier start left behind is stopped first.

        Args:
            command: program (absolute path) and arguments.
            environment: the whole environment.
            fingerprint: remembered, so that a later ``up`` sees whether the same would be started.
            user: run as this user (only root can).

        Returns:
            The process id.
        """
        if not os.access(command[0], os.X_OK):
            raise UnavailableError(f"service {self.name} cannot be started: {command[0]} is no program", hint="run `make setup`")
        # a predecessor's forks may still hold its port or its files
        stop([self], grace=0)
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        self.log.touch(mode=0o600)
        self.marker.touch(mode=0o600)
        descriptor = os.open(self.marker, os.O_RDONLY)
        now = time.time()
        try:
            started = subprocess.run(
                [sys.executable, "-I", "-S", str(Path(__file__).with_name("detach.py")), str(self.log), user or "-", *command],
                env={**environment, MARKER_VARIABLE: str(self.marker)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                pass_fds=[descriptor],
                check=True,
                cwd="/",
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise UnavailableError(f"service {self.name} cannot be started: {error}", hint=f"see {self.log}") from error
        finally:
            # the service has inherited its own; with this one open another command would take us for a member
            os.close(descriptor)
        pid = int(started.stdout)
        write_json(self.file, {"pid": pid, "fingerprint": fingerprint, "started": now, "command": list(command)})
        return pid

    def tail(self, lines: int = 15) -> str:
        """The end of the log, for an error message."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        return ""


def members(markers: Iterable[str]) -> list[int]:
    """The processes that belong to the services with these markers."""
    import psutil

    wanted = set(markers)
    return [pid for pid in psutil.pids() if pid != os.getpid() and _is_alive(pid) and _belongs(pid, wanted)]


def stop(daemons: Sequence[Daemon], grace: float, how: signal.Signals = signal.SIGTERM) -> None:
    """Stop services and all that they started, also what outlived a killed service.

    Args:
        daemons: the services.
        grace: seconds that the services get to end by themselves; then all that is left is killed.
        how: the signal that asks a service to end.
    """
    markers = {str(daemon.marker) for daemon in daemons}
    if grace:
        for pid in filter(None, [daemon.pid for daemon in daemons]):
            _signal(pid, how)
    deadline = time.monotonic() + grace
    # when the services themselves are gone nobody is left who would end the rest: no use to wait on
    while members(markers) and time.monotonic() < deadline and any(daemon.pid for daemon in daemons):
        time.sleep(0.1)
    _kill(markers)
    for daemon in daemons:
        daemon.file.unlink(missing_ok=True)


def _kill(markers: set[str]) -> None:
    """Kill what carries the markers, also what it starts meanwhile."""
    for _ in range(100):
        left = members(markers)
        if not left:
            return
        for pid in left:
            _signal(pid, signal.SIGKILL)
        # one pass is not enough: a process may fork between the listing and its kill
        time.sleep(0.05)


def _signal(pid: int, how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, how)


def _is_alive(pid: int) -> bool:
    """Whether the process exists and is more than a zombie."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD})
    except psutil.Error:
        return False


def _belongs(pid: int, markers: set[str]) -> bool:
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                # Somebody may have removed the instance's folder under a running service.
                if str(descriptor.readlink()).removesuffix(" (deleted)") in markers:
                    return True
    # programs that close inherited descriptors at their start still have the variable
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        return psutil.Process(pid).environ().get(MARKER_VARIABLE) in markers
    return False
