"""``windtunnel schema``: the JSON Schema of a problem file, for editors and for checks in CI; or its reference as Markdown.

``windtunnel schema --infer DATA`` finds the columns of data and prints them as a problem file has them. Put there, they are pinned: a later
run stops at a column that is gone or of another type, instead of finding other types.
"""

import argparse
import inspect
import json
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from windtunnel.cli.data import reading
from windtunnel.lifecycle.contract.problem import Problem, json_schema
from windtunnel.lifecycle.contract.problem.parts import Registered

if typing.TYPE_CHECKING:
    from windtunnel.lifecycle.payload import JsonObject

__all__ = ["add_arguments", "reference", "run"]

_INTRODUCTION = """# The problem file

One YAML file a problem, in the folder that `register_problems` reads; its name without `.yaml` is the problem's name and the DAG's. A
wrong file is an import error that names the field and what is allowed; `windtunnel schema` prints the JSON Schema for editors. A whole
example with comments: [`dags/problems/flight_delays.yaml`](../dags/problems/flight_delays.yaml).

Unknown fields are refused. This page is what `windtunnel schema --markdown` prints.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The form."""
    parser.add_argument("--markdown", action="store_true", help="print the reference for people instead")
    parser.add_argument("--infer", nargs="+", metavar="DATA", help="print the columns of data (paths, globs, a table) for a problem file")
    reading.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    if arguments.infer:
        print(_inferred(arguments), end="")
        return 0
    print(reference() if arguments.markdown else json.dumps(json_schema(), indent=2))
    return 0


def _inferred(arguments: argparse.Namespace) -> str:
    """The part ``columns`` of a problem file, and as comments what a person should look at.

    Raises:
        UnsupportedError: no column can be one of a problem.
    """
    import yaml

    from windtunnel.lifecycle.contract.errors import UnsupportedError
    from windtunnel.lifecycle.data.schema import pinnable

    loaded = reading.load(arguments.infer, arguments)
    statistics = loaded.profiled.table
    kinds = {name: pinnable(column.type) for name, column in statistics.columns.items()}
    columns = {name: kind for name, kind in kinds.items() if kind is not None}
    if not columns:
        raise UnsupportedError(f"{', '.join(arguments.infer)}: has no column that a problem can have", hint="numbers, texts, dates, times")
    notes = [f"left out: {name}, {statistics.columns[name].type}" for name, kind in kinds.items() if kind is None]
    notes += [f"no value in: {name}" for name in columns if not statistics.columns[name].count]
    options = reading.options_of(arguments) | loaded.reading.options
    parts: JsonObject = {"source": {"options": options}} if options else {}
    title = f"found in {', '.join(arguments.infer)}, {statistics.rows:,} rows"
    comments = _comments([title, *notes, *reading.told(loaded.reading)])
    return comments + yaml.safe_dump({**parts, "columns": columns}, sort_keys=False, allow_unicode=True)


def _comments(notes: Iterable[str]) -> str:
    return "".join(f"# {line}\n" for note in notes for line in note.splitlines())


def reference() -> str:
    """Every field of a problem file, part by part, with type, default and meaning."""
    return "\n".join([_INTRODUCTION, *_part(Problem, "A problem", set())]).rstrip()


def _part(model: type[BaseModel], title: str, seen: set[type]) -> Iterator[str]:
    seen.add(model)
    yield f"## {title}\n"
    if model is not Problem:
        yield f"{inspect.getdoc(model)}\n"
    yield "| field | type | default | meaning |\n|---|---|---|---|"
    inner: list[tuple[type[BaseModel], str]] = []
    for name, field in model.model_fields.items():
        if field.exclude:
            continue
        yield f"| `{name}` | {_listed(field) or _type(field.annotation)} | {_default(field)} | {field.description or ''} |"
        inner += [(part, name) for part in _models(field.annotation)]
    yield ""
    for part, name in inner:
        if part not in seen:
            yield from _part(part, f"`{name}`", seen)


def _listed(field: FieldInfo) -> str:
    """Our own names of a field that names a row of a registry; empty for other fields."""
    inner = [*field.metadata, *(entry for part in typing.get_args(field.annotation) for entry in getattr(part, "__metadata__", ()))]
    rows = next((entry.registry.own for entry in inner if isinstance(entry, Registered)), ())
    return ", ".join(f"`{row.name}`" for row in rows)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)


def _type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"mapping to {_type(arguments[1])}"
    if arguments:
        return " or ".join(_type(argument) for argument in arguments if argument is not type(None))
    if annotation is Any:
        return "any"
    if issubclass(annotation, BaseModel):
        return "see below"
    words = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "timedelta": "time span"}
    return words.get(annotation.__name__, annotation.__name__)


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see below"
    return "" if value in (None, "", [], {}) else f"`{json.dumps(value, default=str)}`"
