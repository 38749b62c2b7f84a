"""Small private files that are never seen half-written."""

import json
from pathlib import Path

from windtunnel.lifecycle.files import write_atomically
from windtunnel.lifecycle.payload import JsonObject

__all__ = ["read_json", "write_json"]


def read_json(path: Path) -> JsonObject:
    """The file's object; empty where the file is absent or is not JSON (a machine that lost power leaves such)."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_json(path: Path, value: JsonObject) -> None:
    """Replace the file at once; only its owner can read it."""
    write_atomically(path, json.dumps(value, indent=2) + "\n")
