"""What every section of a problem file is made of: a strict, frozen model, and the names and shares that fields share."""

import dataclasses
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo, field_validator
from pydantic_core import core_schema

from windtunnel.lifecycle.contract.naming import unknown
from windtunnel.lifecycle.contract.seams.registry import Registry

__all__ = ["ColumnType", "DottedName", "Name", "Part", "Promotion", "Registered", "Share", "Task"]


Task = Literal["binary", "multiclass", "regression", "anomaly"]


ColumnType = Literal["bool", "int32", "int64", "float32", "float64", "string", "date", "timestamp", "decimal"]


Promotion = Literal["auto", "ask", "never"]


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


DottedName = Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")]


Share = Annotated[float, Field(ge=0, le=1)]


@dataclasses.dataclass(frozen=True)
class Registered:
    """A text that must be a name of a registry: its schema lists all that are installed."""

    registry: Registry[Any]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Check what the handler takes."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, object]:
        """The names as an enum."""
        return {**handler(schema), "enum": self.registry.names}

    def check(self, name: str) -> str:
        """The name itself.

        Raises:
            ValueError: it is none; says which there are.
        """
        if name not in self.registry:
            # A ValueError, which pydantic collects with the other faults of the file; an error of ours would end it at once.
            raise ValueError(unknown(name, self.registry.thing, self.registry.names))
        return name


class Part(BaseModel):
    """A section of the file: frozen, without fields that nobody declared, and with numbers that are numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> object:
        """YAML's yes, no, on and off are truth values, which would be taken for 1 and 0."""
        field = cls.model_fields.get(info.field_name or "")
        if isinstance(value, bool) and field is not None and _NUMERIC & _types(field.annotation) and bool not in _types(field.annotation):
            raise ValueError("must be a number")
        return value


_NUMERIC = frozenset({int, float})


def _types(annotation: object) -> set[Any]:
    arguments = get_args(annotation)
    return {annotation} if not arguments else {inner for argument in arguments for inner in _types(argument)}
