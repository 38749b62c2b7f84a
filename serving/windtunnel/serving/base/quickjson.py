"""JSON as the server reads and writes it: pydantic's parser, a quarter of the standard library's cost, which takes over for odd texts.

`strict` refuses what RFC 8259 does not have but many readers take: UTF-16, infinities, and a key that is there twice, of which readers take
the first, the last or both. NaN is no JSON either, but Python's clients write it for a missing number: it is read, and means missing.
"""

import json
import sys
from typing import Any

import msgspec
import pydantic_core

from windtunnel.lifecycle.payload import JsonObject

__all__ = ["NotStrictError", "dumps", "encode", "loads", "once", "plain", "strict"]

_DECODE = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode
"""Values as compact JSON by the quickest writer there is, for values that are known to be finite: it writes null for NaN."""

_ENCODE = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_BOM = b"\xef\xbb\xbf"
_SPACED_COLONS = (b" :", b"\t:", b"\n:", b"\r:")


class NotStrictError(ValueError):
    """A text that only lenient readers take for JSON.

    Attributes:
        field: the key, or ``body``.
        place: which object of the body it is in, counted by where objects end: of a list of rows, the row.
        text: what is wrong.
    """

    def __init__(self, field: str, place: int, text: str) -> None:
        super().__init__(f"{field}: {text}")
        self.field, self.place, self.text = field, place, text


def loads(raw: bytes | bytearray) -> Any:
    """A JSON text as values.

    Raises:
        ValueError, RecursionError: it is no JSON.

    Example:
        >>> loads(b'{"a": [1, 2.5, null]}')
        {'a': [1, 2.5, None]}
    """
    for read in (_DECODE, pydantic_core.from_json):  # the second takes NaN
        try:
            return read(raw)
        except ValueError:
            continue
    return json.loads(raw)  # takes lone surrogates, and says better what is wrong with the rest


def strict(raw: bytes) -> Any:
    """A JSON text of somebody else's as values.

    Raises:
        NotStrictError: it is UTF-16 or UTF-32, has an infinity, or a key twice in one object.
        ValueError, RecursionError: it is no JSON.

    Example:
        >>> strict(b'{"rows":[{"a":1},{"a":NaN}]}')
        {'rows': [{'a': 1}, {'a': nan}]}
        >>> strict(b'{"rows":[{"a":1},{"b":2,"b":3}]}')
        Traceback (most recent call last):
        windtunnel.serving.base.quickjson.NotStrictError: b: is there twice in one object
    """
    raw = raw.removeprefix(_BOM)
    try:
        value = plain(raw)
        if value is None:
            value = pydantic_core.from_json(raw)  # takes NaN
    except ValueError:
        return _slowly(raw)
    return value if _surely_strict(raw, value) else _slowly(raw)


def plain(raw: bytes) -> Any:
    """A JSON text of somebody else's as values, or None where it takes more than a glance whether it is strict, or JSON at all.

    Example:
        >>> plain(b'{"a":{"b":1}}'), plain(b'{"a":NaN}')
        ({'a': {'b': 1}}, None)
    """
    try:
        return _DECODE(raw)
    except (ValueError, RecursionError):
        return None


def once(raw: bytes, keys: int) -> bool:
    """Whether a text, which was read as so many keys, surely has no more: then none is there twice in one object.

    Example:
        >>> once(b'{"a":1,"b":2}', 2), once(b'{"a":1,"a":2}', 1)
        (True, False)
    """
    # A key has a colon of its own; colons within texts, as in times, have no quotation mark before them.
    return raw.count(b":") == keys or (raw.count(b'":') == keys and not any(colon in raw for colon in _SPACED_COLONS))


def _surely_strict(raw: bytes, value: Any) -> bool:
    """Whether as many keys were read as were written: then none was there twice. False only means that it must be looked at closely."""
    if b"Infinity" in raw or any(colon in raw for colon in _SPACED_COLONS):
        return False
    written = raw.count(b'":')
    return written == _keys(value, deep=False) or written == _keys(value, deep=True)


def _keys(value: Any, *, deep: bool) -> int:
    """Keys of an object and of the objects in its lists; deeply of everything within, but for lists that begin with a plain value."""
    if isinstance(value, dict):
        return len(value) + sum(_keys(entry, deep=deep) for entry in value.values())
    if not isinstance(value, list) or not value or not isinstance(value[0], dict | list):
        return 0
    if not deep and set(map(type, value)) == {dict}:
        return sum(map(len, value))
    return sum(_keys(entry, deep=deep) for entry in value)


def _slowly(raw: bytes) -> Any:
    """As `strict`, by the standard library's parser, which can be asked about each object."""
    if b"\x00" in raw[:4] or raw[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise NotStrictError("body", 0, "must be JSON in UTF-8 but looks like UTF-16 or UTF-32")
    ended = 0

    def whole(pairs: list[tuple[str, Any]]) -> JsonObject:
        nonlocal ended
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for place, name in enumerate(names) if name in names[:place])
            raise NotStrictError(twice, ended, "is there twice in one object")
        ended += 1
        return found

    def constant(name: str) -> float:
        if name == "NaN":
            return float(name)
        before = raw[: raw.find(name.encode())]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        raise NotStrictError("body", ended, f"has {name} in line {line}, column {column}, which JSON has not: null is a missing number")

    try:
        return json.loads(raw.decode(), object_pairs_hook=whole, parse_constant=constant)
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        if isinstance(error, NotStrictError | UnicodeDecodeError):
            raise
        raise NotStrictError("body", ended, f"has a number of more than {sys.get_int_max_str_digits()} digits") from error


def dumps(value: Any) -> bytes:
    """Values as compact JSON; what is not finite becomes NaN or Infinity, as the standard library has it.

    Example:
        >>> dumps({"a": 0.1})
        b'{"a":0.1}'
    """
    try:
        return pydantic_core.to_json(value, inf_nan_mode="constants")
    except (pydantic_core.PydanticSerializationError, ValueError):
        return _ENCODE(value).encode()
