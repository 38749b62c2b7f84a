"""PCA and TruncatedSVD by the covariance route: the square matrix of products of columns is all that a pass gathers."""

from typing import Any

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.extmath import svd_flip
from sklearn.utils.validation import validate_data

from windtunnel.beam_jobs.features.fitting.engine import Context, Fit
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.tallies.accumulator import Gatherer, Request
from windtunnel.beam_jobs.features.tallies.rows import Gathered, fits_in_memory
from windtunnel.beam_jobs.features.tallies.streams import Chunk, Stream
from windtunnel.lifecycle.contract.errors import UnsupportedError
from windtunnel.lifecycle.learning import scikit

WIDEST = 4096
"""Columns whose square matrix of products (128 MB) is still gathered."""


class Scatter(Gatherer):
    """The mean of each column and the products of all pairs of columns, about the mean or about zero."""

    def __init__(self, *, centred: bool) -> None:
        self.centred = centred
        self.n = 0
        self.mean: Any = None
        self.products: Any = None
        self.kind: Any = None

    def gather(self, stream: Stream, chunk: Chunk) -> None:
        """Take in a chunk."""
        X = check_array(stream.evaluate(chunk), accept_sparse="csr", dtype=[np.float64, np.float32])
        found = Scatter(centred=self.centred)
        found.kind = X.dtype
        X = X.astype(np.float64)
        found.n, found.mean = X.shape[0], np.asarray(X.mean(axis=0)).ravel()
        if scipy.sparse.issparse(X):
            # Taken off afterwards: a sparse matrix whose columns are centred is a dense one.
            products = (X.T @ X).toarray()
            found.products = products - found.n * np.outer(found.mean, found.mean) if self.centred else products
        else:
            table = X - found.mean if self.centred else X
            found.products = table.T @ table
        self.merge(found)

    def merge(self, other: "Scatter") -> None:
        """Chan's update for products."""
        if not self.n or not other.n:
            if other.n:
                self.__dict__.update(other.__dict__)
            return
        n = self.n + other.n
        away = other.mean - self.mean
        self.products = self.products + other.products
        if self.centred:
            self.products += np.outer(away, away) * (self.n * other.n / n)
        self.mean = self.mean + away * (other.n / n)
        self.n = n


def _solver(estimator: BaseEstimator, rows: int, width: int) -> str:
    """The solver that PCA itself would choose for dense rows."""
    wanted = min(rows, width) if estimator.n_components is None else estimator.n_components
    if estimator.svd_solver != "auto":
        return str(estimator.svd_solver)
    if width <= 1_000 and rows >= 10 * width:  # scikit-learn's own limits
        return "covariance_eigh"
    if max(rows, width) <= 500 or wanted == "mle":
        return "full"
    return "randomized" if 1 <= wanted < 0.8 * min(rows, width) else "full"


def _wide(where: str, estimator: BaseEstimator, width: int) -> UnsupportedError:
    return UnsupportedError(
        f"{where}: the covariance route of {type(estimator).__name__} takes up to {WIDEST:,} columns but there are {width:,}",
        hint=f"select columns before it (SelectKBest, max_features), or fit it on a declared sample "
        f"(options sample={{{type(estimator).__name__!r}: rows}})",
    )


def pca(context: Context, estimator: BaseEstimator, stream: Stream, where: str) -> Fit:
    """Few rows are given to scikit-learn itself; more go the covariance route, which is exact, whatever the solver."""
    rows = yield from context.rows()
    head = context.peek(stream)
    width = head.shape[1]
    solver = "arpack" if scipy.sparse.issparse(head) and estimator.svd_solver == "auto" else _solver(estimator, rows, width)
    few = yield from _few(context, stream, rows, width)
    if few is not None:
        with quiet():
            return estimator.fit(few)
    if width > WIDEST:
        raise _wide(where, estimator, width)
    if solver != "covariance_eigh":
        context.note(where, "components_", f"by the covariance route, which is exact, in the place of the solver {solver!r}")
    (scatter,) = yield from context.need(Request(("covariance", stream.key), stream, Scatter(centred=True)))
    with quiet():
        validate_data(estimator, X=head, dtype=[np.float64, np.float32], accept_sparse=("csr", "csc"), ensure_2d=True)
        scikit.set_solver(estimator, solver)
        _finish_pca(estimator, scatter, rows, width, solver)
    return estimator


def _finish_pca(estimator: BaseEstimator, scatter: Scatter, rows: int, width: int, solver: str) -> None:
    """Components from the covariance, cut off as PCA does it."""
    wanted = min(rows, width) if estimator.n_components is None else estimator.n_components
    if wanted == "mle":
        if rows < width:
            raise ValueError("n_components='mle' is only supported if n_samples >= n_features")
    elif not 0 <= wanted <= min(rows, width):
        raise ValueError(
            f"n_components={wanted} must be between 0 and min(n_samples, n_features)={min(rows, width)} with svd_solver={solver!r}"
        )
    values, vectors = np.linalg.eigh(scatter.products / (rows - 1))
    values, vectors = np.flip(values, axis=0).copy(), np.flip(vectors, axis=1)
    # Rounding may leave the eigenvalues of a singular matrix a little below zero.
    values[values < 0.0] = 0.0
    _, components = svd_flip(None, vectors.T, u_based_decision=False)
    share = values / values.sum()
    if wanted == "mle":
        wanted = scikit.likely_dimension(values, rows)
    elif 0 < wanted < 1.0:
        wanted = np.searchsorted(np.cumsum(share), np.asarray(wanted), side="right") + 1
    kind = scatter.kind
    estimator.mean_ = scatter.mean.astype(kind)
    estimator.noise_variance_ = values[wanted:].mean().astype(kind) if wanted < min(width, rows) else 0.0
    estimator.n_samples_, estimator.n_components_ = rows, wanted
    estimator.components_ = components[:wanted].astype(kind)
    estimator.explained_variance_ = values[:wanted].astype(kind)
    estimator.explained_variance_ratio_ = share[:wanted].astype(kind)
    estimator.singular_values_ = np.sqrt(values * (rows - 1))[:wanted].astype(kind)


def svd(context: Context, estimator: BaseEstimator, stream: Stream, where: str) -> Fit:
    """Few rows are given to scikit-learn itself, with its own random numbers; more go the exact route over the products of columns."""
    rows = yield from context.rows()
    head = context.peek(stream)
    width = head.shape[1]
    few = yield from _few(context, stream, rows, width)
    if few is not None:
        with quiet():
            if estimator.random_state is None:
                # Left open, scikit-learn's seed would give another run other components.
                return estimator.set_params(random_state=0).fit(few).set_params(random_state=None)
            return estimator.fit(few)
    if width > WIDEST:
        raise _wide(where, estimator, width)
    if estimator.n_components > width:
        raise ValueError(f"n_components({estimator.n_components}) must be <= n_features({width}).")
    context.note(where, "components_", "exact singular vectors; scikit-learn's randomized ones are near them")
    (scatter,) = yield from context.need(Request(("products", stream.key), stream, Scatter(centred=False)))
    with quiet():
        validate_data(estimator, X=head, accept_sparse=["csr", "csc"], ensure_min_features=2)
    values, vectors = np.linalg.eigh(scatter.products)
    wanted = estimator.n_components
    _, components = svd_flip(None, np.flip(vectors, axis=1).T[:wanted], u_based_decision=False)
    spread = scatter.products / rows - np.outer(scatter.mean, scatter.mean)
    estimator.components_ = components
    estimator.explained_variance_ = np.einsum("ij,jk,ik->i", components, spread, components)
    estimator.explained_variance_ratio_ = estimator.explained_variance_ / np.trace(spread)
    estimator.singular_values_ = np.sqrt(np.maximum(np.flip(values)[:wanted], 0.0))
    return estimator


def _few(context: Context, stream: Stream, rows: int, width: int) -> Fit:
    """All rows, if they are few; sparse ones are judged by what the first rows store."""
    head = context.peek(stream)
    per_row = 2 * head.nnz / max(head.shape[0], 1) if scipy.sparse.issparse(head) else width
    if not fits_in_memory(rows, int(per_row)):
        return None
    (found,) = yield from context.need(Request(("all", stream.key), stream, Gathered()))
    return found.table
