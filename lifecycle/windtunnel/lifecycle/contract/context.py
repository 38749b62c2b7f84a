"""What every stage works with: whose problem, with which settings, for which run."""

import dataclasses
from typing import Self

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.run import Run, stricter
from windtunnel.lifecycle.contract.settings import Settings

__all__ = ["RunContext"]


@dataclasses.dataclass(frozen=True)
class RunContext:
    """The three things that travel through a stage together.

    Attributes:
        problem: whose model it is.
        settings: where things are kept and which servers are ours.
        run: the run that asks; decisions depend on it, and the ledger keeps it.
    """

    problem: Problem
    settings: Settings
    run: Run = dataclasses.field(default_factory=Run)

    @property
    def promotion(self) -> str:
        """Who lets the run's model into production: what the run asks for, but never less than the problem's file demands."""
        return stricter(self.run.promotion, self.problem.approval.promotion)

    def with_problem(self, problem: Problem) -> Self:
        """The same run with another form of the problem, such as one with the remedy that a person chose."""
        return dataclasses.replace(self, problem=problem)

    def with_settings(self, settings: Settings) -> Self:
        """The same run with things kept elsewhere, such as a replay's own folder."""
        return dataclasses.replace(self, settings=settings)
