"""What is shipped: the portions of the package and its metadata, nothing else."""

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PORTIONS = {"plugins", "operators", "cli", "beam_jobs", "serving", "lifecycle"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT, capture_output=True, check=True
    )
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_it_holds_the_package_and_its_metadata_only(wheel):
    names = wheel.namelist()
    assert {name.split("/")[0] for name in names if not name.startswith("windtunnel-")} == {"windtunnel"}
    assert {name.split("/")[1] for name in names if name.startswith("windtunnel/")} == PORTIONS
    assert "windtunnel/__init__.py" not in names
    assert {Path(name).suffix for name in names if name.startswith("windtunnel/")} <= {".py", ".typed", ".proto", ".pyi", ".html", ".css"}
    templates = ROOT / "lifecycle" / "windtunnel" / "lifecycle" / "pages" / "templates"
    assert {f"windtunnel/lifecycle/pages/templates/{path.name}" for path in templates.iterdir()} <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith((".csv", ".parquet", ".yaml"))]


def test_it_names_its_entry_points_and_needs(wheel):
    (entry_points,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    text = wheel.read(entry_points).decode()
    for line in ("[apache_airflow_provider]", "[airflow.plugins]", "windtunnel = windtunnel.cli.main:main"):
        assert line in text
    (metadata,) = (name for name in wheel.namelist() if name.endswith("METADATA"))
    needs = Parser().parsestr(wheel.read(metadata).decode()).get_all("Requires-Dist")
    for package in ("apache-airflow", "apache-beam", "pyarrow", "scikit-learn", "great-expectations", "mlflow"):
        assert any(need.startswith(package) for need in needs), package


def test_the_lock_names_no_host_and_has_a_hash_for_every_package():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in text
    blocks = [block for block in text.replace("\\\n", "").splitlines() if "==" in block and not block.lstrip().startswith("#")]
    assert len(blocks) > 200
    assert all("--hash=sha256:" in block for block in blocks)
