"""Whether the model in production is still what its problem says: what its features were made of, against what they are made of now.

The preprocess stage writes down everything that decides its output (`note`): the fingerprint of it names the output, so an unchanged
one is not computed again, and a change of any part gives new features, which everything that follows depends on. The model's page
compares the champion's with the newest (`stale`).
"""

import json
from importlib import metadata

from windtunnel.lifecycle.contract.fingerprint import code_version
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.artifacts import read_text, replace_file
from windtunnel.lifecycle.payload import JsonObject

__all__ = ["libraries", "note", "stale"]

_LIBRARIES = ("numpy", "pandas", "scikit-learn", "scipy")
_CURRENT = "current.json"
_SAYS = {
    "transformer": "a step of the features changed (its class, a parameter, or the code behind it)",
    "declaration": "the problem file declares task, label, columns, keys, splits or features otherwise",
    "code": "Windtunnel was {was} then and is {now}",
    "content": "there is other or newer data: rows until {until}, and it learnt from rows until {since}",
}


def libraries() -> dict[str, str]:
    """The versions of what features are computed with.

    Example:
        >>> sorted(libraries())
        ['numpy', 'pandas', 'scikit-learn', 'scipy']
    """
    return {name: metadata.version(name) for name in _LIBRARIES}


def note(settings: Settings, problem: str, made_of: JsonObject) -> None:
    """Remember what a problem's newest features are made of; those of an older window (a backfill's) do not count."""
    known = _current(settings, problem)
    if known is not None and str(known.get("end", "")) > str(made_of["end"]):
        return
    replace_file(settings.artifact_path(problem, "preprocess", _CURRENT), json.dumps(made_of, sort_keys=True).encode())


def stale(settings: Settings, problem: str, bundle_uri: str) -> list[str]:
    """Why a model is no longer what its problem says; empty if it is, or where nothing is known of how it was made.

    Args:
        settings: where artefacts are.
        problem: its name.
        bundle_uri: the model's bundle.
    """
    then, now = _of_model(settings, problem, bundle_uri), _current(settings, problem)
    if then is None:
        return []
    # Code and libraries of this process: an upgrade makes a model stale before any features are made with it.
    now = {**(now or then), "code": code_version(), "libraries": libraries()}
    found = []
    for part, says in _SAYS.items():
        if then.get(part) != now.get(part):
            found.append(says.format(was=then.get(part), now=now.get(part), until=now.get("end"), since=then.get("end")))
    for name, version in now["libraries"].items():
        was = then.get("libraries", {}).get(name)
        if was != version:
            found.append(f"{name} was {was} then and is {version}")
    return found


def _current(settings: Settings, problem: str) -> JsonObject | None:
    return _read(settings.artifact_path(problem, "preprocess", _CURRENT))


def _of_model(settings: Settings, problem: str, bundle_uri: str) -> JsonObject | None:
    described = _read(f"{bundle_uri.rstrip('/')}/model.json")
    features = str((described or {}).get("lineage", {}).get("features", ""))
    if not features:
        return None
    manifest = _read(settings.artifact_path(problem, "preprocess", features, "manifest.json"))
    return (manifest or {}).get("made_of")


def _read(uri: str) -> JsonObject | None:
    try:
        found: JsonObject = json.loads(read_text(uri))
    except (OSError, ValueError):  # gone, or not there yet
        return None
    return found
