"""Rows about a class of somebody's, such as an estimator: found again by an object of that class."""

import dataclasses
from collections.abc import Iterable
from typing import TypeVar

from windtunnel.lifecycle.contract.naming import imported
from windtunnel.lifecycle.contract.seams.registry import Registry, Row

__all__ = ["ClassRegistry", "ClassRow"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassRow(Row):
    """A row about a class; its name is the class's public one, such as ``sklearn.preprocessing.StandardScaler``.

    Attributes:
        trusted: types, beyond skops' own defaults, that its fitted objects hold: bundles may hold them then.
    """

    trusted: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The class as ``module:attribute``."""
        module, _, attribute = self.name.rpartition(".")
        return f"{module}:{attribute}"


R = TypeVar("R", bound=ClassRow)


class ClassRegistry(Registry[R]):
    """Rows about classes."""

    def __init__(self, seam: str, thing: str, row: type[R], rows: Iterable[R]) -> None:
        super().__init__(seam, thing, row, rows)
        self._of: dict[type, R | None] = {}

    def of(self, kind: type) -> R | None:
        """The row about a class, or None; only modules of classes that are called the same are imported."""
        if kind not in self._of:
            rows = (self.get(name) for name in self.names if name.rpartition(".")[2] == kind.__qualname__)
            self._of[kind] = next((row for row in rows if row is not None and imported(row.where) is kind), None)
        return self._of[kind]
