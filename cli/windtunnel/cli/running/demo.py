"""``windtunnel demo``: the main job on real flights, from raw files to the answer of a served model."""

import argparse
import contextlib
import csv
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.cli.terminal import paint
from windtunnel.lifecycle.payload import JsonObject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windtunnel.cli.instance import Instance
    from windtunnel.cli.running.airflow_api import AirflowApi
    from windtunnel.cli.running.traffic import Traffic
    from windtunnel.lifecycle.contract.problem import Problem

__all__ = ["add_arguments", "run"]

DAG = "flight_delays"
_DONE = {"success", "failed"}
_MARKS = {"success": "done", "failed": "FAILED", "upstream_failed": "not reached", "skipped": "skipped"}
_STYLES = {"success": "green", "failed": "bold red", "upstream_failed": "yellow", "skipped": "yellow"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Folder, output, patience."""
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end instead of text")
    parser.add_argument(
        "--canary",
        action="store_true",
        help="two versions: one that learned until a week earlier, then the newest as a canary of it, under traffic",
    )
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds to wait for the run")


def run(arguments: argparse.Namespace) -> int:
    """Start, trigger, watch, ask the served model, and sum up; 0 only if all of it holds."""
    from windtunnel.cli.instance import Instance
    from windtunnel.cli.running.airflow_api import AirflowApi
    from windtunnel.cli.running.landing import lay_out

    def say(text: str) -> None:
        print(text, file=sys.stderr if arguments.json else sys.stdout, flush=True)

    began = time.monotonic()
    instance = Instance(arguments.home, say=say)
    instance.up()
    up = time.monotonic()
    landing = Path(instance.settings().landing)
    written = lay_out(landing)
    if written:
        say(f"laid out {written} days of flights in {landing}")
    api = AirflowApi(instance.airflow_url, instance.token())
    api.wait_for_dag(DAG)
    first = _first_version(api, instance, say, arguments.timeout) if arguments.canary else None
    with _traffic(instance, landing, first) as traffic:
        run_id = api.trigger(DAG, {"reason": "windtunnel demo"})
        say(f"triggered {DAG}, run {run_id}")
        state = _watch(api, run_id, say, arguments.timeout)
    found = _summary(api, instance, run_id, landing, state)
    if traffic is not None:
        found["canary"] = {"first": first, **traffic.summary(str(found["model"]["version"])), "steps": _steps(instance, found)}
        found["ok"] = found["ok"] and not found["canary"]["failed"] and "canary passed" in found["canary"]["steps"]
    found["seconds"] = {"up": round(up - began, 1), "total": round(time.monotonic() - began, 1), "run": found.pop("run_seconds")}
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        _show(found)
    return 0 if found["ok"] else 1


def _first_version(api: "AirflowApi", instance: "Instance", say: Any, timeout: float) -> str:
    """The version that a canary is compared with: it learned until a week before the newest day.

    Raises:
        ConfigurationError: the champion learned from the newest data already, so no version can follow it.
    """
    import datetime as dt

    from windtunnel.lifecycle.contract.errors import ConfigurationError, JobError
    from windtunnel.lifecycle.record.champion import champion

    newest = _problem(instance).windows.history_end
    assert newest is not None  # the demo's history is closed
    present = champion(instance.settings(), DAG)
    if present is not None and present.cutoff >= newest.isoformat():
        raise ConfigurationError(
            f"version {present.version} learned from all the data there is, until {present.cutoff}: no newer version can be a canary",
            hint="use an instance that has no champion yet: `windtunnel demo --canary --home ANOTHER_FOLDER`",
        )
    if present is None:
        end = newest - dt.timedelta(days=7)
        run_id = api.trigger(DAG, {"window_end": end.isoformat(), "reason": "windtunnel demo: the first version"})
        say(f"triggered {DAG} until {end}, run {run_id}")
        if _watch(api, run_id, say, timeout) != "success":
            raise JobError(f"the run {run_id} of the first version did not succeed", hint="`windtunnel logs`, or Airflow's UI, tell why")
        present = champion(instance.settings(), DAG)
    return present.version if present else ""


@contextlib.contextmanager
def _traffic(instance: "Instance", landing: Path, first: str | None) -> "Iterator[Traffic | None]":
    """Ask about the newest week's flights all the while, where there are two versions to share them."""
    if first is None:
        yield None
        return
    from windtunnel.cli.running.traffic import Traffic

    settings = instance.settings()
    traffic = Traffic(settings.server_url, settings.server_token, _problem(instance), sorted(landing.glob("flights_*.csv"))[-7:])
    with traffic.flowing():
        yield traffic


def _problem(instance: "Instance") -> "Problem":
    from windtunnel.lifecycle.contract.problem import load

    return load(Path(instance.state["dags"]) / "problems" / f"{DAG}.yaml")


def _steps(instance: "Instance", found: JsonObject) -> list[str]:
    """The steps of the run's deployment, as the ledger has them."""
    from windtunnel.lifecycle.record.ledger import Ledger

    entries = Ledger(instance.settings()).entries(DAG, ("deployment", "promotion"))
    mine = [entry for entry in entries if entry.run.get("run_id") == found["run_id"]]
    return [str(entry.payload.get("step") or "promoted") for entry in mine]


def _watch(api: "AirflowApi", run_id: str, say: Any, timeout: float) -> str:
    """Show the stages as they run, until the run has ended."""
    seen: dict[str, str] = {}
    end = time.monotonic() + timeout
    while True:
        state = str(api.run(DAG, run_id)["state"])
        # "9" is behind every year: what has not started comes last
        tasks = sorted(api.tasks(DAG, run_id), key=lambda task: (task["start_date"] or "9", task["task_id"]))
        for task in tasks:
            name, now = task["task_id"], str(task["state"])
            if now in _MARKS and seen.get(name) != now:
                seen[name] = now
                ended = sum(value in _MARKS for value in seen.values())
                duration = f"{task['duration']:.1f} s" if task["duration"] else ""
                say(f"  [{ended:2}/{len(tasks)}] {name:11} {paint(f'{_MARKS[now]:11}', _STYLES[now])} {duration}")
        if state in _DONE or time.monotonic() > end:
            return state
        time.sleep(0.25)


def _left_behind(api: "AirflowApi", run_id: str) -> tuple[JsonObject, dict[str, str]]:
    """What each task that ended well handed on, and where a person can look at it."""
    ended = {task["task_id"] for task in api.tasks(DAG, run_id) if task["state"] == "success"}
    results = {name: api.result(DAG, run_id, name) for name in ended}
    links = {name: link for task in ended for name, link in api.links(DAG, run_id, task).items() if link}
    return results, links


def _summary(api: "AirflowApi", instance: "Instance", run_id: str, landing: Path, state: str) -> JsonObject:
    """What came of it, from what the tasks handed on."""
    from windtunnel.lifecycle.contract.errors import WindtunnelError

    results, links = _left_behind(api, run_id)
    status = instance.status()["services"]
    detail = api.run(DAG, run_id)
    snapshot, evaluation = results.get("ingest", {}), results.get("evaluate", {})
    version, deployment = results.get("register", {}), results.get("deploy", {})
    validation = results.get("validate", {})
    try:
        answer = _ask(status["server"]["url"], instance.credentials.token, landing, snapshot["end"]) if deployment.get("deployed") else None
    except WindtunnelError as error:
        answer = {"error": str(error)}
    holds = (state == "success", validation.get("success"), evaluation.get("passed"), "prediction" in (answer or {}))
    return {
        "ok": all(holds),
        "run_id": run_id,
        "state": state,
        "data_version": {name: snapshot.get(name) for name in ("table", "snapshot_id", "start", "end", "fingerprint")},
        "rows": snapshot.get("rows"),
        "quarantined_rows": snapshot.get("quarantined"),
        "validation": {name: validation.get(name) for name in ("success", "evaluated", "unsuccessful")},
        "metric": {"name": evaluation.get("metric"), "value": evaluation.get("value"), "baseline": evaluation.get("baseline")},
        "model": {
            "name": version.get("model"),
            "version": version.get("version"),
            "semantic": version.get("semantic"),
            "alias": deployment.get("alias") or version.get("alias"),
            "deployed": deployment.get("deployed"),
            "reason": deployment.get("reason"),
        },
        "answer": answer,
        "links": {"Airflow": f"{status['airflow']['url']}/dags/{DAG}/runs/{run_id}", "MLflow": status["mlflow"]["url"], **links},
        "login": dict(zip(("user", "password"), instance.admin, strict=True)),
        "run_seconds": round(float(detail.get("duration") or 0.0), 1),
    }


def _ask(server: str, token: str, landing: Path, end: str) -> JsonObject:
    """Ask the served model about one real flight of the newest day, by the Open Inference Protocol."""
    from windtunnel.cli.running.airflow_api import call

    described = call(f"{server}/v2/models/{DAG}", token=token)
    flight = _flight(landing, end)
    inputs = [
        {"name": entry["name"], "datatype": entry["datatype"], "shape": [1], "data": [_typed(flight[entry["name"]], entry["datatype"])]}
        for entry in described["inputs"]
    ]
    answered = call(f"{server}/v2/models/{DAG}/infer", {"inputs": inputs}, token=token)
    outputs = {output["name"]: output["data"][0] for output in answered["outputs"]}
    names = ("carrier", "flight", "origin", "dest", "year", "month", "day", "dep_delay")
    return {
        **outputs,
        "version": answered.get("model_version"),
        "flight": {name: flight[name] for name in names},
        "truth": {"arr_delay": flight["arr_delay"], "late": float(flight["arr_delay"]) > 15},  # the problem's label
    }


def _flight(landing: Path, end: str) -> dict[str, str]:
    """The first flight of the newest day that left more than half an hour late and arrived."""
    newest = max(path for path in landing.glob("flights_*.csv") if path.stem.removeprefix("flights_") < end)
    with newest.open(encoding="utf-8", newline="") as file:
        flights = [row for row in csv.DictReader(file) if row["arr_delay"] != "NA"]
    return next((row for row in flights if float(row["dep_delay"]) > 30), flights[0])


def _typed(value: str, datatype: str) -> object:
    if datatype == "BYTES":
        return value
    return float(value) if datatype.startswith("FP") else int(float(value))


def _show(found: JsonObject) -> None:
    version, metric, model, answer = found["data_version"], found["metric"], found["model"], found["answer"] or {}
    seconds = found["seconds"]

    def figure(value: float | None) -> str:
        return "-" if value is None else f"{value:.4f}"

    flight = answer.get("flight", {})
    lines = [
        ("result", "everything holds" if found["ok"] else f"NOT everything holds: the run is {found['state']}"),
        ("data version", f"{version['table']} snapshot {version['snapshot_id']}, {version['start']} to {version['end']}"),
        ("rows", f"{found['rows']:,} good, {found['quarantined_rows']:,} quarantined" if found["rows"] is not None else "-"),
        ("validation", f"{found['validation']['evaluated']} expectations, {found['validation']['unsuccessful']} not met"),
        (str(metric["name"] or "metric"), f"{figure(metric['value'])}, baseline {figure(metric['baseline'])}"),
        ("model", f"{model['name']} version {model['version']} ({model['semantic']}), alias {model['alias']}"),
    ]
    canary = found.get("canary")
    if canary:
        text = f"took {canary['canary']:,} of {canary['requests']:,} requests beside version {canary['first']}, {canary['failed']} failed"
        lines.append(("canary", f"{text}; {' > '.join(canary['steps'])}"))
    if flight:
        day = f"{flight['year']}-{flight['month']}-{flight['day']}"
        route = f"{flight['carrier']}{flight['flight']} {flight['origin']}-{flight['dest']} on {day}, left {flight['dep_delay']} min late"
        lines.append(("one flight", f"{route} -> {_answer(answer)} (it was {answer['truth']['arr_delay']} min late)"))
    elif answer:
        lines.append(("one flight", f"no answer: {answer.get('error')}"))
    elif model["reason"]:
        lines.append(("deployment", str(model["reason"])))
    lines.append(("time", f"{seconds['total']} s, of which the run {seconds['run']} s"))
    print("\n" + "\n".join(f"  {name:13} {value}" for name, value in lines))
    print("\n  look at")
    for name, link in found["links"].items():
        print(f"    {name:18} {link}")
    print(f"\n  log in to Airflow as {found['login']['user']} with password {found['login']['password']}")
    print("  everything keeps running; stop it with: .venv/bin/windtunnel down\n")


def _answer(answer: JsonObject) -> str:
    probability = f", probability {answer['score']:.2f}" if isinstance(answer.get("score"), float) else ""
    late = {"1": "late", "0": "in time"}.get(str(answer["prediction"]), str(answer["prediction"]))
    return f"predicted {late}{probability}"
