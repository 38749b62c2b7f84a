"""Passwords, tokens and keys of one instance: generated once, kept in a file that only its owner can read."""

import base64
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from windtunnel.cli.instance.files import read_json, write_json

__all__ = ["Credentials"]


@dataclass(frozen=True, repr=False)
class Credentials:
    """What the parts of an instance prove themselves with.

    Attributes:
        database: the password of the embedded PostgreSQL's user.
        admin: the password of Airflow's user ``admin``.
        token: the model server's bearer token.
        fernet_key: encrypts connections in Airflow's database.
        jwt_secret: signs Airflow's tokens, those of tasks too.
        session_key: signs Airflow's browser sessions.
        flask_key: signs MLflow's browser sessions.
    """

    database: str
    admin: str
    token: str
    fernet_key: str
    jwt_secret: str
    session_key: str
    flask_key: str

    @classmethod
    def load(cls, path: Path) -> "Credentials":
        """Read the file; what it lacks is generated and kept."""
        found = read_json(path)
        generated = {name: secrets.token_urlsafe(24) for name in cls.__dataclass_fields__}
        generated["fernet_key"] = base64.urlsafe_b64encode(os.urandom(32)).decode()
        generated["jwt_secret"] = secrets.token_urlsafe(64)
        values = {name: str(found.get(name) or value) for name, value in generated.items()}
        if values != found:
            write_json(path, values)
        path.chmod(0o600)
        return cls(**values)

    def save(self, path: Path) -> None:
        """Write the file."""
        write_json(path, asdict(self))
