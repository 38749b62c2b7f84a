"""The page of lineage: from a version to all that it was made from, and from a row, a snapshot or a day to the versions it went into."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.pages import page
from windtunnel.lifecycle.payload import JsonMapping
from windtunnel.lifecycle.record.lineage import Lineage, models_of, of_version
from windtunnel.lifecycle.record.lineage_rows import of_row
from windtunnel.operators.telling.links import artifact_url

__all__ = ["render"]


def render(settings: Settings, problem: str, *, version: str = "", key: str = "", snapshot: str = "", day: str = "") -> str:
    """The page.

    Args:
        settings: where ledger and table are.
        problem: whose.
        version: of this version; the champion's if empty.
        key: ``column=value`` pairs, separated by commas or spaces: what became of the rows that have them.
        snapshot: only versions made from this snapshot.
        day: only versions whose window holds this day.
    """
    body: list[Markup | str] = [_form(problem, version, key, day)]
    if key:
        body.append(_row(settings, problem, key))
    try:
        body += _version(settings, of_version(settings, problem, version))
    except ConfigurationError as error:
        body.append(page.section("Version", str(error)))
    models = models_of(settings, problem, snapshot=snapshot, day=day)
    title = "Versions" + (f" made from snapshot {snapshot}" if snapshot else "") + (f" that learnt from {day}" if day else "")
    rows = [
        [
            page.link(f"?version={model['version']}", f"version {model['version']}"),
            model["semantic"],
            model["cutoff"],
            page.link(f"?snapshot={model['snapshot_id']}", model["snapshot_id"]),
            model["digest"][:12],
        ]
        for model in reversed(models)
    ]
    body.append(page.section(title, page.table(["", "semantic", "data cut-off", "snapshot", "bundle"], rows) if rows else "none"))
    return page.render(f"Lineage of {problem}", body, "from a model to its data, and from data to its models")


def _form(problem: str, version: str, key: str, day: str) -> Markup:
    fields = [
        ("version", "version", version, "the champion", 10),
        ("row key", "key", key, "flight=1545 month=1 day=3", 40),
        ("day", "day", day, "2013-01-31", 12),
    ]
    return page.section("Ask", page.form(problem, fields))


def _snapshots(identities: Sequence[Any]) -> Markup:
    return Markup(", ").join(page.link(f"?snapshot={identity}", str(identity)) for identity in identities)


def _cells(row: Mapping[str, Any]) -> list[object]:
    values = ", ".join(f"{name} {value}" for name, value in row["row"].items() if value is not None)
    return [page.unbroken(row["day"]), values]


def _model(model: JsonMapping) -> list[object]:
    version = page.link(f"?version={model['version']}", f"version {model['version']}")
    return [model["role"], version, model["cutoff"], str(model["snapshot_id"]), model["day"]]


def _row(settings: Settings, problem: str, key: str) -> Markup:
    pairs = [text.partition("=") for text in key.replace(",", " ").split()]
    if any(not sign for _, sign, _ in pairs):
        return page.section("Row", "a key is column=value pairs, such as flight=1545 month=1 day=3")
    try:
        found = of_row(settings, problem, {column: value for column, _, value in pairs})
    except ConfigurationError as error:
        return page.section("Row", str(error))
    rows = [_cells(row) for row in found.rows]
    models = [_model(model) for model in found.models]
    links = _snapshots(found.snapshots)
    return page.section(
        f"Row {key}",
        page.table(["day", "row"], rows) if rows else "no row of the newest version of the data has this key",
        page.paragraph("In snapshots: ", links or "none"),
        page.table(["", "version", "data cut-off", "snapshot", "day"], models) if models else "No registered version had to do with it.",
    )


def _version(settings: Settings, lineage: Lineage) -> list[Markup]:
    parts: Sequence[tuple[str, JsonMapping]] = [
        ("people", lineage.people),
        ("run", lineage.run),
        ("code", lineage.code),
        ("snapshot", lineage.data),
        ("sources", lineage.sources),
        ("suite", lineage.suite),
    ]
    rows = [
        [title if not index else "", name, _linked(settings, lineage, name, value)]
        for title, values in parts
        for index, (name, value) in enumerate(values.items())
    ]
    periods = [[since, until or "now"] for since, until in lineage.periods]
    shown = page.table(["in production since", "until"], periods) if periods else page.paragraph("Never in production.")
    evidence = [
        [entry.at[:19].replace("T", " "), entry.kind, entry.payload.get("reason") or "", entry.hash[:12]] for entry in lineage.evidence
    ]
    return [
        page.section(f"Version {lineage.version}, {lineage.semantic}, data up to {lineage.cutoff}", shown, page.table(["", "", ""], rows)),
        page.section("In the ledger", page.table(["when (UTC)", "what", "why", "entry"], evidence)),
    ]


def _linked(settings: Settings, lineage: Lineage, name: str, value: Any) -> Markup | str:
    """A value, as a link where there is something to look at."""
    data = lineage.data
    if name == "docs" and value:
        return page.link(artifact_url(settings, str(value)), "Data Docs")
    if name == "snapshot_id" and value:
        return page.link(f"../data/{lineage.problem}/{value}/{data['start']}/{data['end']}", value)
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {entry}" for name, entry in value.items())
    return "" if value is None else str(value)
