"""Who is calling, and what they may do: bearer tokens, one for everything or a file of them with the models that each may use."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Self

from windtunnel.lifecycle.contract.errors import ConfigurationError

__all__ = ["Access", "Caller"]


_MOST_SEEN = 10_000
_LONGEST_SEEN = 1024
"""Headers of known callers that are remembered, so that their hash is not computed with every request: so many, of so many bytes."""


@dataclasses.dataclass(frozen=True)
class Caller:
    """A caller that is known.

    Attributes:
        name: for the log.
        models: the models that they may use; ``*`` is all.
        admin: whether they may change what is served.
    """

    name: str = "anyone"
    models: frozenset[str] = frozenset({"*"})
    admin: bool = True

    def may(self, model: str) -> bool:
        """Whether they may use a model."""
        return "*" in self.models or model in self.models


class Access:
    """The tokens of a server; only their SHA-256 is kept, so comparing them tells nothing by its time.

    Args:
        callers: SHA-256 of a token -> caller; empty lets everybody in.
    """

    def __init__(self, callers: dict[str, Caller]) -> None:
        self._callers = callers
        self._seen: dict[bytes, Caller] = {}

    @classmethod
    def of(cls, token: str = "", tokens: Path | None = None) -> Self:
        """Access by one token that may do everything, and by a file of further ones.

        The file is JSON: ``{"SHA-256 of the token": {"name": "web shop", "models": ["churn"], "admin": false}}``.

        Raises:
            ConfigurationError: the file cannot be read or says something else.
        """
        callers = {_digest(token.encode()): Caller("owner")} if token else {}
        if tokens is not None:
            try:
                for digest, entry in json.loads(tokens.read_text(encoding="utf-8")).items():
                    # hexdigest writes lower case, other programs do not
                    callers[str(digest).lower()] = _caller(digest, entry)
            except (OSError, ValueError, AttributeError) as error:
                raise ConfigurationError(f"{tokens}: cannot be read as tokens: {error}") from error
        return cls(callers)

    def caller(self, header: bytes | None) -> Caller | None:
        """The caller by the header ``Authorization``, or None for a stranger."""
        if not self._callers:
            return Caller()
        if header is None:
            return None
        known = self._seen.get(header)
        # any case: RFC 9110, 11.1, has the names of schemes so
        if known is None and header[:7].lower() == b"bearer ":
            known = self._callers.get(_digest(header[7:].strip()))
            # known callers alone: strangers could send ever new headers
            if known is not None and len(self._seen) < _MOST_SEEN and len(header) <= _LONGEST_SEEN:
                self._seen[header] = known
        return known


def _caller(digest: Any, entry: Any) -> Caller:
    if not isinstance(entry, dict) or not set(entry) <= {"name", "models", "admin"} or len(str(digest)) != 64:  # SHA-256
        raise ConfigurationError(f"a token's entry has name, models and admin under its SHA-256 but is {entry!r} under {digest!r}")
    return Caller(str(entry.get("name", "")), frozenset(entry.get("models", [])), bool(entry.get("admin", False)))


def _digest(token: bytes) -> str:
    return hashlib.sha256(token).hexdigest()
