"""Places that a model can be pushed to, one file a kind; `windtunnel.lifecycle.contract.seams.targets` has a row for each.

A target's `Target.push` is harmless when it is done twice.
"""

from windtunnel.lifecycle.release.targets.base import Lookups, Router, Target, lookups, router, target_of
from windtunnel.lifecycle.release.targets.directory import DirectoryTarget
from windtunnel.lifecycle.release.targets.endpoint import EndpointTarget
from windtunnel.lifecycle.release.targets.registry import MlflowTarget
from windtunnel.lifecycle.release.targets.server import ARM_COLUMNS, ServerTarget

__all__ = [
    "ARM_COLUMNS",
    "DirectoryTarget",
    "EndpointTarget",
    "Lookups",
    "MlflowTarget",
    "Router",
    "ServerTarget",
    "Target",
    "lookups",
    "router",
    "target_of",
]
