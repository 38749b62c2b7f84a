"""Keeping a fitted transformer as data, and naming an unfitted one by everything that it is."""

import hashlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.fingerprint import fingerprint_file
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.model import bundle
from windtunnel.lifecycle.payload import JsonObject

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["describe", "dump", "inputs_of"]

_LIBRARIES = {"builtins", "numpy", "pandas", "scipy", "sklearn", "windtunnel"}


def dump(transformer: "BaseEstimator", folder: Path) -> None:
    """Write ``pipeline.skops``.

    Raises:
        ConfigurationError: it holds types that are not on the allow-list.
    """
    import skops.io

    path = folder / "pipeline.skops"
    skops.io.dump(transformer, path)
    bundle.settle(path)
    unknown = sorted(set(skops.io.get_untrusted_types(file=path)) - set(bundle.trusted()))
    if unknown:
        raise ConfigurationError(
            f"the transformer holds types that features may not hold: {unknown}",
            hint="features are data: use scikit-learn's classes and numpy's functions, or keep the fitted object yourself (features.fit)",
        )


def inputs_of(dtypes: dict[str, str], problem: Problem | None = None) -> list[JsonObject]:
    """The raw columns, as `bundle.Input` keeps them."""
    types = problem.columns if problem is not None else {}
    return [vars(bundle.Input(name, types.get(name, dtype), dtype)) for name, dtype in dtypes.items()]


def describe(value: Any) -> Any:
    """Plain data that says all of an unfitted transformer: classes, parameters, and the source of functions."""
    if hasattr(value, "get_params") and not inspect.isclass(value):
        kind = type(value)
        return {
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "source": _source(kind),
            **{k: describe(v) for k, v in value.get_params(deep=False).items()},
        }
    if isinstance(value, np.ufunc):
        return {"ufunc": value.__name__}
    if inspect.isfunction(value) or inspect.ismethod(value):
        function = getattr(value, "__func__", value)
        held = [cell.cell_contents for cell in function.__closure__ or ()]
        inside = {
            "code": _code(function.__code__),
            "defaults": describe(function.__defaults__),
            # A function that calls itself is among what it holds.
            "holds": [describe(v) for v in held if v is not function],
        }
        return {"function": f"{value.__module__}.{value.__qualname__}", "source": _source(function), **inside}
    if inspect.isclass(value) or inspect.isbuiltin(value):
        return {"name": f"{value.__module__}.{value.__qualname__}", "source": _source(value)}
    if isinstance(value, np.ndarray):
        return {"array": describe(value.tolist()), "dtype": str(value.dtype)}
    if isinstance(value, dict):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if isinstance(value, list | tuple):
        return [describe(entry) for entry in value]
    if isinstance(value, np.generic):
        return describe(value.item())
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, np.dtype):
        return {"dtype": str(value)}
    kind = type(value)
    return {"class": f"{kind.__module__}.{kind.__qualname__}", "source": _source(kind), "state": describe(getattr(value, "__dict__", {}))}


def _code(code: Any) -> str:
    """What a function does, wherever it lies: instructions, names and constants, inner functions too."""
    parts = [code.co_code.hex(), repr(code.co_names)]
    for const in code.co_consts:
        if inspect.iscode(const):
            parts.append(_code(const))
        else:
            parts.append(repr(sorted(map(repr, const)) if isinstance(const, frozenset) else const))  # a set has no order of its own
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def _source(value: Any) -> str:
    """The content of the module that a function or class of a team's own comes from: what it calls there counts, too."""
    if str(getattr(value, "__module__", "")).partition(".")[0] in _LIBRARIES:
        return ""  # by their versions
    try:
        return fingerprint_file(inspect.getsourcefile(value) or "")
    except (OSError, TypeError):
        return ""
