"""Artefacts: what stages leave behind, each in a folder named by the fingerprint of all that went into it.

A folder counts only once its ``result.json`` is there, and that is written last: a killed stage leaves nothing that anybody would read.
"""

import contextlib
import datetime as dt
import errno
import json
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec

from windtunnel.lifecycle.contract.errors import UnavailableError
from windtunnel.lifecycle.contract.seams.pages import further_pages
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.expiry import expired, modified, refuse_expired
from windtunnel.lifecycle.payload import JsonObject

__all__ = ["Stage", "is_local_store", "local_copy", "read_text", "replace_file", "room_for"]

log = logging.getLogger("windtunnel.artifacts")

_RESULT = "result.json"
_FRESH = dt.timedelta(hours=1)
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
"""What a write ends with where the disk is full, the quota used up, the file too large for it, or the disk broken."""


class Stage:
    """The output of one stage of one problem for one fingerprint.

    Example:
        >>> import tempfile
        >>> stage = Stage(Settings(artifacts=tempfile.mkdtemp()), "churn", "profile", "0f3a")
        >>> stage.result() is None
        True
        >>> with stage.writing() as folder:
        ...     _ = (folder / "report.html").write_text("<html>")
        ...     stage.finish(folder, {"rows": 3})
        >>> stage.result()
        {'rows': 3}
    """

    def __init__(self, settings: Settings, problem: str, name: str, fingerprint: str) -> None:
        self.key, self.name = fingerprint, name
        self.uri = settings.artifact_path(problem, name, fingerprint)

    def path(self, name: str) -> str:
        """The place of one file of it."""
        return f"{self.uri}/{name}"

    def result(self) -> JsonObject | None:
        """What the stage found, or None if it has not ended.

        One that is used again counts as new: a housekeeping that is under way must not remove it before the run has noted that it needs it.
        """
        filesystem, path = fsspec.core.url_to_fs(self.path(_RESULT))
        if not filesystem.exists(path):
            return None
        content = filesystem.cat_file(path)
        found: JsonObject = json.loads(content)
        written = modified(filesystem.info(path))
        if dt.datetime.now(dt.UTC) - written > _FRESH and not self._used_again(filesystem, path, content, written):
            return None
        return found

    def _used_again(self, filesystem: Any, path: str, content: bytes, written: dt.datetime) -> bool:
        """Make a result's file new again; False if a housekeeping was quicker, and removes it."""
        try:
            if is_local_store(filesystem):
                os.utime(path)
                return True
            # An object store has nothing like utime: the same content written again is what makes it new.
            filesystem.pipe_file(path, content)
            note = expired(self.uri)  # written before anything goes; one from before the result was written is history
            if note is not None and dt.datetime.fromisoformat(str(note["at"])) >= written:
                # The write above may have brought back what a housekeeping had just removed.
                filesystem.rm_file(path)
                return False
        except FileNotFoundError:
            return False
        except PermissionError:  # a store that may only be read has no housekeeping
            return True
        return True

    @contextlib.contextmanager
    def writing(self) -> Iterator[Path]:
        """A local folder to fill; `finish` must be called in it for the output to count.

        On a local root the folder lies beside its destination, so that finishing is a rename.
        """
        filesystem, path = fsspec.core.url_to_fs(self.uri)
        local = is_local_store(filesystem)
        if local:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".writing-", dir=Path(path).parent if local else None))
        # mkdtemp lets its own user in alone, but servers under other users read artefacts.
        folder.chmod(0o755)
        try:
            with room_for(self.uri):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def finish(self, folder: Path, result: JsonObject) -> None:
        """Publish the folder with its result; if another worker was first with the same fingerprint, theirs stays."""
        self._add_pages(folder, result)
        (folder / _RESULT).write_text(json.dumps(result, sort_keys=True), encoding="utf-8")
        filesystem, path = fsspec.core.url_to_fs(self.uri)
        if not is_local_store(filesystem):
            files = [file for file in folder.rglob("*") if file.is_file() and file.name != _RESULT]
            for file in [*files, folder / _RESULT]:
                filesystem.put_file(str(file), f"{path}/{file.relative_to(folder).as_posix()}")
            return
        if self.result() is None:
            # A folder without a result is what a killed worker left. It goes aside first, as no rename takes the place of a folder with
            # files.
            stale = Path(f"{path}.{uuid.uuid4().hex}")
            with contextlib.suppress(FileNotFoundError):
                Path(path).rename(stale)
            with contextlib.suppress(OSError):  # somebody else's rename came in between: theirs stays
                folder.rename(path)
            shutil.rmtree(stale, ignore_errors=True)

    def _add_pages(self, folder: Path, result: JsonObject) -> None:
        """The pages that installed packages add; one that cannot be rendered is logged, and takes nothing away."""
        for page in further_pages(self.name):
            try:
                (folder / page.file).write_text(page.part("render")(folder, result), encoding="utf-8")
            except Exception:
                log.exception("the page %r could not be added to the stage %s", page.name, self.name)


def is_local_store(filesystem: Any) -> bool:
    """Whether a file system of fsspec's is this machine's own."""
    return "file" in (filesystem.protocol if isinstance(filesystem.protocol, tuple) else (filesystem.protocol,))


@contextlib.contextmanager
def room_for(uri: str) -> Iterator[None]:
    """Turn a write that found no room into an error that says so.

    Raises:
        UnavailableError: the disk is full, its quota is used up, or it is broken; a retry helps once there is room.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        where = error.filename or uri
        raise UnavailableError(
            f"{where}: cannot be written: {os.strerror(error.errno)}",
            hint="make room where artefacts and temporary files are kept (`windtunnel gc` says what may go), then try again",
            path=str(where),
        ) from error


def replace_file(uri: str, data: bytes) -> None:
    """Write a file at a path or URL at once: readers see all of it, or what was there before."""
    filesystem, path = fsspec.core.url_to_fs(uri)
    filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
    temporary = f"{path}.{uuid.uuid4().hex}"
    filesystem.pipe_file(temporary, data)
    filesystem.mv(temporary, path)


def read_text(uri: str) -> str:
    """The text of a file at a path or URL."""
    try:
        with fsspec.open(uri, "rt", encoding="utf-8") as file:
            return str(file.read())
    except FileNotFoundError:
        refuse_expired(uri)
        raise


@contextlib.contextmanager
def local_copy(uri: str) -> Iterator[Path]:
    """A folder's files as a local folder: itself if it is local, else a copy that is removed afterwards."""
    filesystem, path = fsspec.core.url_to_fs(uri)
    if not filesystem.exists(path):
        refuse_expired(uri)
    if is_local_store(filesystem):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        filesystem.get(path.rstrip("/") + "/", folder, recursive=True)
        yield Path(folder)
