"""Places that a model can be pushed to: a model server, a directory, MLflow, any endpoint that takes a bundle by HTTP PUT.

A target's `Target.push` is harmless when it is done twice.
"""

import dataclasses
import gzip
import http.client
import io
import json
import os
import shutil
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from windtunnel.lifecycle.contract.errors import ConfigurationError, GateError, IntegrityError, UnavailableError, WindtunnelError
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.artifacts import local_copy
from windtunnel.lifecycle.model import bundle as bundles

__all__ = [
    "ARM_COLUMNS",
    "DirectoryTarget",
    "EndpointTarget",
    "MlflowTarget",
    "ServerTarget",
    "Target",
    "server_of_environment",
    "target_of",
]

_ATTEMPTS = 4
_PAUSE = 0.5


class Target(Protocol):
    """A place that models are pushed to."""

    url: str

    def push(
        self, model: str, version: str, folder: str, digest: str, labels: Sequence[str], route: Mapping[str, Any] | None = None
    ) -> Any:
        """Make a version available there under some labels; called by a deployment, with a bundle that passed its smoke test."""
        ...

    def label(self, model: str, version: str, labels: Sequence[str], route: Mapping[str, Any] | None = None) -> Any:
        """Give labels to a version that is there."""
        ...


def target_of(settings: Settings, url: str = "") -> Target:
    """The target that a URL names; without one, the setting ``server_url`` is it.

    An http(s) URL is a model server, ``put+http(s)://`` any endpoint that takes bundles, ``mlflow:`` the registry, a path or file:// URL a
    directory.

    Raises:
        ConfigurationError: it names none, or one of a kind that is not known.
    """
    field = "serving.targets has" if url else "server_url is"
    token = "" if url else settings.server_token  # the server's token is nobody else's business
    url = url or settings.need("server_url")
    if url.startswith(("http://", "https://")):
        return ServerTarget(url, token)
    if url.startswith(("put+http://", "put+https://")):
        return EndpointTarget(url.removeprefix("put+"), token)
    if url.startswith("mlflow:"):
        return MlflowTarget(settings.need("tracking_uri"))
    if "://" not in url or url.startswith("file://"):
        return DirectoryTarget(Path(url.removeprefix("file://")))
    raise ConfigurationError(
        f"{field} {url!r}, which is no place to push to",
        hint="an http(s) URL of a model server, put+https:// of an endpoint that takes bundles, a directory, or mlflow:",
    )


ARM_COLUMNS = ("version", "arm", "weight", "requests", "errors", "refused", "mean_ms", "judged", "worth", "low", "high", "p")
"""What `ServerTarget.overview` says of an arm.

``judged`` answers have a known truth, ``worth`` is their mean reward, which lies between ``low`` and ``high`` at all times with a
probability of 95 % (or the experiment's own level), and ``p`` is an always-valid p-value of being worth the same as the reference.
"""


def server_of_environment(settings: Settings) -> Settings:
    """Settings with the server that ``WINDTUNNEL_SERVER_URL`` and ``WINDTUNNEL_TOKEN`` name, as ``windtunnel env`` exports them."""
    url, token = os.environ.get("WINDTUNNEL_SERVER_URL", ""), os.environ.get("WINDTUNNEL_TOKEN", "")
    return dataclasses.replace(settings, server_url=url or settings.server_url, server_token=settings.server_token or token)


class ServerTarget:
    """A Windtunnel model server.

    Args:
        url: its base URL.
        token: the bearer token of somebody who may change what is served.
        patience: seconds for one call.
        attempts: how often a server that is out of reach is tried.
    """

    def __init__(self, url: str, token: str = "", patience: float = 60.0, attempts: int = _ATTEMPTS) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._patience, self._attempts = patience, attempts

    def push(
        self, model: str, version: str, folder: str, digest: str, labels: Sequence[str], route: Mapping[str, Any] | None = None
    ) -> Any:
        """Load a version on all workers of the server."""
        parameters: dict[str, Any] = {"uri": folder, "digest": digest, "version": version, "labels": list(labels)}
        if route is not None:
            parameters["route"] = dict(route)
        return self.call(f"/v2/repository/models/{quote(model)}/load", {"parameters": parameters})

    def label(
        self, model: str, version: str, labels: Sequence[str], route: Mapping[str, Any] | None = None, *, drop: Sequence[str] = ()
    ) -> Any:
        """Give labels to a loaded version; labels are dropped and a route is set in the same step."""
        parameters: dict[str, Any] = {"version": version, "labels": list(labels), "drop": list(drop)}
        if route is not None:
            parameters["route"] = dict(route)
        return self.call(f"/v2/repository/models/{quote(model)}/label", {"parameters": parameters})

    def unload(self, model: str, version: str) -> Any:
        """Stop serving a version."""
        return self.call(f"/v2/repository/models/{quote(model)}/unload", {"parameters": {"version": version}})

    def look_up(self, model: str, uri: str, digest: str) -> Any:
        """Let the server answer from precomputed answers."""
        return self.call(f"/v2/repository/models/{quote(model)}/lookup", {"parameters": {"uri": uri, "digest": digest}})

    def versions(self, model: str) -> dict[str, dict[str, Any]]:
        """The versions of a model that are loaded: version -> its entry in the repository index, with labels and digest."""
        return {entry["version"]: entry for entry in self.call("/v2/repository/index", {}) if entry["name"] == model}

    def route(self, model: str) -> dict[str, Any]:
        """Labels and route of a model; empty where it is not served."""
        if not self.versions(model):
            return {"labels": {}, "route": {}}
        found: dict[str, Any] = self.call(f"/v2/models/{quote(model)}/route")
        return found

    def statistics(self, model: str) -> dict[str, dict[str, Any]]:
        """Requests, errors and times by ``version/route``."""
        found: dict[str, dict[str, Any]] = self.call(f"/v2/models/{quote(model)}/stats")["arms"]
        return found

    def experiment(self, model: str) -> dict[str, Any]:
        """What the server says of the experiment over a model's arms; empty where there is none."""
        found: dict[str, Any] = self.call(f"/v2/models/{quote(model)}/stats")["experiment"] or {}
        return found

    def reward(self, model: str, rewards: Mapping[str, Mapping[str, float]]) -> Any:
        """Tell the experiment over a model's arms what they were worth: totals by ``version/arm``."""
        return self.call(f"/v2/models/{quote(model)}/rewards", {arm: dict(entry) for arm, entry in rewards.items()})

    def models(self) -> list[str]:
        """The models that are served."""
        return sorted({entry["name"] for entry in self.call("/v2/repository/index", {})})

    def set_route(self, model: str, route: Mapping[str, Any]) -> Any:
        """Replace a model's route."""
        return self.call(f"/v2/models/{quote(model)}/route", dict(route), method="PUT")

    def overview(self, model: str) -> dict[str, Any]:
        """Who answers, how each arm does and what may be said of an experiment.

        Returns:
            ``model``, ``labels``, ``route``, ``experiment``; ``arms``, one object with the fields `ARM_COLUMNS` each: all that answered
            since the server started; ``text``, the verdict in words.
        """
        about, arms = self.call(f"/v2/models/{quote(model)}/route"), self.statistics(model)
        experiment = about.get("experiment") or {}
        weights = about["route"].get("arms", {})
        for arm in weights:
            arms.setdefault(f"{about['labels'].get(arm, arm)}/{arm}", {})
        rows = []
        for name, figures in sorted(arms.items()):
            version, _, arm = name.partition("/")
            worth = experiment.get("arms", {}).get(arm, {}) if about["labels"].get(arm, arm) == version else {}
            requests = float(figures.get("requests", 0.0))
            row = {"version": version, "arm": arm, "weight": weights.get(arm), "requests": requests}
            row |= {name: float(figures.get(name, 0.0)) for name in ("errors", "refused")}
            row["mean_ms"] = 1e3 * figures["seconds"] / requests if requests else None
            row |= {"judged": worth.get("count"), "worth": worth.get("mean"), "low": worth.get("low"), "high": worth.get("high")}
            rows.append(row | {"p": worth.get("p")})
        return {"model": model, **about, "arms": rows, "text": experiment.get("text", "")}

    def predict(self, model: str, version: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answers of one version, whatever the route says."""
        headers = {"X-Windtunnel-Version": version}
        found: list[dict[str, Any]] = self.call(f"/v1/models/{quote(model)}/predict", {"rows": list(rows)}, headers)["predictions"]
        return found

    def call(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None, *, method: str | None = None) -> Any:
        """One call; what is out of reach for a moment is tried again.

        Raises:
            UnavailableError: the server does not answer, or is too busy.
            ConfigurationError: it refuses the token or the request.
            IntegrityError: it found the bundle changed.
        """
        given = {"Content-Type": "application/json", **(headers or {})}
        data = None if body is None else json.dumps(body).encode()
        answer = _call(self.url + path, data, given, self._token, self._patience, method, self._attempts)
        try:
            return json.loads(answer)
        except ValueError as error:
            raise ConfigurationError(f"{self.url}{path} did not answer with JSON", hint="is it a Windtunnel model server?") from error


class EndpointTarget:
    """Any HTTP endpoint that takes bundles: a company's own deployer, a gateway to an object store, a webhook.

    ``PUT URL/MODEL/VERSION`` sends the bundle as a gzipped tar, the same bytes for the same bundle, with its digest in the header
    ``X-Windtunnel-Digest``; ``PUT URL/MODEL/labels/LABEL`` says which version has a label, as JSON. Both may come more than once.

    Args:
        url: its base URL.
        token: the bearer token; none if empty.
        patience: seconds for one call.
    """

    def __init__(self, url: str, token: str = "", patience: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._patience = patience

    def push(
        self, model: str, version: str, folder: str, digest: str, labels: Sequence[str], route: Mapping[str, Any] | None = None
    ) -> Any:
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
        _call(f"{self.url}/{quote(model)}/{quote(version)}", content, headers, self._token, self._patience, method="PUT")
        return self.label(model, version, labels, route)

    def label(self, model: str, version: str, labels: Sequence[str], route: Mapping[str, Any] | None = None) -> Any:  # noqa: ARG002 - it has no routes
        """Say which version has the labels."""
        for label in labels:
            body = json.dumps({"model": model, "label": label, "version": version}).encode()
            url = f"{self.url}/{quote(model)}/labels/{quote(label)}"
            _call(url, body, {"Content-Type": "application/json"}, self._token, self._patience, method="PUT")


class DirectoryTarget:
    """A directory: ``MODEL/VERSION/`` holds the bundle, ``MODEL/labels.json`` the labels and the route.

    Args:
        root: the directory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)

    def push(
        self, model: str, version: str, folder: str, digest: str, labels: Sequence[str], route: Mapping[str, Any] | None = None
    ) -> Any:
        """Copy the bundle, by a rename at the end.

        Raises:
            IntegrityError: another bundle is there under the same version.
        """
        target = self.root / model / version
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=".push-", dir=target.parent))
            try:
                with local_copy(folder) as source:
                    shutil.copytree(source, staging / "bundle")
                bundles.read(staging / "bundle", digest)
                (staging / "bundle").rename(target)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        bundles.read(target, digest)
        return self.label(model, version, labels, route)

    def label(self, model: str, version: str, labels: Sequence[str], route: Mapping[str, Any] | None = None) -> Any:
        """Note the labels."""
        path = self.root / model / "labels.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"labels": {}, "route": {}}
        known["labels"] |= dict.fromkeys(labels, version)
        if route is not None:
            known["route"] = dict(route)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(known, indent=1), encoding="utf-8")
        temporary.replace(path)
        return known


class MlflowTarget:
    """MLflow's registry: aliases follow; the bundle itself is in the run's artefacts already.

    Args:
        uri: the tracking server.
    """

    def __init__(self, uri: str) -> None:
        self.url = uri

    def push(
        self, model: str, version: str, folder: str, digest: str, labels: Sequence[str], route: Mapping[str, Any] | None = None
    ) -> Any:
        """Note the compiled bundle's digest on the version, and set the aliases."""
        self._client().set_model_version_tag(model, version, "windtunnel.served_digest", digest)
        self._client().set_model_version_tag(model, version, "windtunnel.served_from", folder)
        return self.label(model, version, labels, route)

    def label(self, model: str, version: str, labels: Sequence[str], route: Mapping[str, Any] | None = None) -> Any:  # noqa: ARG002
        """Set the aliases."""
        for label in labels:
            self._client().set_registered_model_alias(model, label, version)

    def _client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.url, registry_uri=self.url)


def _archive(folder: Path) -> bytes:
    """A folder as a gzipped tar that depends on nothing but its files' names and contents."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(entry, file)
    return buffer.getvalue()


def _call(
    url: str,
    data: bytes | None,
    headers: Mapping[str, str],
    token: str,
    patience: float,
    method: str | None = None,
    attempts: int = _ATTEMPTS,
) -> bytes:
    """One call; what is out of reach for a moment is tried again.

    Raises:
        UnavailableError: nothing answers, or it is too busy.
        ConfigurationError: it refuses the token or the request.
        IntegrityError: it found the bundle changed.
    """
    given = dict(headers) | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, data=data, headers=given, method=method)  # noqa: S310 - of the settings or the problem file
    for attempt in range(attempts):
        last = attempt == attempts - 1
        try:
            with urllib.request.urlopen(request, timeout=patience) as answer:  # noqa: S310
                found: bytes = answer.read()
                return found
        except urllib.error.HTTPError as error:
            text = _error_text(error)
            if error.code in {502, 503, 504} and not last:
                time.sleep(_PAUSE * 2**attempt)
                continue
            raise _refused(url, error.code, text) from error
        except (OSError, http.client.HTTPException) as error:
            if not last:
                time.sleep(_PAUSE * 2**attempt)
                continue
            raise UnavailableError(
                f"the model server at {url} does not answer: {error}",
                hint="is it up? `windtunnel status` tells; the task will be retried",
            ) from error
    raise AssertionError("the loop returns or raises")


def _error_text(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"])
    except (ValueError, KeyError, TypeError, OSError):
        return str(error.reason)


def _refused(url: str, code: int, text: str) -> WindtunnelError:
    if code in {429, 500, 502, 503, 504}:
        return UnavailableError(f"{url} answered {code}: {text}", hint="the task will be retried")
    if code == 422:  # noqa: PLR2004
        return (IntegrityError if "digest" in text else GateError)(f"{url} refused the model: {text}")
    hint = {401: "check the setting server_token", 403: "the token of server_token may not do this"}.get(code, "")
    return ConfigurationError(f"{url} answered {code}: {text}", hint=hint)
