"""Targets: the kinds of places that models are pushed to, by the scheme of their URL."""

import dataclasses
from collections.abc import Iterable

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.naming import unknown
from windtunnel.lifecycle.contract.seams.registry import Registry, Row, part

__all__ = ["LOOKUPS", "ROUTES", "TARGETS", "TargetRow", "target_row"]

ROUTES, LOOKUPS = "routes", "lookups"
"""What a target may be able to do beyond being pushed to: answer requests by a route, answer them from a table."""

_HERE = "windtunnel.lifecycle.release.targets"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetRow(Row):
    """One kind of target.

    Attributes:
        schemes: what its URLs begin with, before ``:``; "" is a plain path.
        make: ``function(url, settings, token) -> `` `windtunnel.lifecycle.release.targets.base.Target`.
    """

    schemes: tuple[str, ...]
    make: str = part()


TARGETS = Registry(
    "targets",
    "a kind of target",
    TargetRow,
    [
        TargetRow(name="server", summary="a Windtunnel model server", schemes=("http", "https"), make=f"{_HERE}.server:server_target"),
        TargetRow(
            name="endpoint",
            summary="any endpoint that takes bundles by HTTP PUT",
            schemes=("put+http", "put+https"),
            make=f"{_HERE}.endpoint:endpoint_target",
        ),
        TargetRow(name="mlflow", summary="MLflow's registry", schemes=("mlflow",), make=f"{_HERE}.registry:mlflow_target"),
        TargetRow(name="directory", summary="a directory", schemes=("", "file"), make=f"{_HERE}.directory:directory_target"),
    ],
)
"""All kinds."""


def target_row(url: str) -> TargetRow:
    """The kind of target that a URL names.

    Raises:
        ConfigurationError: no kind has its scheme; says which there are.

    Example:
        >>> target_row("https://models:8000").name, target_row("/srv/models").name, target_row("mlflow:").name
        ('server', 'directory', 'mlflow')
    """
    scheme = url.partition(":")[0] if ":" in url else ""
    # Ours first: a URL of ours costs no look at what is installed.
    row = _with_scheme(scheme, TARGETS.own) or _with_scheme(scheme, TARGETS)
    if row is None:
        known = sorted(f"{entry}:" for row in TARGETS for entry in row.schemes if entry)
        raise ConfigurationError(
            unknown(f"{scheme}:", f"the scheme of a place to push to (of {url!r})", [*known, "a path"]),
            hint="an http(s) URL of a model server, put+https:// of an endpoint that takes bundles, a directory, or mlflow:",
        )
    return row


def _with_scheme(scheme: str, rows: Iterable[TargetRow]) -> TargetRow | None:
    return next((row for row in rows if scheme in row.schemes), None)
