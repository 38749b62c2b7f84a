"""Artefacts and shards that expire, and the model server's log files that nobody collected."""

import datetime as dt
from collections.abc import Iterator

import fsspec

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data import expiry
from windtunnel.lifecycle.keeping.needs import Needs
from windtunnel.lifecycle.keeping.report import Freed

__all__ = ["expire_artefacts", "expire_log"]

_NOT_STAGES = {"runs", expiry.FOLDER}
_UNFINISHED = dt.timedelta(days=2)
"""Age from which what a killed stage was writing goes."""


def expire_artefacts(problem: Problem, settings: Settings, needs: Needs, now: dt.datetime, *, dry: bool) -> list[Freed]:
    """Remove the artefacts of stages that are older than their rule and that nobody needs."""
    keep, home = problem.retention, settings.artifact_path(problem.name)
    rules = {
        "shards": (f"retention.shards_days = {keep.shards_days:g}", dt.timedelta(days=keep.shards_days)),
        "artefacts": (f"retention.artifacts_days = {keep.artifacts_days:g}", dt.timedelta(days=keep.artifacts_days)),
    }
    gone: dict[str, dict[str, int]] = {kind: {} for kind in rules}
    kept = dict.fromkeys(rules, 0)
    for name, age, size in _folders(home, now):
        kind = "shards" if name.startswith("preprocess/") else "artefacts"
        rule, limit = rules[kind]
        # A dot is in no fingerprint, only in the name of what a stage was writing or putting away when it was killed.
        if age < (_UNFINISHED if "." in name else limit):
            continue
        if name in needs.artefacts:
            kept[kind] += 1
            continue
        gone[kind][name] = size
        if not dry:
            expiry.expire(f"{home}/{name}", rule, now)
    return [
        Freed(kind, rule, len(gone[kind]), sum(gone[kind].values()), kept[kind], tuple(gone[kind])) for kind, (rule, _) in rules.items()
    ]


def _folders(home: str, now: dt.datetime) -> Iterator[tuple[str, dt.timedelta, int]]:
    """``STAGE/FINGERPRINT``, age of the newest file, and bytes of each folder of artefacts."""
    filesystem, root = fsspec.core.url_to_fs(home)
    # fsspec remembers listings: without this a run's new files would look old, or not be there.
    filesystem.invalidate_cache()
    for folder in sorted(filesystem.glob(f"{root}/*/*")):
        stage, name = str(folder).split("/")[-2:]
        filesystem.invalidate_cache()  # looked at right before it goes: a run may be using it again
        entries = filesystem.find(folder, detail=True) if stage not in _NOT_STAGES else {}
        if entries:
            newest = max(map(expiry.modified, entries.values()))
            yield f"{stage}/{name}", now - newest, sum(int(entry["size"]) for entry in entries.values())


def expire_log(problem: Problem, settings: Settings, now: dt.datetime, *, dry: bool) -> list[Freed]:
    """Remove log files that the model server shipped and that monitoring or feedback should long have collected."""
    if not settings.server_log:
        return []
    filesystem, root = fsspec.core.url_to_fs(f"{settings.server_log.rstrip('/')}/{problem.name}")
    found = filesystem.find(root, detail=True) if filesystem.exists(root) else {}
    limit = dt.timedelta(days=problem.retention.predictions_days)
    old = {path: int(entry["size"]) for path, entry in found.items() if now - expiry.modified(entry) >= limit}
    if not dry:
        for path in old:
            filesystem.rm_file(path)
    rule = f"retention.predictions_days = {problem.retention.predictions_days:g}"
    return [Freed("log files", rule, len(old), sum(old.values()), names=tuple(sorted(old)))]
