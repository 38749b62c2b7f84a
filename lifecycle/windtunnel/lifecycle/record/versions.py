"""Semantic versions of models: computed, not chosen, and with the reason.

- **major**: callers break: an input was added, removed or changed its type, the classes or the meaning of the answer changed;
- **minor**: the same question answered another way: features, family, hyperparameters, how the label's rows are split;
- **patch**: the same recipe on other data. What a search chose is no recipe: it follows from the data.

Versions are compared in data time: with the one whose data ends last before, or with, one's own, whenever that was registered. A backfill
or a late run gets a number that does not look newer than the champion's: ``1.2.4-asof.20130301`` comes before ``1.2.4``.
"""

import dataclasses
from collections.abc import Container, Mapping, Sequence
from typing import Self

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.model import answers
from windtunnel.lifecycle.model.bundle import Bundle
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.lifecycle.record.ledger import Entry

__all__ = ["Semantic", "differences", "next_version", "number", "recipe_of", "signature_of", "without_searched"]


@dataclasses.dataclass(frozen=True, order=True)
class Semantic:
    """A version ``major.minor.patch``, or one that comes before it: ``major.minor.patch-asof.DAY``.

    Example:
        >>> Semantic.parse("1.4.2") < Semantic.parse("1.10.0")
        True
    """

    major: int
    minor: int
    patch: int
    final: bool = True  # False sorts first: 1.2.4-asof... comes before 1.2.4
    before: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """The version that a text says."""
        number, dash, before = text.partition("-")
        try:
            major, minor, patch = (int(part) for part in number.split("."))
        except ValueError as error:
            raise ConfigurationError(f"a version must be major.minor.patch but got {text!r}") from error
        return cls(major, minor, patch, not dash, tuple(before.split(".")) if before else ())

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}" + (f"-{'.'.join(self.before)}" if not self.final else "")

    @property
    def plain(self) -> "Semantic":
        """The number without what says that it comes before it."""
        return Semantic(self.major, self.minor, self.patch)

    def as_of(self, cutoff: str) -> "Semantic":
        """The number that comes before this one and names a data cut-off.

        Example:
            >>> str(Semantic(1, 0, 4).as_of("2013-03-01")), Semantic(1, 0, 4).as_of("2013-03-01") < Semantic(1, 0, 4)
            ('1.0.4-asof.20130301', True)
        """
        return Semantic(self.major, self.minor, self.patch, False, ("asof", cutoff.replace("-", "").replace(":", "")))

    def after(self, taken: Container[str]) -> "Semantic":
        """This number, or the next one like it that nobody has."""
        found = self
        while str(found) in taken:
            if found.final:
                found = Semantic(found.major, found.minor, found.patch + 1)
            else:
                stem, last = (found.before[:-1], found.before[-1]) if len(found.before) > 2 else (found.before, "1")
                found = dataclasses.replace(found, before=(*stem, str(int(last) + 1)))
        return found


def signature_of(problem: Problem, bundle: Bundle) -> dict[str, object]:
    """What callers of a model rely on: inputs, task, classes, and what the answer means."""
    positive = problem.label.positive
    return {
        "task": bundle.task,
        "inputs": {column.name: column.type for column in bundle.inputs},
        "required": sorted(column.name for column in bundle.inputs if column.required),
        "classes": answers.typed([str(name) for name in bundle.classes], bundle.label_type),
        "label": bundle.label,
        "positive": positive.model_dump(mode="json", exclude_none=True) if positive else None,
    }


def recipe_of(problem: Problem, bundle: Bundle) -> JsonObject:
    """How a model is made, apart from the data: features, family, hyperparameters, splits, threshold."""
    return {
        "features": problem.features.model_dump(mode="json", exclude_none=True),
        "model": problem.model.model_dump(mode="json", exclude_none=True, exclude={"search"}),
        "hyperparameters": {
            name: value for name, value in (bundle.lineage.get("parameters") or {}).items() if name not in problem.model.search
        },
        "splits": problem.splits.model_dump(mode="json"),
        "threshold": bundle.threshold,
    }


def without_searched(recipe: JsonMapping, problem: Problem) -> JsonObject:
    """A recipe without what a search chose; releases before wrote that down as part of it."""
    chosen = recipe.get("hyperparameters") or {}
    return {**recipe, "hyperparameters": {name: value for name, value in chosen.items() if name not in problem.model.search}}


def number(
    history: Sequence[Entry], cutoff: str, now: tuple[JsonMapping, JsonMapping], problem: Problem, *, bound: str | None
) -> tuple[Semantic, str]:
    """The number of a new version, and why it is that.

    Args:
        history: the registrations so far.
        cutoff: the new version's data cut-off.
        now: its signature and recipe.
        problem: whose.
        bound: for a version that must not look newer than the champion: the champion's number (empty: there is none); else None.
    """
    nearest = _nearest(history, cutoff)
    before = (nearest.payload["signature"], without_searched(nearest.payload["recipe"], problem)) if nearest else None
    known = {str(entry.payload["semantic"]) for entry in history}
    if bound is not None:
        base = str(Semantic.parse(nearest.payload["semantic"]).plain) if nearest else None
        chosen, reason = next_version(base, before, now)
        limit = Semantic.parse(bound).plain if bound else chosen
        # As of a day, even the champion's own number comes before the champion's.
        return min(chosen, limit).as_of(cutoff).after(known), reason
    highest = max((found for found in map(Semantic.parse, known) if found.final), default=None)
    chosen, reason = next_version(str(highest) if highest else None, before, now)
    return chosen.after(known), reason


def _nearest(history: Sequence[Entry], cutoff: str) -> Entry | None:
    """The version whose data ends last before, or with, a day; of several the newest."""
    earlier = [entry for entry in history if str(entry.payload["cutoff"]) <= cutoff]
    return max(earlier, key=lambda entry: (str(entry.payload["cutoff"]), entry.seq), default=None)


def next_version(
    latest: str | None,
    before: tuple[Mapping[str, object], Mapping[str, object]] | None,
    now: tuple[Mapping[str, object], Mapping[str, object]],
) -> tuple[Semantic, str]:
    """The next version and why it is that.

    Args:
        latest: the version that this one is compared with, or None.
        before: its signature and recipe.
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
    broken = differences(before[0], now[0])
    if broken:
        return Semantic(base.major + 1, 0, 0), "major: " + "; ".join(broken)
    changed = differences(before[1], now[1])
    if changed:
        return Semantic(base.major, base.minor + 1, 0), "minor: " + "; ".join(changed)
    return Semantic(base.major, base.minor, base.patch + 1), "patch: the same recipe on other data"


def differences(before: JsonMapping, now: JsonMapping, where: str = "") -> list[str]:
    """What was added, removed or changed between two nested mappings, in words."""
    found = []
    for name in sorted(set(before) | set(now)):
        path = f"{where}.{name}" if where else name
        word = f"input {name}" if where == "inputs" else path
        if name not in now:
            found.append(f"{word} was removed")
        elif name not in before:
            found.append(f"{word} was added")
        elif isinstance(before[name], Mapping) and isinstance(now[name], Mapping):
            found += differences(before[name], now[name], path)
        elif before[name] != now[name]:
            found.append(f"{word} changed from {before[name]} to {now[name]}")
    return found
