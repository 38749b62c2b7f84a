"""Pages in Airflow's UI: models, data versions, and the reports that stages leave behind.

Airflow does not ask who is calling for the applications that plugins mount: every route here depends on its access checks, so a page about
a problem is seen by those who may read the DAG of that name.
"""

import datetime as dt
import mimetypes
import re
from typing import Annotated, Any

import fsspec
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Path, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from markupsafe import Markup

from windtunnel.lifecycle.contract.errors import ConfigurationError, UnavailableError, WindtunnelError
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.pages import page
from windtunnel.lifecycle.record import freshness
from windtunnel.lifecycle.record.ledger import Entry, Ledger
from windtunnel.operators.settings import airflow_settings

__all__ = ["build"]

_READ = [Depends(requires_access_dag("GET"))]
_SUFFIXES = ("_monitoring", "_feedback")
_NAMES = re.compile(r"^[\w.,=-]+$")
# A report may style itself and draw; it may not load anything, nor act for the reader in Airflow: it gets an origin of its own.
_SANDBOX = {
    "Content-Security-Policy": (
        "sandbox allow-scripts allow-popups; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
        "script-src 'unsafe-inline'"
    ),
    "X-Content-Type-Options": "nosniff",
}
_PLAIN = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'", "X-Content-Type-Options": "nosniff"}
_DAYS = 30
_SHOWN = {".html", ".json", ".txt", ".md", ".svg", ".png"}

ProblemName = Annotated[str, Path(pattern="^[a-z][a-z0-9_]*$", max_length=80)]


def build() -> FastAPI:
    """The application; called in the API server only."""
    # no pages of its API: they would be open to everybody, since Airflow checks nothing of a mounted application
    app = FastAPI(title="Windtunnel", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route("/", overview, response_class=HTMLResponse)
    app.add_api_route("/models/{dag_id}", model, response_class=HTMLResponse, dependencies=_READ)
    app.add_api_route("/lineage/{dag_id}", lineage, response_class=HTMLResponse, dependencies=_READ)
    app.add_api_route("/quality/", qualities, response_class=HTMLResponse)
    app.add_api_route("/quality/{dag_id}", quality, response_class=HTMLResponse, dependencies=_READ)
    app.add_api_route("/data/{dag_id}/{snapshot_id}/{start}/{end}", data_version, response_class=HTMLResponse, dependencies=_READ)
    app.add_api_route("/artifacts/{dag_id}/{stage}/{fingerprint}/{name:path}", artifact, dependencies=_READ)
    app.add_exception_handler(WindtunnelError, _failed)
    return app


def overview(user: GetUserDep) -> HTMLResponse:
    """Every problem that has a decision in the ledger and whose DAG the caller may read."""
    ledger = Ledger(airflow_settings())
    by_problem: dict[str, list[Entry]] = {}
    for entry in ledger.entries():
        by_problem.setdefault(entry.problem, []).append(entry)
    rows = []
    for name, entries in sorted(by_problem.items()):
        if not _may_see(name, user):
            continue
        present = ledger.at(name, dt.datetime.now(dt.UTC))
        payload = present.entry.payload if present else {}
        rows.append(
            [
                page.link(f"models/{name}", name),
                f"version {present.version} ({payload.get('semantic', '')})" if present else "none yet",
                payload.get("cutoff"),
                payload.get("value"),
                present.entry.at[:16].replace("T", " ") if present else None,
                len(entries),
            ]
        )
    champions = (
        [page.section("Champions", page.table(["problem", "champion", "data cut-off", "metric", "since (UTC)", "decisions"], rows))]
        if rows
        else [page.section("No model yet", "Trigger the DAG of a problem: its first decision appears here.")]
    )
    body: list[Markup | str] = [*_waiting(ledger, [name for name in sorted(by_problem) if _may_see(name, user)]), *champions]
    return HTMLResponse(page.render("Models", body, "What is in production, and why: the ledger of decisions"), headers=_PLAIN)


def _may_see(name: str, user: object) -> bool:
    return bool(get_auth_manager().is_authorized_dag(method="GET", details=DagDetails(id=name), user=user))


def _waiting(ledger: Ledger, names: list[str]) -> list[Markup | str]:
    """The candidates that wait for a person's decision, if any do."""
    from windtunnel.lifecycle.release.decisions import waiting

    rows = [
        [
            entry.problem,
            entry.payload["cutoff"],
            entry.payload["value"],
            "every gate passed" if entry.payload["passed"] else "gates are not met",
            entry.run.get("reason") or entry.run.get("run_type"),
            ", ".join(entry.payload["people"]) or "everybody who may run the DAG",
            str(entry.payload["until"])[:16].replace("T", " "),
            page.link(entry.payload["report"], "report") if entry.payload.get("report") else None,
        ]
        for name in names
        for entry in waiting(ledger, name)
    ]
    heads = ["problem", "data cut-off", "metric", "gates", "why", "who may decide", "until (UTC)", ""]
    return [page.section("Waiting for a decision (Browse > Required Actions)", page.table(heads, rows))] if rows else []


def model(dag_id: ProblemName) -> HTMLResponse:
    """The champion of a problem, and the history of decisions about its models."""
    from windtunnel.lifecycle.record.champion import registered

    name = _problem(dag_id)
    ledger = Ledger(airflow_settings())
    present = ledger.at(name, dt.datetime.now(dt.UTC))
    entries = ledger.entries(name)
    if not entries:
        text = f"Nothing was decided about a model of {name} yet. Trigger its retraining DAG."
        return HTMLResponse(page.render(name, [page.section("No model yet", text)]), headers=_PLAIN)
    payload = present.entry.payload if present else {}
    entry = registered(airflow_settings(), name).get(present.version) if present else None
    lineage = (entry.payload.get("lineage") or {}) if entry else {}
    body: list[Markup | str] = [
        page.section(
            "In production",
            page.tiles(
                [
                    ("champion", f"version {present.version}" if present else "none"),
                    ("semantic version", payload.get("semantic")),
                    ("data cut-off", payload.get("cutoff")),
                    (str(payload.get("metric") or "metric"), payload.get("value")),
                    ("approved by", present.by if present else None),
                    ("unbalanced classes", lineage.get("class_balance")),
                ]
            ),
        ),
        page.paragraph(page.link(f"../lineage/{dag_id}", "Lineage, both ways")),
        *_would(airflow_settings(), name),
        *_stale(name, payload),
        _traffic(name),
        page.section(
            "Decisions, newest first",
            page.table(
                ["when (UTC)", "what", "version", "cut-off", "why", "run"],
                [_row(entry) for entry in reversed(entries[-200:])],
            ),
        ),
    ]
    return HTMLResponse(page.render(name, body, f"{len(entries)} entries in the ledger"), headers=_PLAIN)


def lineage(
    dag_id: ProblemName,
    version: Annotated[str, Query(pattern="^[0-9]*$", max_length=20)] = "",
    key: Annotated[str, Query(max_length=500)] = "",
    snapshot: Annotated[str, Query(pattern="^[0-9a-f]*$", max_length=64)] = "",
    day: Annotated[str, Query(pattern="^([0-9]{4}-[0-9]{2}-[0-9]{2})?$")] = "",
) -> HTMLResponse:
    """Both ways: from a version to all that it was made from, and from a row's key, a snapshot or a day to versions."""
    from windtunnel.plugins import lineage_page

    body = lineage_page.render(airflow_settings(), _problem(dag_id), version=version, key=key, snapshot=snapshot, day=day)
    return HTMLResponse(body, headers=_PLAIN)


def qualities(user: GetUserDep) -> HTMLResponse:
    """The newest day's quality of every problem whose DAG the caller may read."""
    from windtunnel.lifecycle.data.tables import table_names
    from windtunnel.lifecycle.quality.history import TABLE, history
    from windtunnel.lifecycle.quality.score import BEFORE, scores, trend

    settings, rows = airflow_settings(), []
    for name in table_names(settings, TABLE):
        if not _may_see(name, user):
            continue
        found = scores(history(settings, name, _DAYS + BEFORE))[-_DAYS:]
        if found:
            link = page.link(name, name)
            picture = page.line([(place, entry.score) for place, entry in enumerate(found)], width=200, height=36)
            why = "; ".join(map(str, found[-1].blame[:2]))
            rows.append([link, round(found[-1].score, 1), trend(found).word, picture, found[-1].day, why])
    heads = ["problem", "score", "trend", f"the last {_DAYS} days", "newest day", "why"]
    body = (
        [page.section("Newest day", page.table(heads, rows))] if rows else [page.section("No day yet", "Profile stages record each day.")]
    )
    return HTMLResponse(page.render("Data quality", body, "Every day of every problem's table, and why it is not 100"), headers=_PLAIN)


def quality(dag_id: ProblemName, days: Annotated[int, Query(ge=1, le=3660)] = 30) -> HTMLResponse:
    """The quality of a problem's data, day by day."""
    from windtunnel.lifecycle.pages.quality import quality_page
    from windtunnel.lifecycle.quality.history import history
    from windtunnel.lifecycle.quality.score import BEFORE

    name = _problem(dag_id)
    return HTMLResponse(quality_page(name, history(airflow_settings(), name, days + BEFORE), days), headers=_PLAIN)


def _stale(name: str, payload: dict[str, object]) -> list[Markup]:
    """Why the champion is stale, if it is."""
    reasons = freshness.stale(airflow_settings(), name, str(payload.get("uri") or "")) if payload.get("uri") else []
    if not reasons:
        return []
    said = " What it learnt from is not what its problem says now; a retraining run makes it anew from there on:"
    return [page.section("Stale", page.badge("stale", "warn"), said, page.items(reasons))]


def _traffic(name: str) -> Markup | str:
    """Who answers now and how each arm does, as the model server says; a server that is down is said, and nothing waits for it long."""
    from windtunnel.lifecycle.release.targets import ARM_COLUMNS, ServerTarget

    settings = airflow_settings(server=True)
    if not settings.server_url.startswith(("http://", "https://")):
        return ""
    target = ServerTarget(settings.server_url, settings.server_token, patience=2.0, attempts=1)
    try:
        if name not in target.models():
            return page.section("Traffic", "The model server does not serve it.")
        found = target.overview(name)
    except WindtunnelError as error:
        return page.section("Traffic", error.message)
    heads = ["version", "arm", "weight", "requests", "errors", "refused", "mean ms", "judged", "worth", "from", "to", "p"]
    rows = [[_rounded(arm[column]) for column in ARM_COLUMNS] for arm in found["arms"]]
    return page.section("Traffic since the server started", page.table(heads, rows), page.paragraph(found["text"]))


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def data_version(dag_id: ProblemName, snapshot_id: int, start: dt.date, end: dt.date) -> HTMLResponse:
    """One version of a problem's table: its days and their rows."""
    from windtunnel.lifecycle.data.catalog import catalog
    from windtunnel.lifecycle.data.days import day_files
    from windtunnel.lifecycle.data.tables import table_name

    settings = airflow_settings()
    name = table_name(_problem(dag_id), "examples")
    table = catalog(settings).load_table(name)
    days: dict[str, int] = {}
    for file in day_files(table, start, end, snapshot_id=snapshot_id):
        days[file.day] = days.get(file.day, 0) + file.rows
    columns = [[field.name, str(field.field_type)] for field in table.schema().fields]
    body = [
        page.section("Version", page.tiles([("snapshot", str(snapshot_id)), ("days", len(days)), ("rows", sum(days.values()))])),
        page.section("Rows a day", page.bars(list(days.values()), width=600, height=80), page.table(["day", "rows"], list(days.items()))),
        page.section("Columns", page.table(["column", "type"], columns)),
    ]
    return HTMLResponse(page.render(f"Data of {dag_id}", body, f"{name}, {start} to {end} (not included)"), headers=_PLAIN)


def artifact(dag_id: ProblemName, stage: str, fingerprint: str, name: str) -> Response:
    """A file that a stage left behind."""
    parts = [dag_id, stage, fingerprint, *name.split("/")]
    suffix = name[name.rfind(".") :].lower()
    # no part may be dots alone: the path must not lead out of the stage's folder
    if not all(_NAMES.match(part) and set(part) != {"."} for part in parts) or suffix not in _SHOWN:
        raise HTTPException(404, "no such artefact")
    filesystem, path = fsspec.core.url_to_fs(airflow_settings().artifact_path(*parts))
    try:
        content = filesystem.cat_file(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise HTTPException(404, "this artefact is not there (any more)") from error
    return Response(content, media_type=mimetypes.guess_type(name)[0] or "text/plain", headers=_SANDBOX)


def _would(settings: Settings, name: str) -> list[Markup]:
    """What counterfactual runs found; nothing where there were none."""
    from windtunnel.lifecycle.judging.counterfactual import answer

    found = answer(settings, name)
    if not any(row["source"] == "counterfactual" for row in found):
        return []
    rows = [
        [
            row["cutoff"],
            page.badge("was champion", "good")
            if row["was_champion"]
            else page.badge("would have been", "info")
            if row["approved"]
            else page.badge("would have been refused", "warn"),
            row["champion"],
            row["value"],
            "; ".join(row["reasons"]),
        ]
        for row in reversed(found[-100:])
    ]
    headers = ["data cut-off", "", "champion from then on", str(found[-1]["metric"]), "why not"]
    return [page.section("What would have been champion, had runs come in the order of their data", page.table(headers, rows))]


def _problem(dag_id: str) -> str:
    """The problem that a DAG belongs to: monitoring and feedback have DAGs of their own."""
    for suffix in _SUFFIXES:
        if dag_id.endswith(suffix):
            return dag_id.removesuffix(suffix)
    return dag_id


def _row(entry: Entry) -> list[object]:
    payload = entry.payload
    tone = {"promotion": "good", "rollback": "bad", "refusal": "warn"}.get(entry.kind, "info")
    why = payload.get("reason") or payload.get("step") or ""
    if isinstance(payload.get("by"), str):
        why = f"{payload['by']}: {why}"
    return [
        page.unbroken(entry.at[:19].replace("T", " ")),
        page.badge(entry.kind, tone),
        payload.get("version"),
        page.unbroken(payload.get("cutoff") or ""),
        why,
        entry.run.get("run_id") or entry.run.get("dag_id"),
    ]


async def _failed(_request: Request, error: Exception) -> JSONResponse:
    status = 503 if isinstance(error, UnavailableError) else 500 if isinstance(error, ConfigurationError) else 404
    return JSONResponse({"detail": str(error)}, status_code=status)
