"""How a problem's columns become numbers: the built-in choice by column type, or what the team's own function returns.

The answer is an ordinary, unfitted scikit-learn transformer; `windtunnel.beam_jobs.features` fits it over any amount of data.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.naming import imported
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.problem.features import Features

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["builtin", "transformer_of"]


def transformer_of(problem: Problem) -> "BaseEstimator":
    """The unfitted transformer of a problem: its own function's, or the built-in one.

    Raises:
        ConfigurationError: the function cannot be found or called, or returns no transformer.

    Example:
        >>> from windtunnel.lifecycle.contract.problem import parse
        >>> problem = parse({"name": "p", "owner": "o", "task": "regression", "source": {"format": "csv", "path": "x"},
        ...     "columns": {"x": "int64", "c": "string", "y": "float64"}, "label": {"column": "y"},
        ...     "features": {"numeric": ["x"], "categorical": ["c"]}})
        >>> [name for name, _, _ in transformer_of(problem).transformers]
        ['numeric', 'categorical']
    """
    name = problem.features.transformer
    if name is None:
        return builtin(problem)
    make = imported(name, f"problem {problem.name!r}: features.transformer", problem.directory)
    try:
        made = make()
    except TypeError as error:
        raise ConfigurationError(
            f"problem {problem.name!r}: features.transformer {name!r} cannot be used: {error}",
            hint="name a function without arguments, module:function, in a module that lies beside the problem file or is installed",
        ) from error
    if not hasattr(made, "fit") or not hasattr(made, "transform"):
        raise ConfigurationError(
            f"problem {problem.name!r}: features.transformer {name!r} returned a {type(made).__name__}, which is no transformer",
            hint="return a ColumnTransformer, a Pipeline or another scikit-learn transformer",
        )
    return made


def builtin(problem: Problem) -> "BaseEstimator":
    """A ColumnTransformer by column type.

    Numeric columns are imputed as ``features.impute`` says and standardised if ``features.scale``; categorical ones are one-hot encoded,
    nulls as a category of their own, unseen ones as the infrequent category where there is one, else as no category; each text column
    becomes TF-IDF weights of its words.
    """
    from sklearn.compose import ColumnTransformer

    features = problem.features
    parts = [*_numeric(features), *_categorical(problem), *map(_words, features.text)]
    # a word may be spelt like a column, so names carry their part where there is text
    return ColumnTransformer(parts, verbose_feature_names_out=bool(features.text), sparse_threshold=0.3)


def _numeric(features: Features) -> Iterator[tuple[str, Any, list[str]]]:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    steps: list[tuple[str, Any]] = []
    if features.impute != "none":
        # Without keep_empty_features a column that is all null in one window would vanish from the features.
        steps.append(("impute", SimpleImputer(strategy=features.impute, keep_empty_features=True)))
    if features.scale:
        steps.append(("scale", StandardScaler()))
    if features.numeric:
        yield "numeric", Pipeline(steps) if steps else "passthrough", list(features.numeric)


def _categorical(problem: Problem) -> Iterator[tuple[str, Any, list[str]]]:
    """Words with null as a category of its own; whole numbers and the like as they are."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    features = problem.features
    encode = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        min_frequency=features.min_frequency,
        max_categories=features.max_categories,
        sparse_output=bool(features.text),
    )
    impute = SimpleImputer(strategy="constant", fill_value="(none)", keep_empty_features=True)
    text = [name for name in features.categorical if problem.columns[name] == "string"]
    other = [name for name in features.categorical if name not in text]
    if text:
        yield "categorical", Pipeline([("impute", impute), ("encode", encode)]), text
    if other:
        yield "discrete", encode, other


def _words(name: str) -> tuple[str, Any, list[str]]:
    """The weights of a text column's words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline

    fill = SimpleImputer(strategy="constant", fill_value="", keep_empty_features=True)
    # TF-IDF takes a list of texts, not a table of one column.
    steps = [("impute", fill), ("flatten", _flattener()), ("words", TfidfVectorizer(max_features=50_000))]
    return f"text_{name}", Pipeline(steps), [name]


def _flattener() -> object:
    import numpy as np
    from sklearn.preprocessing import FunctionTransformer

    # NumPy's own: bundles may hold it, but no function of ours.
    return FunctionTransformer(np.ravel, feature_names_out="one-to-one")
