"""Real flights asked about all the while: the traffic that a canary of the demo takes its share of."""

import collections
import contextlib
import csv
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.payload import JsonObject

if TYPE_CHECKING:
    import httpx

__all__ = ["Traffic"]

_EVERY = 0.01
_LEAKS = {"arr_time", "arr_delay", "air_time"}


class Traffic:
    """Asks a model server about the flights of some days, one a request, until it is told to stop.

    Args:
        url: the server.
        token: its bearer token.
        problem: whose model is asked; its columns are sent, keys too, by which the truth is joined later.
        days: files of flights.

    Attributes:
        answered: ``(version, route)`` -> answers.
        failures: what went wrong, as texts.
    """

    def __init__(self, url: str, token: str, problem: Problem, days: list[Path]) -> None:
        self._url = f"{url.rstrip('/')}/v1/models/{problem.name}/predict"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._problem, self._days = problem, days
        self.answered: collections.Counter[tuple[str, str]] = collections.Counter()
        self.failures: list[str] = []

    @contextlib.contextmanager
    def flowing(self) -> Iterator[None]:
        """Ask from here on, in a thread, until the block is left."""
        stop = threading.Event()
        asking = threading.Thread(target=self._ask, args=(stop,), daemon=True)
        asking.start()
        try:
            yield
        finally:
            stop.set()
            asking.join(timeout=30)

    def summary(self, version: str) -> JsonObject:
        """Requests, failures, and the share that a version took while it was a canary."""
        total = self.answered.total()
        arms = sum(count for (_, route), count in self.answered.items() if route in {"champion", "canary"})
        canary = self.answered[version, "canary"]
        return {
            "requests": total + len(self.failures),
            "failed": len(self.failures),
            "failures": self.failures[:3],
            "canary": canary,
            "share": round(canary / arms, 4) if arms else None,
            "after": self.answered[version, "champion"],
        }

    def _ask(self, stop: threading.Event) -> None:
        import httpx

        with httpx.Client(headers=self._headers, timeout=30.0) as client:
            self._until(stop, client)

    def _until(self, stop: threading.Event, client: "httpx.Client") -> None:
        while not stop.is_set():
            for day in self._days:
                with day.open(encoding="utf-8", newline="") as file:
                    for flight in csv.DictReader(file):
                        if stop.wait(_EVERY):
                            return
                        self._one(flight, client)

    def _one(self, flight: Mapping[str, str], client: "httpx.Client") -> None:
        import httpx

        try:
            said = client.post(self._url, json={"rows": [self._row(flight)]}).raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            self.failures.append(str(error))
        else:
            self.answered[str(said["version"]), str(said["route"])] += 1

    def _row(self, flight: Mapping[str, str]) -> JsonObject:
        row: dict[str, Any] = {}
        for name, kind in self._problem.columns.items():
            value = flight.get(name, "")
            if name in _LEAKS:
                continue
            if value in {"", "NA"}:  # a null is sent: an absent column is refused
                row[name] = None
                continue
            row[name] = value if kind == "string" else float(value) if kind.startswith("float") else int(float(value))
        return row
