"""A directory: ``MODEL/VERSION/`` holds the bundle, ``MODEL/labels.json`` the labels and the route."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.artifacts import local_copy
from windtunnel.lifecycle.model import bundle as bundles
from windtunnel.lifecycle.payload import JsonMapping

__all__ = ["DirectoryTarget", "directory_target"]


def directory_target(url: str, _settings: Settings, _token: str) -> "DirectoryTarget":
    """The target of a path or a ``file://`` URL."""
    return DirectoryTarget(Path(url.removeprefix("file://")))


class DirectoryTarget:
    """A directory.

    Args:
        root: where it is.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)

    def push(self, model: str, version: str, folder: str, digest: str, labels: Sequence[str], route: JsonMapping | None = None) -> object:
        """Copy the bundle, by a rename at the end.

        Raises:
            IntegrityError: another bundle is there under the same version.
        """
        target = self.root / model / version
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            # Beside its place: only within one file system is a rename one step.
            staging = Path(tempfile.mkdtemp(prefix=".push-", dir=target.parent))
            try:
                with local_copy(folder) as source:
                    shutil.copytree(source, staging / "bundle")
                # Before the rename: under its final name a bundle counts as whole.
                bundles.read(staging / "bundle", digest)
                (staging / "bundle").rename(target)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        # What lay there already may be another bundle under the same version.
        bundles.read(target, digest)
        return self.label(model, version, labels, route)

    def label(self, model: str, version: str, labels: Sequence[str], route: JsonMapping | None = None, *, drop: Sequence[str] = ()) -> Any:
        """Note the labels."""
        path = self.root / model / "labels.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"labels": {}, "route": {}}
        known["labels"] = {name: at for name, at in known["labels"].items() if name not in drop} | dict.fromkeys(labels, version)
        if route is not None:
            known["route"] = dict(route)
        # Readers see the labels before or after, never half a file.
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(known, indent=1), encoding="utf-8")
        temporary.replace(path)
        return known
