"""What all registries are: named rows of our own, and rows that installed packages bring by entry points."""

import dataclasses
import functools
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from typing import Any, Generic, TypeVar

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.naming import did_you_mean, imported, unknown

__all__ = ["Registry", "Row", "part"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One thing of a registry.

    Attributes:
        name: what people write; of a row that comes by an entry point, the entry point's own name.
        summary: what it is, in one line, for documentation.
    """

    name: str
    summary: str = ""

    @property
    def parts(self) -> dict[str, str]:
        """Attribute -> ``module:attribute`` of everything that this row names by text."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if _is_part(field, self)}

    def part(self, attribute: str) -> Any:
        """What one attribute of this row names.

        Raises:
            ConfigurationError: it cannot be imported.
        """
        return imported(getattr(self, attribute), f"{type(self).__name__.removesuffix('Row').lower()} {self.name!r}, {attribute},")


def part(default: Any = dataclasses.MISSING) -> Any:
    """A field that names something as ``module:attribute``; empty where there is none."""
    return dataclasses.field(metadata={"part": True}, **({} if default is dataclasses.MISSING else {"default": default}))


def _is_part(field: dataclasses.Field[object], row: Row) -> bool:
    return bool(field.metadata.get("part")) and bool(getattr(row, field.name))


R = TypeVar("R", bound=Row)


class Registry(Generic[R]):
    """The rows of one seam.

    Our own rows are looked at first, and a name of ours cannot be taken by anybody: installed packages are only asked about names that we
    do not have, so a problem file that uses our own costs no look at what is installed.

    Args:
        seam: what it is a registry of, in the plural: names the entry-point group ``windtunnel.SEAM``.
        thing: one of them in words, with its article: ``a learner``.
        row: the class of its rows.
        rows: our own.

    Example:
        >>> colours = Registry("colours", "a colour", Row, [Row(name="red"), Row(name="green")])
        >>> colours["red"].name, "blue" in colours
        ('red', False)
        >>> colours["gren"]
        Traceback (most recent call last):
            ...
        windtunnel.lifecycle.contract.errors.ConfigurationError: 'gren' is not a colour; allowed: green, red; did you mean 'green'?
        Hint: a package adds one by an entry point of the group windtunnel.colours
    """

    def __init__(self, seam: str, thing: str, row: type[R], rows: Iterable[R]) -> None:
        self.seam, self.thing, self.row = seam, thing, row
        self._own = {entry.name: entry for entry in rows}

    @property
    def group(self) -> str:
        """The entry-point group by which packages add rows."""
        return f"windtunnel.{self.seam}"

    @property
    def own(self) -> tuple[R, ...]:
        """The rows that come with Windtunnel."""
        return tuple(self._own.values())

    @property
    def names(self) -> list[str]:
        """All names, ours first; no package is imported for it."""
        return list(dict.fromkeys([*self._own, *(entry.name for entry in self._entries())]))

    def __contains__(self, name: object) -> bool:
        return name in self._own or any(entry.name == name for entry in self._entries())

    def __iter__(self) -> Iterator[R]:
        """Every row.

        Raises:
            ConfigurationError: a package's row cannot be loaded, or has a name that is taken.
        """
        yield from self._own.values()
        seen = dict.fromkeys(self._own, "windtunnel")
        for entry in self._entries():
            if entry.name in seen:
                raise ConfigurationError(
                    f"{_origin(entry)} registers {entry.name!r} under {self.group}, which {seen[entry.name]} has already",
                    hint="give it another name",
                )
            seen[entry.name] = _origin(entry)
            yield self._loaded(entry)

    def __getitem__(self, name: str) -> R:
        """The row of a name.

        Raises:
            ConfigurationError: there is none; says which there are and which was probably meant. Or a package's row cannot be loaded.
        """
        row = self.get(name)
        if row is None:
            raise ConfigurationError(
                unknown(name, self.thing, self.names), hint=f"a package adds one by an entry point of the group {self.group}"
            )
        return row

    def get(self, name: str) -> R | None:
        """The row of a name, or None.

        Raises:
            ConfigurationError: a package's row cannot be loaded.
        """
        if name in self._own:
            return self._own[name]
        entry = next((entry for entry in self._entries() if entry.name == name), None)
        return None if entry is None else self._loaded(entry)

    def suggestion(self, name: str) -> str:
        """What was probably meant by a name that is not here."""
        return did_you_mean(name, self.names)

    def _entries(self) -> tuple[metadata.EntryPoint, ...]:
        return _installed(self.group, tuple(sys.path))

    def _loaded(self, entry: metadata.EntryPoint) -> R:
        what = f"{_origin(entry)} registers {entry.name!r} under {entry.group}"
        try:
            row = entry.load()
        except Exception as error:  # whatever a package raises while it is imported
            raise ConfigurationError(f"{what}, which cannot be loaded: {type(error).__name__}: {error}") from error
        if not isinstance(row, self.row):
            raise ConfigurationError(
                f"{what}: {entry.value} is a {type(row).__name__}, not a {self.row.__name__}",
                hint=f"name a {self.row.__module__}.{self.row.__name__}",
            )
        return row if row.name == entry.name else dataclasses.replace(row, name=entry.name)


@functools.lru_cache(maxsize=64)
def _installed(group: str, _path: tuple[str, ...]) -> tuple[metadata.EntryPoint, ...]:
    """The entry points of a group: looked for once a process, and again where modules are looked for in other places."""
    return tuple(metadata.entry_points(group=group))


def _origin(entry: metadata.EntryPoint) -> str:
    return f"the package {entry.dist.name}" if entry.dist is not None else "an installed package"
