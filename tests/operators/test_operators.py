"""Operators with a hand-made context: what they record, hand on, link to and refuse."""

import dataclasses
import datetime as dt
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import time_machine
import yaml
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowSkipException, DagRunTriggerException

from windtunnel.cli.running.landing import lay_out
from windtunnel.lifecycle.contract import errors
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.references import CandidateRef, DecisionRef, EvaluationRef, MonitorRef, SnapshotRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.record.ledger import Ledger
from windtunnel.operators import ApproveOperator, IngestOperator, ProfileOperator, RegisterOperator, RetrainOperator, StageOperator
from windtunnel.operators.base import RETRY_POLICY, problem_of, run_of
from windtunnel.operators.settings import airflow_settings

FILE = Path(__file__).parents[2] / "dags" / "problems" / "flight_delays.yaml"
CANDIDATE = CandidateRef("flight_delays", "somewhere", "d" * 64, "r", "c", "2013-02-01")


def evaluation(passed=True):
    return EvaluationRef(
        "u", "/nowhere/report.html", "auc", 0.93, 0.8, None, passed, ["auc 0.93 is at least 0.8"] if passed else ["auc 0.93 < 0.99"], "e"
    )


@pytest.fixture(scope="session")
def landing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("landing")
    assert lay_out(folder) == 365
    assert lay_out(folder) == 0
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch, landing):
    values = {
        "CATALOG_URI": f"sqlite:///{tmp_path}/catalog.db",
        "LEDGER_URI": f"sqlite:///{tmp_path}/ledger.db",
        "WAREHOUSE": str(tmp_path / "warehouse"),
        "ARTIFACTS": str(tmp_path / "artifacts"),
        "LANDING": str(landing),
    }
    for name, value in values.items():
        monkeypatch.setenv(f"AIRFLOW__WINDTUNNEL__{name}", value)
    return tmp_path


@pytest.fixture
def problem():
    values = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    values["windows"]["train_days"] = 2
    return parse(values)


def context(run_type="manual", **params):
    run = SimpleNamespace(
        dag_id="flight_delays",
        run_id="run-1",
        run_type=SimpleNamespace(value=run_type),
        conf={},
        triggering_user_name="ada",
        run_after=None,
    )
    return {"dag_run": run, "params": {"window_end": "2013-02-01", **params}, "run_id": "run-1", "ti": None}


def test_settings_are_airflows(home):
    found = airflow_settings()
    assert found.warehouse == str(home / "warehouse")
    assert (found.runner, found.workers) == ("in-process", 1), "the provider's defaults"


def test_ingest_hands_on_a_snapshot_with_the_exact_rows(home, problem, landing):
    operator = IngestOperator(task_id="ingest", problem=problem, data_version="")
    snapshot = SnapshotRef.from_dict(operator.execute(context()))
    lines = sum(len((landing / f"flights_2013-01-{day}.csv").read_text().splitlines()) - 1 for day in (30, 31))
    assert (snapshot.start, snapshot.end, snapshot.rows, snapshot.quarantined) == ("2013-01-30", "2013-02-01", lines, 0)
    assert operator.link.endswith(f"/windtunnel/data/flight_delays/{snapshot.snapshot_id}/2013-01-30/2013-02-01")
    again = IngestOperator(task_id="ingest", problem=problem, data_version="").execute(context())
    assert again == snapshot.to_dict(), "the same source changes nothing"
    pinned = IngestOperator(task_id="ingest", problem=problem, data_version=str(snapshot.snapshot_id)).execute(context())
    assert pinned == snapshot.to_dict()


def test_a_missing_upstream_is_named(home, problem):
    with pytest.raises(errors.ConfigurationError, match="task 'profile' got no snapshot reference but None"):
        ProfileOperator(task_id="profile", problem=problem, snapshot=None).execute(context())


def test_a_problem_from_its_file_or_its_values(problem):
    assert problem_of(FILE).name == problem_of(str(FILE)).name == problem_of(problem).name == "flight_delays"
    with pytest.raises(errors.ProblemError, match="cannot be read"):
        IngestOperator(task_id="ingest", problem="nowhere.yaml")


def test_who_asks():
    run = run_of(context("backfill", promotion="auto", reason="late data"))
    assert (run.dag_id, run.run_id, run.run_type, run.by) == ("flight_delays", "run-1", "backfill", "ada")
    assert (run.promotion, run.reason) == ("auto", "late data")


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (errors.DataError("x"), RetryAction.FAIL),
        (errors.ValidationFailedError("x"), RetryAction.FAIL),
        (errors.ConfigurationError("x"), RetryAction.FAIL),
        (errors.UnavailableError("x"), RetryAction.RETRY),
        (errors.ConflictError("x"), RetryAction.RETRY),
        (OSError("x"), RetryAction.DEFAULT),
    ],
)
def test_what_is_retried(error, action):
    assert RETRY_POLICY.evaluate(error, try_number=1, max_tries=2).action == action


@pytest.mark.parametrize(
    ("run_type", "asked", "passed", "approved"),
    [("manual", "auto", True, True), ("manual", "auto", False, False), ("backfill", "ask", True, True), ("scheduled", "", True, True)],
)
def test_an_automatic_decision_is_in_the_ledger_first(home, problem, run_type, asked, passed, approved):
    operator = ApproveOperator(task_id="approve", problem=problem, candidate=CANDIDATE.to_dict(), evaluation=evaluation(passed).to_dict())
    decision = DecisionRef.from_dict(operator.execute(context(run_type, promotion=asked)))
    assert decision.approved is approved
    (entry,) = Ledger(airflow_settings()).entries("flight_delays", ("decision",))
    assert entry.hash == decision.entry
    assert entry.payload["approved"] is approved
    assert entry.payload["evidence"]["auc"] == 0.93
    assert entry.run["run_type"] == run_type


@pytest.mark.parametrize(
    ("answer", "user", "approved", "outcome"),
    [
        ("Approve", "grace", True, "approved"),
        ("Reject", "grace", False, "rejected"),
        ("Ask for changes", "grace", False, "changes asked for"),
        ("Reject", None, False, "rejected"),
    ],
)
def test_a_persons_decision_is_in_the_ledger(home, problem, answer, user, approved, outcome):
    operator = asked_of(problem)
    decision = DecisionRef.from_dict(operator.execute_complete(context(), event(answer, user, "the recall fell")))
    assert (decision.approved, decision.by) == (approved, user or "nobody")
    (entry,) = Ledger(airflow_settings()).entries("flight_delays", ("decision",))
    assert (entry.payload["approved"], entry.payload["by"], entry.payload["outcome"]) == (approved, user or "nobody", outcome)
    assert ("the recall fell (grace)" in entry.payload["reason"]) is bool(user)
    assert "overridden" not in entry.payload


def event(answer, user, comment="", **more):
    person = {"id": "7", "name": user} if user else None
    said = {"params_input": {"comment": comment}} if user else {"params_input": {}}
    return {"chosen_options": [answer], "responded_at": dt.datetime.now(dt.UTC), "responded_by_user": person, **said, **more}


def asked_of(problem, passed=True, **approval):
    """An operator of a problem with such an approval, and its waiting replaced by a word: Airflow's own waiting needs its server."""
    values = {**problem.model_dump(mode="json", by_alias=True, exclude_none=True), "approval": {"promotion": "ask", **approval}}
    held = evaluation(passed)
    operator = ApproveOperator(task_id="approve", problem=parse(values), candidate=CANDIDATE.to_dict(), evaluation=held.to_dict())
    object.__setattr__(operator, "_wait", lambda *_: "asked again")
    return operator


def decisions_of(kind="decision"):
    return Ledger(airflow_settings()).entries("flight_delays", (kind,))


@pytest.mark.parametrize(("answer", "passed"), [("Reject", True), ("Ask for changes", True), ("Approve", False), ("Reject", False)])
def test_an_answer_without_the_comment_that_it_needs_is_asked_for_again(home, problem, answer, passed):
    operator = asked_of(problem, passed)
    for comment in ("", "  "):
        assert operator.execute_complete(context(), event(answer, "grace", comment)) == "asked again"
    assert not decisions_of()
    assert operator.execute_complete(context(), event(answer, "grace", "because"))["approved"] is (answer == "Approve")


def test_soft_gates_can_be_overridden_with_a_reason_and_the_ledger_says_so(home, problem):
    answer = asked_of(problem, passed=False).execute_complete(context(), event("Approve", "grace", "the drop is seasonal"))
    assert answer["approved"]
    (entry,) = decisions_of()
    assert entry.payload["overridden"] == ["auc 0.93 < 0.99"]
    assert "the drop is seasonal (grace)" in entry.payload["reason"]


def test_nobody_can_approve_a_hard_gate_away(home, problem, tmp_path):
    gates = [{"gate": "fair", "passed": False, "reason": "demographic_parity_difference is 0.4", "hard": True}]
    (tmp_path / "evaluation.json").write_text(json.dumps({"gates": gates}))
    operator = asked_of(problem, passed=False)
    operator.evaluation = dataclasses.replace(evaluation(False), uri=str(tmp_path)).to_dict()
    answer = operator.execute(context())
    assert (answer["approved"], answer["by"]) == (False, "the problem's rule")
    assert "nobody can approve them away: demographic_parity_difference is 0.4" in answer["reason"]
    assert not decisions_of("question")


def test_silence_cannot_override_a_gate(home, problem):
    answer = asked_of(problem, passed=False, default="approve").execute_complete(context(), event("Approve", None))
    assert (answer["approved"], answer["by"]) == (False, "nobody")


def test_two_of_three_people_must_approve_and_one_rejects_alone(home, problem):
    operator = asked_of(problem, approvers=["grace", "alan", "kay"], needed=2)
    assert operator.execute_complete(context(), event("Approve", "grace")) == "asked again"
    assert operator.execute_complete(context(), event("Approve", "grace")) == "asked again", "twice the same person is one"
    answer = operator.execute_complete(context(), event("Approve", "alan"))
    assert (answer["approved"], answer["by"]) == (True, "grace, alan")
    assert len(decisions_of("vote")) == 3


def test_whoever_started_the_run_is_not_the_only_one(home, problem):
    operator = asked_of(problem, second_person=True)
    assert operator.execute_complete(context(), event("Approve", "ada")) == "asked again", "ada started it"
    assert operator.execute_complete(context(), event("Approve", "grace"))["by"] == "ada, grace"


def test_people_are_reminded_before_the_default_is_taken(home, problem):
    from windtunnel.lifecycle.contract.context import RunContext
    from windtunnel.lifecycle.release.decisions import ask, remaining, waiting

    operator = asked_of(problem, remind_hours=1, timeout_hours=3, approvers=["grace"], deputies=["alan"])
    assert [user["name"] for user in operator.assigned_users] == ["grace", "alan"]
    about = RunContext(operator.problem, airflow_settings(), run_of(context()))
    ask(about, CANDIDATE, evaluation(), "http://report")
    assert dt.timedelta(hours=2) < remaining(about, CANDIDATE) <= dt.timedelta(hours=3)
    assert operator.execute_complete(context(), event("Reject", None)) == "asked again"
    (waits,) = waiting(Ledger(airflow_settings()), "flight_delays")
    assert (waits.payload["people"], waits.payload["report"]) == (["grace", "alan"], "http://report")
    with time_machine.travel(dt.datetime.now(dt.UTC) + dt.timedelta(hours=4)):
        assert not waiting(Ledger(airflow_settings()), "flight_delays")
        assert operator.execute_complete(context(), event("Reject", None))["by"] == "nobody"


def test_a_form_field_takes_the_comment(problem):
    operator = asked_of(problem)
    assert operator.serialized_params["comment"]["schema"]["title"] == "Comment"


def test_what_was_not_approved_is_not_registered(home, problem):
    decision = DecisionRef(approved=False, by="grace", reason="rejected", entry="x")
    operator = RegisterOperator(
        task_id="register",
        problem=problem,
        candidate=CANDIDATE.to_dict(),
        evaluation=evaluation(False).to_dict(),
        decision=decision.to_dict(),
    )
    with pytest.raises(AirflowSkipException, match="not approved by grace"):
        operator.execute(context())


def test_without_a_reason_nothing_is_retrained_and_with_one_it_is_passed_on(problem):
    def found(*reasons):
        return MonitorRef("r", list(reasons), list(reasons), {}, "f").to_dict()

    with pytest.raises(AirflowSkipException, match="no reason to retrain"):
        RetrainOperator(task_id="retrain", found=found(), trigger_dag_id="flight_delays").execute(context())
    operator = RetrainOperator(task_id="retrain", found=found("the champion is 20 days old"), trigger_dag_id="flight_delays")
    with pytest.raises(DagRunTriggerException) as caught:  # how a task tells Airflow to start a run
        operator.execute(context())
    assert caught.value.trigger_dag_id == "flight_delays"
    assert caught.value.conf["reason"] == "monitoring: the champion is 20 days old"


def test_making_an_operator_does_no_work():
    for name in ("IngestOperator", "StageOperator"):
        assert name in sys.modules["windtunnel.operators"].__all__
    assert issubclass(IngestOperator, StageOperator)
    assert Settings() == Settings.from_mapping({})


def test_who_may_decide_how_long_and_who_is_told(home, problem, tmp_path, monkeypatch):
    (tmp_path / "telling.py").write_text(
        "from airflow.sdk import BaseNotifier\n"
        "class Tell(BaseNotifier):\n"
        "    def __init__(self, path):\n        super().__init__()\n        self.path = path\n"
        "    def notify(self, context):\n        from pathlib import Path; Path(self.path).write_text(context['run_id'])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    notifiers = [{"notifier": "telling.Tell", "options": {"path": str(tmp_path / "told")}}]
    approval = {"promotion": "ask", "approvers": ["grace"], "timeout_hours": 2, "default": "approve", "notifiers": notifiers}
    asking = parse({**problem.model_dump(mode="json", by_alias=True, exclude_none=True), "approval": approval})
    operator = ApproveOperator(task_id="approve", problem=asking, candidate=CANDIDATE.to_dict(), evaluation=evaluation().to_dict())
    assert [user["name"] for user in operator.assigned_users] == ["grace"]
    assert (operator.response_timeout, operator.defaults) == (dt.timedelta(hours=2), ["Approve"])
    assert operator.options == ["Approve", "Reject", "Ask for changes"]
    for notifier in operator.notifiers:
        notifier(context())
    assert (tmp_path / "told").read_text() == "run-1"
    nobody = {"chosen_options": ["Approve"], "params_input": {}, "responded_at": dt.datetime.now(dt.UTC), "responded_by_user": None}
    decision = DecisionRef.from_dict(operator.execute_complete(context(), nobody))
    assert (decision.approved, decision.by) == (True, "nobody")
    assert "no answer within 2:00:00" in decision.reason


def test_a_mail_says_why_what_differs_what_follows_and_where_to_answer(home, problem, monkeypatch):
    """The same text as in Airflow's form, also when the question is put again; smtp, slack and discord carry it by default."""
    from airflow.providers.standard.operators.hitl import HITLOperator

    from windtunnel.lifecycle.judging import evaluation as judging
    from windtunnel.operators.telling.alerts import ProblemNotifier

    mails = []

    class Mail:
        def __init__(self, **options):
            self.options = options

        def __call__(self, told):
            mails.append({**self.options, "question": told["question"], "text": told["exception"]})

    monkeypatch.setattr("airflow.providers.smtp.notifications.smtp.SmtpNotifier", Mail)
    monkeypatch.setattr(judging, "approval_body", lambda *_: "the figures")
    monkeypatch.setattr(HITLOperator, "execute", lambda self, told: [notifier.notify(told) for notifier in self.notifiers])
    values = {**problem.model_dump(mode="json", by_alias=True, exclude_none=True)}
    notifiers = [{"notifier": "smtp", "options": {"to": "ada@example.org"}}]
    values["approval"] = {"promotion": "ask", "timeout_hours": 3, "remind_hours": 1, "notifiers": notifiers}
    operator = ApproveOperator(task_id="approve", problem=parse(values), candidate=CANDIDATE.to_dict(), evaluation=evaluation().to_dict())
    assert isinstance(operator.notifiers[0], ProblemNotifier)
    asked = context(reason="the summer timetable")
    asked["task_instance"] = SimpleNamespace(dag_id="flight_delays", run_id="run-1", task_id="approve", map_index=-1)
    operator.execute(asked)
    operator.execute_complete(asked, event("Reject", None))
    first, reminder = mails
    assert (first["to"], first["subject"]) == ("ada@example.org", "{{ question.subject }}")
    assert reminder["question"].subject == f"Reminder: {first['question'].subject}"
    for mail in mails:
        for part in (
            "the figures",
            "started by ada: the summer timetable",
            "there is no champion yet",
            "*Reject*",
            "within 3 hours: it is",
        ):
            assert part in mail["question"].body
        assert "/dags/flight_delays/runs/run-1/tasks/approve/required_actions" in mail["text"]
        assert "<pre" in mail["question"].html


def test_a_counterfactual_run_is_decided_by_the_gates_and_asks_nobody(home, problem):
    operator = ApproveOperator(task_id="approve", problem=problem, candidate=CANDIDATE.to_dict(), evaluation=evaluation().to_dict())
    decision = DecisionRef.from_dict(operator.execute(context("manual", promotion="ask", counterfactual=True)))
    assert decision.approved
    assert "nothing follows from it" in decision.reason
    (entry,) = Ledger(airflow_settings()).entries("flight_delays", ("decision",))
    assert entry.run["counterfactual"] is True


@pytest.mark.parametrize(
    ("conf", "declared", "message"),
    [
        ({"windw_end": "2013-02-01"}, ["window_end"], "did you mean 'window_end'"),
        ({"windw_end": "2013-02-01"}, [], "did you mean 'window_end'"),
        ({"region": "eu"}, ["window_end"], "allowed: counterfactual"),
        ({"promotion": "auto"}, [], "a run may only be stricter"),
        ({"promotion": "perhaps"}, [], "promotion must be one of auto, ask, never"),
    ],
)
def test_a_run_that_asks_for_what_is_not_known_or_for_less_than_the_file_is_refused_at_once(home, problem, conf, declared, message):
    asking = problem.model_copy(update={"approval": problem.approval.model_copy(update={"promotion": "ask"})})
    values = context()
    values["dag_run"].conf = conf
    values["dag"] = SimpleNamespace(params=dict.fromkeys(declared))
    with pytest.raises(errors.ConfigurationError, match=message) as caught:
        IngestOperator(task_id="ingest", problem=asking, data_version="").execute(values)
    assert RETRY_POLICY.evaluate(caught.value, try_number=1, max_tries=2).action == RetryAction.FAIL


def test_a_dags_own_keys_are_its_own(home, problem):
    values = context()
    values["dag_run"].conf = {"region": "eu", "promotion": "never"}
    assert IngestOperator(task_id="ingest", problem=problem, data_version="").execute(values)["rows"] > 0


def test_a_data_version_that_does_not_exist_fails_at_once(home, problem):
    IngestOperator(task_id="ingest", problem=problem, data_version="").execute(context())
    with pytest.raises(errors.ConfigurationError, match="has no version '17'") as caught:
        IngestOperator(task_id="ingest", problem=problem, data_version="17").execute(context())
    assert RETRY_POLICY.evaluate(caught.value, try_number=1, max_tries=2).action == RetryAction.FAIL


class Events(dict):
    """What a task gets as ``outlet_events``: per alias, the assets that it added."""

    def __missing__(self, alias):
        self[alias] = SimpleNamespace(added=[], add=lambda asset, extra: self[alias].added.append((asset.name, extra)))
        return self[alias]

    @property
    def told(self):
        return [event for accessor in self.values() for event in accessor.added]


@pytest.mark.parametrize(("run_type", "name"), [("scheduled", "flight_delays.examples"), ("backfill", "flight_delays.backfill")])
def test_assets_have_events_only_for_what_happened(home, problem, run_type, name):
    values = context(run_type) | {"outlet_events": Events()}
    values["dag_run"].start_date = dt.datetime.now(dt.UTC)
    snapshot = IngestOperator(task_id="ingest", problem=problem, data_version="").execute(values)
    ((asset, extra),) = values["outlet_events"].told
    assert asset == name
    assert (extra["snapshot"], extra["rows"], extra["cutoff"]) == (str(snapshot["snapshot_id"]), snapshot["rows"], "2013-02-01")
    assert extra["run_type"] == run_type
    later = context(run_type) | {"outlet_events": Events()}
    later["dag_run"].start_date = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)
    IngestOperator(task_id="ingest", problem=problem, data_version="").execute(later)
    assert later["outlet_events"].told == [], "nothing was new"


def test_what_the_monitor_sees_reaches_the_notifiers(home, problem, tmp_path, monkeypatch):
    from windtunnel.operators import MonitorOperator

    (tmp_path / "heard.py").write_text(
        "from airflow.sdk import BaseNotifier\n"
        "class Hear(BaseNotifier):\n"
        "    def notify(self, context):\n        from pathlib import Path; Path(context['where']).write_text(context['exception'])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    told = parse({**problem.model_dump(mode="json", by_alias=True, exclude_none=True), "alerts": [{"notifier": "heard.Hear"}]})
    MonitorOperator(task_id="monitor", problem=told).execute(context() | {"where": str(tmp_path / "heard")})
    assert "has no champion" in (tmp_path / "heard").read_text()


def test_a_killed_task_takes_its_processes_along(problem):
    """In a process of its own: every child of it ends."""
    code = (
        "import json, psutil, subprocess, sys\n"
        "from windtunnel.operators import ProfileOperator\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "ProfileOperator(task_id='profile', problem=json.loads(sys.argv[1]), snapshot=None).on_kill()\n"
        "print(psutil.pid_exists(child.pid))\n"
    )
    plain = json.dumps(problem.model_dump(mode="json", by_alias=True, exclude_none=True))
    done = subprocess.run([sys.executable, "-c", code, plain], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_a_stage_of_ones_own_says_its_row(home, problem):
    from windtunnel.lifecycle.contract.stages import Stage

    class Nameless(StageOperator):
        pass

    with pytest.raises(errors.ConfigurationError, match="does not say which stage it is"):
        Nameless(task_id="nameless", problem=problem)

    class CountOperator(StageOperator):
        row = Stage(
            "count", "a number", takes={"snapshot": "snapshot"}, gives="trials", link="StatisticsLink", group="data", color="#ffffff"
        )

        def __init__(self, *, snapshot, **kwargs):
            super().__init__(**kwargs)
            self.snapshot = snapshot

        def run_stage(self, context, work):
            from windtunnel.lifecycle.contract.references import TrialsRef

            return TrialsRef({}, "rows", float(self.references()["snapshot"].rows), 0, "f")

    assert CountOperator.template_fields == ("snapshot",)
    snapshot = SnapshotRef("t", 1, "2013-01-01", "2013-01-03", 7, 0, "s").to_dict()
    assert CountOperator(task_id="count", problem=problem, snapshot=snapshot).execute(context())["value"] == 7


def test_a_remedy_that_was_chosen_reaches_training_and_its_replay(home, problem):
    from windtunnel.beam_jobs.stages import remedied
    from windtunnel.lifecycle.contract.context import RunContext
    from windtunnel.lifecycle.contract.references import BalanceRef

    work = RunContext(problem, Settings())
    changed, chosen = remedied(work, BalanceRef("weights", "ada", "chosen in Airflow"))
    assert (changed.problem.model.class_balance, chosen.by, work.problem.model.class_balance) == ("weights", "ada", "none")
    assert remedied(work, None)[0] is work


def test_a_missed_deadline_names_the_run(tmp_path, monkeypatch):
    from windtunnel.operators.telling.alerts import deadline_missed

    (tmp_path / "late.py").write_text(
        "from airflow.sdk import BaseNotifier\n"
        "class Late(BaseNotifier):\n"
        "    def __init__(self, path):\n        super().__init__()\n        self.path = path\n"
        "    def notify(self, context):\n        from pathlib import Path; Path(self.path).write_text(context['exception'])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    alerts = [{"notifier": "late.Late", "options": {"path": str(tmp_path / "late")}}]
    deadline_missed("churn", alerts, {"dag_run": {"dag_run_id": "scheduled__1"}})
    assert (tmp_path / "late").read_text() == "the retraining of churn is not done by its deadline: run scheduled__1"
