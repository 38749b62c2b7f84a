"""The scheduler's preloading: what is imported, and that forks of it are safe."""

import json
import os
import subprocess
import sys

import pytest

from windtunnel.cli.instance import scheduler
from windtunnel.lifecycle.contract.settings import PREFIX

FORKED = """
import json, os, sys, threading
from windtunnel.cli.instance import scheduler
taken = scheduler.preload(scheduler.modules())
sockets = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
found = {
    "threads": [thread.name for thread in threading.enumerate()],
    "sockets": [link for link in sockets if link.startswith("socket:")],
    "absent": [name for name in taken if name not in sys.modules],
    "airflow": "airflow" in sys.modules,
    "ours": [name for name in sys.modules if name.startswith(("windtunnel.operators", "windtunnel.beam_jobs", "windtunnel.serving"))],
}
child = os.fork()
if child == 0:
    # What a task does first with these: computes, and opens Arrow's own threads.
    import numpy, pyarrow, sklearn.linear_model
    table = pyarrow.table({"x": numpy.arange(100_000.0)})
    assert pyarrow.compute.sum(table["x"]).as_py() > 0
    sklearn.linear_model.LogisticRegression().fit(numpy.arange(20.0)[:, None], numpy.arange(20) > 9)
    os._exit(0)
found["child"] = os.waitpid(child, 0)[1]
print(json.dumps(found))
"""


def test_the_setting_names_the_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(f"{PREFIX}PRELOAD", raising=False)
    assert scheduler.modules() == (() if sys.platform == "darwin" else scheduler.PRELOADED)
    monkeypatch.setenv(f"{PREFIX}PRELOAD", "none")
    assert scheduler.modules() == ()
    monkeypatch.setenv(f"{PREFIX}PRELOAD", " json, decimal,")
    assert scheduler.modules() == ("json", "decimal")


def test_a_module_that_cannot_be_imported_does_not_stop_the_scheduler(capsys: pytest.CaptureFixture[str]) -> None:
    taken = scheduler.preload(("no_such_module", "json"))
    assert set(taken) == {"no_such_module", "json"}
    assert "no_such_module cannot be imported" in capsys.readouterr().err


@pytest.mark.slow
def test_preloading_leaves_a_process_that_can_be_forked() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop(f"{PREFIX}PRELOAD", None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED], capture_output=True, text=True, check=False, timeout=240, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {"threads": ["MainThread"], "sockets": [], "absent": [], "airflow": False, "ours": [], "child": 0}
