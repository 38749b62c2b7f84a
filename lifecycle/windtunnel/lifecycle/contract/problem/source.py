"""Where rows come from, and when they happened."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from windtunnel.lifecycle.contract.problem.parts import DottedName, Part, Registered
from windtunnel.lifecycle.contract.seams.sources import SOURCES

__all__ = ["EventTime", "Source", "Wait"]


class Wait(Part):
    """How long the files of a window are waited for; without it the cut-off is the end of the newest day that has one."""

    until: float = Field(6, ge=0, description="hours after the window's end, midnight in timezone, until which files are waited for")
    complete: Literal["newest", "all"] = Field("newest", description="which days must have a file: the window's newest, or all of them")
    settle_seconds: float = Field(60, ge=0, description="a local file that was changed more recently still grows and is not read")


class Source(Part):
    """Where raw rows come from."""

    format: Annotated[str, Registered(SOURCES)] = Field(description="what the rows are written as")
    path: str = Field("", description="path or URL; {landing} and the window's {day}, {year}, {month}, {dom} are filled in; globs too")
    table: str = Field("", description="format iceberg or sql: the table")
    query: str = Field("", description="format sql: a query; {start} and {end} are filled in with the window's bounds")
    connection: str = Field("", description="format sql: an Airflow connection id")
    generator: DottedName | None = Field(None, description="format python: module:function(start, end) -> iterable of Arrow batches")
    options: dict[str, Any] = Field(default_factory=dict, description="reader options: delimiter, encoding, nulls, decimal_point, ...")
    wait: Wait | None = Field(None, description="files of required days are waited for, and a run without them fails")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needs = SOURCES[self.format].needs
        if needs and not any(getattr(self, field) for field in needs):
            raise ValueError(f"a source of format {self.format!r} needs {' or '.join(needs)}")
        if self.wait is not None and not self.path:
            raise ValueError(f"wait is for files; a source of format {self.format!r} has none")
        return self


class EventTime(Part):
    """The columns that say when a row happened: one timestamp or date column, or year, month and day."""

    column: str | None = Field(None, description="a timestamp or date column")
    year: str | None = Field(None, description="a column of years, with month and day")
    month: str | None = Field(None, description="a column of months, 1 to 12")
    day: str | None = Field(None, description="a column of days of the month")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.column is None) == (None in {self.year, self.month, self.day}):
            raise ValueError("give either column, or all of year, month and day")
        return self
