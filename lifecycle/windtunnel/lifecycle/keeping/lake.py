"""Iceberg tables: rows, snapshots and files that expire."""

import datetime as dt
from typing import TYPE_CHECKING

import fsspec

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data import expiry
from windtunnel.lifecycle.data.days import day_files, replace_days
from windtunnel.lifecycle.data.tables import existing, table_name
from windtunnel.lifecycle.keeping.needs import Needs
from windtunnel.lifecycle.keeping.report import Freed

if TYPE_CHECKING:
    from pyiceberg.table import Table

__all__ = ["expire_tables"]

_KINDS = ("examples", "quarantine", "predictions", "labels")
_GRACE = dt.timedelta(days=3)
"""Age from which a file that no snapshot names is left over, not about to be committed."""


def expire_tables(problem: Problem, settings: Settings, needs: Needs, now: dt.datetime, *, dry: bool) -> list[Freed]:
    """Rows of quarantine and predictions by their day, then snapshots by their age, then files that no snapshot names."""
    if not settings.catalog_uri:
        return []
    keep = problem.retention
    freed: list[Freed] = []
    rules = {"quarantine": ("quarantine_days", keep.quarantine_days), "predictions": ("predictions_days", keep.predictions_days)}
    for kind, (field, days) in rules.items():
        rule = f"retention.{field} = {days:g}"
        freed += _expire_days(settings, table_name(problem, kind), (now - dt.timedelta(days=days)).date(), f"days of {kind}", rule, dry=dry)
    for kind in _KINDS:
        name = table_name(problem, kind)
        table = existing(settings, name)
        if table is not None:
            freed.append(_expire_snapshots(settings, table, name, needs, now, keep.snapshots_days, dry=dry))
            freed.append(_remove_orphans(table, name, now, dry=dry))
    return freed


def _expire_days(settings: Settings, name: str, limit: dt.date, what: str, rule: str, *, dry: bool) -> list[Freed]:
    table = existing(settings, name)
    old = [entry for entry in day_files(table, None, limit) if entry.rows] if table is not None else []
    days = sorted({entry.day for entry in old})
    if days and not dry:
        replace_days(settings, name, {day: [] for day in days}, {"windtunnel.expired": rule})
    # Their files go with the snapshots that name them.
    return [Freed(what, rule, len(days), 0, names=tuple(days))] if table is not None else []


def _expire_snapshots(settings: Settings, table: "Table", name: str, needs: Needs, now: dt.datetime, days: float, *, dry: bool) -> Freed:
    rule = f"retention.snapshots_days = {days:g}"
    old = _old(table, (now - dt.timedelta(days=days)).timestamp() * 1000)
    gone = [number for number in old if (name, number) not in needs.snapshots]
    if gone and not dry:
        for number in gone:
            expiry.note(settings.artifact_path(name.partition(".")[0], "snapshots", str(number)), rule, now)
        table.maintenance.expire_snapshots().by_ids(gone).commit()
        table.refresh()
    return Freed(f"snapshots of {name}", rule, len(gone), 0, len(old) - len(gone), tuple(map(str, gone)))


def _old(table: "Table", limit: float) -> list[int]:
    """Snapshots from before a time (ms since 1970) that neither a branch nor a tag names."""
    present = table.current_snapshot()
    named = {reference.snapshot_id for reference in table.refs().values()} | ({present.snapshot_id} if present else set())
    return [entry.snapshot_id for entry in table.snapshots() if entry.timestamp_ms < limit and entry.snapshot_id not in named]


def _remove_orphans(table: "Table", name: str, now: dt.datetime, *, dry: bool) -> Freed:
    """Data files that no snapshot names: those of expired snapshots, and what killed writers left."""
    filesystem, root = fsspec.core.url_to_fs(f"{table.location()}/data")
    filesystem.invalidate_cache()
    # Before the listing: a file that is committed in between is younger than the grace.
    known = {fsspec.core.url_to_fs(path)[1] for path in _named(table)}
    gone: dict[str, int] = {}
    for path, entry in (filesystem.find(root, detail=True) if filesystem.exists(root) else {}).items():
        if path not in known and _age(entry, now) >= _GRACE:
            gone[path] = int(entry["size"])
    if not dry:
        for path in gone:
            filesystem.rm_file(path)
    return Freed(f"files of {name}", "no snapshot names them", len(gone), sum(gone.values()), names=tuple(sorted(gone)))


def _named(table: "Table") -> set[str]:
    """Every data file that a snapshot of the table names."""
    found: set[str] = set()
    seen: set[str] = set()
    for snapshot in table.snapshots():
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path not in seen:
                seen.add(manifest.manifest_path)
                found |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)}
    return found


def _age(entry: dict[str, object], now: dt.datetime) -> dt.timedelta:
    return now - expiry.modified(entry)
