"""Where an instance keeps its things."""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from windtunnel.lifecycle.contract.errors import ConfigurationError

__all__ = ["HOME_VARIABLE", "Layout", "home_folder"]

HOME_VARIABLE = "WINDTUNNEL_HOME"
_NAME = ".windtunnel"

# sun_path holds 108 bytes on Linux and 104 elsewhere, and PostgreSQL appends ".s.PGSQL.5432.lock" to the folder.
_SOCKET_FOLDER_LIMIT = 80


def home_folder(home: str | Path | None = None, environment: Mapping[str, str] | None = None) -> Path:
    """The folder of the instance: the argument, or ``WINDTUNNEL_HOME``, or the nearest ``.windtunnel`` that holds an instance.

    That is looked for in the current folder and those above it; where there is none, it is the current folder's, for a new one. Links are
    followed: by whatever name it is called, it is one instance, with one lock, one socket and one set of paths.
    """
    given = home or (os.environ if environment is None else environment).get(HOME_VARIABLE)
    if given:
        return Path(given).expanduser().resolve()
    here = Path.cwd()
    folders = (Layout(folder / _NAME) for folder in (here, *here.parents))
    return next((layout.home for layout in folders if _is_file(layout.state)), here / _NAME).resolve()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder above that is nobody's business of ours
        return False


@dataclass(frozen=True)
class Layout:
    """The paths of one instance.

    Attributes:
        home: the folder that holds everything but, where its path is too long for a socket, PostgreSQL's socket.
    """

    home: Path

    @property
    def lock(self) -> Path:
        """Held while an ``up`` or a ``down`` is at work."""
        return self.home / "lock"

    @property
    def state(self) -> Path:
        """Ports and choices that the next ``up`` takes over."""
        return self.home / "instance.json"

    @property
    def secrets(self) -> Path:
        """Generated passwords, tokens and keys; mode 0600."""
        return self.home / "secrets.json"

    @property
    def run(self) -> Path:
        """One file a service: its process, and what it was started with."""
        return self.home / "run"

    @property
    def logs(self) -> Path:
        """One log file a service."""
        return self.home / "logs"

    @property
    def airflow(self) -> Path:
        """``AIRFLOW_HOME``."""
        return self.home / "airflow"

    @property
    def postgres(self) -> Path:
        """PostgreSQL's data folder."""
        return self.home / "postgres"

    @property
    def mlflow(self) -> Path:
        """Artefacts that MLflow serves."""
        return self.home / "mlflow"

    @property
    def server(self) -> Path:
        """The model server's folder."""
        return self.home / "server"

    @property
    def warehouse(self) -> Path:
        """Data files of the Iceberg tables."""
        return self.home / "warehouse"

    @property
    def artifacts(self) -> Path:
        """Statistics, reports, features and bundles."""
        return self.home / "artifacts"

    @property
    def landing(self) -> Path:
        """Where source files land."""
        return self.home / "landing"

    @property
    def socket_folder(self) -> Path:
        """The folder of PostgreSQL's socket: below home, or a short path of its own where home is too deep or has unusual characters."""
        folder = self.home / "socket"
        plain = all(character.isalnum() or character in "/._-+" for character in str(folder))
        if plain and len(os.fsencode(folder)) <= _SOCKET_FOLDER_LIMIT:
            return folder
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        short = Path(tempfile.gettempdir()) / f"windtunnel-{os.getuid()}-{digest}"
        return short if len(os.fsencode(short)) <= _SOCKET_FOLDER_LIMIT else Path("/tmp") / short.name  # noqa: S108  # its owner is checked

    def create(self) -> None:
        """Make the folders.

        Raises:
            ConfigurationError: the folder cannot be made or written; says which one.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            # Others may pass through (a PostgreSQL that root starts runs as another user) but not look in.
            self.home.chmod(0o711 if os.geteuid() == 0 else 0o700)
            own = (self.run, self.logs, self.airflow, self.mlflow, self.server, self.warehouse, self.artifacts, self.landing)
            for folder in own:
                folder.mkdir(mode=0o700, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.home):
                pass
        except OSError as error:
            raise ConfigurationError(
                f"the instance's folder {self.home} cannot be written: {error.strerror or error}",
                hint=f"give another folder with --home or {HOME_VARIABLE}",
                path=str(self.home),
            ) from error
