"""Pipelines, ColumnTransformers and FeatureUnions: how the fits of their parts hang together."""

import dataclasses
import warnings
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import validate_data

from windtunnel.beam_jobs.features.fitting.engine import Context, Fit, parallel
from windtunnel.beam_jobs.features.fitting.families.target import CrossFitted
from windtunnel.beam_jobs.features.fitting.registry import fit_leaf
from windtunnel.beam_jobs.features.tallies.accumulator import Gatherer, Request
from windtunnel.beam_jobs.features.tallies.streams import Apply, Assemble, Chunk, Pick, Source, Stream, stack
from windtunnel.lifecycle.contract.errors import UnsupportedError
from windtunnel.lifecycle.learning import scikit

__all__ = ["Node", "crossed", "fit_node"]


@dataclasses.dataclass(frozen=True)
class Node:
    """A fitted part.

    Attributes:
        fitted: the ordinary fitted object.
        out: what it gives to the next step.
        nnz: how many entries it stores for all rows, where it answers a sparse matrix and that is known.
    """

    fitted: BaseEstimator
    out: Stream
    nnz: int | None = None


def fit_node(context: Context, estimator: BaseEstimator, stream: Stream, where: str) -> Fit:
    """Fit anything; answers a `Node`.

    Args:
        context: what may be asked.
        estimator: an unfitted estimator, which is not changed.
        stream: what it is given.
        where: its place in the whole, for messages.
    """
    if isinstance(estimator, Pipeline):
        return (yield from _pipeline(context, estimator, stream, where))
    if isinstance(estimator, ColumnTransformer):
        return (yield from _column_transformer(context, estimator, stream, where))
    if isinstance(estimator, FeatureUnion):
        return (yield from _feature_union(context, estimator, stream, where))
    fitted, out, nnz = yield from fit_leaf(context, clone(estimator), stream, where)
    return Node(fitted, out if out is not None else stream.then(Apply(fitted)), nnz)


def _pipeline(context: Context, estimator: Pipeline, stream: Stream, where: str) -> Fit:
    made = clone(estimator)
    made.steps = list(made.steps)
    scikit.check_steps(made)
    if made.transform_input:
        raise UnsupportedError(
            f"{where}: a Pipeline with transform_input cannot be fitted over chunks", hint="transform the metadata beforehand"
        )
    nnz = None
    for index, (name, step) in enumerate(made.steps):
        if step is None or step == "passthrough":
            continue
        node: Node = yield from fit_node(context, step, stream, f"{where}.{name}")
        made.steps[index] = (name, node.fitted)
        stream, nnz = node.out, node.nnz
    return Node(made, stream, nnz)


def _column_transformer(context: Context, estimator: ColumnTransformer, stream: Stream, where: str) -> Fit:
    made = clone(estimator)
    head = context.peek(stream)
    validate_data(made, X=head, skip_check_array=True)
    parts = scikit.begin_columns(made, head)
    if not parts:
        scikit.end_columns(made, [])
        return Node(made, stream.then(Apply(made)))
    fits = []
    for name, given, columns, _ in parts:
        part = given
        if isinstance(given, str):
            config = scikit.output_container(made)
            # What scikit-learn itself puts in the place of "passthrough".
            part = FunctionTransformer(accept_sparse=True, check_inverse=False, feature_names_out="one-to-one").set_output(transform=config)
        fits.append(fit_node(context, part, _pick(stream, head, columns), f"{where}.{name}"))
    nodes: list[Node] = yield from parallel(fits)
    weights = [weight for *_, weight in parts]
    union = Assemble(made, [node.out for node in nodes], weights)
    pieces = union.pieces(context.head)
    made.sparse_output_ = False
    if any(scipy.sparse.issparse(piece) for piece in pieces):
        density = yield from _density(context, nodes, pieces)
        made.sparse_output_ = bool(density < made.sparse_threshold)
    scikit.end_columns(made, [node.fitted for node in nodes], pieces)
    stack(made, pieces, context.head.rows)
    return Node(made, stream.then(union))


def _feature_union(context: Context, estimator: FeatureUnion, stream: Stream, where: str) -> Fit:
    made = clone(estimator)
    made.transformer_list = list(made.transformer_list)
    parts = scikit.begin_union(made)
    nodes: list[Node] = yield from parallel(fit_node(context, part, stream, f"{where}.{name}") for name, part, _ in parts)
    scikit.end_union(made, [node.fitted for node in nodes])
    union = Assemble(made, [node.out for node in nodes], [weight for *_, weight in parts])
    nnz = sum(node.nnz for node in nodes if node.nnz is not None) if all(node.nnz is not None for node in nodes) else None
    return Node(made, stream.then(union), nnz)


def _pick(stream: Stream, head: Any, columns: Any) -> Stream:
    raw = isinstance(stream.step, Source) or (isinstance(stream.step, Pick) and stream.step.names is not None)
    if raw and getattr(head, "ndim", 1) > 1:
        names = [head.columns[i] for i in scikit.column_places(head, columns)]
        return stream.then(Pick(columns, names))
    return stream.then(Pick(columns))


class _Stored(Gatherer):
    """How many entries a stream stores."""

    def __init__(self) -> None:
        self.entries = 0

    def gather(self, stream: Stream, chunk: Chunk) -> None:
        """Add a chunk's."""
        made = stream.evaluate(chunk)
        self.entries += int(made.nnz) if scipy.sparse.issparse(made) else int(np.prod(made.shape))

    def merge(self, other: "_Stored") -> None:
        """Add."""
        self.entries += other.entries


def _density(context: Context, nodes: list[Node], pieces: list[Any]) -> Fit:
    """The share of entries that all parts together store: what decides between a sparse and a dense answer."""
    stored = 0.0
    width = sum(piece.shape[1] for piece in pieces)
    rows = yield from context.rows()
    asked = []
    for node, piece in zip(nodes, pieces, strict=True):
        if not scipy.sparse.issparse(piece):
            stored += rows * piece.shape[1]
        elif node.nnz is not None:
            stored += node.nnz
        else:
            asked.append(Request(("stored", node.out.key), node.out, _Stored()))
    found = yield from context.need(*asked)
    if not width:
        raise ValueError("its parts answer no column at all, and it cannot tell how dense that is (division by zero)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.float64(stored + sum(entry.entries for entry in found)) / np.float64(rows * width)


def crossed(stream: Stream) -> bool:
    """Whether anything on the way to a stream's end gives training rows other values than ``transform`` does."""
    if isinstance(stream.step, CrossFitted):
        return True
    parts = stream.step.parts if isinstance(stream.step, Assemble) else []
    return any(crossed(part) for part in parts) or (stream.parent is not None and crossed(stream.parent))
