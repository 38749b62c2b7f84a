"""The short way of single rows in which nothing is odd: what does not change from one request to the next is prepared, once a swap.

A lane does what `Service.answer` does, in the same order: score, write the line, count. It takes only what needs no second look; for every
other row, and whenever anything goes wrong, it answers None before it has done anything, and the ordinary way has its say.
"""

import time
from collections.abc import Mapping
from typing import Any, Self

from windtunnel.lifecycle.payload import JsonObject
from windtunnel.serving.base import quickjson
from windtunnel.serving.base.log import LogUnavailableError
from windtunnel.serving.routing.entries import spellings
from windtunnel.serving.routing.service import Service, Target

__all__ = ["SIMPLE", "Lane", "Lanes"]

SIMPLE = {"binary", "anomaly", "regression"}
"""Tasks whose answers are a value or two a row."""


class Lane:
    """One version behind one protocol; good until the next swap. Made by `of`.

    Args:
        service: what it is part of.
        found: the model, arm and version.
        protocol: the codec's name in log and metrics.
        ends: the protocol's name where requests are counted by how they ended.

    Attributes:
        found: the model, arm and version.
        engine: what answers.
    """

    def __init__(self, service: Service, found: Target, protocol: str, ends: str) -> None:
        served, arm, version = found
        self.found, self.engine = found, served.engines[version]
        self._service, self._log = service, service.log
        self._tally = service.metrics.tally(served.name, version, arm, protocol, ends)
        self._names = self.engine.names
        about = {"problem": self.engine.bundle.problem, "model": served.name, "version": version, "route": arm, "protocol": protocol}
        self._about = quickjson.encode(about)[1:-1]
        spelled = spellings(self._names)
        self._spelled = b',"names":%b' % quickjson.encode(spelled) if spelled else b""

    @classmethod
    def of(cls, service: Service, found: Target, protocol: str, ends: str) -> Self | None:
        """The lane of a version; None where each answer has to be looked up, shown to others, traced, waited for or partly hidden."""
        served, _, version = found
        options = served.engines[version].bundle.options
        whole = options.get("log_sample", 1.0) >= 1.0 and not options.get("redact")
        alone = not served.queues and served.lookup is None and not served.route.shadow and len(served.route.arms) <= 1
        if not whole or not alone or service.tracer is not None or service.log.sync:
            return None
        return cls(service, found, protocol, ends)

    def answer(self, row: Mapping[str, Any], identity: bytes, began: float) -> tuple[JsonObject, bytes] | None:
        """The answer to a row, also as JSON, which is in the log and counted; None where the ordinary way must be taken.

        Args:
            row: column -> value, as it was sent.
            identity: the request's id, as JSON.
            began: when it arrived, by `time.perf_counter`.
        """
        found = None if self._service.shed() else self.engine.plain_answer(row)
        if found is None:
            return None
        text, seconds = quickjson.encode(found), time.perf_counter() - began
        line = b'{"id":%b,"time":%r,%b,"seconds":%.6f,"inputs":[%b],"answers":[%b]%b}\n'
        try:
            self._log.write(line % (identity, time.time(), self._about, seconds, quickjson.encode(row), text, self._spelled))
        # nothing of the line is in the file: the ordinary way may try again, and refuses with the reason
        except LogUnavailableError:
            return None
        self._tally.answered(seconds)
        if self._names:
            self._tally.predicted(self._names[found["prediction"]])
        return found, text


class Lanes:
    """The lanes of a worker, made when they are first asked for, and anew after each swap.

    Args:
        service: what they are part of.
        ends: the protocol's name where requests are counted by how they ended.
    """

    def __init__(self, service: Service, ends: str) -> None:
        self._service, self._ends = service, ends
        self._served: object = None  # the state that they are of
        self._lanes: dict[tuple[str, str, str, str], Lane | None] = {}

    def of(self, found: Target, protocol: str) -> Lane | None:
        """The lane of a version and protocol; None where it has none."""
        served = self._service.models.served
        if self._served is not served:
            self._served, self._lanes = served, {}
        key = (found[0].name, found[1], found[2], protocol)
        if key not in self._lanes:
            self._lanes[key] = Lane.of(self._service, found, protocol, self._ends)
        return self._lanes[key]
