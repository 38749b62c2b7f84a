"""Waiting for data without a worker: a trigger that looks for a window's files."""

import asyncio
import datetime as dt
import logging
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from windtunnel.lifecycle.payload import JsonObject

__all__ = ["ArrivalTrigger"]

log = logging.getLogger("windtunnel.sources")


class ArrivalTrigger(BaseTrigger):
    """Fires when every required day of a window has its files, or when the time of ``source.wait`` is over.

    A store that does not answer is asked again. What it looks for is `windtunnel.lifecycle.data.sources.arrival.lacking_days`, as a task
    that waits by itself does.

    Args:
        problem: a problem's plain data: its source says where files are and which days are required.
        window: a window's plain data.
        landing: fills ``{landing}``.
        poll: seconds between two looks.
    """

    def __init__(self, problem: JsonObject, window: dict[str, str], landing: str, poll: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.problem, self.window, self.landing, self.poll = problem, window, landing, poll

    def serialize(self) -> tuple[str, JsonObject]:
        """Plain data, for Airflow's database."""
        arguments = {"problem": self.problem, "window": self.window, "landing": self.landing, "poll": self.poll}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until it is there, or too late; the event has the days that lack files, with what is wrong."""
        from windtunnel.lifecycle.contract.problem import parse
        from windtunnel.lifecycle.contract.window import Window
        from windtunnel.lifecycle.data.sources.arrival import waits_until

        problem, window = parse(self.problem), Window.from_dict(self.window)
        until = waits_until(problem, window)
        while True:
            # What is looked at lies on a disk or in a store: in a thread, so that other triggers go on.
            lacking = await asyncio.to_thread(self._look, problem, window)
            left = (until - dt.datetime.now(dt.UTC)).total_seconds()
            if not lacking or left <= 0:
                yield TriggerEvent({"lacking": lacking})  # type: ignore[no-untyped-call]
                return
            await asyncio.sleep(min(self.poll, left))

    def _look(self, problem: Any, window: Any) -> dict[str, str]:
        from windtunnel.lifecycle.contract.errors import UnavailableError
        from windtunnel.lifecycle.contract.settings import Settings
        from windtunnel.lifecycle.data.sources.arrival import lacking_days

        try:
            return lacking_days(problem, window, Settings(landing=self.landing), dt.datetime.now(dt.UTC).timestamp())
        except UnavailableError as error:
            log.warning("%s: asked again: %s", problem.name, error)
            # counts as lacking: the loop goes on, and if time runs out the event says why
            return {"": str(error)}
