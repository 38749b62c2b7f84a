"""The OpenAPI document is valid, and a client that a generator of others makes of it is answered."""

import json
import subprocess
import sys
from pathlib import Path

import openapi_spec_validator
import pytest
from serving_models import TOKEN

from windtunnel.serving.compiler.engine import Engine

CLIENT = Path(__file__).parent / "clients" / "generated.py"


@pytest.fixture
def server(serve, bundles):
    return serve("--preload", f"flight_delays=1={bundles['one']}", "--preload", f"other=1={bundles['two']}")


def test_the_document_is_valid(server):
    openapi_spec_validator.validate(server.call("/openapi.json")[1])


@pytest.mark.slow
def test_a_generated_client(server, bundles, rows, tmp_path):
    (tmp_path / "openapi.json").write_text(json.dumps(server.call("/openapi.json")[1]))
    (tmp_path / "config.yaml").write_text("post_hooks: []\n")
    generator = [str(Path(sys.executable).parent / "openapi-python-client"), "generate", "--meta", "none", "--config", "config.yaml"]
    done = subprocess.run(
        [*generator, "--path", "openapi.json", "--output-path", "server_client"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout.upper(), done.stdout  # nothing was left out that it could not read
    client = [sys.executable, CLIENT, server.url, TOKEN, json.dumps(rows[:3])]
    done = subprocess.run(client, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    wanted = Engine.load(bundles["one"]).predict_rows(rows[:3])
    plain = [int(row["prediction"]) for row in wanted]
    assert found.pop("id") == "from-a-generated-client"
    assert found == {
        "predict": wanted,
        "kserve": plain,
        "records": plain,
        "split": plain,
        "infer": [row["prediction"] for row in wanted],
        "refused": [422, "dep_delay"],
        "unloaded": ["other"],
        "live": True,
    }
