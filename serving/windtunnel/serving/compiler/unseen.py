"""The categories that a model was trained with, by the input that goes to an encoder: any other is a guess, whoever computes the answer."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from windtunnel.lifecycle.learning import scikit
from windtunnel.lifecycle.model.bundle import Bundle
from windtunnel.serving.compiler.compile import Compiler
from windtunnel.serving.compiler.plan import NotCompilableError

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["categories_of"]


def categories_of(pipeline: "BaseEstimator", bundle: Bundle) -> dict[str, frozenset[object]]:
    """The categories of a pipeline that scikit-learn answers, of those encoders that inputs reach through steps that compile."""
    found: dict[str, set[object]] = {}
    *before, _ = [part for _, part in pipeline.steps] if hasattr(pipeline, "steps") else [pipeline]
    _follow(Compiler(bundle), before, [column.name for column in bundle.inputs], found)
    return {name: frozenset(values) for name, values in found.items()}


def _follow(compiler: Compiler, parts: Sequence[Any], names: list[str], found: dict[str, set[object]]) -> list[str]:
    """Follow inputs through one transformer after the other; answers those that are inputs still, by name."""
    for part in parts:
        if part is None or isinstance(part, str):
            continue
        names = _through(compiler, part, names, found)
        if not names:
            break
    return names


def _through(compiler: Compiler, part: "BaseEstimator", names: list[str], found: dict[str, set[object]]) -> list[str]:
    """As `_follow`, of one: several side by side are followed each by itself, so that one that does not compile hides no other."""
    if hasattr(part, "steps"):
        return _follow(compiler, [step for _, step in part.steps], names, found)
    if hasattr(part, "transformers_"):
        for name, fitted, _ in part.transformers_:
            _follow(compiler, [fitted], [names[place] for place in scikit.input_places(part, name)], found)
        return []
    try:
        return compiler.transformer(part).trace(names, found)
    except NotCompilableError:
        return []
