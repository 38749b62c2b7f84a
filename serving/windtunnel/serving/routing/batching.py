"""Micro-batching, for models that scikit-learn itself answers.

While one batch computes in a thread, requests gather; when it is done, all that gathered are the next batch. Under little load a request
waits for nothing: there is no timer that a batch has to fill. Under much load the cost of pandas and scikit-learn is shared by the whole
batch.
"""

import asyncio
import contextlib
import time
from collections import deque

import numpy as np

from windtunnel.lifecycle.contract.errors import UnavailableError
from windtunnel.serving.base.values import Columns, InvalidInputError
from windtunnel.serving.compiler.engine import Engine

__all__ = ["Queue", "QueueTooOldError"]

_MOST_ROWS = 4096
_PATIENCE = 0.1
"""Share of the last batch's time that may be waited for more requests."""


class QueueTooOldError(UnavailableError):
    """The oldest waiting request is too old: new ones are refused at once."""


class Queue:
    """The queue of one version.

    Args:
        engine: answers the batches.
        max_age: seconds that the oldest request may wait before new ones are refused.
    """

    def __init__(self, engine: Engine, max_age: float) -> None:
        self._engine = engine
        self._max_age = max_age
        self._waiting: deque[tuple[float, Columns, int, asyncio.Future[np.ndarray]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._gathered = asyncio.Event()
        self._expected = 0

    async def scores(self, columns: Columns) -> np.ndarray:
        """The score matrix of checked columns.

        Raises:
            InvalidInputError: the model cannot take these rows.
            QueueTooOldError: the queue is too old.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._waiting and now - self._waiting[0][0] > self._max_age:
            raise QueueTooOldError(f"the oldest request waits for more than {self._max_age:g} s", hint="try again in a second")
        future: asyncio.Future[np.ndarray] = loop.create_future()
        self._waiting.append((now, columns, columns.count, future))
        if len(self._waiting) >= self._expected:
            self._gathered.set()
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            taken: list[tuple[float, Columns, int, asyncio.Future[np.ndarray]]] = []
            rows = 0
            # the first is always taken, however many rows it has: it would wait for ever otherwise
            while self._waiting and (not taken or rows + self._waiting[0][2] <= _MOST_ROWS):
                entry = self._waiting.popleft()
                # given up while it waited: to compute it would only hold up the others
                if not entry[3].cancelled():
                    taken.append(entry)
                    rows += entry[2]
            if taken:
                began = time.perf_counter()
                await self._answer([(columns, count, future) for _, columns, count, future in taken])
                await self._gather(len(taken), time.perf_counter() - began)

    async def _gather(self, answered: int, seconds: float) -> None:
        """Let those that were just answered ask again, so that they and those that wait are one batch and not two by turns.

        This takes a tenth of what the last batch took at most, and nothing where nobody waits.
        """
        if not self._waiting:
            return
        self._expected = len(self._waiting) + answered
        self._gathered.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE * seconds):
                await self._gathered.wait()

    async def _answer(self, taken: list[tuple[Columns, int, "asyncio.Future[np.ndarray]"]]) -> None:
        try:
            found = await asyncio.to_thread(self._engine.scores, Columns.joined([columns for columns, _, _ in taken]))
        except InvalidInputError as error:
            if len(taken) == 1:
                _fail(taken[0][2], error)
                return
            for entry in taken:  # one bad row must not fail the others: each by itself
                await self._answer([entry])
            return
        except Exception as error:  # noqa: BLE001 - whatever scikit-learn raises belongs to the requests, and must not end the queue
            for _, _, future in taken:
                _fail(future, error)
            return
        start = 0
        for _, count, future in taken:
            if not future.done():
                future.set_result(found[start : start + count])
            # also past one that was given up meanwhile: its rows are in the matrix
            start += count


def _fail(future: "asyncio.Future[np.ndarray]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
