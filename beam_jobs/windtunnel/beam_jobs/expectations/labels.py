"""Labels that look wrong: single ones (confident learning, the extra ``labels``), and a source whose labels were flipped (poisoning)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from windtunnel.beam_jobs.expectations.engine.source import Source
from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.data.rows import DAY, label_of
from windtunnel.lifecycle.quality.checks import Finding

__all__ = ["Suspects", "flipped_sources", "label_findings", "suspicious_labels"]

_LEAST = 30  # labelled rows of a source below which nothing is said of it


@dataclasses.dataclass(frozen=True)
class Suspects:
    """Rows whose label contradicts what their features say.

    Attributes:
        places: their places, the most suspicious first.
        share: of all rows.
        quality: of every row, 0 (wrong) to 1.
    """

    places: npt.NDArray[np.intp]
    share: float
    quality: npt.NDArray[np.float64]


def suspicious_labels(features: Any, labels: npt.NDArray[Any], *, folds: int = 5, seed: int = 0) -> Suspects:
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
    return Suspects(np.asarray(places, np.intp), len(places) / len(codes), quality)


def flipped_sources(suspects: Suspects, sources: npt.NDArray[Any], *, times: float = 3.0, floor: float = 0.1) -> dict[str, float]:
    """Sources with far more suspicious labels than the others: poisoned, or wired up wrongly.

    Args:
        suspects: of the same rows.
        sources: where each row is from: a file, a carrier, an annotator.
        times: how many times the share of all other sources is too much.
        floor: a share below which nothing is said.

    Returns:
        The share of suspicious labels of each such source, the worst first.
    """
    bad = np.zeros(len(sources), bool)
    bad[suspects.places] = True
    found = {}
    for name in np.unique(sources):
        here = sources == name
        if here.sum() < _LEAST or here.all():
            continue
        share, elsewhere = float(bad[here].mean()), float(bad[~here].mean())
        if share > floor and share > times * elsewhere:
            found[str(name)] = share
    return dict(sorted(found.items(), key=lambda entry: -entry[1]))


def label_findings(problem: Problem, source: Source, options: Mapping[str, Any], end: str = "") -> list[Finding]:
    """Label errors and flipped sources in the last labelled rows of a window.

    Args:
        problem: its features are what labels are held against; texts are left out.
        source: the rows.
        options: ``source`` (a column that says where a label is from), ``max_share`` (of suspicious labels, 0.2 if not given),
            ``rows`` (how many of the last ones to look at, 20,000).
        end: the run's data cut-off, ISO: labels that were not known then are left out; empty for all.
    """
    origin = options.get("source")
    numeric, categorical = problem.features.numeric, problem.features.categorical
    wanted = [*numeric, *categorical, problem.label.column, *([origin] if origin else [])]
    if problem.label.delay_days and end:
        wanted.append(DAY)
    missing = [name for name in wanted if name not in source.columns]
    if missing:
        raise ConfigurationError(f"label_errors: the data has no columns {missing}")
    rows = int(options.get("rows", 20_000))
    frames = []
    for chunk in source.chunks(wanted, start_at=max(0, source.rows - 2 * rows)):
        frame = source.frame(chunk.batch, start=chunk.start)
        labels = label_of(problem, chunk.batch, end).to_pandas()
        frames.append(frame.assign(__label__=labels.to_numpy())[labels.notna().to_numpy()])
    held = pd.concat(frames, ignore_index=True).tail(rows)
    codes = {name: pd.factorize(held[name])[0] for name in categorical}
    features = held[numeric].astype(np.float64).assign(**codes).to_numpy()
    suspects = suspicious_labels(features, held["__label__"].to_numpy())
    allowed = float(options.get("max_share", 0.2))
    column, text = problem.label.column, f"at most {allowed:.0%} of labels contradict their features"
    found = [Finding("label errors", suspects.share <= allowed, "warning", text, f"{suspects.share:.1%} of {len(held):,}", column)]
    if origin:
        worst = flipped_sources(suspects, held[origin].astype(str).to_numpy())
        got = ", ".join(f"{name} {share:.0%}" for name, share in worst.items()) or "none"
        found.append(Finding(f"flipped labels by {origin}", not worst, "critical", "no source far worse than the others", got, column))
    return found


def _out_of_fold(features: Any, codes: npt.NDArray[np.intp], folds: int, seed: int) -> npt.NDArray[np.float64]:
    from scipy.sparse import issparse
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from threadpoolctl import threadpool_limits

    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    sparse = issparse(features)
    model = (
        LogisticRegression(max_iter=300) if sparse else HistGradientBoostingClassifier(max_iter=25, max_leaf_nodes=15, random_state=seed)
    )
    with threadpool_limits(1):  # beside other tasks, threads of small folds mostly wait for one another
        return np.asarray(cross_val_predict(model, features, codes, cv=split, method="predict_proba"))
