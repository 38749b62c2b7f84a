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
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Any

from windtunnel.lifecycle.payload import JsonObject

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


def fingerprint(*values: object) -> str:
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


def _plain(value: object) -> Any:
    for forms in (_SCALARS, _RECORDS, _COLLECTIONS):
        for applies, form in forms:
            if applies(value):
                return form(value)
    raise TypeError(f"a {type(value).__name__} has no canonical form: {value!r}")


_Form = tuple[Callable[[Any], bool], Callable[[Any], Any]]


def _of(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


def _fields(value: Any) -> JsonObject:
    return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}


# What comes first wins: an enum may be text as well, a pydantic model and a dataclass may be iterated.
_SCALARS: tuple[_Form, ...] = (
    (_of(Enum), lambda value: _plain(value.value)),
    (_of(type(None), str, bool, int), lambda value: value),
    # JSON has no NaN; as an object it cannot be taken for the text "nan".
    (_of(float), lambda value: value if math.isfinite(value) else {"float": str(value)}),
)
_RECORDS: tuple[_Form, ...] = (
    (lambda value: dataclasses.is_dataclass(value) and not isinstance(value, type), _fields),
    (lambda value: hasattr(value, "model_dump"), lambda value: _plain(value.model_dump(mode="json"))),
)
_COLLECTIONS: tuple[_Form, ...] = (
    (_of(Mapping), lambda value: {str(key): _plain(entry) for key, entry in value.items()}),
    (_of(dt.date, dt.time), lambda value: value.isoformat()),
    (_of(Path, Decimal), str),
    (_of(set, frozenset), lambda value: sorted((_plain(entry) for entry in value), key=canonical)),
    (_of(bytes), lambda value: {"bytes": value.hex()}),
    (_of(Iterable), lambda value: [_plain(entry) for entry in value]),
    (lambda value: hasattr(value, "item"), lambda value: _plain(value.item())),  # a numpy scalar
)
