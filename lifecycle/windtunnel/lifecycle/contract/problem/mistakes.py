"""What is wrong with a problem file, in words."""

import datetime as dt
import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from windtunnel.lifecycle.contract.naming import did_you_mean
from windtunnel.lifecycle.contract.problem.parts import Part
from windtunnel.lifecycle.payload import JsonMapping

__all__ = ["explain", "place_of"]


def place_of(location: Sequence[object]) -> list[str]:
    """The names that the file has for a place: without those that pydantic adds for what a field could have been.

    Example:
        >>> place_of(("schedule", "AssetSchedule", "cron"))
        ['schedule', 'cron']
    """
    added = {kind.__name__ for kind in Part.__subclasses__()} | {"str"}
    # A column, or a parameter, may be called like one of our classes, or str.
    return [str(part) for place, part in enumerate(location) if part not in added or location[place - 1] in _FREE]


_FREE = ("columns", "parameters", "search", "options", "objectives")
"""Fields whose keys are free."""


_UNQUOTED = (bool, int, float, dt.date)
"""What YAML makes of yes, no, 1.0 or 2024-01-01 where somebody means a text."""


def explain(entry: JsonMapping, whole: type[BaseModel]) -> str:
    """One of pydantic's errors, as a person who writes the file needs it; `whole` is the model of the file."""
    if entry["type"] == "extra_forbidden":
        return _no_field(entry["loc"], whole)
    if entry["type"] == "missing":
        return "is missing, and every problem must have it"
    message = re.sub(r"^Value error, ", "", entry["msg"])
    value = entry.get("input")
    if isinstance(value, str | int | float | bool) and repr(value) not in message:
        message = f"{message} but got {value!r}"
    message += _quotes(entry["type"], value)
    # Of a Literal pydantic gives the choices here, each in single quotes.
    expected = str((entry.get("ctx") or {}).get("expected", ""))
    guess = did_you_mean(value, re.findall(r"'([^']*)'", expected)) if isinstance(value, str) else ""
    return f"{message}; {guess}" if guess else message


def _quotes(kind: str, value: Any) -> str:
    """A hint where YAML made something else of what may be a text."""
    if kind not in {"string_type", "invalid_key"} or not isinstance(value, _UNQUOTED):
        return ""
    return f"{f' but got {value}' if isinstance(value, dt.date) else ''}; put it in quotes where it is a text"


def _no_field(place: Sequence[object], whole: type[BaseModel]) -> str:
    part: Any = whole
    for name in place_of(place[:-1]):
        part = _field_type(part, name) or part
    # load() fills the folder in; nobody writes it.
    allowed = sorted(set(getattr(part, "model_fields", {})) - {"directory"})
    guess = did_you_mean(place[-1], allowed)
    return f"is not a field; allowed: {', '.join(allowed)}" + (f"; {guess}" if guess else "")


def _field_type(part: Any, name: Any) -> object:
    field = getattr(part, "model_fields", {}).get(name)
    candidates = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
