"""The prediction log: one JSON line a request, written before the answer is sent.

Each worker appends to a file of its own; a line is in the kernel's hands before the client sees the answer, so killing the worker, or all
of the server, loses none that was answered. ``sync`` says what survives a crash of the machine too: ``none`` leaves it to the kernel
(the default; about 10 microseconds a request), ``line`` waits for the disk before every answer; requests that wait together share one wait.
Full files are closed and turned into Parquet by `windtunnel.serving.routing.ship`, outside of any request.
"""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from windtunnel.lifecycle.contract.errors import UnavailableError
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.serving.base import quickjson

__all__ = ["LogUnavailableError", "PredictionLog", "closed_files", "entries"]

_ACTIVE, _CLOSED = "active", "closed"


class LogUnavailableError(UnavailableError):
    """The log cannot be written: the request must not be answered."""


class PredictionLog:
    """The log of one worker.

    Args:
        folder: the server's log folder.
        slot: the worker's number; a new worker of that number closes what the old one left.
        sync: ``none`` or ``line``.
        max_bytes: a file is closed when it is larger.
        max_age: seconds after which a file with lines is closed.
    """

    def __init__(self, folder: Path, slot: int, sync: str = "none", max_bytes: int = 8_000_000, max_age: float = 10.0) -> None:
        self._folder = folder
        self._slot = slot
        self.sync = sync == "line"
        self._waiting: list[asyncio.Future[None]] = []
        self._syncing: asyncio.Task[None] | None = None
        self._max_bytes, self._max_age = max_bytes, max_age
        for name in (_ACTIVE, _CLOSED):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._path = folder / _ACTIVE / f"{slot}.jsonl"
        self._handle = -1
        self._size = 0
        self._opened = 0.0
        self._torn = False
        with contextlib.suppress(OSError):
            _mend(self._path)
            self._close_file()

    def append(self, entry: JsonObject) -> None:
        """Write one entry as a line; raises what `write` does."""
        self.write(quickjson.dumps(entry) + b"\n")

    def write(self, line: bytes) -> None:
        """Write one line, which is JSON and ends with a line break.

        Raises:
            LogUnavailableError: the disk is full, or the folder is gone; nothing half-written stays.
        """
        try:
            if self._handle < 0:
                self._open()
            # a cut that failed before is made up for first: a line appended to half a line would spoil both
            if self._torn:
                os.ftruncate(self._handle, self._size)
                self._torn = False
            written = os.write(self._handle, line)
            # a short write is how a full disk shows before ENOSPC does; a second write for the rest could fail half-way too
            if written != len(line):
                self._torn = True
                os.ftruncate(self._handle, self._size)
                self._torn = False
                raise LogUnavailableError("the prediction log's disk is full", hint="free space; requests are refused until then")
        except OSError as error:
            self._forget_if_gone()
            raise LogUnavailableError(
                f"the prediction log cannot be written: {error.strerror}",
                hint="free space or mend the folder; requests are refused until then",
            ) from error
        self._size += written
        if self._size >= self._max_bytes:
            self.rotate()

    async def durable(self) -> None:
        """Wait until the disk has every line that was appended so far; all that wait meanwhile share the next wait for the disk.

        Raises:
            LogUnavailableError: the disk did not take it.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        if self._syncing is None or self._syncing.done():
            self._syncing = asyncio.get_running_loop().create_task(self._sync_all())
        await future

    async def _sync_all(self) -> None:
        while self._waiting:
            # who comes from here on waits for the next round: their lines may be written after this fdatasync began
            waiting, self._waiting = self._waiting, []
            failure: LogUnavailableError | None = None
            if self._handle >= 0:  # a file that was closed is on the disk
                # the file may be closed meanwhile, and its number be given to another one, while the thread still waits for the disk
                copy = os.dup(self._handle)
                try:
                    await asyncio.to_thread(os.fdatasync, copy)
                except OSError as error:
                    failure = LogUnavailableError(f"the prediction log's disk failed: {error.strerror}")
                finally:
                    os.close(copy)
            for future in waiting:
                # its request was given up, and the future cancelled: setting a result would raise
                if future.done():
                    continue
                if failure is None:
                    future.set_result(None)
                else:
                    future.set_exception(failure)

    def rotate(self, *, force: bool = False) -> None:
        """Close the file if it is large or old enough (or has any line, by force)."""
        if not self._size:
            return
        if force or self._size >= self._max_bytes or time.monotonic() - self._opened >= self._max_age:
            with contextlib.suppress(OSError):  # on a full disk the rename may fail: the file simply goes on
                self._close_file()

    def close(self) -> None:
        """Close for good: what was written becomes a closed file."""
        self.rotate(force=True)
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _open(self) -> None:
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        self._size = os.fstat(self._handle).st_size
        self._opened = time.monotonic()

    def _close_file(self) -> None:
        if not self._path.exists() or not self._path.stat().st_size:
            return
        # before the handle goes: `durable` takes a file that was closed to be on the disk
        if self.sync and self._handle >= 0:
            os.fdatasync(self._handle)
        self._path.rename(self._folder / _CLOSED / f"{time.time_ns()}-{self._slot}.jsonl")
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self._size = -1, 0

    def _forget_if_gone(self) -> None:
        if self._handle >= 0 and not self._path.exists():
            os.close(self._handle)
            self._handle, self._size = -1, 0
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)


def _mend(path: Path) -> None:
    """Cut a line that a killed worker left unfinished: its request was not answered."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        data = file.read()
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            file.truncate(whole)


def closed_files(folder: Path) -> list[Path]:
    """The files that no worker writes to any more, oldest first."""
    named = [path for path in (folder / _CLOSED).glob("*.jsonl") if path.stem.split("-")[0].isdecimal()]
    return sorted(named, key=lambda path: int(path.stem.split("-")[0]))


def entries(folder: Path) -> Iterator[dict[str, object]]:
    """Every entry that is not yet shipped, from closed and active files; a line still being written, or damaged, is left out."""
    for path in [*closed_files(folder), *sorted((folder / _ACTIVE).glob("*.jsonl"))]:
        with contextlib.suppress(FileNotFoundError):  # it was shipped, or closed, in between
            # what follows the last line break is empty, or a line that is being written
            for line in path.read_bytes().split(b"\n")[:-1]:
                with contextlib.suppress(ValueError):  # damaged: put aside when it is shipped
                    yield json.loads(line)
