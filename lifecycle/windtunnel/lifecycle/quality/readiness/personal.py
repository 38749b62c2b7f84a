"""Personal data, by patterns that can be checked and by what a column is called. Not found is no proof that there is none."""

import re
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.quality.readiness.answer import Answer
from windtunnel.lifecycle.quality.readiness.columns import varied
from windtunnel.lifecycle.quality.readiness.subject import Subject
from windtunnel.lifecycle.statistics.counting.values import flat

__all__ = ["personal_data"]

_LOOKED_AT = 2_000  # different values a column
_LEAST, _SHARE = 3, 0.002
_NAMES = re.compile(
    r"(^|_)(e_?mail|phone|mobile|telephone|ssn|iban|passport|(first|last|full|sur|given|family|maiden)_?name|surname|birth_?(date|day)|"
    r"date_of_birth|dob|street|home_?address|postal_?address|ip_?address|credit_?card|card_?number|national_?id|tax_?id)(_|$)"
)


def _luhn(text: str) -> bool:
    """The check digit of payment cards."""
    digits = [int(sign) for sign in text if sign.isdigit()]
    # Zeros alone have a right check digit, and stand for a number that is not known.
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4) for place, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _iban(text: str) -> bool:
    """The check digits of bank accounts (ISO 13616)."""
    plain = text.replace(" ", "").upper()
    # In base 36 a letter is its number in ISO 13616: A is 10, Z is 35.
    return int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


def _octets(text: str) -> bool:
    return all(int(part) <= 255 for part in text.split("."))


def _resident(text: str) -> bool:
    """The check digit of Korean resident registration numbers."""
    digits = [int(sign) for sign in text if sign.isdigit()]
    weights = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
    return (11 - sum(a * b for a, b in zip(weights, digits, strict=False)) % 11) % 10 == digits[12]


def _anything(_text: str) -> bool:
    return True


# The looks behind and ahead keep out what is a piece of a longer number or word.
_PATTERNS: dict[str, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "e-mail addresses": (re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]+(\.[\w-]+)*\.[A-Za-z]{2,}(?![\w-])"), _anything),
    "payment card numbers": (re.compile(r"(?<![\d.-])(?:\d{4}[ -]?){3}\d{1,7}(?![\d.-])"), _luhn),
    "bank accounts (IBAN)": (re.compile(r"(?<![\w])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?![\w])"), _iban),
    "telephone numbers": (
        re.compile(
            r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]?\d{2,4}){1,4}|"
            r"\(\d{3}\) ?\d{3}-\d{4}|0\d{1,2}-\d{3,4}-\d{4})(?![\w-])"
        ),
        _anything,
    ),
    "IP addresses": (re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])"), _octets),
    "US social security numbers": (re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])"), _anything),
    "Korean resident numbers": (re.compile(r"(?<![\d-])\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])-[1-8]\d{6}(?![\d-])"), _resident),
}


def personal_data(subject: Subject) -> Iterator[Answer]:
    """Columns that hold what names a person, and those that are called so."""
    found = {}
    for name in subject.table.columns:
        kind = _holds(subject, name)
        if kind:
            found[name] = f"holds {kind}"
        elif _NAMES.search(_words(name)) and varied(subject.table.columns[name]):
            found[name] = "is called as what names a person"
    for name, text in found.items():
        seen = "a model may see it: " if name in subject.seen else ""
        todo = f"{seen}leave it out or mask it before ingest; name it in `sensitive` or serving.redact, so that it is not logged"
        yield Answer("personal data", "care", text, todo, name)
    if not found:
        yield Answer("personal data", "fine", f"{len(_PATTERNS)} patterns and the columns' names say none (which is no proof)")


def _words(name: str) -> str:
    """A column's name in small letters with underscores: ``emailAddress`` is ``email_address``."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())


def _holds(subject: Subject, name: str) -> str:
    """What a column's sampled values hold, if a fair share of them does."""
    if name not in subject.sample.schema.names:
        return ""
    column = flat(subject.sample.column(name)).drop_null()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_integer(column.type):
        column = pc.cast(column, pa.string())
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return ""
    values = pc.unique(column)[:_LOOKED_AT].to_pylist()
    for kind, (pattern, real) in _PATTERNS.items():
        hits = sum(any(real(match.group()) for match in pattern.finditer(value)) for value in values)
        if hits >= max(_LEAST, _SHARE * len(values)):
            return f"{kind} ({hits:,} of {len(values):,} different values looked at)"
    return ""
