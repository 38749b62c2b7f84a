"""The embedded instance as a whole: what runs, what is repaired, what is left when it is stopped."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from windtunnel.cli.instance import Instance, database
from windtunnel.cli.instance.layout import Layout
from windtunnel.cli.instance.process import Daemon, members, stop
from windtunnel.cli.instance.services import AIRFLOW, SERVICES
from windtunnel.cli.main import main

pytestmark = [pytest.mark.instance, pytest.mark.slow]


def pids(instance: Instance) -> dict[str, int | None]:
    return {name: instance.daemon(name).pid for name in SERVICES}


def tree(instance: Instance) -> list[psutil.Process]:
    found = []
    for pid in members(str(instance.daemon(name).marker) for name in SERVICES):
        with contextlib.suppress(psutil.NoSuchProcess):  # a worker may end while it is looked at
            found.append(psutil.Process(pid))
    return found


def listening(process: psutil.Process) -> list[tuple[str, int]]:
    try:
        return [tuple(each.laddr) for each in process.net_connections(kind="inet") if each.status == psutil.CONN_LISTEN]
    except psutil.NoSuchProcess:
        return []


def command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def all_well(status: dict) -> bool:
    return all(service["healthy"] for service in status["services"].values())


def test_status_is_what_the_command_prints(instance: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json", "--home", str(instance.home)]) == 0
    services = json.loads(capsys.readouterr().out)["services"]
    assert set(services) == {"airflow", "mlflow", "server", "postgres"}
    for service in services.values():
        assert {"url", "healthy", "pid"} <= set(service)
        assert service["healthy"] is True
        assert psutil.pid_exists(service["pid"])
    assert set(services["airflow"]["components"]) == set(AIRFLOW)
    assert main(["status", "--home", str(instance.home)]) == 0
    assert instance.credentials.database not in capsys.readouterr().out


def test_nothing_listens_beyond_the_loopback_interface(instance: Instance) -> None:
    addresses = [address for process in tree(instance) for address in listening(process)]
    assert {port for _, port in addresses} >= set(instance.state["ports"].values())
    assert {ip.removeprefix("::ffff:") for ip, _ in addresses} == {"127.0.0.1"}


def test_no_password_shows_in_the_list_of_processes(instance: Instance) -> None:
    commands = list(filter(None, map(command, tree(instance))))
    assert len(commands) > 10
    secrets = [str(value) for value in vars(instance.credentials).values()]
    assert not [command for command in commands if any(secret in command for secret in secrets)]


def test_up_again_changes_nothing(instance: Instance) -> None:
    before = pids(instance)
    began = time.monotonic()
    assert all_well(instance.up())
    assert time.monotonic() - began < 15
    assert pids(instance) == before


def test_airflow_asks_who_is_calling(instance: Instance) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{instance.airflow_url}/api/v2/dags", timeout=30)
    request = urllib.request.Request(f"{instance.airflow_url}/api/v2/dags", headers={"Authorization": f"Bearer {instance.token()}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer)["total_entries"] > 0


def test_mlflow_keeps_what_it_is_told(instance: Instance) -> None:
    url = instance.settings().tracking_uri
    body = json.dumps({"name": f"kept-{time.time()}"}).encode()
    request = urllib.request.Request(f"{url}/api/2.0/mlflow/experiments/create", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        number = json.load(answer)["experiment_id"]
    with urllib.request.urlopen(f"{url}/api/2.0/mlflow/experiments/get?experiment_id={number}", timeout=30) as answer:
        assert json.load(answer)["experiment"]["artifact_location"].startswith("mlflow-artifacts:")


def test_the_plain_airflow_command_works_after_env(instance: Instance) -> None:
    command = (
        f'eval "$({sys.executable} -m windtunnel.cli.main env --home {instance.home})" && airflow config get-value windtunnel server_url'
    )
    environment = {"PATH": os.defpath, "HOME": str(instance.home)}
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == instance.settings().server_url


def test_logs_of_one_and_of_all(instance: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "scheduler", "--home", str(instance.home), "--lines", "100000"]) == 0
    assert "preload: " in capsys.readouterr().out
    assert main(["logs", "--home", str(instance.home), "--lines", "1"]) == 0
    assert len({line.split()[0] for line in capsys.readouterr().out.splitlines()}) > 3
    assert main(["logs", "nothing", "--home", str(instance.home)]) == 1
    assert "no service 'nothing'" in capsys.readouterr().err


def test_following_a_log_shows_what_is_added(instance: Instance) -> None:
    log = instance.daemon("server").log
    command = [sys.executable, "-m", "windtunnel.cli.main", "logs", "server", "--follow", "--lines", "0", "--home", str(instance.home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        try:
            time.sleep(3)
            with log.open("a") as file:
                file.write("a line of this test\n")
            assert any("a line of this test" in line for line in following.stdout)
        finally:
            following.kill()


def test_tasks_find_the_heavy_libraries_in_memory(instance: Instance) -> None:
    scheduler = psutil.Process(instance.daemon("scheduler").pid)
    workers = [process for process in scheduler.children() if process.is_running()]
    assert len(workers) == 8
    for library in ("libarrow", "sklearn", "_pcre2|_polars|cygrpc|numpy"):
        wanted = library.split("|")
        assert any(word in file.path for file in workers[0].memory_maps() for word in wanted), library
    # Fork is only safe while no Python thread runs: the libraries must not have started any that a worker would miss.
    assert "OMP_NUM_THREADS" in scheduler.environ()


@pytest.mark.parametrize("name", SERVICES)
def test_up_repairs_what_was_killed(instance: Instance, name: str) -> None:
    before = pids(instance)
    victim = before[name]
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while instance.daemon(name).pid is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    part = "airflow" if name in AIRFLOW else name
    assert not instance.status()["services"][part]["healthy"]
    assert all_well(instance.up())
    after = pids(instance)
    assert after[name] not in {None, victim}
    if name != "postgres":  # without a database others may end
        assert {other: pid for other, pid in after.items() if other != name} == {
            other: pid for other, pid in before.items() if other != name
        }
    left = [process for process in tree(instance) if process.pid == victim or (process.ppid() == 1 and process.pid not in after.values())]
    assert not left


def test_up_replaces_what_runs_but_does_not_answer(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    before = pids(instance)
    stuck = before["api-server"]
    assert stuck is not None
    monkeypatch.setattr("windtunnel.cli.instance.waiting._PATIENCE", 1.0)
    os.kill(stuck, signal.SIGSTOP)
    assert not instance.status()["services"]["airflow"]["healthy"]
    assert all_well(instance.up())
    after = pids(instance)
    assert after.pop("api-server") not in {None, before.pop("api-server")}
    assert after == before


def test_two_ups_at_once_start_everything_once(instance: Instance) -> None:
    for name in ("scheduler", "server", "triggerer"):
        os.kill(instance.daemon(name).pid or 0, signal.SIGKILL)
    command = [sys.executable, "-m", "windtunnel.cli.main", "up", "--home", str(instance.home)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for one in both:
        out, err = one.communicate(timeout=200)
        assert one.returncode == 0, out + err
    running = [process for process in tree(instance) if process.ppid() == 1]
    assert sorted(process.pid for process in running) == sorted(pid for pid in pids(instance).values() if pid is not None)


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The URL of a PostgreSQL server that is there already."""
    with tempfile.TemporaryDirectory(prefix="wt-") as folder:
        layout = Layout(Path(folder) / "p")
        layout.create()
        embedded = database.Embedded(layout, "some-password")
        daemon = Daemon("postgres", layout.run, layout.logs)
        daemon.start(embedded.prepare(), {"PATH": os.defpath}, "", embedded.user)
        database.wait_until_ready(embedded.url, 30)
        yield embedded.url.set(drivername="postgresql").render_as_string(hide_password=False)
        stop([daemon], grace=20, how=signal.SIGQUIT)  # it is thrown away


def test_an_instance_on_a_server_that_is_there_already(elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="wt-") as folder:
        instance = Instance(Path(folder) / ("deep " + "d" * 100) / "w")
        monkeypatch.setenv(database.DATABASE_VARIABLE, elsewhere)
        try:
            status = instance.up()
            assert all_well(status)
            assert status["services"]["postgres"]["pid"] is None
            assert "some-password" not in json.dumps(status)
            # The server is remembered, and half-dead instances stop as well.
            monkeypatch.delenv(database.DATABASE_VARIABLE)
            assert instance.status()["services"]["postgres"]["healthy"]
            for name in ("scheduler", "mlflow"):
                os.kill(instance.daemon(name).pid or 0, signal.SIGKILL)
            assert instance.down()
            assert tree(instance) == []
            assert not instance.down()
            assert not any(service["healthy"] for name, service in instance.status()["services"].items() if name != "postgres")
        finally:
            instance.down()
