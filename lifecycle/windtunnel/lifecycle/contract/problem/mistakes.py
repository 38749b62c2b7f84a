"""What is wrong with a problem file, in words."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

__all__ = ["explain"]


def explain(entry: Mapping[str, Any], whole: type[BaseModel]) -> str:
    """One of pydantic's errors, as a person who writes the file needs it; `whole` is the model of the file."""
    message = re.sub(r"^Value error, ", "", entry["msg"])
    if entry["type"] == "extra_forbidden":
        part: Any = whole
        for name in entry["loc"][:-1]:
            part = _field_type(part, name) or part
        allowed = sorted(set(getattr(part, "model_fields", {})) - {"directory"})
        return f"is not a field; allowed: {', '.join(allowed)}"
    given = entry.get("input")
    return f"{message} but got {given!r}" if isinstance(given, str | int | float | bool) else message


def _field_type(part: Any, name: Any) -> Any:
    field = getattr(part, "model_fields", {}).get(name)
    candidates = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
