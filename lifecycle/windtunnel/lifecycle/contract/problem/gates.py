"""What lets data and a candidate through."""

from typing import Literal, Self

from pydantic import Field, model_validator

from windtunnel.lifecycle.contract.alert import Alert
from windtunnel.lifecycle.contract.problem.parts import Part, Promotion, Share

__all__ = ["Approval", "Gate", "Limits"]


class Gate(Part):
    """One condition on a candidate: exactly one bound."""

    metric: str = Field(description="a metric of the evaluation report")
    at_least: float | None = None
    at_most: float | None = None
    above_baseline_by: float | None = None
    above_champion_by: float | None = None
    slices: bool = Field(False, description="must hold in every declared slice with enough rows")
    hard: bool | None = Field(None, description="true: nobody can approve it away; by default only gates on fairness and latency are so")

    @property
    def is_hard(self) -> bool:
        """Whether no approval can overrule it.

        Example:
            >>> Gate(metric="demographic_parity_difference", at_most=0.1).is_hard, Gate(metric="auc", at_least=0.8).is_hard
            (True, False)
        """
        if self.hard is not None:
            return self.hard
        return self.metric.startswith(("latency_", "worst_group_")) or self.metric.endswith(("_difference", "_ratio"))

    @model_validator(mode="after")
    def _one(self) -> Self:
        bounds = (self.at_least, self.at_most, self.above_baseline_by, self.above_champion_by)
        if sum(bound is not None for bound in bounds) != 1:
            raise ValueError("give exactly one of at_least, at_most, above_baseline_by, above_champion_by")
        return self


class Approval(Part):
    """Who lets a model through."""

    promotion: Promotion = Field("ask", description="auto: every gate passed is enough; ask: a person decides; never: no promotion")
    approvers: list[str] = Field(default_factory=list, description="names of those who may decide; empty: everybody who may run the DAG")
    timeout_hours: float = Field(72, gt=0, description="how long a person is waited for")
    default: Literal["approve", "reject"] = Field("reject", description="what is taken when nobody answered")
    notifiers: list[Alert] = Field(default_factory=list, description="who is told that a decision waits")
    needed: int = Field(1, ge=1, description="how many different people must approve; one who rejects is enough to reject")
    deputies: list[str] = Field(default_factory=list, description="names of those who may decide beside the approvers")
    remind_hours: float | None = Field(None, gt=0, description="the notifiers are told again after so long without an answer")
    second_person: bool = Field(False, description="whoever started the run cannot be the only one who approves it")

    @model_validator(mode="after")
    def _enough(self) -> Self:
        known = len({*self.approvers, *self.deputies})
        if self.approvers and self.needed > known:
            raise ValueError(f"needed is {self.needed} but approvers and deputies are {known}")
        return self


class Limits(Part):
    """What data may look like before a run stops."""

    quarantine_share: Share = Field(0.01, description="largest share of rows that do not fit the schema")
    rows_min: int = Field(1, ge=0, description="rows of a training window")
    label_shift: Share = Field(0.1, description="largest change of a class's share against the reference")
    split_shift: Share = Field(
        0.1, description="largest difference of a class's share between training and test rows, also within each sensitive group"
    )
    drift: float = Field(0.25, ge=0, description="largest population stability index of a feature against the reference")
