"""The explanations that go into an evaluation: what matters, how answers move with it, and what would flip a few real examples."""

import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from windtunnel.lifecycle.contract.errors import UnsupportedError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.data.frames import to_frame
from windtunnel.lifecycle.judging.explain import Answer, importance, partial_dependence, shapley, what_if
from windtunnel.lifecycle.judging.shap_values import shap_values
from windtunnel.lifecycle.model import answers
from windtunnel.lifecycle.model.bundle import Bundle
from windtunnel.lifecycle.payload import JsonObject

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["TRUTH", "explain"]

log = logging.getLogger("windtunnel.evaluate")

TRUTH = "__truth__"
"""The column of a sample that holds the label."""

_CURVES = 4
_EXAMPLES = 3


def explain(problem: Problem, bundle: Bundle, pipeline: "BaseEstimator", sample: pa.Table) -> JsonObject:
    """Explanations of a model, as plain data.

    Args:
        problem: says the task and the sensitive columns, which a what-if never changes.
        bundle: the model's manifest.
        pipeline: the model.
        sample: some of its input rows, with `TRUTH`.
    """
    frame = to_frame(sample, bundle.dtypes)
    truth = np.array(sample.column(TRUTH).to_pylist(), dtype=object)
    found: JsonObject = {"rows": len(frame)}

    def score(rows: pd.DataFrame) -> np.ndarray:
        return answers.scores(pipeline, problem.task, rows)

    ranked = importance(score, lambda answered: _loss(problem, bundle, truth, answered), frame)
    found["importance"] = [{"column": entry.column, "mean": entry.mean, "std": entry.std} for entry in ranked]
    scored = score(frame)
    # Curves need one number a row; of several classes the likeliest on the whole stands for all.
    column = int(scored.mean(axis=0).argmax()) if problem.task == "multiclass" else -1
    found["answer"] = bundle.classes[column] if problem.task == "multiclass" else "score" if problem.task != "regression" else "value"

    def answer(rows: pd.DataFrame) -> np.ndarray:
        return score(rows)[:, column]

    found["dependence"] = [
        {
            "column": entry.column,
            "points": [[_plain(value), mean] for value, mean in partial_dependence(answer, frame.head(300), entry.column)],
        }
        for entry in ranked[:_CURVES]
    ]
    if problem.explanations.shap:
        found["shap"] = _shap(problem, bundle, pipeline, frame)
    if problem.task in {"binary", "anomaly"}:
        found["examples"] = _examples(problem, bundle, answer, frame, truth, scored[:, -1])
    return found


def _shap(problem: Problem, bundle: Bundle, pipeline: "BaseEstimator", frame: pd.DataFrame) -> JsonObject:
    """SHAP values, or under ``missing`` why there are none; values of sensitive columns are not shown one by one."""
    try:
        found = shap_values(bundle, pipeline, frame.head(problem.explanations.rows))
    except UnsupportedError as error:
        log.warning("%s", error)
        return {"missing": str(error).replace("\n", " ")}
    for entry in found["columns"]:
        if entry["column"] in problem.sensitive:
            entry["points"] = []
    return found


def _examples(
    problem: Problem, bundle: Bundle, answer: Answer, frame: pd.DataFrame, truth: np.ndarray, score: np.ndarray
) -> list[JsonObject]:
    """Examples that the model got wrong, the surest first, each with what would flip it."""
    wrong = (score >= bundle.threshold) != (truth == 1)
    # -1 marks right answers: they are sorted last and filtered out, also where fewer than three are wrong.
    sure = np.where(wrong, np.abs(score - bundle.threshold), -1.0)
    chosen = [i for i in np.argsort(-sure, kind="stable")[:_EXAMPLES].tolist() if sure[i] >= 0]
    found = []
    for index in chosen:
        row = frame.iloc[[index]].reset_index(drop=True)
        changes = what_if(answer, row, frame, bundle.threshold, fixed=problem.sensitive)
        shown = {name: _plain(value) for name, value in row.iloc[0].items() if name not in problem.sensitive}
        found.append(
            {
                "row": shown,
                "truth": int(truth[index]),
                "score": float(score[index]),
                "changes": [
                    {"columns": {name: [_plain(a), _plain(b)] for name, (a, b) in change.columns.items()}, "score": change.score}
                    for change in changes
                ],
                "contributions": {name: value for name, value in shapley(answer, row, frame).items() if name not in problem.sensitive},
            }
        )
    return found


def _loss(problem: Problem, bundle: Bundle, truth: np.ndarray, answer: np.ndarray) -> float:
    """Mean loss a row: log loss for classes, squared error for numbers, mistakes for anomalies."""
    if problem.task == "regression":
        return float(np.mean((answer[:, 0] - truth.astype(float)) ** 2))
    if problem.task == "anomaly":
        return float(np.mean((answer[:, -1] >= bundle.threshold) != (truth == 1)))
    if problem.task == "binary":
        chosen = np.where(truth == 1, answer[:, -1], 1 - answer[:, -1])
    else:
        place = {name: index for index, name in enumerate(bundle.classes)}
        index = np.array([place.get(str(name), -1) for name in truth])
        chosen = np.where(index >= 0, answer[np.arange(len(index)), index], 0.0)
    return float(-np.log(np.clip(chosen, 1e-15, 1)).mean())


def _plain(value: object) -> Any:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
