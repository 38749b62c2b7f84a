"""One request, whatever protocol it came by: route it, answer it, answer it in the shadow too, write it down, count it."""

import asyncio
import itertools
import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from windtunnel.lifecycle.contract.errors import UnavailableError, WindtunnelError
from windtunnel.lifecycle.model import answers
from windtunnel.serving.base.log import LogUnavailableError, PredictionLog
from windtunnel.serving.base.metrics import Metrics
from windtunnel.serving.base.values import Columns, InvalidInputError, from_rows
from windtunnel.serving.routing.answer import Answer
from windtunnel.serving.routing.models import Models, Served
from windtunnel.serving.routing.router import place_of
from windtunnel.serving.routing.tracing import Tracer

__all__ = ["Service"]

log = logging.getLogger("windtunnel.server")

MAX_ROWS = 10_000
"""Rows of a request at most; more are a batch job's business."""


class Service:
    """What HTTP and gRPC share.

    Args:
        models: the models of this worker.
        log: its prediction log.
        metrics: its metrics.
        tracer: its traces, if there are any.

    Attributes:
        ready: whether requests may be sent here: not while models are loaded first, nor while the worker is about to end.
    """

    def __init__(self, models: Models, log: PredictionLog, metrics: Metrics, tracer: Tracer | None = None) -> None:
        self.tracer = tracer
        self.ready = False
        self.models = models
        self.log = log
        self.metrics = metrics
        models.on_swap = metrics.swapped
        self.lag = 0.0
        self.max_lag = 0.5
        # Ids are unique over restarts and workers: random at the start, counted from there.
        self._prefix = os.urandom(6).hex()
        self._count = itertools.count()
        self._shadows: set[asyncio.Task[None]] = set()

    def shed(self) -> bool:
        """Whether this worker is so far behind that it must refuse: by the age of its queue, not by a count."""
        return self.lag > self.max_lag

    def new_id(self) -> str:
        """An id for a request that brings none."""
        return f"{self._prefix}-{next(self._count):x}"

    def find(self, name: str, wanted: str = "", key: str | None = None, rows: Sequence[Mapping[str, Any]] = ()) -> tuple[Served, str, str]:
        """The model, arm and version for a request.

        Args:
            name: the model.
            wanted: the version or label that is asked for; empty leaves it to the route.
            key: what makes the choice stick; by default the row's field that the route names.
            rows: where that field is.
        """
        served = self.models.get(name)
        route = served.route
        if wanted:
            return served, *route.named(wanted)
        if key is None and route.sticky and route.arms and rows and rows[0].get(route.sticky) is not None:
            key = str(rows[0][route.sticky])
        return served, *route.choose(key)

    def answer(
        self,
        found: tuple[Served, str, str],
        rows: Sequence[Mapping[str, Any]],
        columns: Columns | None,
        identity: str,
        protocol: str,
        began: float,
    ) -> Answer:
        """Answer rows at once, by a version that waits for no queue; arguments and errors are those of `predict`.

        The line is in the log's file, but where the log waits for the disk that is the caller's to do.
        """
        engine = found[0].engines[found[2]]
        known = self._known(found, rows)
        if known is not None:
            return self._answered(found, known, rows, identity, protocol, began)
        try:
            scores = engine.row_scores(rows[0]) if columns is None and len(rows) == 1 else None
            if scores is None:
                scores = engine.scores(from_rows(engine.bundle.inputs, rows) if columns is None else columns)
        except Exception as error:  # noqa: BLE001 - raised again as what it means
            self._failed(found, identity, error)
        return self._answered(found, scores, rows, identity, protocol, began)

    async def predict(
        self,
        found: tuple[Served, str, str],
        rows: Sequence[Mapping[str, Any]],
        columns: Columns | None,
        identity: str,
        protocol: str,
        began: float,
    ) -> Answer:
        """Answer rows, and write it down before anybody sees it.

        Args:
            found: from `find`.
            rows: as JSON objects, for the log (and for the columns, where they are not given).
            columns: the checked columns, where a protocol has them already.
            identity: the request's id.
            protocol: ``json``, ``http`` or ``grpc``.
            began: when it arrived, by `time.perf_counter`.

        Raises:
            WindtunnelError: the request cannot be answered; its kind says why.
        """
        answer = await self._predicted(found, rows, columns, identity, protocol, began)
        if self.log.sync:
            await self.log.durable()
        return answer

    async def _predicted(
        self,
        found: tuple[Served, str, str],
        rows: Sequence[Mapping[str, Any]],
        columns: Columns | None,
        identity: str,
        protocol: str,
        began: float,
    ) -> Answer:
        served, _, version = found
        queue = served.queues.get(version)
        if queue is None:
            return self.answer(found, rows, columns, identity, protocol, began)
        known = self._known(found, rows)
        if known is not None:
            return self._answered(found, known, rows, identity, protocol, began)
        try:
            if columns is None:
                columns = from_rows(served.engines[version].bundle.inputs, rows)
            scores = await queue.scores(columns)
        except Exception as error:  # noqa: BLE001 - raised again as what it means
            self._failed(found, identity, error)
        return self._answered(found, scores, rows, identity, protocol, began)

    def _known(self, found: tuple[Served, str, str], rows: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
        """Scores that a batch job of the same version computed beforehand, where the problem wants that and all of them are there."""
        served, _, version = found
        if served.lookup is None:
            return None
        bundle = served.engines[version].bundle
        wanted = bundle.options.get("lookup")
        if not wanted or bundle.lineage.get("candidate") != served.lookup.candidate:
            return None
        scores = served.lookup.find(rows, float(wanted["max_age_hours"]) * 3600)
        self.metrics.looked_up(served.name, version, found=scores is not None)
        return scores

    def _failed(self, found: tuple[Served, str, str], identity: str, error: Exception) -> NoReturn:
        """Count and raise what kept a version from answering, unless it is the request's own fault."""
        served, arm, version = found
        if isinstance(error, InvalidInputError):
            self.metrics.refused(served.name, version, arm)
            raise error
        self.metrics.failed(served.name, version, arm)
        if isinstance(error, WindtunnelError):
            raise error
        log.error("%s version %s failed on request %s", served.name, version, identity, exc_info=error)
        raise UnavailableError(f"the model failed: {type(error).__name__}", hint="the server's log says more") from error

    def _answered(
        self,
        found: tuple[Served, str, str],
        scores: np.ndarray,
        rows: Sequence[Mapping[str, Any]],
        identity: str,
        protocol: str,
        began: float,
    ) -> Answer:
        served, arm, version = found
        engine = served.engines[version]
        answer = Answer(identity, served.name, version, arm, engine, scores)
        shown = answer.rows
        if self.tracer is not None:
            self.tracer.note(answer)
        self._write(served, answer, rows, shown, protocol, began, shadow=False)
        for shadow_arm, shadow_version in served.route.shadow:
            if shadow_version != version:
                task = asyncio.get_running_loop().create_task(
                    self._shadow((served, shadow_arm, shadow_version), answer, rows, protocol, began)
                )
                self._shadows.add(task)
                task.add_done_callback(self._shadows.discard)
        self.metrics.answered(served.name, version, arm, protocol, time.perf_counter() - began, len(shown))
        if len(served.route.arms) > 1:
            self.metrics.compared(served.name, version, arm, engine.bundle.task, shown)
        if engine.bundle.task != "regression":
            for row in shown:
                self.metrics.predicted(served.name, version, arm, row["prediction"])
        return answer

    async def drain(self, seconds: float = 5.0) -> None:
        """Wait until what answers unseen has done so."""
        if self._shadows:
            await asyncio.wait(self._shadows, timeout=seconds)

    async def _shadow(
        self, found: tuple[Served, str, str], answer: Answer, rows: Sequence[Mapping[str, Any]], protocol: str, began: float
    ) -> None:
        """The same rows by another version, while the client has its answer: logged, counted, never shown; its failures are its own."""
        served, arm, version = found
        engine = served.engines[version]
        try:
            queue = served.queues.get(version)
            columns = from_rows(engine.bundle.inputs, rows)
            scores = engine.scores(columns) if queue is None else await queue.scores(columns)
        except Exception:  # noqa: BLE001 - whatever it is, the answer that is shown must not suffer from it
            for _ in rows:
                self.metrics.shadowed(served.name, version, agrees=False)
            return
        other = Answer(answer.id, served.name, version, arm, engine, scores)
        self._write(served, other, rows, other.rows, protocol, began, shadow=True)
        for ours, theirs in zip(answer.rows, other.rows, strict=True):
            self.metrics.shadowed(served.name, version, agrees=answers.same({"p": ours["prediction"]}, {"p": theirs["prediction"]}))

    def _write(
        self,
        served: Served,
        answer: Answer,
        rows: Sequence[Mapping[str, Any]],
        shown: Sequence[Mapping[str, Any]],
        protocol: str,
        began: float,
        *,
        shadow: bool,
    ) -> None:
        bundle = answer.engine.bundle
        share = bundle.options.get("log_sample", 1.0)
        if share < 1.0 and place_of(answer.id, "log") >= share:
            return
        hidden = bundle.options.get("redact") or ()
        inputs = [{name: value for name, value in row.items() if name not in hidden} for row in rows] if hidden else rows
        entry = {
            "id": answer.id,
            "time": time.time(),
            "problem": bundle.problem,
            "model": served.name,
            "version": answer.version,
            "route": answer.route,
            "protocol": protocol,
            "seconds": round(time.perf_counter() - began, 6),
            "inputs": inputs,
            "answers": shown,
        }
        if shadow:
            entry["shadow"] = True
        try:
            self.log.append(entry)
        except LogUnavailableError:
            self.metrics.log_failed()
            if not shadow:
                raise


def status_of(error: WindtunnelError) -> int:
    """The HTTP status of an error of ours."""
    from windtunnel.lifecycle.contract.errors import ConfigurationError, ConflictError, IntegrityError
    from windtunnel.serving.base.values import InvalidInputError
    from windtunnel.serving.routing.router import Unknown

    for kind, status in (
        (Unknown, 404),
        (InvalidInputError, 422),
        (UnavailableError, 503),
        (ConflictError, 409),
        (IntegrityError, 422),
        (ConfigurationError, 400),
    ):
        if isinstance(error, kind):
            return status
    return 400
