"""The page of a run's features: what each column became, which categories are rare, which words are known."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from markupsafe import Markup
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline

from windtunnel.lifecycle.learning import scikit
from windtunnel.lifecycle.pages import page
from windtunnel.lifecycle.payload import JsonObject

__all__ = ["features_page"]

_HEAD = 30


def features_page(title: str, fitted: BaseEstimator, manifest: JsonObject) -> str:
    """One self-contained HTML page."""
    splits = manifest["splits"]
    tiles: list[tuple[str, object]] = [("features", manifest["width"]), ("layout", f"{manifest['layout']} {manifest['dtype']}")]
    tiles += [(f"rows, {name}", entry["rows"]) for name, entry in splits.items()]
    tiles.append(("passes over the rows to fit", manifest.get("passes", 0)))
    body = [page.section("At a glance", page.tiles(tiles))]
    notes = manifest.get("notes", [])
    if notes:
        body.append(page.section("Approximations", page.table(["step", "what", "how"], [(n["step"], n["what"], n["says"]) for n in notes])))
    rows = []
    found: list[Markup] = []
    for where, columns, step in _steps(fitted, ""):
        rows.append((where, ", ".join(columns), type(step).__name__, _width(step), _learnt(step)))
        found += _categories(where, columns, step)
        found += _vocabulary(where, step)
    body.append(page.section("What each column became", page.table(["step", "columns", "kind", "features", "learnt"], rows)))
    body += found
    names = page.details(f"all {manifest['width']:,} names", page.code(", ".join(manifest["names"][:2000])))
    body.append(page.section("Names", names))
    return page.render(title, body, "fitted on the training rows only; the same object trains, serves and scores")


def _inputs(fitted: ColumnTransformer, name: str) -> list[str]:
    """The columns that one part of a column transformer is given; their places where they have no names."""
    names = getattr(fitted, "feature_names_in_", None)
    return [str(names[i]) if names is not None else str(i) for i in scikit.input_places(fitted, name)]


def _steps(fitted: BaseEstimator, where: str, columns: list[str] | None = None) -> Iterator[tuple[str, list[str], object]]:
    """The leaves, with the columns that they were given."""
    if isinstance(fitted, ColumnTransformer):
        for name, part, _ in fitted.transformers_:
            if not isinstance(part, str):
                yield from _steps(part, f"{where}{name}", _inputs(fitted, name))
    elif isinstance(fitted, Pipeline):
        for name, part in fitted.steps:
            if part is not None and part != "passthrough":
                yield from _steps(part, f"{where}.{name}" if where else name, columns)
    elif isinstance(fitted, FeatureUnion):
        for name, part in fitted.transformer_list:
            if not isinstance(part, str):
                yield from _steps(part, f"{where}.{name}" if where else name, columns)
    else:
        yield where or type(fitted).__name__, columns or [str(c) for c in getattr(fitted, "feature_names_in_", [])], fitted


def _width(step: Any) -> int | None:
    try:
        return len(step.get_feature_names_out())
    except (AttributeError, ValueError, TypeError):
        return None


def _learnt(step: object) -> str:
    """The figures that the step keeps, shortened."""
    parts = []
    for name in ("statistics_", "mean_", "scale_", "center_", "data_min_", "data_max_", "n_bins_", "target_mean_", "lambdas_"):
        value = getattr(step, name, None)
        if value is not None:
            shown = np.atleast_1d(value)[:8]
            texts = [f"{v:.4g}" if isinstance(v, float | np.floating) else str(v) for v in shown]
            parts.append(f"{name.rstrip('_')}: {', '.join(texts)}{' ...' if np.size(value) > len(shown) else ''}")
    return "; ".join(parts)


def _categories(where: str, columns: list[str], step: Any) -> Iterator[Markup]:
    if not hasattr(step, "categories_"):
        return
    rare = step.infrequent_categories_ if scikit.groups_infrequent(step) else [None] * len(step.categories_)
    rows = []
    for i, (categories, infrequent) in enumerate(zip(step.categories_, rare, strict=True)):
        name = columns[i] if i < len(columns) else str(i)
        few = "" if infrequent is None else _some(infrequent)
        rows.append((name, len(categories), _some(categories), 0 if infrequent is None else len(infrequent), few))
    yield page.section(f"Categories: {where}", page.table(["column", "categories", "which", "infrequent", "which"], rows))


def _vocabulary(where: str, step: Any) -> Iterator[Markup]:
    vocabulary = getattr(step, "vocabulary_", None)
    if not vocabulary:
        return
    terms = sorted(vocabulary)
    text = f"{len(terms):,} terms; the first: {_some(terms)}"
    if getattr(step, "use_idf", False):
        common = sorted(vocabulary, key=lambda term: (step.idf_[vocabulary[term]], term))
        text += f". In most documents: {_some(common)}"
    yield page.section(f"Vocabulary: {where}", text)


def _some(values: Any) -> str:
    shown = [_plainly(value) for value in list(values)[:_HEAD]]
    return ", ".join(shown) + (f" and {len(values) - _HEAD:,} more" if len(values) > _HEAD else "")


def _plainly(value: Any) -> str:
    """A value as it can be read: blanks at its ends are seen, a day is told without its midnight."""
    text = str(value)
    if isinstance(value, np.datetime64):
        return text.removesuffix(".000000000").removesuffix(".000000").removesuffix("T00:00:00")
    inner = text.strip(" ")
    if not inner:
        return "␣" * len(text) or "(empty)"
    return "␣" * (len(text) - len(text.lstrip(" "))) + inner + "␣" * (len(text) - len(text.rstrip(" ")))
