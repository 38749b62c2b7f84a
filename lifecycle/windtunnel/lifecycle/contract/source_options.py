"""How a text file is written: the options of a source, checked."""

import codecs
import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.naming import did_you_mean
from windtunnel.lifecycle.payload import JsonMapping, JsonObject

__all__ = ["QueryOptions", "TextOptions", "checked"]


@dataclasses.dataclass(frozen=True)
class TextOptions:
    """The options of CSV and JSON lines.

    Attributes:
        delimiter: one character between cells.
        quote: one character around cells that hold delimiters or newlines; empty for none.
        escape: one character that takes the next one literally; empty for none, quotes are then doubled.
        encoding: any name that Python knows.
        header: whether the first record names the columns.
        names: the columns' names instead of the header's, or where there is none.
        skip_lines: lines before the header.
        nulls: texts that mean "no value".
        decimal_point: what stands before decimals.
        thousands: what stands between thousands; empty for nothing.
        timestamp_formats: how dates and times are written (`strptime`) where not as in ISO 8601.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    encoding: str = "utf-8"
    header: bool = True
    names: tuple[str, ...] = ()
    skip_lines: int = 0
    nulls: tuple[str, ...] = ("",)
    decimal_point: str = "."
    thousands: str = ""
    timestamp_formats: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: JsonMapping, where: str) -> Self:
        """Options from a problem file.

        Raises:
            ConfigurationError: names the option and what is allowed.

        Example:
            >>> TextOptions.of({"delimiter": ";", "nulls": ["NA"]}, "problem p").nulls
            ('NA',)
        """
        options = cls(**{name: _listed(name, value) for name, value in checked(values, cls.names_of(), where).items()})
        for name in ("delimiter", "quote", "escape", "decimal_point", "thousands"):
            text = getattr(options, name)
            allowed = {1} if name in {"delimiter", "decimal_point"} else {0, 1}
            if not isinstance(text, str) or len(text) not in allowed or not text.isascii() or text in {"\r", "\n", "\0"}:
                raise ConfigurationError(f"{where}: source.options.{name} must be one ASCII character but got {text!r}")
        options.check_together(where)
        return options

    @classmethod
    def names_of(cls) -> set[str]:
        """The options that there are."""
        return {field.name for field in dataclasses.fields(cls)}

    def check_together(self, where: str) -> None:
        """What one character alone does not say.

        Raises:
            ConfigurationError: an option is of another type, or two of them are the same character.
        """
        if isinstance(self.skip_lines, bool) or not isinstance(self.skip_lines, int) or self.skip_lines < 0:
            raise ConfigurationError(f"{where}: source.options.skip_lines must be a whole number from 0 on but got {self.skip_lines!r}")
        if not isinstance(self.header, bool):
            raise ConfigurationError(f"{where}: source.options.header must be true or false but got {self.header!r}")
        pairs = [("delimiter", "quote"), ("delimiter", "escape"), ("delimiter", "decimal_point"), ("decimal_point", "thousands")]
        for one, other in pairs:
            if getattr(self, one) == getattr(self, other):
                clash = f"source.options.{one} and {other} are both {getattr(self, one)!r}"
                raise ConfigurationError(f"{where}: {clash}", hint="one of them must be another character")
        try:
            codecs.lookup(self.encoding)
        except (LookupError, TypeError) as error:
            raise ConfigurationError(
                f"{where}: source.options.encoding is unknown: {self.encoding!r}", hint="such as utf-8, latin-1, utf-16"
            ) from error

    @property
    def is_utf8(self) -> bool:
        """Whether bytes need no transcoding."""
        return codecs.lookup(self.encoding).name in {"utf-8", "ascii", "utf-8-sig"}


@dataclasses.dataclass(frozen=True)
class QueryOptions:
    """The options of a database.

    Attributes:
        partition_column: read in parallel by ranges of this column; PostgreSQL only.
        partitions: in so many parts.
        driver: the ADBC driver, where the address does not say it.
    """

    partition_column: str | None = None
    partitions: int = 4
    driver: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, object], where: str) -> Self:
        """Options from a problem file.

        Raises:
            ConfigurationError: names the option and what is allowed.

        Example:
            >>> QueryOptions.of({"partition_column": "id"}, "problem p").partitions
            4
        """
        options = cls(**checked(values, {field.name for field in dataclasses.fields(cls)}, where))
        if not isinstance(options.partitions, int) or isinstance(options.partitions, bool) or options.partitions < 1:
            raise ConfigurationError(f"{where}: source.options.partitions must be a whole number from 1 but got {options.partitions!r}")
        return options


def _listed(name: str, value: Any) -> Any:
    """Options that are lists, also where one text alone is given."""
    if name not in {"names", "nulls", "timestamp_formats"}:
        return value
    return (str(value),) if isinstance(value, str) else tuple(str(entry) for entry in value or ())


def checked(values: JsonMapping, allowed: set[str], where: str) -> JsonObject:
    """Options whose names are all known.

    Raises:
        ConfigurationError: names the unknown one and those that are allowed.
    """
    strange = sorted(set(values) - allowed)
    if strange:
        guess = did_you_mean(strange[0], allowed)
        raise ConfigurationError(
            f"{where}: unknown source.options {strange}" + (f"; {guess}" if guess else ""),
            hint=f"allowed here: {', '.join(sorted(allowed)) or 'none'}",
        )
    return dict(values)
