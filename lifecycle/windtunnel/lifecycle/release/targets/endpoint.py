"""Any HTTP endpoint that takes bundles: a company's own deployer, a gateway to an object store, a webhook."""

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.artifacts import local_copy
from windtunnel.lifecycle.model import bundle as bundles
from windtunnel.lifecycle.payload import JsonMapping
from windtunnel.lifecycle.release.targets.calls import Caller

__all__ = ["EndpointTarget", "endpoint_target"]


def endpoint_target(url: str, _settings: Settings, token: str) -> "EndpointTarget":
    """The target of a ``put+http(s)://`` URL."""
    return EndpointTarget(url.removeprefix("put+"), token)


class EndpointTarget:
    """An endpoint that takes two kinds of requests.

    ``PUT URL/MODEL/VERSION`` sends the bundle as a gzipped tar, the same bytes for the same bundle, with its digest in the header
    ``X-Windtunnel-Digest``; ``PUT URL/MODEL/labels/LABEL`` says which version has a label, as JSON. Both may come more than once.

    Args:
        url: its base URL.
        token: the bearer token; none if empty.
        patience: seconds for one call.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, url: str, token: str = "", patience: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self._caller = Caller(token, patience)

    def push(
        self, model: str, version: str, folder: str, digest: str, labels: Sequence[str], route: Mapping[str, object] | None = None
    ) -> object:
        """Send the bundle, then the labels.

        Raises:
            IntegrityError: the bundle is not the one of that digest.
            UnavailableError: the endpoint does not answer.
            ConfigurationError: it refuses.
        """
        with local_copy(folder) as source:
            bundles.read(source, digest)
            content = _archive(source)
        headers = {"Content-Type": "application/gzip", "X-Windtunnel-Digest": digest}
        self._caller.call(f"{self.url}/{quote(model)}/{quote(version)}", content, headers, method="PUT")
        return self.label(model, version, labels, route)

    def label(
        self,
        model: str,
        version: str,
        labels: Sequence[str],
        route: JsonMapping | None = None,  # it has no routes
        *,
        drop: Sequence[str] = (),  # it is never given a label that would have to be dropped
    ) -> Any:
        """Say which version has the labels."""
        for label in labels:
            body = json.dumps({"model": model, "label": label, "version": version}).encode()
            url = f"{self.url}/{quote(model)}/labels/{quote(label)}"
            self._caller.call(url, body, {"Content-Type": "application/json"}, method="PUT")


def _archive(folder: Path) -> bytes:
    """A folder as a gzipped tar that depends on nothing but its files' names and contents."""
    buffer = io.BytesIO()
    # Without the time in gzip's header the same bundle is the same bytes; TarInfo's own time and owner are 0 as well.
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(entry, file)
    return buffer.getvalue()
