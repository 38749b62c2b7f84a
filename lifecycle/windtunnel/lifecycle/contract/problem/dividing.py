"""Which time a run is about, and how its rows are divided."""

import datetime as dt
from typing import Literal

from pydantic import Field

from windtunnel.lifecycle.contract.problem.parts import Part, Share

__all__ = ["Splits", "Windows"]


class Splits(Part):
    """How rows are divided: by a stable hash of a key, which never crosses splits, by time, or else by the whole row."""

    by: Literal["key", "time", "row"] = Field("key", description="a stable hash of a key, the event time, or a hash of the whole row")
    key: list[str] = Field(default_factory=list, description="by key: these columns; empty means the problem's keys")
    test: Share = Field(0.2, description="by key or row: the share of them; by time: the newest share of the window's days")
    salt: str = Field("", description="another text draws another split")


class Windows(Part):
    """Which time a run is about."""

    unit: Literal["day", "week"] = Field("day", description="a run's cut-off is the end of the last whole one, in the problem's timezone")
    train_days: int = Field(28, ge=1, description="how many days a model learns from")
    history_start: dt.date | None = Field(None, description="no data before this day")
    history_end: dt.date | None = Field(None, description="no data on or after this day: a closed history")
