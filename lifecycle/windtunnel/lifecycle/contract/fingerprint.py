"""Fingerprints: short names for exactly these inputs, code and parameters.

A stage's output is keyed by the fingerprint of all that went into it, so the same inputs are never computed twice, and a replay can
prove itself.
"""

import dataclasses
import datetime as dt
import functools
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["canonical", "code_version", "fingerprint", "fingerprint_bytes", "fingerprint_file"]

_LENGTH = 32  # hex digits: 128 bits, beyond accident


def canonical(value: Any) -> str:
    """One text for a value, whatever the order of its keys.

    Floats are written as Python's shortest round-trip form; NaN and infinities by name; dataclasses and pydantic models by fields.

    Raises:
        TypeError: for a type that has no canonical form.

    Example:
        >>> canonical({"b": 1, "a": [1.5, None]})
        '{"a":[1.5,null],"b":1}'
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def fingerprint(*values: Any) -> str:
    """The fingerprint of values: 32 hex digits of a SHA-256 over their canonical text.

    Example:
        >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
        True
    """
    return fingerprint_bytes(canonical(values).encode())


def fingerprint_bytes(data: bytes) -> str:
    """The fingerprint of raw bytes."""
    return hashlib.sha256(data).hexdigest()[:_LENGTH]


def fingerprint_file(path: str | Path) -> str:
    """The fingerprint of a local file's content."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_LENGTH]


@functools.cache
def code_version() -> str:
    """Our version: what a stage's fingerprint says of the code that ran."""
    return metadata.version("windtunnel")


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return _plain(value.value)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):
        return _plain(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, Path | Decimal):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted((_plain(entry) for entry in value), key=canonical)
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, Iterable):
        return [_plain(entry) for entry in value]
    if hasattr(value, "item"):  # a numpy scalar
        return _plain(value.item())
    raise TypeError(f"a {type(value).__name__} has no canonical form: {value!r}")
