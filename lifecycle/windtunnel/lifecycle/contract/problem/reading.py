"""Problem files: YAML read into a `Problem`, with errors that name the file, the field and what is allowed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from windtunnel.lifecycle.contract.errors import ProblemError
from windtunnel.lifecycle.contract.problem.mistakes import explain
from windtunnel.lifecycle.contract.problem.problem import Problem

__all__ = ["json_schema", "load", "parse"]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a problem file."""
    return Problem.model_json_schema()


def load(path: str | Path) -> Problem:
    """Read a problem file.

    Raises:
        ProblemError: names the file, the field and what is allowed.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProblemError(f"{path}: cannot be read: {error.strerror}", path=str(path)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ProblemError(f"{path}: is not YAML: {error}", path=str(path)) from error
    return parse(values, path=path)


def parse(values: Any, path: Path | None = None) -> Problem:
    """A problem from plain data, with errors that a person can act on."""
    where = str(path) if path else "problem"
    if not isinstance(values, Mapping):
        raise ProblemError(f"{where}: must be a mapping of fields but is a {type(values).__name__}", path=where)
    given = {**values, "directory": str(path.parent.resolve())} if path else dict(values)
    try:
        return Problem.model_validate(given)
    except ValidationError as error:
        lines, fields = [], []
        for entry in error.errors(include_url=False):
            field = ".".join(str(part) for part in entry["loc"]) or "(the whole file)"
            fields.append(field)
            lines.append(f"{field}: {explain(entry, Problem)}")
        raise ProblemError(f"{where}: " + "; ".join(lines), path=where, fields=fields) from error
