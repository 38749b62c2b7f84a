"""TargetEncoder: encodings from sums by category, and its cross-fitting, reproducible over any number of workers.

Its ``fit_transform`` gives a row the encoding that was learnt without the row's fold. Folds depend on the labels and on the rows' places,
so the labels are gathered first (a byte to eight a row); then one pass takes each fold's sums, and what follows reads cross-fitted values.
"""

import copy
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import check_cv
from sklearn.preprocessing import LabelBinarizer, LabelEncoder
from sklearn.utils.multiclass import type_of_target

from windtunnel.beam_jobs.features.fitting.engine import Context, Fit
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.tallies.accumulator import Gatherer, Request
from windtunnel.beam_jobs.features.tallies.rows import Labels
from windtunnel.beam_jobs.features.tallies.streams import Chunk, Step, Stream
from windtunnel.lifecycle.contract.errors import ConfigurationError, UnsupportedError
from windtunnel.lifecycle.learning import scikit


class Encoded(Gatherer):
    """Count, mean and squared deviations of the target, fold by fold, for each category of each column."""

    def __init__(self, encoder: BaseEstimator, folds: np.ndarray, count: int, targets: np.ndarray) -> None:
        self._encoder, self._folds, self._count, self._targets = encoder, folds, count, targets
        width = targets.shape[1]
        shapes = [(count, len(found), width) for found in encoder.categories_]
        self.n = [np.zeros(shape[:2]) for shape in shapes]
        self.mean = [np.zeros(shape) for shape in shapes]
        self.m2 = [np.zeros(shape) for shape in shapes]

    def gather(self, stream: Stream, chunk: Chunk) -> None:
        """Take in a chunk."""
        ordinal, _ = scikit.target_places(self._encoder, stream.evaluate(chunk))
        at = slice(chunk.start, chunk.start + chunk.rows)
        folds, targets = self._folds[at].astype(np.int64), self._targets[at].astype(np.float64)
        for i, categories in enumerate(self._encoder.categories_):
            size = len(categories)
            cell = folds * size + ordinal[:, i]  # an unknown category counts as the first: so does scikit-learn
            n = np.bincount(cell, minlength=self._count * size).astype(np.float64)
            mean = np.empty((len(n), targets.shape[1]))
            m2 = np.empty_like(mean)
            for j in range(targets.shape[1]):
                y = targets[:, j]
                mean[:, j] = np.bincount(cell, weights=y, minlength=len(n)) / np.maximum(n, 1)
                m2[:, j] = np.bincount(cell, weights=(y - mean[cell, j]) ** 2, minlength=len(n))
            shape = self.mean[i].shape
            self._take(i, n.reshape(shape[:2]), mean.reshape(shape), m2.reshape(shape))

    def _take(self, i: int, n: np.ndarray, mean: np.ndarray, m2: np.ndarray) -> None:
        self.n[i], self.mean[i], self.m2[i] = _join((self.n[i], self.mean[i], self.m2[i]), (n, mean, m2))

    def merge(self, other: "Encoded") -> None:
        """Cell by cell."""
        for i in range(len(self.n)):
            self._take(i, other.n[i], other.mean[i], other.m2[i])


def _join(a: tuple[np.ndarray, np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[Any, Any, Any]:
    """Chan's update of (count, mean, squared deviations), elementwise."""
    n = a[0] + b[0]
    share = np.where(n > 0, b[0] / np.maximum(n, 1), 0.0)[..., None]
    away = b[1] - a[1]
    return n, a[1] + away * share, a[2] + b[2] + away * away * a[0][..., None] * share


def _encodings(
    encoder: BaseEstimator, cells: list[tuple[np.ndarray, np.ndarray, np.ndarray]], overall: Any, spread: Any
) -> list[np.ndarray]:
    """Smoothed encodings of each column, and of each class within a column."""
    made = []
    for counts, means, squares in cells:
        for j in range(means.shape[1]):
            centre = np.atleast_1d(overall)[j]
            with np.errstate(invalid="ignore", divide="ignore"):
                if encoder.smooth == "auto":
                    variance = np.atleast_1d(spread)[j]
                    weight = variance * counts / (variance * counts + squares[:, j] / counts)
                    made.append(np.where(np.isnan(weight), centre, weight * means[:, j] + (1 - weight) * centre))
                else:
                    total = counts + encoder.smooth
                    sums = encoder.smooth * centre + means[:, j] * counts
                    made.append(np.where(total == 0, centre, sums / total))
    return made


class CrossFitted(Step):
    """What ``fit_transform`` answers: each row by the encodings of the other folds."""

    def __init__(
        self, encoder: BaseEstimator, folds: np.ndarray, encodings: list[list[np.ndarray]], means: list[Any], refusal: str | None = None
    ) -> None:
        self.encoder, self.folds, self.encodings, self.means, self.refusal = encoder, folds, encodings, means, refusal

    def evaluate(self, parent: Stream | None, chunk: Chunk) -> Any:
        """A chunk's cross-fitted encodings, in the container that was asked for."""
        if self.refusal is not None:
            raise ValueError(self.refusal)
        given = parent.evaluate(chunk)  # type: ignore[union-attr]
        encoder = self.encoder
        ordinal, known = scikit.target_places(encoder, given)
        folds = self.folds[chunk.start : chunk.start + chunk.rows]
        made = np.empty((chunk.rows, len(encoder.encodings_)), dtype=np.float64)
        for fold in np.unique(folds):
            rows = folds == fold
            part = np.empty((int(rows.sum()), made.shape[1]))
            scikit.put_encodings(encoder, part, ordinal[rows], ~known[rows], self.encodings[fold], self.means[fold])
            made[rows] = part
        return scikit.in_container(made, given, encoder)


def target(context: Context, estimator: BaseEstimator, stream: Stream, where: str) -> Fit:
    """Fits the encoder, and answers cross-fitted values to what follows."""
    if context.head.y is None:
        raise ConfigurationError(f"{where}: a TargetEncoder learns from labels", hint="name their column: options label=...")
    summary = yield from context.summary(stream)
    summary.need_complete()
    summary = summary.each_null(context.options.each_null, "m")
    (found,) = yield from context.need(Request("labels", context.nothing, Labels()))
    y = found.labels
    with quiet():
        scikit.begin_target(estimator, summary.surrogate())
        targets = _targets(estimator, y)
        refusal = None
        try:
            folds, count = _folds(estimator, y, where)
        except (ValueError, UnsupportedError) as error:
            if where != context.last:
                raise
            folds, count, refusal = (
                np.zeros(len(y), dtype=np.int16),
                1,
                str(error),
            )  # a plain fit makes no folds: only training rows need them
    flat = targets if targets.ndim == 2 else targets[:, None]  # a column a class
    key = ("encoded", stream.key)
    (cells,) = yield from context.need(Request(key, stream, Encoded(estimator, folds, count, flat), positions=True))
    whole = [_fold_sum(cells, i, range(count)) for i in range(len(cells.n))]
    estimator.target_mean_ = np.mean(targets, axis=0)
    estimator.encodings_ = _encodings(estimator, whole, estimator.target_mean_, np.var(targets, axis=0))
    encodings: list[list[np.ndarray]] = []
    means: list[Any] = []
    for fold in range(count if refusal is None else 0):
        rest = [_fold_sum(cells, i, [other for other in range(count) if other != fold]) for i in range(len(cells.n))]
        kept = targets[folds != fold]
        means.append(np.mean(kept, axis=0))
        encodings.append(_encodings(estimator, rest, means[-1], np.var(kept, axis=0)))
    return estimator, stream.then(CrossFitted(estimator, folds, encodings, means, refusal)), None


def _fold_sum(cells: Encoded, i: int, folds: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    total: Any = (np.zeros_like(cells.n[i][0]), np.zeros_like(cells.mean[i][0]), np.zeros_like(cells.m2[i][0]))
    for fold in folds:
        total = _join(total, (cells.n[i][fold], cells.mean[i][fold], cells.m2[i][fold]))
    return total


def _targets(estimator: BaseEstimator, y: np.ndarray) -> np.ndarray:
    """The labels as numbers, and the kind of target, as TargetEncoder finds them."""
    kind = type_of_target(y, input_name="y") if estimator.target_type == "auto" else estimator.target_type
    if kind not in {"binary", "multiclass", "continuous"}:
        raise ValueError(
            f"Unknown label type: Target type was inferred to be {kind!r}. Only ('binary', 'multiclass', 'continuous') are supported."
        )
    estimator.target_type_, estimator.classes_ = kind, None
    if kind == "continuous":
        return np.asarray(y, dtype=np.float64) if y.dtype.kind == "O" else y
    encoder = LabelEncoder() if kind == "binary" else LabelBinarizer()
    made = encoder.fit_transform(y)
    estimator.classes_ = encoder.classes_
    return np.asarray(made)


def _folds(estimator: BaseEstimator, y: np.ndarray, where: str) -> tuple[np.ndarray, int]:
    """The fold of each row, from the very splitter that scikit-learn would use; a seed that is left open is 0."""
    shuffle = True if isinstance(estimator.shuffle, str) else estimator.shuffle
    given = None if isinstance(estimator.random_state, str) else copy.deepcopy(estimator.random_state)
    seed = 0 if given is None and shuffle else given
    discrete = estimator.target_type_ != "continuous"
    splitter = check_cv(copy.deepcopy(estimator.cv), y, classifier=discrete, shuffle=shuffle, random_state=seed)
    folds = np.full(len(y), -1, dtype=np.int16)
    count = 0
    # Splitters look at the number of rows and at the labels only.
    stand_in = np.zeros((len(y), 1), dtype=np.int8)
    for _, test in splitter.split(stand_in, y):
        if (folds[test] >= 0).any():
            raise UnsupportedError(f"{where}: the folds of cv={estimator.cv!r} overlap", hint="use KFold or StratifiedKFold")
        folds[test] = count
        count += 1
    if (folds < 0).any():
        raise ValueError("Validation indices from `cv` must cover each sample index exactly once with no overlap.")
    return folds, count
