"""Names that a person wrote: what they name, and what was probably meant where they name nothing."""

import difflib
import importlib
import sys
from collections.abc import Iterable
from typing import Any

from windtunnel.lifecycle.contract.errors import ConfigurationError

__all__ = ["did_you_mean", "imported", "most_alike", "unknown"]


def most_alike(name: object, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known name that is written most like this one, upper and lower case being alike; None where none is like it.

    Args:
        name: what a person wrote.
        known: what it may be.
        cutoff: how alike they must be, from 0 to 1; more than usual where more than a question hangs on it.

    Example:
        >>> most_alike("Acuracy", ["accuracy", "auc"]), most_alike("speed", ["accuracy", "auc"])
        ('accuracy', None)
    """
    folded = {str(entry).strip().casefold(): str(entry) for entry in known}
    close = difflib.get_close_matches(str(name).strip().casefold(), list(folded), n=1, cutoff=cutoff)
    return folded[close[0]] if close else None


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The known name that is written most like this one, as a question; empty where none is like it.

    Example:
        >>> did_you_mean("accuracyy", ["accuracy", "auc"])
        "did you mean 'accuracy'?"
        >>> did_you_mean("speed", ["accuracy", "auc"])
        ''
    """
    alike = most_alike(name, known)
    return f"did you mean {alike!r}?" if alike else ""


def unknown(name: object, what: str, known: Iterable[str]) -> str:
    """Why a name is not taken: what it should have named, all that it may be, and what was probably meant.

    Example:
        >>> unknown("aucc", "a metric", ["auc", "rmse"])
        "'aucc' is not a metric; allowed: auc, rmse; did you mean 'auc'?"
    """
    names = sorted({str(entry) for entry in known})
    guess = did_you_mean(name, names)
    return f"{name!r} is not {what}; allowed: {', '.join(names) or '(none)'}" + (f"; {guess}" if guess else "")


def imported(name: str, field: str = "", directory: str = "") -> Any:
    """What ``module:attribute`` names, or the module where there is no attribute.

    Args:
        name: the text; the attribute may be dotted.
        field: who wrote it, for the message.
        directory: a folder whose modules count too, such as the problem file's; it is looked into last.

    Raises:
        ConfigurationError: there is no such module or attribute; says which field named it.

    Example:
        >>> imported("math:tau") > 6
        True
    """
    if directory and directory not in sys.path:
        sys.path.append(directory)
    module, _, attribute = name.partition(":")
    try:
        value: Any = importlib.import_module(module)
        for part in attribute.split(".") if attribute else ():
            value = getattr(value, part)
    except Exception as error:  # a module may raise anything while it is imported
        raise ConfigurationError(
            f"{field or 'a registered row'} names {name!r}, which cannot be imported: {type(error).__name__}: {error}",
            hint="write module:function, of a module that lies beside the problem file or is installed",
            field=field,
        ) from error
    return value
