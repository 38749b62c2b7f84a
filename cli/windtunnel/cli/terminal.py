"""Colours and progress for people: on terminals only, never in a pipe, a file or a log.

``NO_COLOR`` takes the colours away, ``TERM=dumb`` both. rich draws them, and is imported where there is a terminal to draw on.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from windtunnel.beam_jobs.job import Progress

__all__ = ["Meter", "count", "counting", "paint", "progress_of"]


def paint(text: str, style: str, stream: TextIO | None = None) -> str:
    """A text in a style of rich's (``green``, ``bold red``) where it goes to a terminal that shows colours; elsewhere itself.

    Args:
        text: without line breaks at its ends; pad it before, for colours have no width.
        style: what rich calls it.
        stream: where it goes; standard output if not given.

    Example:
        >>> import io
        >>> paint("well", "green", io.StringIO())
        'well'
    """
    if os.environ.get("NO_COLOR") or not _is_terminal(sys.stdout if stream is None else stream):
        return text
    from rich.style import Style

    return Style.parse(style).render(text)


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


class Meter:
    """Rows that were read so far, on one line of a terminal that goes when the work is done.

    Args:
        what: the work.
        stream: where it is drawn; nothing is drawn where it is no terminal.
    """

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        self._what, self._stream = what, sys.stderr if stream is None else stream
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._bar = None
        if _is_terminal(self._stream):
            from rich.console import Console
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:,.0f} rows"),
                TimeElapsedColumn(),
            )
            console = Console(file=self._stream, no_color=bool(os.environ.get("NO_COLOR")))
            self._bar = self._stack.enter_context(Progress(*columns, console=console, transient=True))
            self._task = self._bar.add_task(self._what, total=None)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def add(self, rows: int) -> None:
        """Rows that were done."""
        if self._bar is not None:
            self._bar.advance(self._task, rows)


_CURRENT: list[Meter] = []


@contextlib.contextmanager
def counting(what: str) -> Iterator[Meter]:
    """Show how many rows were read meanwhile; `count` adds to it."""
    with Meter(what) as meter:
        _CURRENT.append(meter)
        try:
            yield meter
        finally:
            _CURRENT.remove(meter)


def count(rows: int) -> None:
    """Add rows to what is shown, if anything is."""
    for meter in _CURRENT:
        meter.add(rows)


def progress_of(what: str) -> "Progress":
    """A job's progress that is shown too, inside of `counting`."""
    from windtunnel.beam_jobs.job import Progress

    class Shown(Progress):
        def add(self, rows: int) -> None:
            super().add(rows)
            count(rows)

    return Shown(what)
