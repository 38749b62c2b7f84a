"""Waiting for changes of a folder by the kernel's word (inotify), so that nothing is looked at while nothing happens.

Libraries for this wake up some tens of times a second to gather changes, which is most of what an idle server would do.
"""

import asyncio
import contextlib
import ctypes
import os
from collections.abc import AsyncIterator
from pathlib import Path

__all__ = ["changes"]

# IN_CLOSE_WRITE and IN_MOVED_TO: the second is how a file that is replaced atomically appears
_CLOSED_AFTER_WRITING, _MOVED_HERE = 0x8, 0x80
_MOST = 65_536


async def changes(folder: Path, every: float) -> AsyncIterator[None]:
    """A file of the folder was written or put there, or some seconds went by; ends with the task that waits.

    Args:
        folder: which must be there.
        every: seconds.

    Raises:
        OSError: the kernel cannot say so: another system, or no watches left.
    """
    descriptor = _watching(folder)
    loop, happened = asyncio.get_running_loop(), asyncio.Event()

    def read() -> None:
        # what happened is not looked at: one read empties the queue, and whoever waits looks at the folder anyway
        with contextlib.suppress(BlockingIOError):
            os.read(descriptor, _MOST)
        happened.set()

    loop.add_reader(descriptor, read)
    try:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await happened.wait()
            # before the yield: what happens while the caller works is then not forgotten
            happened.clear()
            yield None
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _watching(folder: Path) -> int:
    """A descriptor that can be read whenever something happens.

    Raises:
        OSError: there is none.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "inotify_init1"):
        raise OSError("this system has no inotify")
    descriptor: int = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    if library.inotify_add_watch(descriptor, os.fsencode(folder), _CLOSED_AFTER_WRITING | _MOVED_HERE) < 0:
        number = ctypes.get_errno()
        os.close(descriptor)
        raise OSError(number, os.strerror(number), str(folder))
    return descriptor
