"""What every target is, what some can do beyond that, and the one that a URL names."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.seams.targets import LOOKUPS, ROUTES, target_row
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.payload import JsonMapping, JsonObject

__all__ = ["Lookups", "Router", "Target", "lookups", "router", "target_of"]


class Target(Protocol):
    """A place that models are pushed to.

    Attributes:
        url: where it is, for people.
        capabilities: what it can do beyond being pushed to: ``routes`` (it is a `Router`), ``lookups`` (it is a `Lookups`).
    """

    url: str
    capabilities: frozenset[str]

    def push(self, model: str, version: str, folder: str, digest: str, labels: Sequence[str], route: JsonMapping | None = None) -> Any:
        """Make a version available there under some labels; called by a deployment, with a bundle that passed its smoke test."""
        ...

    def label(self, model: str, version: str, labels: Sequence[str], route: JsonMapping | None = None, *, drop: Sequence[str] = ()) -> Any:
        """Give labels to a version that is there, and take others away from whatever version has them."""
        ...


class Router(Target, Protocol):
    """A target that answers requests by a route, says how each version does, and may be asked for an answer."""

    def versions(self, model: str) -> dict[str, JsonObject]:
        """The versions of a model that are loaded: version -> what is known of it, with ``labels`` and ``digest``."""
        ...

    def route(self, model: str) -> JsonObject:
        """``labels`` and ``route`` of a model, and its ``experiment`` if there is one; empty where it is not served."""
        ...

    def unload(self, model: str, version: str) -> Any:
        """Stop serving a version."""
        ...

    def predict(self, model: str, version: str, rows: Sequence[Mapping[str, Any]]) -> list[JsonObject]:
        """Answers of one version, whatever the route says."""
        ...

    def statistics(self, model: str) -> dict[str, JsonObject]:
        """Requests, errors and times by ``version/route``."""
        ...

    def experiment(self, model: str) -> JsonObject:
        """What is said of the experiment over a model's arms; empty where there is none."""
        ...

    def reward(self, model: str, rewards: Mapping[str, Mapping[str, float]]) -> object:
        """Tell that experiment what the arms were worth: totals by ``version/arm``."""
        ...


class Lookups(Target, Protocol):
    """A target that can answer from answers that were computed beforehand."""

    def look_up(self, model: str, uri: str, digest: str) -> object:
        """Let it answer from precomputed answers."""
        ...


def router(target: Target | None) -> Router | None:
    """The target as one that routes requests, or None where it cannot."""
    # By what it says of itself: isinstance() with a Protocol would only look whether methods of these names are there.
    return cast("Router", target) if target is not None and ROUTES in target.capabilities else None


def lookups(target: Target | None) -> Lookups | None:
    """The target as one that answers from a table, or None where it cannot."""
    return cast("Lookups", target) if target is not None and LOOKUPS in target.capabilities else None


def target_of(settings: Settings, url: str = "") -> Target:
    """The target that a URL names; without one, the setting ``server_url`` is it.

    An http(s) URL is a model server, ``put+http(s)://`` any endpoint that takes bundles, ``mlflow:`` the registry, a path or file:// URL a
    directory; a package may add schemes (`windtunnel.lifecycle.contract.seams.targets`).

    Raises:
        ConfigurationError: it names none, or one of a kind that is not known.
    """
    field = "serving.targets" if url else "the setting server_url"
    token = "" if url else settings.server_token  # the server's token is nobody else's business
    url = url or settings.need("server_url")
    try:
        row = target_row(url)
    except ConfigurationError as error:
        raise ConfigurationError(f"{field}: {error.message}", hint=error.hint) from error
    target: Target = row.part("make")(url, settings, token)
    return target
