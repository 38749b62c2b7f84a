"""What a model is worth to the business, and what its mistakes cost."""

from pydantic import Field

from windtunnel.lifecycle.contract.problem.parts import DottedName, Part

__all__ = ["Costs", "Kpi"]


class Kpi(Part):
    """The business figure that the model is for."""

    name: str = Field(description="what people call it")
    description: str = Field("", description="what it means")
    function: DottedName | None = Field(None, description="module:function(truth, prediction) -> float, larger is better")


class Costs(Part):
    """What each kind of answer of a binary model costs, in any one unit; what earns is negative."""

    false_positive: float = 0.0
    false_negative: float = 0.0
    true_positive: float = 0.0
    true_negative: float = 0.0
