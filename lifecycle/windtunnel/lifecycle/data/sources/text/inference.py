"""The type of a column of texts: one in which every value, printed again, is the text that it came from; else it stays text."""

import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.contract.source_options import TextOptions
from windtunnel.lifecycle.data.sources.cast import cast_text

__all__ = ["FAMILIES", "as_number", "infer_type", "looks_like", "loses_characters", "wider"]

_INTEGER = r"^(0|-?[1-9]\d{0,18})$"
_FLOAT = r"^-?(0|[1-9]\d*)?(\.\d+|\.)?([eE][+-]?\d+)?$|^-?(nan|NaN|inf|Infinity)$"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^0[xX][0-9a-fA-F]+$|^[+-]?(nan|NaN|inf|Infinity)$"
_FLAG = r"^(true|false|True|False|TRUE|FALSE)$"
_DATE = r"^\d{4}-\d\d-\d\d$"
_TIME = r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?$"


def infer_type(values: pa.Array, options: TextOptions) -> pa.DataType:
    """The narrowest type that holds all values and loses no character of any; null where there is none.

    Surrounding white space, zeros at the end of decimals and the case of ``true`` do not count.

    Example:
        >>> [str(infer_type(pa.array(texts), TextOptions())) for texts in (["1", None], ["1.50"], ["007"], ["0x10"], ["2013-01-01"])]
        ['int64', 'double', 'string', 'string', 'date32[day]']
    """
    present = values.drop_null()
    if not len(present):
        return pa.null()
    text = pc.utf8_trim_whitespace(pc.unique(present))
    if _all(text, _FLAG):
        return pa.bool_()
    number = as_number(text, options)
    for kind, pattern in ((pa.int64(), _INTEGER), (pa.float64(), _FLOAT)):
        # Every part of `_FLOAT` may be absent: a lone sign or point must not pass.
        if _all(number, pattern) and _all(number, r"[\dnNiI]") and not cast_text(number, kind)[1].any():
            return kind
    return _time_type(text, options)


def _time_type(text: pa.Array, options: TextOptions) -> pa.DataType:
    """Of texts that are no numbers: days, times, or nothing but texts."""
    for kind, pattern in ((pa.date32(), _DATE), (pa.timestamp("us"), f"{_TIME}|{_DATE}")):
        if (options.timestamp_formats or _all(text, pattern)) and not cast_text(text, kind, formats=options.timestamp_formats)[1].any():
            return kind
    return pa.string()


def _all(values: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(values, pattern)).as_py())


def as_number(text: pa.Array, options: TextOptions) -> pa.Array:
    """Numbers without thousands separators and with a point."""
    if options.thousands:
        text = pc.replace_substring(text, options.thousands, "")
    return text if options.decimal_point == "." else pc.replace_substring(text, options.decimal_point, ".")


FAMILIES = {"numbers": _NUMBER, "dates": f"{_DATE}|{_TIME}", "true or false": _FLAG}
"""What texts may look like."""


def looks_like(family: str, values: pa.Array, options: TextOptions) -> pa.Array:
    """Which texts look like numbers (whether or not they would print back), dates, or flags."""
    text = pc.utf8_trim_whitespace(values)
    return pc.match_substring_regex(as_number(text, options) if family == "numbers" else text, FAMILIES[family])


def loses_characters(values: pa.Array, options: TextOptions) -> pa.Array:
    """Which texts look like numbers but would lose characters as such: leading zeros, a plus, hexadecimal, more digits than fit.

    Example:
        >>> loses_characters(pa.array(["1", "007", "+1", "0x1", "x"]), TextOptions()).to_pylist()
        [False, True, True, True, False]
    """
    number = as_number(pc.utf8_trim_whitespace(values), options)
    fits = pc.match_substring_regex(number, f"{_INTEGER}|{_FLOAT}")
    return pc.and_(looks_like("numbers", values, options), pc.or_(pc.invert(fits), pc.match_substring_regex(number, r"^-?\d{16,}$")))


def wider(known: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that holds values of both.

    Example:
        >>> wider(pa.int64(), pa.float64()), wider(pa.null(), pa.bool_()), wider(pa.bool_(), pa.int64())
        (DataType(double), DataType(bool), DataType(string))
    """
    if known == other or pa.types.is_null(other):
        return known
    if pa.types.is_null(known):
        return other
    for family in ({pa.int64(), pa.float64()}, {pa.date32(), pa.timestamp("us")}):
        if {known, other} == family:
            return pa.float64() if pa.float64() in family else pa.timestamp("us")
    return pa.string()
