import dataclasses
import datetime as dt
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from windtunnel.beam_jobs.feedback import feedback
from windtunnel.beam_jobs.job import Progress
from windtunnel.beam_jobs.monitor import monitor
from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import UnavailableError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import MonitorRef
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.data.catalog import catalog
from windtunnel.lifecycle.record.ledger import Ledger

DAY = dt.datetime(2013, 1, 6, 20, tzinfo=dt.UTC)
RUN = Run(dag_id="flight_delays_monitoring", run_id="r1", run_type="scheduled")


def look(world, start="2013-01-01", end="2013-01-07", run=RUN):
    return monitor(RunContext(world.problem, world.settings, run), world.window(start, end), Progress("monitor"))


def join(world, start="2013-01-01", end="2013-01-07"):
    return feedback(world.problem, world.window(start, end), world.settings, Progress("feedback"))


def changed(world, **changes):
    return dataclasses.replace(world, problem=Problem.model_validate(world.problem.model_dump() | changes))


def promote(world, snapshot, *, version="1", value=0.9):
    """The entries that registering and promoting a version leave in the ledger."""
    lineage = {name: getattr(snapshot, name) for name in ("table", "snapshot_id", "start", "end")} | {"snapshot": snapshot.fingerprint}
    known = dict.fromkeys(("uri", "digest", "run_id"), "") | {"version": version, "semantic": f"{version}.0.0", "cutoff": snapshot.end}
    known |= {"fingerprint": f"{version}" * 32, "metric": "auc", "value": value, "approved_by": "gates"}
    ledger = Ledger(world.settings)
    entry = ledger.append(world.problem, "register", known | {"lineage": lineage, "judged_against": "", "evidence": [], "reason": ""})
    ledger.append(world.problem, "promotion", known | {"previous": None, "evidence": [entry.hash], "facts": {}})


def body(found):
    return json.loads((Path(found.report).parent / "monitor.json").read_text(encoding="utf-8"))


@pytest.fixture
def january(world):
    """A champion that learned from four days, and two newer ones."""
    promote(world, world.ingest("2013-01-01", "2013-01-05"))
    world.ingest("2013-01-05", "2013-01-07")
    return world


def test_without_a_champion_there_is_an_alert_and_no_crash(world):
    found = look(world)
    assert len(found.alerts) == 1
    assert "flight_delays has no champion: run the retraining DAG 'flight_delays'" in found.alerts[0]
    assert found.reasons == found.alerts
    world.ingest("2013-01-01", "2013-01-03")
    assert look(world).alerts == found.alerts


def test_a_champion_that_is_fit(january):
    found = look(january)
    assert (found.alerts, found.reasons) == ([], [])
    assert (found.figures["champion.age_days"], found.figures["champion.behind_days"], found.figures["data.gap_days"]) == (2, 2, 0)
    assert found.figures["drift.distance"] < 0.1
    page = Path(found.report).read_text(encoding="utf-8")
    assert "fit: no alert" in page
    assert "No predictions were logged" in page
    assert MonitorRef.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_looking_again_at_the_same_says_the_same(january):
    found = look(january)
    assert look(january) == found
    shutil.rmtree(Path(found.report).parent)
    assert look(january) == found


def test_a_champion_behind_its_data_is_a_reason_to_retrain_and_is_kept_in_the_ledger(january):
    strict = changed(january, monitoring={"stale_days": 1})
    found = look(strict)
    assert found.reasons == found.alerts
    assert "there are 2 newer days, limit monitoring.stale_days = 1: retrain it" in found.alerts[0]
    entries = Ledger(january.settings).entries("flight_delays", ("monitoring",))
    assert [(entry.payload["reasons"], entry.run["run_id"]) for entry in entries] == [(found.reasons, "r1")]
    look(strict)
    assert len(Ledger(january.settings).entries("flight_delays", ("monitoring",))) == 1
    assert "2013-01-05" in found.alerts[0]


def test_data_that_stopped_is_no_reason_to_retrain(january):
    found = look(january, end="2013-02-20")
    assert "the newest rows are of 2013-01-06, 44 days before 2013-02-20" in found.alerts[0]
    assert found.reasons == []


def test_an_earlier_day_sees_nothing_later(january):
    january.ask(january.examples("2013-01-06"), DAY)
    assert look(january, end="2013-01-06").figures["answers"] == 0
    assert look(january, end="2013-01-06").figures["champion.behind_days"] == 1
    assert look(january).figures["answers"] > 0


def test_rows_that_changed_are_drift(january, landing, tmp_path):
    moved = tmp_path / "landing"
    moved.mkdir()
    for day in ("05", "06"):
        lines = (landing / f"flights_2013-01-{day}.csv").read_text().splitlines()
        place = lines[0].split(",").index("distance")
        rows = [line.split(",") for line in lines[1:]]
        for row in rows:
            row[place] = str(float(row[place]) * 3)
        (moved / f"flights_2013-01-{day}.csv").write_text("\n".join([lines[0], *(",".join(row) for row in rows)]) + "\n")
    other = dataclasses.replace(january, settings=dataclasses.replace(january.settings, landing=str(moved)))
    other.ingest("2013-01-05", "2013-01-07")
    found = look(other)
    assert len(found.alerts) == 1
    assert "newest rows: feature 'distance' is not what the champion learned from: population stability index" in found.alerts[0]
    assert "limit monitoring.drift = 0.5" in found.alerts[0]
    assert found.reasons == found.alerts
    assert found.figures["drift.distance"] > 0.5 > found.figures["drift.hour"]


def test_what_the_model_is_asked_may_drift_alone(january):
    flights = january.examples("2013-01-06")
    january.ask(flights.filter(np.array(flights["origin"].to_pylist()) == "JFK"), DAY)
    found = look(january)
    assert any(alert.startswith("what the model was asked: feature 'origin'") for alert in found.alerts)
    assert not any(alert.startswith("newest rows") for alert in found.alerts)
    assert body(found)["sections"]["live_drift"]["rows"][1] == found.figures["answers"]


def test_a_handful_of_answers_is_no_drift(january):
    january.ask(january.examples("2013-01-06").slice(0, 5), DAY)
    assert look(january).alerts == []


def test_columns_that_the_log_leaves_out_do_not_drift(january):
    secret = changed(january, serving=january.problem.serving.model_dump() | {"redact": ["dest"]})
    secret.ask(january.examples("2013-01-06"), DAY, drop=("dest",))
    found = look(secret)
    assert not any("'dest'" in alert for alert in found.alerts)
    assert "live_drift.dest" not in found.figures


def test_good_answers_are_no_alert_and_bad_ones_are(january):
    flights = january.examples("2013-01-06")
    january.ask(flights, DAY)
    assert "run the DAG flight_delays_feedback" in Path(look(january).report).read_text(encoding="utf-8")
    join(january)
    found = look(january)
    assert (found.alerts, found.figures["live.auc"]) == ([], 1.0)
    assert found.figures["evaluated.auc"] == 0.9
    chance = np.random.default_rng(0).random(flights.num_rows).tolist()
    january.ask(january.examples("2013-01-05"), DAY - dt.timedelta(days=1), scores=np.random.default_rng(1).random(1000).tolist())
    january.ask(flights, DAY, scores=chance)
    january.ask(flights, DAY, scores=chance)
    join(january)
    found = look(january)
    assert any("limit at_least = 0.8 of its gate" in alert for alert in found.reasons)
    assert any("was 0.9 when it was evaluated" in alert for alert in found.reasons)


def test_only_the_champions_own_answers_that_people_saw_count(january):
    flights = january.examples("2013-01-06")
    wrong = [0.1 if (delay or 0) > 15 else 0.9 for delay in flights["arr_delay"].to_pylist()]
    january.ask(flights, DAY)
    january.ask(flights, DAY, version="2", scores=wrong)
    january.ask(flights, DAY, version="1", scores=wrong, shadow=True, seconds=(9.0,))
    join(january)
    found = look(january)
    assert (found.alerts, found.figures["live.auc"]) == ([], 1.0)
    assert found.figures["latency.p99_ms"] == 2
    assert len(body(found)["sections"]["quality"]) == 3


def test_values_that_were_sent_differently(january):
    flights = january.examples("2013-01-06")
    january.ask(flights.slice(0, 300), DAY)
    january.ask(flights.slice(300, 100), DAY, change={"distance": 1000.0})
    join(january)
    found = look(january)
    skew = [alert for alert in found.alerts if alert.startswith("feature 'distance' was sent with another value")]
    assert len(skew) == 1
    assert "make the caller compute it as the source does" in skew[0]
    assert skew[0] not in found.reasons


def test_latency_of_logged_answers_by_the_higher_method(january):
    flights = january.examples("2013-01-06").slice(0, 10)
    seconds = (0.1, 0.102, 0.1, 0.1, 0.099, 0.104, 0.11, 0.09, 3.0, 0.095)
    january.ask(flights, DAY, seconds=seconds)
    found = look(january)
    assert [found.figures[f"latency.p{p}_ms"] for p in (50, 90, 99)] == [100, 3000, 3000]
    assert not any("latency" in alert for alert in found.alerts)
    january.ask(flights, DAY, seconds=seconds)
    assert any("within 3,000 ms, limit serving.latency_p99_ms = 100" in alert for alert in look(january).alerts)


def test_a_server_that_is_down_or_refuses_is_an_alert(january):
    down = dataclasses.replace(january, settings=dataclasses.replace(january.settings, server_url="http://127.0.0.1:9"))
    found = look(down)
    assert "the model server at http://127.0.0.1:9 does not answer" in found.alerts[0]
    assert found.figures["server.up"] == 0.0
    assert found.reasons == []
    assert "does not answer" in Path(found.report).read_text(encoding="utf-8")


def test_a_champion_whose_data_is_gone_can_still_be_looked_at(world):
    snapshot = world.ingest("2013-01-01", "2013-01-05")
    promote(world, dataclasses.replace(snapshot, snapshot_id=1))
    world.ingest("2013-01-05", "2013-01-07")
    found = look(world)
    assert found.alerts == []
    assert "are gone, so drift cannot be told" in Path(found.report).read_text(encoding="utf-8")


def test_damaged_data_is_an_alert(january):
    table = catalog(january.settings).load_table("flight_delays.examples")
    for task in table.scan().plan_files():
        path = Path(task.file.file_path.removeprefix("file://"))
        if "2013-01-06" in str(path):
            path.write_bytes(path.read_bytes()[:200])
    found = look(january)
    assert any("drift cannot be told, because data cannot be read" in alert and "2013-01-06" in alert for alert in found.alerts)


def test_a_catalog_out_of_reach_is_for_a_retry(world):
    away = dataclasses.replace(world.settings, catalog_uri="postgresql+psycopg2://nobody@127.0.0.1:9/nothing")
    with pytest.raises(UnavailableError):
        look(dataclasses.replace(world, settings=away))


@pytest.mark.parametrize(
    "options", [{"runner_options": "--direct_runner_bundle_repeat=1"}, pytest.param({"workers": 2}, marks=pytest.mark.slow)]
)
def test_bundles_that_run_twice_and_several_workers_see_the_same(january, options):
    for start in range(0, 300, 100):
        january.ask(january.examples("2013-01-06").slice(start, 100), DAY)
    other = dataclasses.replace(january, settings=dataclasses.replace(january.settings, **options))
    assert look(other) == look(january)
