"""One thing that makes no sense in a problem file."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windtunnel.lifecycle.contract.problem.problem import Problem

__all__ = ["Fault", "Rule"]


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is wrong.

    Attributes:
        field: the field, dotted as in ``serving.redact``.
        message: what is wrong with it, and what it may be.
    """

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


Rule = Callable[["Problem"], Iterator[Fault]]
"""Gives each fault of one kind that a problem has."""
