"""A package of somebody else's adds one of each: `package/` beside this file, whose own checks are run with it "installed"."""

import os
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent / "package"


def test_a_package_adds_one_of_each():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PACKAGE), os.environ.get("PYTHONPATH", "")])}
    options = ["-q", "--import-mode=importlib", "-p", "no:cacheprovider", "-W", "ignore"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(PACKAGE / "check_package.py"), *options],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
