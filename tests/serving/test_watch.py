"""A folder's changes are heard of at once, and nothing is looked at while nothing happens."""

import asyncio
import os

import pytest

from windtunnel.serving.base import watch


def test_a_file_that_is_written_or_put_there_is_heard_of(tmp_path):
    async def heard():
        changes = watch.changes(tmp_path, 60.0)
        for act in (lambda: (tmp_path / "a").write_text("x"), lambda: os.replace(tmp_path / "a", tmp_path / "b")):  # noqa: PTH105
            waiting = asyncio.ensure_future(anext(changes))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            act()
            await asyncio.wait_for(waiting, 5)
        descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        await changes.aclose()
        assert len(os.listdir("/proc/self/fd")) == descriptors - 1  # noqa: PTH208

    asyncio.run(heard())


def test_it_is_looked_at_anyway_after_some_seconds_and_a_folder_must_be_there(tmp_path):
    async def waited():
        async with asyncio.timeout(5):
            await anext(watch.changes(tmp_path, 0.01))
        with pytest.raises(OSError, match="nowhere"):
            await anext(watch.changes(tmp_path / "nowhere", 1.0))

    asyncio.run(waited())
