"""Notes of what housekeeping removed: whoever looks for it is told when it went and by which rule.

.. code-block:: text

    <artifacts>/<problem>/expired/<stage>-<fingerprint>.json
"""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import fsspec

from windtunnel.lifecycle.contract.errors import ExpiredError
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.payload import JsonObject

__all__ = ["FOLDER", "expire", "expired", "modified", "note", "notes_of", "refuse_expired"]

FOLDER = "expired"


def expire(uri: str, rule: str, at: dt.datetime) -> None:
    """Remove the folder of an artefact: first its note, then what makes it count, then the rest."""
    note(uri, rule, at)
    filesystem, path = fsspec.core.url_to_fs(uri)
    # fsspec remembers listings as long as the process lives, and others write here as well.
    filesystem.invalidate_cache()
    result = f"{path}/result.json"
    if filesystem.exists(result):
        filesystem.rm_file(result)
    filesystem.rm(path, recursive=True)


def note(uri: str, rule: str, at: dt.datetime) -> None:
    """Write down that something goes."""
    filesystem, path = fsspec.core.url_to_fs(_place(uri))
    filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
    body = {"uri": uri, "rule": rule, "at": at.isoformat(timespec="seconds")}
    temporary = f"{path}.tmp"
    filesystem.pipe_file(temporary, json.dumps(body).encode())
    filesystem.mv(temporary, path)


def expired(uri: str) -> dict[str, object] | None:
    """The note of an artefact, or of something in it; None if it did not expire."""
    parts = uri.rstrip("/").split("/")
    # The artefact's own folder, or the folder of a file in it, some folders down.
    for length in range(len(parts), max(len(parts) - 4, 3), -1):
        filesystem, path = fsspec.core.url_to_fs(_place("/".join(parts[:length])))
        if filesystem.exists(path):
            found: JsonObject = json.loads(filesystem.cat_file(path))
            return found
    return None


def notes_of(settings: Settings, problem: str, values: object) -> list[str]:
    """What expired among all that some plain data names, in words: artefacts by their URI, versions of tables by their snapshot."""
    found: dict[str, None] = {}
    for value in _named(values):
        gone = expired(value) if isinstance(value, str) else expired(settings.artifact_path(problem, "snapshots", str(value)))
        if gone is not None:
            found[f"{gone['uri']} expired on {str(gone['at'])[:10]} by the rule {gone['rule']}"] = None
    return list(found)


def _named(values: Any) -> Iterator[str | int]:
    if isinstance(values, dict):
        for name, value in values.items():
            if name == "snapshot_id" and value:
                yield int(value)
            elif isinstance(value, str) and "/" in value:
                yield value
            else:
                yield from _named(value)
    elif isinstance(values, list):
        for value in values:
            yield from _named(value)


def refuse_expired(uri: str) -> None:
    """Say when and why something is gone.

    Raises:
        ExpiredError: housekeeping removed it.
    """
    found = expired(uri)
    if found is not None:
        raise ExpiredError(
            f"{uri} expired on {str(found['at'])[:10]} by the rule {found['rule']}",
            hint="a run for the same inputs computes it anew; the problem file's retention says what is kept for how long",
            **found,
        )


def modified(entry: JsonObject) -> dt.datetime:
    """When a file was written, whatever its file system calls that."""
    value = entry.get("mtime") or entry.get("LastModified") or entry.get("updated") or entry.get("last_modified")
    if isinstance(value, int | float):
        return dt.datetime.fromtimestamp(value, dt.UTC)
    if isinstance(value, str):
        return dt.datetime.fromisoformat(value)
    return value if isinstance(value, dt.datetime) else dt.datetime.now(dt.UTC)  # unknown: never old


def _place(uri: str) -> str:
    root, stage, fingerprint = uri.rstrip("/").rsplit("/", 2)
    return f"{root}/{FOLDER}/{stage}-{fingerprint}.json"
