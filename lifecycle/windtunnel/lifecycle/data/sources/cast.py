"""Values as declared types: a whole column at once, and, only where that fails, the very values that do not fit."""

import math
import re
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.contract.errors import SchemaMismatchError

__all__ = ["FALSE", "TRUE", "cast_column", "cast_text", "check_castable", "is_inexact", "is_outside_calendar", "is_too_fine"]

TRUE = ["true", "True", "TRUE", "1", "t", "T", "yes", "Yes", "YES", "y", "Y"]
FALSE = ["false", "False", "FALSE", "0", "f", "F", "no", "No", "NO", "n", "N"]
_ZONE = re.compile(r"(?:Z|[+-]\d{2}:?\d{2})$")
_INTEGER = r"^-?\d+$"
_FLOAT = r"^-?\d+(\.\d*)?([eE][+-]?\d+)?$"
_ANY_FLOAT = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?(nan|NaN|NAN|inf|Inf|INF|infinity|Infinity)$"
_FINE = r"(\d:\d\d\.\d{6})\d{1,3}"
_SMALL = 16
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""0001-01-01 and 9999-12-31 in days from 1970-01-01."""


def cast_text(
    values: pa.Array, kind: pa.DataType, *, decimal_point: str = ".", thousands: str = "", formats: Sequence[str] = ()
) -> tuple[pa.Array, np.ndarray]:
    """Text as a type.

    Args:
        values: strings; null stays null.
        kind: the type that is wanted.
        decimal_point: what stands before decimals.
        thousands: what stands between thousands.
        formats: how dates and times are written (`strptime`), tried in order after ISO 8601.

    Returns:
        the typed values, null where they do not fit, and which ones do not.

    Example:
        >>> cast_text(pa.array(["1", "x", None]), pa.int32())[1].tolist()
        [False, True, False]
    """
    if pa.types.is_string(kind):
        return values, np.zeros(len(values), dtype=bool)
    if not thousands and decimal_point == "." and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return _cast_numbers(values, kind)
    return _cast_slowly(values, kind, decimal_point, thousands, formats)


def _cast_numbers(values: pa.Array, kind: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    """Numbers at once, and one by one those alone that are not written as Arrow writes them."""
    odd = pc.fill_null(pc.invert(pc.match_substring_regex(values, _INTEGER if pa.types.is_integer(kind) else _FLOAT)), False)
    strange = _mask(odd)
    try:
        typed = pc.if_else(odd, pa.scalar(None, values.type), values).cast(kind)
    except pa.ArrowInvalid:  # digits that the type cannot hold
        return _cast_slowly(values, kind, ".", "", ())
    if is_inexact(typed):
        return _cast_slowly(values, kind, ".", "", ())
    if not strange.any():
        return typed, strange
    few, bad = _cast_slowly(values.filter(odd), kind, ".", "", ())
    wrong = strange.copy()
    wrong[strange] = bad
    return pc.replace_with_mask(typed, odd, few), wrong


def _cast_slowly(
    values: pa.Array, kind: pa.DataType, decimal_point: str, thousands: str, formats: Sequence[str]
) -> tuple[pa.Array, np.ndarray]:
    text = pc.utf8_trim_whitespace(values)
    if pa.types.is_boolean(kind):
        true, false = pc.is_in(text, pa.array(TRUE)), pc.is_in(text, pa.array(FALSE))
        known = pc.or_(true, false)
        return pc.if_else(known, true, pa.scalar(None, pa.bool_())), _mask(pc.and_(pc.is_valid(text), pc.invert(known)))
    if _is_number(kind):
        text = _plain_number(text, decimal_point, thousands)
    if pa.types.is_timestamp(kind) and is_too_fine(text):
        # Arrow refuses more decimals than the unit has.
        text = pc.replace_substring_regex(text, _FINE, r"\1")
    typed, bad = _each(text, kind, formats)
    if not is_inexact(typed):
        return typed, bad
    rounded = _rounded(text, typed)
    return pc.if_else(pa.array(rounded), pa.scalar(None, kind), typed), bad | rounded


def is_inexact(values: pa.Array) -> bool:
    """Whether a float column has values so large that whole numbers beside them cannot be told apart.

    Example:
        >>> is_inexact(pa.array([2.0**53])), is_inexact(pa.array([1e15])), is_inexact(pa.array(["x"]))
        (True, False, False)
    """
    if not pa.types.is_floating(values.type) or not len(values):
        return False
    limits = pc.min_max(values).as_py()
    return limits["max"] is not None and max(limits["max"], -limits["min"]) >= _exact_limit(values.type)


def _exact_limit(kind: pa.DataType) -> float:
    return 2.0**24 if kind == pa.float32() else 2.0**53


def _rounded(text: pa.Array, typed: pa.Array) -> np.ndarray:
    """Texts of whole numbers that a float does not hold exactly, and of numbers that are too large for any."""
    rounded = np.zeros(len(text), dtype=bool)
    large = np.flatnonzero(_mask(pc.greater_equal(pc.abs(typed), _exact_limit(typed.type))))
    for i in large.tolist():
        written, value = text[i].as_py(), typed[i].as_py()
        whole = written.lstrip("+-").isdigit()
        rounded[i] = (math.isinf(value) and "inf" not in written.lower()) or (whole and int(written) != int(value))
    return rounded


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _plain_number(text: pa.Array, decimal_point: str, thousands: str) -> pa.Array:
    """Numbers as Arrow writes them."""
    if thousands:
        text = pc.replace_substring(text, thousands, "")
    if decimal_point != ".":
        text = pc.replace_substring(text, decimal_point, ".")
    # Arrow refuses a plus before a whole number.
    if pc.any(pc.starts_with(text, "+")).as_py():
        text = pc.replace_substring_regex(text, r"^\+([\d.])", r"\1")
    return text


def is_too_fine(values: pa.Array) -> bool:
    """Whether times say more than microseconds, as texts or as nanoseconds.

    Example:
        >>> is_too_fine(pa.array(["2013-01-01 00:00:00.1234567"])), is_too_fine(pa.array([1000], pa.timestamp("ns")))
        (True, False)
    """
    if _is_text(values.type):
        return bool(pc.any(pc.match_substring_regex(values, _FINE)).as_py())
    if not pa.types.is_timestamp(values.type) or values.type.unit != "ns" or not len(values):
        return False
    numbers = values.cast(pa.int64())
    return not pc.all(pc.equal(pc.multiply(pc.divide(numbers, 1000), 1000), numbers)).as_py()


def cast_column(values: pa.Array, kind: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    """Typed values as another type that `check_castable` allows; what would lose digits or overflow does not fit.

    Example:
        >>> cast_column(pa.array([1.0, 1.5]), pa.int64())
        (<pyarrow.lib.Int64Array object at ...>
        [
          1,
          null
        ], array([False,  True]))
    """
    if values.type == kind:
        return values, np.zeros(len(values), dtype=bool)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _cast_times(values, kind)
    if pa.types.is_floating(values.type) and pa.types.is_floating(kind):
        return pc.cast(values, kind, safe=False), np.zeros(len(values), dtype=bool)
    return _each(values, kind, ())


def _cast_times(values: pa.Array, kind: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    """Times in UTC, cut to microseconds; those outside of the years 1 to 9999 do not fit."""
    if pa.types.is_timestamp(values.type) and values.type.tz is not None:
        values = values.cast(pa.timestamp(values.type.unit, "UTC")).cast(pa.timestamp(values.type.unit))
    outside = is_outside_calendar(values)
    values = pc.if_else(pa.array(outside), pa.scalar(None, values.type), values) if outside.any() else values
    if pa.types.is_timestamp(kind) and pa.types.is_timestamp(values.type):
        return pc.cast(values, kind, safe=False), outside
    typed, bad = _each(values, kind, ())
    return typed, bad | outside


def is_outside_calendar(values: pa.Array) -> np.ndarray:
    """Which dates and times are outside of the years 1 to 9999, beyond which no calendar of Python's goes.

    Example:
        >>> is_outside_calendar(pa.array([0, 10_000_000], pa.date32())).tolist()
        [False, True]
    """
    # 64 bits of nanoseconds reach from 1677 to 2262 only.
    if not (pa.types.is_timestamp(values.type) or pa.types.is_date(values.type)) or values.type == pa.timestamp("ns"):
        return np.zeros(len(values), dtype=bool)
    per_day = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
    unit = per_day["ms"] if values.type == pa.date64() else 1 if values.type == pa.date32() else per_day[values.type.unit]
    numbers = values.view(pa.int32() if values.type == pa.date32() else pa.int64())
    low, high = _FIRST_DAY * unit, (_LAST_DAY + 1) * unit
    bounds = pc.min_max(numbers).as_py()
    if bounds["min"] is None or (low <= bounds["min"] and bounds["max"] < high):
        return np.zeros(len(values), dtype=bool)
    return _mask(pc.or_(pc.less(numbers, low), pc.greater_equal(numbers, high)))


def check_castable(found: pa.DataType, kind: pa.DataType, column: str, where: str) -> None:
    """A typed source's column must be of the declared family: numbers do not silently become text, nor text numbers.

    Raises:
        SchemaMismatchError: says both types and the choice to make.
    """
    if pa.types.is_dictionary(found):
        found = found.value_type
    if found == kind or pa.types.is_null(found) or any(wanted(kind) and allowed(found) for wanted, allowed in _FAMILIES):
        return
    raise SchemaMismatchError(
        f"{where}: column {column!r} is {found} in the source but columns says {kind}",
        hint=f"change the type of {column!r} under columns, or write the source with the type that it says",
        column=column,
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


_FAMILIES: list[tuple[Callable[[pa.DataType], bool], Callable[[pa.DataType], bool]]] = [
    (_is_number, _is_number),
    (pa.types.is_string, _is_text),
    (pa.types.is_boolean, pa.types.is_boolean),
    (pa.types.is_timestamp, lambda kind: pa.types.is_timestamp(kind) or pa.types.is_date(kind)),
    (pa.types.is_date, lambda kind: pa.types.is_date(kind) or pa.types.is_timestamp(kind)),
]
"""Of a wanted type, and of those that may become it."""


def _each(values: pa.Array, kind: pa.DataType, formats: Sequence[str]) -> tuple[pa.Array, np.ndarray]:
    """Cast in one go, or halve until the values that fail stand alone."""
    try:
        return _cast(values, kind, formats), np.zeros(len(values), dtype=bool)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    if len(values) == 1:
        return pa.nulls(1, kind), np.ones(1, dtype=bool)
    # Thousands of bad values would each be halved down to: those that a pattern tells go at once.
    if len(values) > _SMALL and (_is_text(values.type)) and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        pattern = r"^[+-]?\d+$" if pa.types.is_integer(kind) else _ANY_FLOAT
        odd = pc.and_(pc.is_valid(values), pc.invert(pc.match_substring_regex(values, pattern)))
        if pc.any(odd).as_py():
            rest, more = _each(pc.if_else(odd, pa.scalar(None, values.type), values), kind, formats)
            return rest, _mask(odd) | more
    middle = len(values) // 2
    left, left_bad = _each(values.slice(0, middle), kind, formats)
    right, right_bad = _each(values.slice(middle), kind, formats)
    return pa.concat_arrays([left, right]), np.concatenate([left_bad, right_bad])


def _cast(values: pa.Array, kind: pa.DataType, formats: Sequence[str]) -> pa.Array:
    timely = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    if _is_text(values.type) and timely:
        return _cast_time(values, kind, formats)
    # By their shortest text: cast as a number, 0.1 becomes 0.100000000000000006.
    if pa.types.is_decimal(kind) and pa.types.is_floating(values.type):
        values = values.cast(pa.string())
    return values.cast(kind)


def _cast_time(values: pa.Array, kind: pa.DataType, formats: Sequence[str]) -> pa.Array:
    for shape in formats:
        try:
            return pc.strptime(values, shape, "us").cast(kind)
        except pa.ArrowInvalid:
            continue
    # Arrow refuses an offset where the type has no zone, and a missing one where it has.
    if pa.types.is_timestamp(kind) and len(values) and _ZONE.search(next((v for v in values.to_pylist()[:1] if v), "")):
        return values.cast(pa.timestamp("us", "UTC")).cast(kind)
    return values.cast(kind)


def _mask(condition: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(condition, False).to_numpy(zero_copy_only=False), dtype=bool)
