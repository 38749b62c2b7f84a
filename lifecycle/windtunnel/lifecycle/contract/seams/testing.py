"""What authors of rows test with: one conformance test for the rows of any seam.

.. code-block:: python

    from windtunnel.lifecycle.contract.seams.learners import LEARNERS
    from windtunnel.lifecycle.contract.seams.testing import SeamConformance

    class TestOurLearner(SeamConformance):
        registry, name = LEARNERS, "nearest"
"""

import pickle
from typing import Any, ClassVar

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.naming import imported
from windtunnel.lifecycle.contract.seams.classes import ClassRow
from windtunnel.lifecycle.contract.seams.learners import LearnerRow
from windtunnel.lifecycle.contract.seams.registry import Registry, Row

__all__ = ["SeamConformance"]


class SeamConformance:
    """Subclass it and name a registry and a row of it."""

    registry: ClassVar[Registry[Any]]
    name: ClassVar[str]

    @property
    def row(self) -> Row:
        """The row under test."""
        row: Row = self.registry[self.name]
        return row

    def test_it_is_known_by_its_name(self) -> None:
        """The registry finds it, lists it and gives it out when it is asked for all."""
        row = self.row
        _check(row.name == self.name, f"{self.name!r} is called {row.name!r}")
        _check(self.name in self.registry and self.name in self.registry.names, "it is not listed")
        _check(row in list(self.registry), "it is not among all rows")

    def test_it_is_data(self) -> None:
        """A row is frozen, can travel to workers, and says in one line what it is."""
        row = self.row
        _check(type(row).__dataclass_params__.frozen, "it can be changed")  # type: ignore[attr-defined] # what dataclasses note
        _check(pickle.loads(pickle.dumps(row)) == row, "it does not travel")  # our own
        _check("\n" not in row.summary, "its summary has more than one line")

    def test_its_parts_can_be_imported(self) -> None:
        """Every text that names a part names something that can be called."""
        for attribute in self.row.parts:
            _check(callable(self.row.part(attribute)), f"{attribute} is not callable")

    def test_what_it_is_about_can_be_imported(self) -> None:
        """A row about a class names one; the estimators of a learner are classes too."""
        row = self.row
        named = [row.where] if isinstance(row, ClassRow) else list(row.estimators.values()) if isinstance(row, LearnerRow) else []
        for where in named:
            _check(isinstance(imported(where), type), f"{where} is not a class")

    def test_a_slip_of_the_pen_is_refused_and_a_name_offered(self) -> None:
        """Whoever mistypes it hears of it."""
        message = ""
        try:
            self.registry[f"{self.name}_"]
        except ConfigurationError as error:
            message = error.message
        _check("did you mean" in message, f"mistyped, it is refused with {message!r}")


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)
