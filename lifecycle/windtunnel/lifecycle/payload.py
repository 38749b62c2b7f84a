"""JSON objects whose fields are documented by who writes them: results of stages, entries of the ledger, requests, states of servers.

Who only hands one on, or writes it, says ``dict[str, object]`` or ``Mapping[str, object]``, and the type checker holds them to that. Who
reads fields of one says one of these: what was stored years ago, or sent by somebody else, is checked when it is read, not by types.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

__all__ = ["JsonMapping", "JsonObject"]

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object that its owner may fill or change."""
JsonMapping: TypeAlias = Mapping[str, Any]
"""A JSON object that is only read."""
