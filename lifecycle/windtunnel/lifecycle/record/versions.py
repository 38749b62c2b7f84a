"""Semantic versions of models: computed, not chosen, and with the reason.

- **major**: callers break: an input was added, removed or changed its type, the classes or the meaning of the answer changed;
- **minor**: the same question answered another way: features, family, hyperparameters, how the label's rows are split;
- **patch**: the same recipe on other data.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.model.bundle import Bundle

__all__ = ["Semantic", "next_version", "recipe_of", "signature_of"]


@dataclasses.dataclass(frozen=True, order=True)
class Semantic:
    """A version ``major.minor.patch``.

    Example:
        >>> Semantic.parse("1.4.2") < Semantic.parse("1.10.0")
        True
    """

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The version that a text says."""
        try:
            major, minor, patch = (int(part) for part in text.split("."))
        except ValueError as error:
            raise ConfigurationError(f"a version must be major.minor.patch but got {text!r}") from error
        return cls(major, minor, patch)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


def signature_of(problem: Problem, bundle: Bundle) -> dict[str, Any]:
    """What callers of a model rely on: inputs, task, classes, and what the answer means."""
    positive = problem.label.positive
    return {
        "task": bundle.task,
        "inputs": {column.name: column.type for column in bundle.inputs},
        "required": sorted(column.name for column in bundle.inputs if column.required),
        "classes": [str(name) for name in bundle.classes],
        "label": bundle.label,
        "positive": positive.model_dump(mode="json", exclude_none=True) if positive else None,
    }


def recipe_of(problem: Problem, bundle: Bundle) -> dict[str, Any]:
    """How a model is made, apart from the data: features, family, hyperparameters, splits, threshold."""
    return {
        "features": problem.features.model_dump(mode="json", exclude_none=True),
        "model": problem.model.model_dump(mode="json", exclude_none=True, exclude={"search"}),
        "hyperparameters": bundle.lineage.get("parameters") or {},
        "splits": problem.splits.model_dump(mode="json"),
        "threshold": bundle.threshold,
    }


def next_version(
    latest: str | None,
    before: tuple[Mapping[str, Any], Mapping[str, Any]] | None,
    now: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> tuple[Semantic, str]:
    """The next version and why it is that.

    Args:
        latest: the highest version so far, or None.
        before: signature and recipe of the version that this one is compared with.
        now: its own.

    Example:
        >>> one = {"task": "binary", "inputs": {"a": "int64"}}
        >>> two = {"task": "binary", "inputs": {"a": "int64", "b": "string"}}
        >>> version, reason = next_version("1.2.3", (one, {}), (two, {}))
        >>> str(version), reason
        ('2.0.0', 'major: input b was added')
    """
    if latest is None or before is None:
        return Semantic(1, 0, 0), "the first version"
    base = Semantic.parse(latest)
    broken = _differences(before[0], now[0], "")
    if broken:
        return Semantic(base.major + 1, 0, 0), "major: " + "; ".join(broken)
    changed = _differences(before[1], now[1], "")
    if changed:
        return Semantic(base.major, base.minor + 1, 0), "minor: " + "; ".join(changed)
    return Semantic(base.major, base.minor, base.patch + 1), "patch: the same recipe on other data"


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], where: str) -> list[str]:
    found = []
    for name in sorted(set(before) | set(now)):
        path = f"{where}.{name}" if where else name
        word = f"input {name}" if where == "inputs" else path
        if name not in now:
            found.append(f"{word} was removed")
        elif name not in before:
            found.append(f"{word} was added")
        elif isinstance(before[name], Mapping) and isinstance(now[name], Mapping):
            found += _differences(before[name], now[name], path)
        elif before[name] != now[name]:
            found.append(f"{word} changed from {before[name]} to {now[name]}")
    return found
