"""The model repository: load, label and unload versions, as HTTP and gRPC ask for it."""

from collections.abc import Mapping
from typing import Any

from windtunnel.lifecycle.payload import JsonObject
from windtunnel.serving.base.values import InvalidInputError, invalid
from windtunnel.serving.routing.arms import reward, start
from windtunnel.serving.routing.models import Models
from windtunnel.serving.routing.router import Unknown, check_route

__all__ = ["Repository"]

_LONGEST = 200


class Repository:
    """What may be done to the models of a server.

    Args:
        models: the models of this worker, which shares changes with the others.
    """

    def __init__(self, models: Models) -> None:
        self._models = models

    async def act(self, model: str, action: str, parameters: Any) -> JsonObject:
        """Do one thing.

        Args:
            model: to which model.
            action: ``load``, ``label``, ``lookup`` or ``unload``.
            parameters: ``uri``, ``digest``, ``version``, ``labels``, ``drop`` (labels to take away), ``route``.

        Raises:
            InvalidInputError: names the parameter that is wrong.
            Unknown: there is no such model or version.
            WindtunnelError: the bundle cannot be loaded.
        """
        if not isinstance(parameters, Mapping):
            raise _bad("parameters", 'must be an object such as {"uri": ..., "digest": ..., "version": ...}')
        if not _is_name(model):
            raise _bad("model", f"must have letters, digits, '.', '_' and '-' only but is {model[:80]!r}")
        if action == "unload":
            given = parameters.get("version")
            return {"name": model, **await self._models.unload(model, None if given is None else _field(parameters, "version"))}
        if action == "lookup":
            return {"name": model, **await self._models.look_up(model, _field(parameters, "uri"), _field(parameters, "digest"))}
        if action == "load" and not {"uri", "digest", "version", "labels", "route"} & set(parameters):
            return {"name": model, **await self._models.ensure(model)}
        labels, drop = _labels(parameters, "labels"), _labels(parameters, "drop")
        version = _field(parameters, "version")
        if not _is_name(version):
            raise _bad("version", f"must have letters, digits, '.', '_' and '-' only but is {version[:80]!r}")
        if action == "label":
            done = await self._label(model, version, labels, drop, parameters.get("route"))
        else:
            uri, digest = _field(parameters, "uri"), _field(parameters, "digest")
            done = await self._models.load(model, uri, digest, version, labels, parameters.get("route"))
        return {"name": model, "version": version, "labels": labels, **done}

    async def set_route(self, model: str, route: object) -> JsonObject:
        """Replace a model's route."""

        def edit(models: dict[str, Any]) -> None:
            if model not in models:
                raise Unknown(f"no model {model!r}")
            models[model]["route"] = start(models[model], check_route(models[model], route))

        return await self._models.change(edit)

    async def reward(self, model: str, rewards: object) -> JsonObject:
        """Tell a model's experiment what its arms were worth; see `windtunnel.serving.routing.arms.reward`."""

        def edit(models: dict[str, Any]) -> None:
            if model not in models:
                raise Unknown(f"no model {model!r}")
            reward(models[model], rewards)

        return await self._models.change(edit)

    async def _label(self, model: str, version: str, labels: list[str], drop: list[str], route: object) -> JsonObject:
        def edit(models: dict[str, Any]) -> None:
            if model not in models or version not in models[model]["versions"]:
                raise Unknown(f"no version {version!r} of model {model!r}")
            known = models[model]["labels"]
            for label in drop:
                known.pop(label, None)
            for label in labels:
                known[label] = version
            if route is not None:
                models[model]["route"] = start(models[model], check_route(models[model], route))

        return await self._models.change(edit)


def _labels(parameters: Mapping[str, object], name: str) -> list[str]:
    found = parameters.get(name, [])
    found = [part.strip() for part in found.split(",") if part.strip()] if isinstance(found, str) else found
    if not isinstance(found, list) or not all(isinstance(label, str) and _is_name(label) for label in found):
        raise _bad(name, f"must be a list of names but is {found!r}")
    if any(label.isdigit() for label in found):
        raise _bad(name, f"must not hold numbers, which would read as versions, but is {found!r}")
    return found


def _field(parameters: Mapping[str, object], name: str) -> str:
    value = parameters.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise _bad(name, f"must be a text that is not empty but is {value!r}")
    return value


def _is_name(value: str) -> bool:
    return 0 < len(value) <= _LONGEST and value.isascii() and value.replace("-", "a").replace("_", "a").replace(".", "a").isalnum()


def _bad(field: str, text: str) -> InvalidInputError:
    return invalid([{"row": 0, "field": field, "message": text}])
