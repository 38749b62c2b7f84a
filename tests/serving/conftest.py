"""Real servers on loopback ports, and bundles for them, made once a session."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside the tests

import serving_models
from serving_models import TOKEN


class Server:
    """A model server in processes of its own.

    Args:
        home: its folder.
        arguments: more options of its command line.
        token: what it asks for; nothing for none.
    """

    def __init__(self, home: Path, *arguments: str, token: str = TOKEN) -> None:
        self.home, self.arguments, self.token = home, arguments, token
        self.process: subprocess.Popen[bytes] | None = None
        self.url = self.grpc = ""

    def start(self) -> "Server":
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "server.json").unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "windtunnel.serving",
            "--home",
            str(self.home),
            "--port",
            "0",
            "--log-age",
            "1",
            *self.arguments,
        ]
        with (self.home / "out.txt").open("ab") as out:
            self.process = subprocess.Popen(command, env=os.environ | {"WINDTUNNEL_TOKEN": self.token}, stdout=out, stderr=out)
        for _ in range(600):
            with contextlib.suppress(OSError, ValueError):
                where = json.loads((self.home / "server.json").read_text())
                self.url, self.grpc = where["url"], where.get("grpc", "")
                if self.url.startswith("https"):  # the test has the certificates to ask with
                    return self
                if self.call("/v2/health/ready", token="")[0] == 200:
                    return self
            time.sleep(0.05)
        raise AssertionError((self.home / "out.txt").read_text())

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(timeout=30)

    def call(self, path: str, body: Any = None, token: str | None = None, method: str | None = None, **headers: str) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        token = self.token if token is None else token
        if token:
            given["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self.url + path, data=data, headers=given, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                raw = answer.read()
                return answer.status, json.loads(raw) if "json" in answer.headers["content-type"] else raw
        except urllib.error.HTTPError as error:
            raw = error.read()
            return error.code, json.loads(raw)

    def load(self, folder: Path, version: str, labels: list[str], model: str = "flight_delays", **more: Any) -> Any:
        from windtunnel.lifecycle.model import bundle

        digest = bundle.read(folder).digest
        status, body = self.call(
            f"/v2/repository/models/{model}/load",
            {"parameters": {"uri": str(folder), "digest": digest, "version": version, "labels": labels, **more}},
        )
        assert status == 200, body
        return body

    def predict(self, rows: list[dict[str, Any]], model: str = "flight_delays", **headers: str) -> Any:
        status, body = self.call(f"/v1/models/{model}/predict", {"rows": rows}, **headers)
        assert status == 200, body
        return body

    def wait(self, condition: Any, seconds: float = 30.0) -> None:
        """Until something is so."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            with contextlib.suppress(OSError, ValueError, KeyError):
                if condition():
                    return
            time.sleep(0.05)
        raise AssertionError((self.home / "out.txt").read_text())

    def workers(self) -> dict[int, int]:
        """Slot -> process id."""
        return {int(p.stem.split("-")[1]): json.loads(p.read_text())["pid"] for p in (self.home / "run").glob("worker-*.json")}


@pytest.fixture
def short_path() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="wts-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def serve(short_path) -> Iterator[Any]:
    """Start servers that are stopped at the end."""
    started: list[Server] = []

    def start(*arguments: str, home: str = "home", token: str = TOKEN) -> Server:
        started.append(Server(short_path / home, *arguments, token=token))
        return started[-1].start()

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def bundles(tmp_path_factory) -> dict[str, Path]:
    """Three versions of the flights model: two compiled ones, and one that scikit-learn answers."""
    root = tmp_path_factory.mktemp("bundles")
    serving_models.flight_bundle(root / "one", "trees", seed=0, iterations=10)
    serving_models.flight_bundle(root / "two", "linear", seed=1)
    serving_models.flight_bundle(root / "slow", "linear", seed=2, compiled=False)
    return {name: root / name for name in ("one", "two", "slow")}


@pytest.fixture(scope="session")
def rows(bundles) -> list[dict[str, Any]]:
    from windtunnel.lifecycle.model import bundle

    return bundle.read_samples(bundles["one"])["inputs"]
