"""YAML as people write it: read to plain data, with one-line errors that say where, and without YAML's traps.

PyYAML reads YAML 1.1, in which ``1:30`` is the number 90, ``010`` is 8, and ``1e-3`` is a text. Here numbers are those of YAML 1.2, a key
that is written twice is refused, and so is what cannot be written back: values that contain themselves, or would be endless when spelt out.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

__all__ = ["YamlTextError", "read_yaml"]

_DEEPEST = 30
_MOST = 100_000
"""Levels, and values with every alias spelt out, beyond which a file is a mistake or an attack."""

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C, where PyYAML was built with it, is ten times as fast


class YamlTextError(ValueError):
    """A text is not YAML, or no plain data; the message is one line."""


class _Loader(_SafeLoader):
    """A safe loader that refuses a key that is written twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping."""
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a text, not a list or a mapping", key.start_mark)
            # A merge (<<) may stand in a mapping more than once.
            if key.value in seen and key.value != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} is there twice", key.start_mark)
            seen.add(key.value)
        values: dict[Any, Any] = super().construct_mapping(node, deep)
        return values

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node; one that only looks like a date or a number says where it stands."""
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(None, None, f"{_short(node.value)}: {error}", node.start_mark) from error


_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_REAL = r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))"
_NUMBERS = [
    (_INT, re.compile(r"^(?:[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+)$")),
    (_FLOAT, re.compile(rf"^(?:{_REAL}|\.(?:nan|NaN|NAN))$")),
]
# PyYAML's rules for numbers are YAML 1.1's; they are taken out before those of 1.2 come in.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag not in {_INT, _FLOAT}]
    for first, rules in _SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in _NUMBERS:
    _Loader.add_implicit_resolver(_tag, _pattern, list("-+.0123456789"))


def read_yaml(text: str) -> Any:
    """The plain data of a YAML text; None if it is empty.

    Raises:
        YamlTextError: it is not YAML, or not data that could be written down without aliases.

    Example:
        >>> read_yaml("{rate: 1e-3, time: 1:30, zip: 0123}")
        {'rate': 0.001, 'time': '1:30', 'zip': '0123'}
    """
    try:
        values = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise YamlTextError(_in_words(error)) from error
    except RecursionError as error:
        raise YamlTextError(f"it is nested more than {_DEEPEST} levels deep") from error
    # Counted while it is walked: a bomb of aliases is stopped at the limit, not spelt out first.
    for count, depth in enumerate(_depths(values, 0)):
        if depth > _DEEPEST:
            raise YamlTextError(f"it is nested more than {_DEEPEST} levels deep, or an alias (*) stands inside of what it names")
        if count > _MOST:
            raise YamlTextError(f"it has more than {_MOST:,} values when its aliases (*) are spelt out")
    return values


def _depths(value: Any, depth: int) -> Iterator[int]:
    """The depth of each value, aliases spelt out."""
    yield depth
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _depths(inner, depth + 1)


def _in_words(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    text = " ".join(str(problem or error).split())
    if "that cannot start any token" in text or "tab character" in text:
        text += " (indent with spaces; put a text that begins with @, ` or % in quotes)"
    return f"line {mark.line + 1}, column {mark.column + 1}: {text}" if mark else text


def _short(value: Any, limit: int = 40) -> str:
    text = str(value)
    return repr(text if len(text) <= limit else f"{text[:limit]}...")
