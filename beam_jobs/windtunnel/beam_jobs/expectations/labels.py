"""Labels that look wrong: single ones (confident learning, the extra ``labels``), and a source whose labels were flipped (poisoning)."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from windtunnel.beam_jobs.expectations.engine.source import Source
from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.data.rows import DAY, label_of
from windtunnel.lifecycle.quality.checks import Finding
from windtunnel.lifecycle.quality.flips import Flipped, flipped_sources

__all__ = ["LabelErrors", "Suspects", "label_errors", "suspicious_labels"]

_LABEL = "__label__"
_SURE = 2.33 + 1.64  # standard errors of a share of flips that is seen in 95 of 100 cases, at a level of 1 %


@dataclasses.dataclass(frozen=True)
class Suspects:
    """Rows whose label contradicts what their features say.

    Attributes:
        places: their places, the most suspicious first.
        share: of all rows.
        quality: of every row, 0 (wrong) to 1.
        codes: the label of each row, as a class number.
        probabilities: of each row and class, by a model that did not see the row.
    """

    places: npt.NDArray[np.intp]
    share: float
    quality: npt.NDArray[np.float64]
    codes: npt.NDArray[np.intp]
    probabilities: npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class LabelErrors:
    """What is wrong with labels.

    Attributes:
        findings: one on single labels, and one on sources where a column says where labels are from.
        flipped: the sources whose labels were flipped, the worst first.
    """

    findings: list[Finding]
    flipped: list[Any]


def suspicious_labels(features: object, labels: np.ndarray, *, folds: int = 5, seed: int = 0) -> Suspects:
    """Label errors by confident learning (cleanlab) over out-of-fold predictions.

    Args:
        features: a matrix, as `features.load_shards` gives it.
        labels: one a row.
        folds: of the cross-validation.
        seed: of the folds and the model.

    Raises:
        ConfigurationError: the extra is not installed, or a class has fewer rows than there are folds.
    """
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError as error:
        raise ConfigurationError("label errors need the extra `labels`", hint="pip install 'windtunnel[labels]'") from error
    classes, codes = np.unique(labels, return_inverse=True)
    counts = np.bincount(codes)
    if len(classes) < 2 or counts.min() < folds:
        raise ConfigurationError(f"label errors need two classes of at least {folds} rows each but there are {counts.tolist()}")
    probabilities = _out_of_fold(features, codes, folds, seed)
    quality = get_label_quality_scores(codes, probabilities)
    places = find_label_issues(codes, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    return Suspects(np.asarray(places, np.intp), len(places) / len(codes), quality, codes, probabilities)


def label_errors(problem: Problem, source: Source, options: Mapping[str, Any], end: str = "") -> LabelErrors:
    """Label errors and flipped sources in the last labelled rows of a window.

    Args:
        problem: its features are what labels are held against; texts are left out.
        source: the rows.
        options: ``source`` (a column that says where a label is from), ``max_share`` (of suspicious labels, 0.2 if not given),
            ``rows`` (how many of the last ones to look at, 20,000), ``floor`` (a share of flipped labels of a source below which nothing
            is said, 0.01).
        end: the run's data cut-off, ISO: labels that were not known then are left out; empty for all.
    """
    origin = str(options.get("source") or "")
    # A model that sees the source would learn to doubt it, and contradict its labels no more.
    numeric = [name for name in problem.features.numeric if name != origin]
    categorical = [name for name in problem.features.categorical if name != origin]
    held = _labelled(problem, source, [*numeric, *categorical, *([origin] if origin else [])], int(options.get("rows", 20_000)), end)
    codes = {name: pd.factorize(held[name])[0] for name in categorical}
    suspects = suspicious_labels(held[numeric].astype(np.float64).assign(**codes).to_numpy(), held[_LABEL].to_numpy())
    allowed = float(options.get("max_share", 0.2))
    column, text = problem.label.column, f"at most {allowed:.0%} of labels contradict their features"
    single = Finding("label errors", suspects.share <= allowed, "warning", text, f"{suspects.share:.1%} of {len(held):,}", column)
    return _by_source(single, suspects, held[origin], float(options.get("floor", 0.01))) if origin else LabelErrors([single], [])


def _labelled(problem: Problem, source: Source, columns: Sequence[str], rows: int, end: str) -> pd.DataFrame:
    """The last labelled rows."""
    wanted = [*columns, problem.label.column, *([DAY] if problem.label.delay_days and end else [])]
    missing = [name for name in wanted if name not in source.columns]
    if missing:
        raise ConfigurationError(f"label_errors: the data has no columns {missing}")
    frames = []
    # Twice as many rows as are wanted, because some have no label.
    for chunk in source.chunks(wanted, start_at=max(0, source.rows - 2 * rows)):
        frame = source.frame(chunk.batch, start=chunk.start)
        labels = label_of(problem, chunk.batch, end).to_pandas()
        frames.append(frame.assign(**{_LABEL: labels.to_numpy()})[labels.notna().to_numpy()])
    return pd.concat(frames, ignore_index=True).tail(rows)


def _by_source(single: Finding, suspects: Suspects, origin: "pd.Series[Any]", floor: float) -> LabelErrors:
    names = origin.astype(str).to_numpy()
    flipped, looked = flipped_sources(suspects.codes, suspects.probabilities, names, floor=floor)
    named = ", ".join(f"{entry.source} about {entry.share:.1%} of {entry.rows:,} (p {entry.p_value:.2g})" for entry in flipped)
    expected = "no source whose labels contradict their features more often than the others' do, beyond chance"
    got = named or f"none of {len(looked)}{_seen_from(looked)}"
    by_source = Finding(f"flipped labels by {origin.name}", not flipped, "critical", expected, got, str(origin.name))
    values = dict(zip(names, origin.to_list(), strict=True))  # as the column has them: numbers stay numbers
    return LabelErrors([single, by_source], [values[entry.source] for entry in flipped])


def _seen_from(looked: Sequence[Flipped]) -> str:
    """What would have been seen: none is no proof that there are none."""
    errors = [entry.error for entry in looked if np.isfinite(entry.error)]
    return f"; {_SURE * float(np.median(errors)):.1%} of a source of usual size would be seen" if errors else "; none could be looked at"


def _out_of_fold(features: object, codes: npt.NDArray[np.intp], folds: int, seed: int) -> npt.NDArray[np.float64]:
    from scipy.sparse import issparse
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from threadpoolctl import threadpool_limits

    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    sparse = issparse(features)
    # Boosted trees take no sparse matrix.
    model = (
        LogisticRegression(max_iter=300) if sparse else HistGradientBoostingClassifier(max_iter=25, max_leaf_nodes=15, random_state=seed)
    )
    with threadpool_limits(1):  # beside other tasks, threads of small folds mostly wait for one another
        return np.asarray(cross_val_predict(model, features, codes, cv=split, method="predict_proba"))
