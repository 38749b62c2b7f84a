"""What a model may see."""

from typing import Literal

from pydantic import Field

from windtunnel.lifecycle.contract.problem.parts import DottedName, Part

__all__ = ["Features"]


class Features(Part):
    """The columns that a model may see, and how they become numbers."""

    numeric: list[str] = Field(default_factory=list, description="imputed and standardised")
    categorical: list[str] = Field(default_factory=list, description="one column a category")
    text: list[str] = Field(default_factory=list, description="TF-IDF of words")
    transformer: DottedName | None = Field(None, description="module:function() that returns any ColumnTransformer or Pipeline")
    scale: bool = Field(True, description="standardise numeric columns")
    impute: Literal["mean", "median", "most_frequent", "none"] = Field("median", description="what fills missing numbers")
    min_frequency: int | None = Field(None, ge=1, description="rarer categories are one 'infrequent' column")
    max_categories: int | None = Field(None, ge=2, description="at most so many columns a categorical feature")

    @property
    def columns(self) -> list[str]:
        """All feature columns, in order."""
        return [*self.numeric, *self.categorical, *self.text]
