"""Importing Beam without what its jobs here never use: half its time and a quarter of its memory, in every task.

Beam imports, where their packages happen to be installed, clients of BigQuery, MongoDB, Google's and Azure's storage and Hadoop. Rows are
read here by Arrow and fsspec, so these wait until a runner needs them (`all_filesystems`); a program that has imported Beam before is left
as it is.
"""

import contextlib
import importlib
import importlib.machinery
import importlib.util
import logging
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

__all__ = ["all_filesystems", "import_lightly"]

_FILESYSTEMS = (
    "apache_beam.io.hadoopfilesystem",
    "apache_beam.io.gcp.gcsfilesystem",
    "apache_beam.io.aws.s3filesystem",
    "apache_beam.io.azure.blobstoragefilesystem",
)
_LEFT_OUT = {*_FILESYSTEMS, "apache_beam.io.gcp.bigquery", "pymongo"}
_LATER = {"httplib2"}


class _Light(MetaPathFinder):
    """Says "not installed" of what Beam is able to do without, only while Beam itself is being imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _LEFT_OUT | _LATER:
            return None
        beam = sys.modules.get("apache_beam")
        if beam is None or hasattr(beam, "Pipeline"):  # not begun, or past the part that looks for what is installed
            return None
        if fullname in _LEFT_OUT:
            # Not None, upon which the next finder would be asked and find it.
            raise ModuleNotFoundError(f"{fullname} waits until it is needed", name=fullname)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


def import_lightly() -> None:
    """Make the first import of Beam in this process a light one."""
    if not any(isinstance(finder, _Light) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Light())
        logging.getLogger("apache_beam.io.mongodbio").setLevel(logging.ERROR)  # it would warn that its client is missing


def all_filesystems() -> None:
    """Import every filesystem of Beam's that is installed: runners elsewhere stage files by them."""
    for name in _FILESYSTEMS:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
