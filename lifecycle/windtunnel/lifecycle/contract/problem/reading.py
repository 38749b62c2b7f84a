"""Problem files: YAML read into a `Problem`, with errors that name the file, the field and what is allowed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from windtunnel.lifecycle.contract.errors import ProblemError
from windtunnel.lifecycle.contract.problem.mistakes import explain, place_of
from windtunnel.lifecycle.contract.problem.problem import Problem
from windtunnel.lifecycle.contract.problem.sense import Fault, contradictions, faults

__all__ = ["json_schema", "load", "parse"]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a problem file."""
    return Problem.model_json_schema()


_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C, where PyYAML was built with it, is ten times as fast


class _OnceLoader(_SafeLoader):
    """A safe loader that refuses a key that is written twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen and key.value != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} is there twice", key.start_mark)
            seen.add(key.value)
        values: dict[Any, Any] = super().construct_mapping(node, deep)
        return values


def load(path: str | Path) -> Problem:
    """Read a problem file.

    Raises:
        ProblemError: names the file, the field and what is allowed.
    """
    path = Path(path)
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _OnceLoader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ProblemError(f"{path}: cannot be read: {error.strerror}", path=str(path)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ProblemError(f"{path}: is not YAML: {error}", path=str(path)) from error
    return parse(values, path=path)


def parse(values: Any, path: Path | None = None) -> Problem:
    """A problem from plain data, with errors that a person can act on.

    Args:
        values: what the file says.
        path: the file, where somebody writes one today: everything in it must make sense. Without one the values may be a stored problem's,
            which an earlier state of the project took: only what no stage could work with is refused.

    Raises:
        ProblemError: names the fields and what is allowed.
    """
    where = str(path) if path else "problem"
    if not isinstance(values, Mapping):
        raise ProblemError(f"{where}: must be a mapping of fields but is a {type(values).__name__}", path=where)
    try:
        problem = Problem.model_validate({**values, "directory": str(path.parent.resolve())} if path else dict(values))
    except ValidationError as error:
        raise _refusal(where, [_fault(entry) for entry in error.errors(include_url=False)]) from error
    wrong = faults(problem) if path else contradictions(problem)
    if wrong:
        raise _refusal(where, wrong)
    return problem


def _refusal(where: str, wrong: Sequence[Fault]) -> ProblemError:
    return ProblemError(
        f"{where}: " + "; ".join(str(fault) for fault in wrong),
        path=where,
        fields=[fault.field for fault in wrong],
        faults=[(fault.field, fault.message) for fault in wrong],
    )


def _fault(entry: Mapping[str, Any]) -> Fault:
    """One of pydantic's errors."""
    return Fault(".".join(place_of(entry["loc"])) or "(the whole file)", explain(entry, Problem))
