"""Mends of faults of Great Expectations 1.24 on pandas 3 that would end a checkpoint with a crash.

- ``ExpectColumnQuantileValuesToBeBetween`` answers with a numpy boolean, which the checkpoint cannot write as JSON.

Each leaves answers as they are; a version of GX without the fault is not changed by it.
"""

import functools
from collections.abc import Callable
from typing import Any

from great_expectations.expectations.core import ExpectColumnQuantileValuesToBeBetween

from windtunnel.lifecycle.payload import JsonObject

__all__ = ["mend"]


def mend() -> None:
    """Mend them, once a process."""
    original = ExpectColumnQuantileValuesToBeBetween._validate  # there is no public way to its answer
    if not getattr(original, "windtunnel", False):
        ExpectColumnQuantileValuesToBeBetween._validate = _with_plain_success(original)


def _with_plain_success(function: Callable[..., JsonObject]) -> Callable[..., dict[str, object]]:
    @functools.wraps(function)
    def validate(*arguments: Any, **options: Any) -> dict[str, object]:
        answer = function(*arguments, **options)
        return {**answer, "success": bool(answer["success"])}

    validate.windtunnel = True  # type: ignore[attr-defined]
    return validate
