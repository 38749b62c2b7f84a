"""Problem files: YAML read into a `Problem`, with errors that name the file, the field and what is allowed."""

import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from windtunnel.lifecycle.contract.errors import ProblemError
from windtunnel.lifecycle.contract.problem.mistakes import explain, place_of
from windtunnel.lifecycle.contract.problem.problem import Problem
from windtunnel.lifecycle.contract.problem.sense import Fault, contradictions, faults
from windtunnel.lifecycle.contract.yaml_text import YamlTextError, read_yaml
from windtunnel.lifecycle.payload import JsonMapping

__all__ = ["LARGEST", "json_schema", "load", "parse"]


LARGEST = 1 << 20
"""Bytes that a problem file may have."""


def json_schema() -> dict[str, object]:
    """The JSON Schema of a problem file."""
    return Problem.model_json_schema()


def load(path: str | Path) -> Problem:
    """Read a problem file.

    Raises:
        ProblemError: names the file, the field and what is allowed.
    """
    path = Path(path)
    try:
        values = read_yaml(_text(path))
    except OSError as error:
        raise ProblemError(f"{path}: cannot be read: {error.strerror}", path=str(path)) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ProblemError(f"{path}: is not UTF-8: line {line}: {error.reason}; save it as UTF-8", path=str(path)) from error
    except YamlTextError as error:
        raise ProblemError(f"{path}: is not YAML: {error}", path=str(path)) from error
    if values is None:
        raise ProblemError(f"{path}: is empty; a whole example is dags/problems/flight_delays.yaml", path=str(path))
    return parse(values, path=path)


def _text(path: Path) -> str:
    """A file's text; what is no file, or far too large to be a problem's, is not opened: a pipe would never end.

    Raises:
        ProblemError: it is none.
        OSError: it cannot be read.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise ProblemError(f"{path}: is {'a folder' if path.is_dir() else 'no ordinary file'}; a problem is a YAML file", path=str(path))
    if about.st_size > LARGEST:
        raise ProblemError(f"{path}: has {about.st_size:,} bytes, more than the {LARGEST:,} that a problem file may have", path=str(path))
    return path.read_text(encoding="utf-8")


def parse(values: object, path: Path | None = None) -> Problem:
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


def _fault(entry: JsonMapping) -> Fault:
    """One of pydantic's errors."""
    return Fault(".".join(place_of(entry["loc"])) or "(the whole file)", explain(entry, Problem))
