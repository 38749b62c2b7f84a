"""Work that would hold the event loop: done in a thread beside it, slice by slice, within the budget of its request.

The loop answers single rows in a tenth of a millisecond. A batch of thousands takes some hundred times as long, so it goes to one thread,
in turn, while the loop goes on; numpy and the trees let the interpreter go while they compute, and between two slices whoever waits for
the interpreter gets it. A request that was given up (its time is over, its client is gone) ends at the next slice.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from windtunnel.lifecycle.contract.errors import UnavailableError

__all__ = ["INLINE_BYTES", "INLINE_CELLS", "Budget", "GivenUpError", "Work"]

INLINE_BYTES = 32_768
"""A body up to here is read on the loop: some tenths of a millisecond."""

INLINE_CELLS = 2_000
"""Values of a request up to here are checked and computed on the loop."""

SLICE_CELLS = 40_000
"""Values of a slice: a few milliseconds of work."""

_SWITCH = 0.0005
"""Seconds after which a thread that computes lets the loop have the interpreter; Python's own are 0.005."""

P = ParamSpec("P")
T = TypeVar("T")


class GivenUpError(UnavailableError):
    """The request was given up while it was worked on: nobody waits for the answer."""


class Budget:
    """The time that one request's work may take; asked between slices."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._given_up = threading.Event()

    def give_up(self) -> None:
        """End the work at its next slice."""
        self._given_up.set()

    def check(self) -> None:
        """Go on only while somebody waits.

        Raises:
            GivenUpError: nobody does, or the time is over.
        """
        if self._given_up.is_set() or time.monotonic() > self._ends:
            raise GivenUpError("the request was given up: it took too long, or its client went away")

    def slices(self, count: int, width: int) -> Iterator[tuple[int, int]]:
        """Start and end of each slice of some rows, while somebody waits.

        Raises:
            GivenUpError: nobody does.

        Example:
            >>> list(Budget(1.0).slices(10, 10_000))
            [(0, 4), (4, 8), (8, 10)]
        """
        step = max(1, SLICE_CELLS // max(1, width))
        for start in range(0, count, step):
            self.check()
            yield start, min(start + step, count)


class Work:
    """The thread of one worker process for what the loop must not do.

    Args:
        seconds: that the work of one request may take.
        max_age: seconds that work may wait for its turn before more is refused.
    """

    def __init__(self, seconds: float = 30.0, max_age: float = 5.0) -> None:
        self._seconds, self._max_age = seconds, max_age
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="windtunnel-work")
        self._begun: dict[int, float] = {}
        self._numbers = iter(range(sys.maxsize))
        sys.setswitchinterval(_SWITCH)

    @property
    def age(self) -> float:
        """Seconds that the oldest piece of work has been waiting or worked on."""
        # a dictionary keeps its order: the first entry is the oldest
        return time.monotonic() - next(iter(self._begun.values())) if self._begun else 0.0

    def budget(self) -> Budget:
        """The budget of a request that begins now."""
        return Budget(self._seconds)

    async def run(self, function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """What a function returns, called in the thread when its turn comes.

        Raises:
            UnavailableError: what came first has waited too long: try again in a second.
        """
        if self.age > self._max_age:
            raise UnavailableError(f"large requests wait for more than {self._max_age:g} s", hint="try again in a second")
        number = next(self._numbers)
        self._begun[number] = time.monotonic()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: function(*args, **named))
        finally:
            del self._begun[number]

    async def within(self, function: Callable[[Budget], T]) -> T:
        """As `run`, for work that asks a budget whether to go on; it ends soon after whoever waits for it is cancelled."""
        budget = self.budget()
        try:
            return await self.run(function, budget)
        except asyncio.CancelledError:
            budget.give_up()
            raise

    def stop(self) -> None:
        """Take no more work, and wait for none."""
        self._pool.shutdown(wait=False, cancel_futures=True)
