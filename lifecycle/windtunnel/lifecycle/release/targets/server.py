"""A Windtunnel model server as a target."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.seams.targets import LOOKUPS, ROUTES
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.lifecycle.release.targets.calls import ATTEMPTS, Caller

__all__ = ["ARM_COLUMNS", "ServerTarget", "server_target"]

ARM_COLUMNS = ("version", "arm", "weight", "requests", "errors", "refused", "mean_ms", "judged", "worth", "low", "high", "p")
"""What `ServerTarget.overview` says of an arm.

``judged`` answers have a known truth, ``worth`` is their mean reward, which lies between ``low`` and ``high`` at all times with a
probability of 95 % (or the experiment's own level), and ``p`` is an always-valid p-value of being worth the same as the reference.
"""


def server_target(url: str, _settings: Settings, token: str) -> "ServerTarget":
    """The target of an ``http(s)://`` URL."""
    return ServerTarget(url, token)


class ServerTarget:
    """A Windtunnel model server.

    Args:
        url: its base URL.
        token: the bearer token of somebody who may change what is served.
        patience: seconds for one call.
        attempts: how often a server that is out of reach is tried.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset({ROUTES, LOOKUPS})

    def __init__(self, url: str, token: str = "", patience: float = 60.0, attempts: int = ATTEMPTS) -> None:
        self.url = url.rstrip("/")
        self._caller = Caller(token, patience, attempts)

    def push(self, model: str, version: str, folder: str, digest: str, labels: Sequence[str], route: JsonMapping | None = None) -> object:
        """Load a version on all workers of the server."""
        parameters: dict[str, object] = {"uri": folder, "digest": digest, "version": version, "labels": list(labels)}
        if route is not None:
            parameters["route"] = dict(route)
        return self.call(f"/v2/repository/models/{quote(model)}/load", {"parameters": parameters})

    def label(self, model: str, version: str, labels: Sequence[str], route: JsonMapping | None = None, *, drop: Sequence[str] = ()) -> Any:
        """Give labels to a loaded version; labels are dropped and a route is set in the same step."""
        parameters: dict[str, object] = {"version": version, "labels": list(labels), "drop": list(drop)}
        if route is not None:
            parameters["route"] = dict(route)
        return self.call(f"/v2/repository/models/{quote(model)}/label", {"parameters": parameters})

    def unload(self, model: str, version: str) -> object:
        """Stop serving a version."""
        return self.call(f"/v2/repository/models/{quote(model)}/unload", {"parameters": {"version": version}})

    def look_up(self, model: str, uri: str, digest: str) -> object:
        """Let the server answer from precomputed answers."""
        return self.call(f"/v2/repository/models/{quote(model)}/lookup", {"parameters": {"uri": uri, "digest": digest}})

    def versions(self, model: str) -> dict[str, JsonObject]:
        """The versions of a model that are loaded: version -> its entry in the repository index, with labels and digest."""
        return {entry["version"]: entry for entry in self.call("/v2/repository/index", {}) if entry["name"] == model}

    def route(self, model: str) -> JsonObject:
        """Labels and route of a model; empty where it is not served."""
        # The route of a model that is not served is an error of the server's, but no fault here.
        if not self.versions(model):
            return {"labels": {}, "route": {}}
        found: JsonObject = self.call(f"/v2/models/{quote(model)}/route")
        return found

    def statistics(self, model: str) -> dict[str, JsonObject]:
        """Requests, errors and times by ``version/route``."""
        found: dict[str, JsonObject] = self.call(f"/v2/models/{quote(model)}/stats")["arms"]
        return found

    def experiment(self, model: str) -> JsonObject:
        """What the server says of the experiment over a model's arms; empty where there is none."""
        found: JsonObject = self.call(f"/v2/models/{quote(model)}/stats")["experiment"] or {}
        return found

    def reward(self, model: str, rewards: Mapping[str, Mapping[str, float]]) -> Any:
        """Tell the experiment over a model's arms what they were worth: totals by ``version/arm``."""
        return self.call(f"/v2/models/{quote(model)}/rewards", {arm: dict(entry) for arm, entry in rewards.items()})

    def models(self) -> list[str]:
        """The models that are served."""
        return sorted({entry["name"] for entry in self.call("/v2/repository/index", {})})

    def set_route(self, model: str, route: JsonMapping) -> object:
        """Replace a model's route."""
        return self.call(f"/v2/models/{quote(model)}/route", dict(route), method="PUT")

    def overview(self, model: str) -> JsonObject:
        """Who answers, how each arm does and what may be said of an experiment.

        Returns:
            ``model``, ``labels``, ``route``, ``experiment``; ``arms``, one object with the fields `ARM_COLUMNS` each: all that answered
            since the server started; ``text``, the verdict in words.
        """
        about, arms = self.call(f"/v2/models/{quote(model)}/route"), self.statistics(model)
        experiment = about.get("experiment") or {}
        weights = about["route"].get("arms", {})
        # Arms that nobody asked yet have no figures; they are shown all the same.
        for arm in weights:
            arms.setdefault(f"{about['labels'].get(arm, arm)}/{arm}", {})
        rows = []
        for name, figures in sorted(arms.items()):
            version, _, arm = name.partition("/")
            # The experiment knows arms, not versions: figures of an arm's earlier version must not get its rewards.
            worth = experiment.get("arms", {}).get(arm, {}) if about["labels"].get(arm, arm) == version else {}
            requests = float(figures.get("requests", 0.0))
            row = {"version": version, "arm": arm, "weight": weights.get(arm), "requests": requests}
            row |= {name: float(figures.get(name, 0.0)) for name in ("errors", "refused")}
            row["mean_ms"] = 1e3 * figures["seconds"] / requests if requests else None
            row |= {"judged": worth.get("count"), "worth": worth.get("mean"), "low": worth.get("low"), "high": worth.get("high")}
            rows.append(row | {"p": worth.get("p")})
        return {"model": model, **about, "arms": rows, "text": experiment.get("text", "")}

    def predict(self, model: str, version: str, rows: Sequence[Mapping[str, Any]]) -> list[JsonObject]:
        """Answers of one version, whatever the route says."""
        headers = {"X-Windtunnel-Version": version}
        found: list[JsonObject] = self.call(f"/v1/models/{quote(model)}/predict", {"rows": list(rows)}, headers)["predictions"]
        return found

    def call(self, path: str, body: object = None, headers: Mapping[str, str] | None = None, *, method: str | None = None) -> Any:
        """One call; what is out of reach for a moment is tried again.

        Raises:
            UnavailableError: the server does not answer, or is too busy.
            ConfigurationError: it refuses the token or the request.
            IntegrityError: it found the bundle changed.
        """
        given = {"Content-Type": "application/json", **(headers or {})}
        data = None if body is None else json.dumps(body).encode()
        answer = self._caller.call(self.url + path, data, given, method=method)
        try:
            return json.loads(answer)
        except ValueError as error:
            raise ConfigurationError(f"{self.url}{path} did not answer with JSON", hint="is it a Windtunnel model server?") from error
