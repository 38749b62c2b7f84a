"""What every section of a problem file is made of: a strict, frozen model, and the names and shares that fields share."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ColumnType", "DottedName", "Name", "Part", "Promotion", "Share", "Task"]


Task = Literal["binary", "multiclass", "regression", "anomaly"]


ColumnType = Literal["bool", "int32", "int64", "float32", "float64", "string", "date", "timestamp", "decimal"]


Promotion = Literal["auto", "ask", "never"]


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


DottedName = Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")]


Share = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """A section of the file: frozen, and without fields that nobody declared."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
