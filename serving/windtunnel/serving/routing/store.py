"""What a server serves, kept in its home folder: the one place that all workers share and that a restart reads.

.. code-block:: text

    state.json        which versions, labels and routes; replaced atomically, with a generation number that only grows
    lookups/          copies of precomputed answers
    models/DIGEST/    copies of the bundles: serving does not depend on where they came from
    run/              which generation each worker serves

Any worker may change the state, under a file lock; the others notice the new generation, load what is new, then take over.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from windtunnel.lifecycle.contract.errors import ConfigurationError, IntegrityError, UnavailableError
from windtunnel.lifecycle.data.artifacts import local_copy
from windtunnel.lifecycle.files import write_atomically
from windtunnel.lifecycle.model.bundle import read
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.serving.base import watch
from windtunnel.serving.routing.lookup import FILE

__all__ = ["Store", "empty_model"]

log = logging.getLogger("windtunnel.server")

State = dict[str, Any]
_DIGEST = re.compile("[0-9a-f]{1,64}")


def empty_model() -> JsonObject:
    """What the state says of a model that has nothing yet."""
    return {"versions": {}, "labels": {}, "route": {}}


class Store:
    """The home folder of a server.

    Args:
        home: the folder; made if it is not there.
        max_versions: versions of a model at most; the oldest without a label are dropped first.
    """

    def __init__(self, home: Path, max_versions: int = 8) -> None:
        self.home = home
        self.max_versions = max_versions
        self.models = home / "models"
        self._lookups = home / "lookups"
        self._run = home / "run"
        self._file = home / "state.json"
        for folder in (home, self.models, self._lookups, self._run):
            folder.mkdir(parents=True, exist_ok=True)

    def read(self) -> State:
        """The state now.

        Raises:
            ConfigurationError: the file is not a state; says which file.
        """
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"generation": 0, "models": {}}
        except ValueError as error:
            raise ConfigurationError(f"{self._file} is damaged: {error}", hint="remove it and load the models again") from error
        if not isinstance(found, dict) or "models" not in found:
            raise ConfigurationError(f"{self._file} is not a server's state", hint="remove it and load the models again")
        return found

    def stamp(self) -> tuple[int, int]:
        """Changes whenever the state changes; cheap enough to ask many times a second."""
        try:
            found = os.stat(self._file)  # noqa: PTH116 - a third of the cost of Path.stat, asked 50 times a second
        except FileNotFoundError:
            return (0, 0)
        # The inode too: two writes within one tick of the clock have the same time, but each is a new file.
        return (found.st_ino, found.st_mtime_ns)

    async def changes(self, every: float = 5.0) -> AsyncIterator[None]:
        """Something happened in the folder, or some seconds went by; ends with the task that waits.

        The kernel says so where it can; where it cannot (a network's file system, no watches left) it is looked at ten times a second.

        Args:
            every: seconds after which it is looked at anyway.
        """
        yield None
        try:
            async for _ in watch.changes(self.home, every):
                yield None
        except OSError:
            log.warning("%s cannot be watched: it is looked at ten times a second", self.home)
        while True:
            await asyncio.sleep(0.1)
            yield None

    def change(self, edit: Callable[[JsonObject], None]) -> State:
        """Edit the models of the state under the lock; answers the new state. If `edit` raises, nothing changes.

        Raises:
            UnavailableError: the disk is full or the folder cannot be written.
        """
        with self._locked():
            state = self.read()
            before = json.dumps(state["models"])
            edit(state["models"])
            # No new generation for what changes nothing: workers would take over the same state again.
            if json.dumps(state["models"]) == before:
                return state
            state["generation"] += 1
            try:
                write_atomically(self._file, json.dumps(state, indent=1))
            except OSError as error:
                raise UnavailableError(f"{self._file}: cannot be written: {error.strerror}") from error
            return state

    def fetch(self, uri: str, digest: str) -> Path:
        """A checked copy of a bundle in the home folder; the same digest is copied once.

        Raises:
            UnavailableError: it cannot be reached.
            IntegrityError: its digest differs.
            ConfigurationError: there is no bundle.
        """
        if not _DIGEST.fullmatch(digest):
            raise IntegrityError(f"a digest has up to 64 hexadecimal digits but got {digest[:80]!r}")
        target = self.models / digest
        if (target / "model.json").is_file():
            read(target, digest)
            return target
        # beside its target, so that it can be renamed; the prefix is what a sweep leaves alone
        staging = Path(tempfile.mkdtemp(prefix=".fetch-", dir=self.models))
        try:
            with local_copy(uri) as source:
                if not source.is_dir():
                    raise UnavailableError(f"{uri}: no such folder", hint="the server must be able to read the bundle's place")
                _refuse_links(source)
                shutil.copytree(source, staging / "bundle", symlinks=True)
            # The copy is checked, not the source: what is checked is what will be served.
            read(staging / "bundle", digest)
            with contextlib.suppress(OSError):  # another worker was first with the same digest: theirs is as good
                (staging / "bundle").rename(target)
                write_atomically(self._source(digest), uri, durable=False)
        except OSError as error:
            raise UnavailableError(f"{uri}: cannot be copied: {error}") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return target

    def source(self, digest: str, otherwise: str) -> str:
        """Where the copy of a bundle came from: a load of the same digest by another URI does not change that.

        Args:
            digest: of the bundle.
            otherwise: what is said where it is not known: a copy made by an earlier version, or before a crash.
        """
        with contextlib.suppress(OSError):
            return self._source(digest).read_text(encoding="utf-8")
        versions = [entry for model in self.read()["models"].values() for entry in model["versions"].values()]
        return next((str(entry["uri"]) for entry in versions if entry["digest"] == digest), otherwise)

    def _source(self, digest: str) -> Path:
        return self.models / f".source-{digest}"

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """While a load is under way its copy is not swept, though no version uses it yet."""
        with (self.home / "loading.lock").open("a") as lock:
            # shared: loads go on side by side, only a sweep asks for the lock alone
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    def fetch_lookup(self, uri: str, digest: str) -> Path:
        """A checked copy of a folder of precomputed answers; the same digest is copied once.

        Raises:
            UnavailableError: it cannot be reached.
            IntegrityError: its digest differs.
        """
        if not _DIGEST.fullmatch(digest):
            raise IntegrityError(f"a digest has up to 64 hexadecimal digits but got {digest[:80]!r}")
        target = self.lookup(digest)
        if target.is_file():
            return target
        temporary = target.with_name(f".{digest}-{os.getpid()}")
        try:
            with local_copy(uri) as source:
                if not (source / FILE).is_file():
                    raise UnavailableError(f"{uri}: has no {FILE}", hint="the server must be able to read the place of precomputed answers")
                shutil.copyfile(source / FILE, temporary)
            with temporary.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != digest:
                raise IntegrityError(f"{uri}: the digest of {FILE} is {found} but {digest} was expected", expected=digest)
            temporary.replace(target)
        except OSError as error:
            raise UnavailableError(f"{uri}: cannot be copied: {error}") from error
        finally:
            temporary.unlink(missing_ok=True)
        return target

    def lookup(self, digest: str) -> Path:
        """Where the copy of precomputed answers is."""
        return self._lookups / f"{digest}.sqlite"

    def sweep(self) -> None:
        """Remove copies that no version uses any more; while something is loaded nothing is, for its own sweep comes."""
        with self._locked(), (self.home / "loading.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            models = self.read()["models"].values()
            # read under the lock: a version that another worker adds just now is seen, or its load holds the other lock
            used = {entry["digest"] for model in models for entry in model["versions"].values()}
            for path in self.models.iterdir():
                if path.name.removeprefix(".source-") not in used and not path.name.startswith(".fetch-"):
                    _remove(path)
            self._sweep_lookups({model["lookup"]["digest"] for model in models if model.get("lookup")})

    def _sweep_lookups(self, kept: set[str]) -> None:
        for file in self._lookups.glob("*.sqlite"):
            if file.stem not in kept:
                file.unlink(missing_ok=True)

    def acknowledge(self, slot: int, generation: int, error: str = "") -> None:
        """Say which generation a worker serves."""
        body = {"pid": os.getpid(), "generation": generation, "error": error}
        with contextlib.suppress(OSError):  # a full disk must not stop a worker from serving
            write_atomically(self._run / f"worker-{slot}.json", json.dumps(body), durable=False)

    def workers(self) -> dict[int, dict[str, object]]:
        """What the workers that are alive last acknowledged."""
        found = {}
        for path in self._run.glob("worker-*.json"):
            with contextlib.suppress(OSError, ValueError):
                body = json.loads(path.read_text(encoding="utf-8"))
                # signal 0 only asks; a worker that is gone raises ProcessLookupError, which is an OSError, and is left out
                os.kill(body["pid"], 0)
                found[int(path.stem.removeprefix("worker-"))] = body
        return found

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.home / "state.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _refuse_links(folder: Path) -> None:
    """Refuse a bundle that points out of itself.

    Raises:
        IntegrityError: a link, or a name that leads out of the folder.
    """
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise IntegrityError(f"{path.relative_to(folder)} is a link or no file: a bundle holds files only")
    try:
        files = json.loads((folder / "model.json").read_text(encoding="utf-8")).get("files", {})
    except (OSError, ValueError, AttributeError):
        return  # said better when the bundle is read
    for name in files:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise IntegrityError(f"the bundle names the file {name!r}, which is outside of it")
