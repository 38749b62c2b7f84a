"""One running instance for all tests marked ``instance``."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from windtunnel.cli.instance import Instance

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def instance() -> Iterator[Instance]:
    """An embedded instance of its own, with a copy of the repository's DAGs, to which tests may add; stopped and removed at the end."""
    home = Path(tempfile.mkdtemp(prefix="wt-"))
    shutil.copytree(ROOT / "dags", home / "dags")
    running = Instance(home / "w", dags=home / "dags")
    try:
        running.up()
        yield running
    finally:
        running.down()
        shutil.rmtree(home, ignore_errors=True)
