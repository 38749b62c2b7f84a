"""The supervisor's bad days: libraries that are missing, workers that never start, its own death while they start."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]


def served(code, home, *more):
    """`windtunnel serve` in a process in which `code` was run first."""
    words = ["serve", "--home", str(home), "--port", "0", *more]
    script = f"{code}\nimport sys\nfrom windtunnel.cli.main import main\nsys.exit(main({words!r}))"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    ("missing", "more", "extra"),
    [("msgspec", (), "serving"), ("grpc", ("--grpc-port", "0"), "serving"), ("opentelemetry.sdk", ("--traces", "http://x"), "tracing")],
)
def test_without_the_extra_it_says_one_line_and_ends(missing, more, extra, short_path):
    hide = (
        "import importlib.util as u\nreal = u.find_spec\n"
        f"u.find_spec = lambda name, package=None: None if name == {missing!r} else real(name, package)"
    )
    done = served(hide, short_path / "home", *more)
    assert done.returncode == 1
    assert re.search(rf"needs {missing}.* not installed here\nHint: pip install 'windtunnel\[{extra}\]'\n$", done.stderr)
    assert len(done.stderr.strip().splitlines()) == 2
    assert not (short_path / "home").exists()


def test_workers_that_never_start_end_the_server(short_path):
    home = short_path / "home"
    done = served("", home, "--tls-certificate", "/nowhere.pem")
    assert done.returncode == 1
    assert "no worker became ready in 3 starts" in done.stderr.splitlines()[-2]
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(home) in " ".join(p.info["cmdline"] or [])]


@pytest.mark.parametrize("after", [0.0, 0.05, 0.3, 1.0])
def test_workers_end_with_a_supervisor_that_is_killed_while_they_start(after, short_path):
    home = short_path / "home"
    marker = f"{os.getpid()}-{after}"
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "windtunnel.serving", "--home", str(home), "--port", "0", "--workers", "2"],
        env=os.environ | {"WT_TEST_MARKER": marker},
        stderr=subprocess.DEVNULL,
    )

    def mine():
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid != supervisor.pid and process.environ().get("WT_TEST_MARKER") == marker:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    deadline = time.monotonic() + 60
    while not mine() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(after)
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait()
    deadline = time.monotonic() + 60
    while mine() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not mine()


def test_the_readme_names_every_extra_and_each_is_real():
    import tomllib

    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    table = (ROOT / "README.md").read_text().partition("| extra | for |")[2].partition("\n\n")[0]
    assert {name for row in table.splitlines() for name in re.findall(r"`([a-z0-9]+)`", row.split("|")[1] if "|" in row else "")} == extras
