"""What is predicted."""

from typing import Self

from pydantic import Field, model_validator

from windtunnel.lifecycle.contract.problem.parts import Part

__all__ = ["Label", "Positive"]


class Positive(Part):
    """Which label values are the positive class of a binary task: give exactly one."""

    above: float | None = None
    at_least: float | None = None
    equals: str | int | bool | None = None
    not_equals: str | int | bool | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in (self.above, self.at_least, self.equals, self.not_equals)) != 1:
            raise ValueError("give exactly one of above, at_least, equals, not_equals")
        return self


class Label(Part):
    """What is predicted."""

    column: str = Field(description="the column that holds the truth")
    positive: Positive | None = Field(None, description="binary: how the column becomes a yes or a no")
    delay_days: int = Field(0, ge=0, description="a row's label is known this many days after its event; a run does not see it earlier")
    classes: list[str] | None = Field(None, description="multiclass: the allowed values")
