"""The parts of the embedded instance, each alone: files, ports, processes, database."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from windtunnel.cli.instance import Instance, database
from windtunnel.cli.instance.credentials import Credentials
from windtunnel.cli.instance.files import read_json, write_json
from windtunnel.cli.instance.layout import Layout
from windtunnel.cli.instance.ports import free_port, is_free
from windtunnel.cli.instance.process import Daemon, members, stop
from windtunnel.cli.main import main
from windtunnel.lifecycle.contract.errors import ConfigurationError, UnavailableError

SLEEPER = "import os, time; os.fork(); time.sleep(600)"
# A child that has a session of its own and none of our descriptors, as a Beam job has.
CHILD = "[sys.executable, '-c', 'import time; time.sleep(600)']"
PARENT = f"import subprocess, sys, time; subprocess.Popen({CHILD}, start_new_session=True); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="wt-") as folder:
        yield Path(folder)


@pytest.fixture
def daemon(home: Path) -> Iterator[Daemon]:
    (home / "run").mkdir()
    (home / "logs").mkdir()
    made = Daemon("thing", home / "run", home / "logs")
    yield made
    stop([made], grace=0)


def start(daemon: Daemon, code: str) -> int:
    return daemon.start([sys.executable, "-c", code], dict(os.environ), "f")


def wait_for(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


# Files


def test_a_file_is_replaced_at_once_and_private(home: Path) -> None:
    write_json(home / "a.json", {"x": 1})
    assert stat.S_IMODE((home / "a.json").stat().st_mode) == 0o600
    with pytest.raises(TypeError):
        write_json(home / "a.json", {"x": object()})
    assert read_json(home / "a.json") == {"x": 1}
    assert [path.name for path in home.iterdir()] == ["a.json"]


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00\x00"])
def test_a_half_written_file_reads_as_none(home: Path, content: str) -> None:
    (home / "a.json").write_text(content)
    assert read_json(home / "a.json") == {}


def test_credentials_differ_between_instances_and_stay(home: Path) -> None:
    first, again, other = Credentials.load(home / "a"), Credentials.load(home / "a"), Credentials.load(home / "b")
    assert first == again
    assert not set(vars(first).values()) & set(vars(other).values())
    assert all(len(value) >= 32 for value in vars(first).values())
    assert stat.S_IMODE((home / "a").stat().st_mode) == 0o600
    assert first.database not in repr(first)


def test_credentials_that_others_could_read_are_closed(home: Path) -> None:
    Credentials.load(home / "a")
    (home / "a").chmod(0o644)
    Credentials.load(home / "a")
    assert stat.S_IMODE((home / "a").stat().st_mode) == 0o600


# Ports


def test_a_taken_port_is_not_chosen() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        assert not is_free(taken)
        assert free_port(taken) != taken
    assert is_free(taken)
    assert free_port(taken) == taken
    assert free_port(taken, {taken}) != taken


def test_a_port_that_somebody_took_is_given_up(home: Path) -> None:
    said: list[str] = []
    instance = Instance(home / "w", say=said.append)
    instance.layout.create()
    first = instance._decide(instance.credentials)["ports"]
    assert len(set(first.values())) == 4
    assert instance._decide(instance.credentials)["ports"] == first
    with socket.socket() as other:
        other.bind(("127.0.0.1", first["mlflow"]))
        other.listen()
        second = instance._decide(instance.credentials)["ports"]
    assert second["mlflow"] != first["mlflow"]
    assert {name: port for name, port in second.items() if name != "mlflow"} == {
        name: port for name, port in first.items() if name != "mlflow"
    }
    assert any(str(first["mlflow"]) in line for line in said)


# Processes


def test_a_daemon_leads_a_session_and_is_nobodys_child(daemon: Daemon) -> None:
    pid = start(daemon, "import time; print('hello', flush=True); time.sleep(600)")
    assert daemon.pid == pid
    assert os.getsid(pid) == pid
    assert psutil.Process(pid).ppid() != os.getpid()
    wait_for(lambda: "hello" in daemon.tail())
    assert stat.S_IMODE(daemon.log.stat().st_mode) == 0o600


@pytest.mark.parametrize("code", [SLEEPER, PARENT])
def test_what_a_killed_daemon_left_behind_is_stopped_too(daemon: Daemon, code: str) -> None:
    pid = start(daemon, code)
    wait_for(lambda: len(members([str(daemon.marker)])) == 2)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: daemon.pid is None)
    assert len(members([str(daemon.marker)])) == 1
    again = start(daemon, "import time; time.sleep(600)")
    assert members([str(daemon.marker)]) == [again]
    stop([daemon], grace=5)
    assert members([str(daemon.marker)]) == []
    assert not daemon.file.exists()


def test_a_daemon_that_will_not_end_is_killed_after_its_grace(daemon: Daemon) -> None:
    pid = start(daemon, STUBBORN)
    wait_for(lambda: "ready" in daemon.tail())
    began = time.monotonic()
    stop([daemon], grace=0.5)
    assert 0.4 < time.monotonic() - began < 5
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_reused_process_id_is_not_ours_and_is_left_alone(daemon: Daemon) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as stranger:
        write_json(daemon.file, {"pid": stranger.pid, "fingerprint": "f"})
        assert daemon.pid is None
        stop([daemon], grace=1)
        assert stranger.poll() is None
        stranger.kill()


def test_a_service_of_another_instance_is_left_alone(daemon: Daemon, home: Path) -> None:
    (home / "other").mkdir()
    other = Daemon("thing", home / "other", home / "logs")
    pid = start(other, "import time; time.sleep(600)")
    try:
        stop([daemon], grace=0)
        assert other.pid == pid
    finally:
        stop([other], grace=0)


def test_a_service_is_recognised_after_its_folder_was_removed(daemon: Daemon) -> None:
    start(daemon, SLEEPER)
    wait_for(lambda: len(members([str(daemon.marker)])) == 2)
    daemon.marker.unlink()
    assert len(members([str(daemon.marker)])) == 2


def test_a_program_that_is_absent_is_a_clear_error(daemon: Daemon) -> None:
    with pytest.raises(UnavailableError, match="/nowhere/program is no program"):
        daemon.start(["/nowhere/program"], dict(os.environ), "f")


def test_a_large_log_is_set_aside(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windtunnel.cli.instance.process._LOG_LIMIT", 10)
    daemon.log.write_text("x" * 100)
    start(daemon, "print('new', flush=True)")
    wait_for(lambda: "new" in daemon.tail())
    assert daemon.log.with_suffix(".log.1").read_text() == "x" * 100


# Folders


def test_a_folder_that_cannot_be_written_is_a_clear_error(home: Path) -> None:
    (home / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"file/w cannot be written") as caught:
        Instance(home / "file" / "w").up()
    assert "WINDTUNNEL_HOME" in caught.value.hint


def test_the_socket_moves_out_of_a_deep_folder(home: Path) -> None:
    near, deep = Layout(home / "w"), Layout(home / ("d" * 100) / "w")
    assert near.socket_folder.parent == near.home
    assert len(str(deep.socket_folder)) < 80
    assert deep.socket_folder != Layout(home / ("d" * 100) / "v").socket_folder
    assert Layout(home / "a b").socket_folder.parent != home / "a b"


def test_an_unknown_instance_is_a_clear_error(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("status", "env", "logs"):
        assert main([command, "--home", str(home / "none")]) == 1
        assert "no instance in" in capsys.readouterr().err
    assert main(["down", "--home", str(home / "none")]) == 0
    assert "No instance runs" in capsys.readouterr().out
    assert not (home / "none").exists()


# The database


@pytest.fixture(params=["near", "deep"])
def server(request: pytest.FixtureRequest, home: Path) -> Iterator[tuple[database.Embedded, Daemon]]:
    layout = Layout(home / "w" if request.param == "near" else home / ("d" * 60) / ("e" * 60) / "w")
    layout.create()
    embedded = database.Embedded(layout, "pass-word_1")
    daemon = Daemon("postgres", layout.run, layout.logs)
    daemon.start(embedded.prepare(), {"PATH": os.defpath}, "", embedded.user)
    database.wait_until_ready(embedded.url, 30)
    yield embedded, daemon
    stop([daemon], grace=20, how=signal.SIGINT)
    if request.param == "deep":
        for file in layout.socket_folder.iterdir():
            file.unlink()
        layout.socket_folder.rmdir()


def test_the_embedded_server(server: tuple[database.Embedded, Daemon]) -> None:
    embedded, daemon = server
    assert sorted(database.create_databases(embedded.url)) == ["airflow", "catalog", "mlflow"]
    assert database.create_databases(embedded.url) == []
    # A password is asked for, on a socket that only its owner reaches; there is no port.
    assert not database.is_ready(embedded.url.set(password="wrong"))
    assert stat.S_IMODE(embedded.layout.socket_folder.stat().st_mode) == 0o700
    tree = [psutil.Process(pid) for pid in members([str(daemon.marker)])]
    assert len(tree) > 3
    assert not [c for process in tree for c in process.net_connections(kind="inet")]
    # Killed with what it left behind, it starts again and has kept what it was told.
    os.kill(daemon.pid or 0, signal.SIGKILL)
    wait_for(lambda: daemon.pid is None)
    assert not database.is_ready(embedded.url)
    stop([daemon], grace=0)
    daemon.start(embedded.prepare(), {"PATH": os.defpath}, "", embedded.user)
    database.wait_until_ready(embedded.url, 30)
    assert database.create_databases(embedded.url) == []
    # The same server, named by a URL.
    named = database.external_url(embedded.url.set(drivername="postgresql").render_as_string(hide_password=False))
    assert database.is_ready(named)


def test_a_killed_initdb_leaves_nothing_that_looks_like_a_server(home: Path) -> None:
    layout = Layout(home / "w")
    layout.create()
    (layout.home / ".postgres-half").mkdir()
    (layout.home / ".postgres-half" / "PG_VERSION").write_text("18")
    database.Embedded(layout, "p").prepare()
    assert not (layout.home / ".postgres-half").exists()
    assert (layout.postgres / "PG_VERSION").exists()


def test_a_folder_with_other_files_is_not_taken_for_a_server(home: Path) -> None:
    layout = Layout(home / "w")
    layout.create()
    layout.postgres.mkdir()
    (layout.postgres / "notes.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="holds files but no PostgreSQL"):
        database.Embedded(layout, "p").prepare()
    assert (layout.postgres / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(("url", "word"), [("mysql://u@h/d", "mysql"), ("not a url", "not a URL"), ("sqlite:///a.db", "sqlite")])
def test_a_wrong_database_url_is_a_clear_error(url: str, word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        database.external_url(url)


def test_a_server_that_is_out_of_reach_is_named_without_its_password() -> None:
    url = database.external_url(f"postgresql://me:hidden@127.0.0.1:{free_port(1)}/postgres")
    with pytest.raises(UnavailableError, match="does not answer") as caught:
        database.wait_until_ready(url, 0.2)
    assert "hidden" not in str(caught.value)
    assert database.DATABASE_VARIABLE in caught.value.hint


# The environment


def test_the_environment_is_the_instances_own(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", "3")
    monkeypatch.delenv(database.DATABASE_VARIABLE, raising=False)
    (home / "my dags").mkdir()
    instance = Instance(home / "w", dags=home / "my dags")
    instance.layout.create()
    instance._decide(instance.credentials)
    assert main(["env", "--home", str(home / "w"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == instance.environment()
    assert printed["AIRFLOW__CORE__PARALLELISM"] == "3"
    assert printed["AIRFLOW__USAGE_DATA_COLLECTION__ENABLED"] == "False"
    assert json.loads(printed["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"])[0]["kwargs"] == {"path": str(home / "my dags")}
    assert printed["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert not [name for name, value in printed.items() if name.startswith("AIRFLOW__WINDTUNNEL") and instance.credentials.token in value]
    assert instance.settings().server_token == instance.credentials.token
    # A shell understands it, also with a blank in a path.
    assert main(["env", "--home", str(home / "w")]) == 0
    exports = capsys.readouterr().out
    said = subprocess.run(["/bin/sh", "-c", f'{exports}\necho "$AIRFLOW__CORE__DAGS_FOLDER"'], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(home / "my dags")


def test_a_proxy_is_not_asked_for_the_loopback_interface(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "intranet.example")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    Instance(home / "w")
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "intranet.example,127.0.0.1,localhost"
    assert urllib.request.proxy_bypass("127.0.0.1")
    Instance(home / "w")
    assert os.environ["no_proxy"].count("localhost") == 1


def test_a_file_that_cannot_be_replaced_is_a_clear_error(home: Path) -> None:
    instance = Instance(home / "w")
    instance.layout.create()
    (home / "w" / "instance.json").mkdir()
    with pytest.raises(UnavailableError, match=r"instance\.json"):
        instance.up()


def test_a_folder_of_dags_that_went_away_is_named(home: Path) -> None:
    (home / "mine").mkdir()
    said: list[str] = []
    instance = Instance(home / "w", dags=home / "mine")
    instance.layout.create()
    instance._decide(instance.credentials)
    (home / "mine").rmdir()
    again = Instance(home / "w", say=said.append)
    assert Path(again._decide(again.credentials)["dags"]).is_dir()
    assert any(f"{home / 'mine'} is gone" in line for line in said)


def test_the_folder_of_dags_must_exist(home: Path) -> None:
    with pytest.raises(ConfigurationError, match="none does not exist"):
        Instance(home / "w", dags=home / "none").up()


def test_what_works_is_not_idle_and_what_hangs_is(tmp_path):
    """A busy process and one that only looks at its clock, under a clock of the test's own."""
    from windtunnel.cli.instance.waiting import Activity

    talks = "import time\nwhile True:\n  print(1, flush=True)\n  time.sleep(0.2)"
    loops = {"busy": "while True: pass", "hanging": "import time\nwhile True: time.sleep(0.05)", "talking": talks}
    for folder in (tmp_path / "run", tmp_path / "logs"):
        folder.mkdir()
    daemons = {name: Daemon(name, tmp_path / "run", tmp_path / "logs") for name in loops}
    try:
        for name, daemon in daemons.items():
            daemon.start([sys.executable, "-c", loops[name]], dict(os.environ), "")
        time.sleep(1.0)  # they have started
        activities = {name: Activity(daemon) for name, daemon in daemons.items()}
        for _ in range(4):
            time.sleep(0.5)
            idle = {name: activity.idle() for name, activity in activities.items()}
        assert idle["busy"] == 0.0
        assert idle["talking"] < 1.0
        assert idle["hanging"] > 0.5
        os.kill(daemons["busy"].pid or 0, signal.SIGSTOP)
        time.sleep(0.2)
        activities["busy"].idle()
        time.sleep(0.5)
        assert activities["busy"].idle() > 0.0
    finally:
        stop(list(daemons.values()), grace=0)
