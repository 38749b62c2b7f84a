"""What steps of a pipeline found, brought back to the process that started it.

Beam turns an exception of a step into text. A step that is wrapped in `Reported` writes a small JSON file instead, a result or one of
our errors, and `collect` gives the results or raises that very error. Run twice for the same element, it leaves one file.
"""

import contextlib
import json
import shutil
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa

from windtunnel.lifecycle.contract import errors
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.artifacts import replace_file
from windtunnel.lifecycle.payload import JsonMapping, JsonObject

__all__ = ["Outcomes", "outcomes"]


class Outcomes:
    """A folder of results; pickles into steps as its path.

    Args:
        folder: a path or URL that every worker can write to.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def put(self, name: str, result: JsonMapping) -> None:
        """Keep a result under a name; the same name again replaces it."""
        self.put_bytes(f"{name}.json", json.dumps(result, default=str).encode())

    def put_bytes(self, name: str, data: bytes) -> None:
        """Keep bytes under a name that tells their kind."""
        replace_file(f"{self.folder}/{name}", data)

    def get_bytes(self, name: str) -> bytes:
        """What `put_bytes` kept."""
        filesystem, path = fsspec.core.url_to_fs(f"{self.folder}/{name}")
        return bytes(filesystem.cat_file(path))

    @contextlib.contextmanager
    def reporting(self, name: str, where: str) -> Iterator[None]:
        """Keep what goes wrong inside as the result of `name`, typed, instead of letting Beam turn it into text."""
        try:
            yield
        except errors.WindtunnelError as error:
            self._failed(name, error)
        except MemoryError as error:
            self._failed(name, errors.JobError(f"{where}: out of memory", hint="give the worker more, or smaller pieces", error=str(error)))
        except OSError as error:
            if isinstance(error, pa.ArrowException):
                self._failed(name, errors.SourceFormatError(f"{where}: {error}"))
            else:
                self._failed(name, errors.UnavailableError(f"{where}: {error}", hint="is the disk full, or the place out of reach?"))
        except pa.ArrowException as error:
            self._failed(name, errors.SourceFormatError(f"{where}: {error}"))
        except Exception as error:  # noqa: BLE001 - whatever it is, a person gets one message, and the trace goes with it
            self._failed(name, errors.JobError(f"{where}: {type(error).__name__}: {error}", trace=traceback.format_exc()))

    def _failed(self, name: str, error: errors.WindtunnelError) -> None:
        self.put(name, {"error": {"type": type(error).__name__, "message": error.message, "hint": error.hint, "details": error.details}})

    def collect(self) -> list[JsonObject]:
        """All results, by name.

        Raises:
            WindtunnelError: the first error that a step met, of its own type.
        """
        filesystem, path = fsspec.core.url_to_fs(self.folder)
        found = []
        for file in sorted(filesystem.glob(f"{path}/*.json")):
            result = json.loads(filesystem.cat_file(file))
            if "error" in result:
                kind = getattr(errors, result["error"]["type"], errors.JobError)
                raise kind(result["error"]["message"], hint=result["error"]["hint"], **result["error"]["details"])
            found.append(result)
        return found

    def clear(self) -> None:
        """Remove the folder."""
        filesystem, path = fsspec.core.url_to_fs(self.folder)
        if filesystem.exists(path):
            filesystem.rm(path, recursive=True)


@contextlib.contextmanager
def outcomes(settings: Settings, problem: str, job: str) -> Iterator[Outcomes]:
    """A fresh folder for a job's results under the artifact root, removed afterwards."""
    found = Outcomes(settings.artifact_path(problem, job, f".run-{uuid.uuid4().hex}"))
    try:
        yield found
    finally:
        with contextlib.suppress(OSError):
            found.clear()
            if "://" not in found.folder:
                shutil.rmtree(Path(found.folder), ignore_errors=True)
