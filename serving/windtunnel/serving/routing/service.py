"""One request, whatever protocol it came by: route it, answer it, answer it in the shadow too, write it down, count it."""

import asyncio
import itertools
import logging
import os
import time
from collections import Counter, deque
from typing import NoReturn

import numpy as np

from windtunnel.lifecycle.contract.errors import UnavailableError, WindtunnelError
from windtunnel.lifecycle.model import answers
from windtunnel.serving.base.batch import Batch
from windtunnel.serving.base.log import LogUnavailableError, PredictionLog
from windtunnel.serving.base.metrics import Metrics
from windtunnel.serving.base.values import InvalidInputError
from windtunnel.serving.compiler.engine import Engine, Guesses
from windtunnel.serving.routing.answer import Answer, rows_of
from windtunnel.serving.routing.entries import spellings
from windtunnel.serving.routing.models import Models, Served
from windtunnel.serving.routing.router import place_of
from windtunnel.serving.routing.tracing import Tracer
from windtunnel.serving.routing.work import INLINE_CELLS, Budget, Work

__all__ = ["Service"]

log = logging.getLogger("windtunnel.server")

MAX_ROWS = 10_000
"""Rows of a request at most; more are a batch job's business."""


Scored = tuple[np.ndarray, Guesses]
"""Scores, and what they were guessed from."""

Target = tuple[Served, str, str]
"""A model, the arm, and the version that is to answer."""

_SAMPLES = 3
"""Times in a row that the loop has to be behind before the worker is not ready: one late turn is no overload."""


class Service:
    """What HTTP and gRPC share.

    Args:
        models: the models of this worker.
        log: its prediction log.
        metrics: its metrics.
        tracer: its traces, if there are any.
        work: where large requests are worked on.

    Attributes:
        ready: whether requests may be sent here: not while models are loaded first, nor while the worker is about to end.
        work: the thread for what would hold the event loop, such as reading a large body.
        max_lag: seconds that the loop may be behind.
        asked: how often a version was sought for a request.
    """

    def __init__(
        self, models: Models, log: PredictionLog, metrics: Metrics, tracer: Tracer | None = None, work: Work | None = None
    ) -> None:
        self.tracer = tracer
        self.ready = False
        self.models = models
        self.log = log
        self.metrics = metrics
        self.work = work or Work()
        models.on_swap = metrics.swapped
        self.max_lag = 0.5
        self._lags: deque[float] = deque([0.0] * _SAMPLES, maxlen=_SAMPLES)
        self._lag = 0.0
        self.asked = 0
        # Ids are unique over restarts and workers: random at the start, counted from there.
        self._prefix = os.urandom(6).hex()
        self._count = itertools.count()
        self._shadows: set[asyncio.Task[None]] = set()

    @property
    def lag(self) -> float:
        """Seconds that the loop has been behind for several samples in a row; setting it adds a sample."""
        return self._lag

    @lag.setter
    def lag(self, seconds: float) -> None:
        self._lags.append(seconds)
        self._lag = min(self._lags)

    def shed(self) -> bool:
        """Whether this worker is so far behind that it must refuse: by the age of its queue, not by a count."""
        return self._lag > self.max_lag

    def new_id(self) -> str:
        """An id for a request that brings none."""
        return f"{self._prefix}-{next(self._count):x}"

    def find(self, name: str, wanted: str = "", key: str | None = None, batch: Batch | None = None) -> Target:
        """The model, arm and version for a request.

        Args:
            name: the model.
            wanted: the version or label that is asked for; empty leaves it to the route.
            key: what makes the choice stick; by default the first row's field that the route names.
            batch: where that field is.
        """
        self.asked += 1
        served = self.models.get(name)
        route = served.route
        if wanted:
            return served, *route.named(wanted)
        if key is None and route.sticky and route.arms and batch is not None and batch.count:
            value = batch.value(route.sticky)
            key = None if value is None else str(value)
        return served, *route.choose(key)

    def is_large(self, found: Target, batch: Batch) -> bool:
        """Whether a request has to be answered by `predict`, because `answer` would hold the event loop."""
        width = max(batch.width, len(found[0].engines[found[2]].schema.names))
        return batch.count * width > INLINE_CELLS

    def answer(self, found: Target, batch: Batch, identity: str, protocol: str, began: float) -> Answer:
        """Answer a few rows at once, by a version that waits for no queue; arguments and errors are those of `predict`.

        The line is in the log's file, but where the log waits for the disk that is the caller's to do.
        """
        engine = found[0].engines[found[2]]
        try:
            scored = self._known(found, batch) or _scored(engine, batch, self.work.budget())
        except Exception as error:  # noqa: BLE001 - raised again as what it means
            self._failed(found, identity, error)
        return self._answered(found, scored, batch, identity, protocol, began)

    async def predict(self, found: Target, batch: Batch, identity: str, protocol: str, began: float) -> Answer:
        """Answer rows, and write it down before anybody sees it.

        Args:
            found: from `find`.
            batch: the rows, as they were sent.
            identity: the request's id.
            protocol: ``json``, ``http`` or ``grpc``.
            began: when it arrived, by `time.perf_counter`.

        Raises:
            WindtunnelError: the request cannot be answered; its kind says why.
        """
        served, _, version = found
        if version not in served.queues and not self.is_large(found, batch):
            answer = self.answer(found, batch, identity, protocol, began)
        else:
            try:
                scored = await self._scored(found, batch)
            except Exception as error:  # noqa: BLE001 - raised again as what it means
                self._failed(found, identity, error)
            answer = await self._in_turn(found, scored, batch, identity, protocol, began)
        if self.log.sync:
            await self.log.durable()
        return answer

    async def _scored(self, found: Target, batch: Batch) -> Scored:
        """The scores of rows that are many, or that scikit-learn answers."""
        served, _, version = found
        engine, queue = served.engines[version], served.queues.get(version)
        if not self.is_large(found, batch):
            known = self._known(found, batch)
            if known is not None or queue is None:
                return known or _scored(engine, batch, self.work.budget())
            columns = batch.columns(engine.schema)
        else:
            known = await self.work.run(self._known, found, batch)
            if known is not None:
                return known
            if queue is None:
                return await self.work.within(lambda budget: _scored(engine, batch, budget))
            columns = await self.work.run(batch.columns, engine.schema)
        return await queue.scores(columns), engine.guesses(columns)

    async def _in_turn(self, found: Target, scored: Scored, batch: Batch, identity: str, protocol: str, began: float) -> Answer:
        """As `_answered`, with the line of many rows made in the thread: only the write itself is the loop's."""
        if not self.is_large(found, batch):
            return self._answered(found, scored, batch, identity, protocol, began)
        served, arm, version = found
        answer = Answer(identity, served.name, version, arm, served.engines[version], *scored)
        line = await self.work.run(self._line, found, answer, batch, protocol, began, shadow=False)
        return self._finished(found, answer, line, batch, protocol, began)

    def _known(self, found: Target, batch: Batch) -> Scored | None:
        """Scores that a batch job of the same version computed beforehand, where the problem wants that and all of them are there."""
        served, _, version = found
        if served.lookup is None:
            return None
        bundle = served.engines[version].bundle
        wanted = bundle.options.get("lookup")
        # by candidate and not by digest, which compiling a bundle changes
        if not wanted or bundle.lineage.get("candidate") != served.lookup.candidate:
            return None
        scores = served.lookup.find(batch, float(wanted["max_age_hours"]) * 3600)
        self.metrics.looked_up(served.name, version, found=scores is not None)
        return None if scores is None else (scores, Guesses())

    def _failed(self, found: Target, identity: str, error: Exception) -> NoReturn:
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

    def _answered(self, found: Target, scored: Scored, batch: Batch, identity: str, protocol: str, began: float) -> Answer:
        """Write an answer down, and let shadows answer too."""
        served, arm, version = found
        answer = Answer(identity, served.name, version, arm, served.engines[version], *scored)
        line = self._line(found, answer, batch, protocol, began, shadow=False)
        return self._finished(found, answer, line, batch, protocol, began)

    def _finished(self, found: Target, answer: Answer, line: dict[str, object] | None, batch: Batch, protocol: str, began: float) -> Answer:
        served, version = found[0], found[2]
        if self.tracer is not None:
            self.tracer.note(answer)
        # first: if it cannot be written the request is refused, and no shadow has answered it
        self._write(line, shadow=False)
        for shadow_arm, shadow_version in served.route.shadow:
            if shadow_version != version:
                task = asyncio.get_running_loop().create_task(
                    self._shadow((served, shadow_arm, shadow_version), answer, batch, protocol, began)
                )
                # the loop refers to tasks weakly: one that nobody keeps may be collected before it is done
                self._shadows.add(task)
                task.add_done_callback(self._shadows.discard)
        self._count_answer(found, answer, protocol, began)
        return answer

    def _count_answer(self, found: Target, answer: Answer, protocol: str, began: float) -> None:
        served, arm, version = found
        task = answer.engine.bundle.task
        self.metrics.answered(served.name, version, arm, protocol, time.perf_counter() - began, answer.count)
        if len(served.route.arms) > 1:
            self.metrics.compared(served.name, version, arm, task, rows_of(answer.named))
        if task != "regression":
            if answer.count == 1:
                self.metrics.predicted(served.name, version, arm, answer.engine.names[answer.rows[0]["prediction"]])
            else:
                for value, rows in Counter(answer.columns["prediction"]).items():
                    self.metrics.predicted(served.name, version, arm, answer.engine.names[value], rows)
        if answer.guesses:
            self.metrics.guessed(served.name, version, answer.guesses.absent, answer.guesses.unseen, answer.count)

    async def drain(self, seconds: float = 5.0) -> None:
        """Wait until what answers unseen has done so."""
        if self._shadows:
            await asyncio.wait(self._shadows, timeout=seconds)
        self.work.stop()

    async def _shadow(self, found: Target, answer: Answer, batch: Batch, protocol: str, began: float) -> None:
        """The same rows by another version, while the client has its answer: logged, counted, never shown; its failures are its own."""
        served, arm, version = found
        try:
            scored = await self._scored(found, batch)
            other = Answer(answer.id, served.name, version, arm, served.engines[version], *scored)
            line = await self.work.run(self._line, found, other, batch, protocol, began, shadow=True)
            agree = int(answers.agreement(answer.named, other.named).sum())
        except Exception:  # noqa: BLE001 - whatever it is, the answer that is shown must not suffer from it
            self.metrics.shadowed(served.name, version, agrees=False, rows=batch.count)
            return
        self._write(line, shadow=True)
        self.metrics.shadowed(served.name, version, agrees=True, rows=agree)
        self.metrics.shadowed(served.name, version, agrees=False, rows=batch.count - agree)

    def _line(self, found: Target, answer: Answer, batch: Batch, protocol: str, began: float, *, shadow: bool) -> dict[str, object] | None:
        """What the log keeps of an answer; None where it keeps nothing of this one."""
        bundle = answer.engine.bundle
        share = bundle.options.get("log_sample", 1.0)
        if share < 1.0 and place_of(answer.id, "log") >= share:
            return None
        entry = {
            "id": answer.id,
            "time": time.time(),
            "problem": bundle.problem,
            "model": found[0].name,
            "version": answer.version,
            "route": answer.route,
            "protocol": protocol,
            "seconds": round(time.perf_counter() - began, 6),
            "inputs": batch.logged(bundle.options.get("redact") or ()),
            "answers": answer.logged(),
        }
        if shadow:
            entry["shadow"] = True
        spelled = spellings(answer.engine.names)
        if spelled:
            entry["names"] = spelled
        return entry

    def _write(self, entry: dict[str, object] | None, *, shadow: bool) -> None:
        if entry is None:
            return
        try:
            self.log.append(entry)
        except LogUnavailableError:
            self.metrics.log_failed()
            if not shadow:
                raise


def _scored(engine: Engine, batch: Batch, budget: Budget) -> Scored:
    """The scores of a compiled model, and what was guessed: a single row by the short way, many in slices."""
    if batch.count == 1:
        row = batch.rows()[0]
        scores = engine.row_scores(row)
        if scores is not None:
            return scores, engine.row_guesses(row)
    columns = batch.columns(engine.schema)
    parts = [engine.scores(columns.part(*bounds)) for bounds in budget.slices(columns.count, len(columns))]
    return np.concatenate(parts) if len(parts) > 1 else parts[0], engine.guesses(columns)


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
