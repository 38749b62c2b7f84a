"""CountVectorizer, TfidfVectorizer and TfidfTransformer: from document and term frequencies."""

from collections import Counter
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from sklearn.base import BaseEstimator, clone
from sklearn.feature_extraction.text import TfidfTransformer, TfidfVectorizer

from windtunnel.beam_jobs.features.fitting.engine import Context, Fit
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.tallies.accumulator import Gatherer, Request
from windtunnel.beam_jobs.features.tallies.streams import Chunk, Stream
from windtunnel.lifecycle.learning import scikit


class Terms(Gatherer):
    """In how many documents each term is, and how often; each distinct text of a chunk is analysed once."""

    def __init__(self, vectorizer: BaseEstimator) -> None:
        self._vectorizer = vectorizer
        self._analyze: Any = None
        self._places: dict[str, int] = dict(vectorizer.vocabulary_) if vectorizer.fixed_vocabulary_ else {}
        self._documents = np.zeros(len(self._places), dtype=np.int64)
        self._terms = np.zeros(len(self._places), dtype=np.int64)
        self.rows = 0

    def __getstate__(self) -> dict[str, object]:
        # Analysers hold functions that do not pickle: each worker builds its own.
        return {**self.__dict__, "_analyze": None}

    def gather(self, stream: Stream, chunk: Chunk) -> None:
        """Count a chunk's terms."""
        if self._analyze is None:
            self._analyze = self._vectorizer.build_analyzer()
        texts, counts = _distinct(stream.evaluate(chunk))
        self.rows += int(counts.sum())
        fixed = self._vectorizer.fixed_vocabulary_
        places, analyze = self._places, self._analyze
        indices: list[int] = []
        often: list[int] = []
        lengths: list[int] = []
        for text in texts:
            if isinstance(text, float):
                raise ValueError("np.nan is an invalid document, expected byte or unicode string.")  # noqa: TRY004 - scikit-learn's own
            found = Counter(analyze(text))
            before = len(indices)
            for term, count in found.items():
                place = places.get(term)
                if place is None:
                    if fixed:
                        continue
                    place = places[term] = len(places)
                indices.append(place)
                often.append(count)
            lengths.append(len(indices) - before)
        if len(self._documents) < len(places):
            more = np.zeros(len(places) - len(self._documents), dtype=np.int64)
            self._documents, self._terms = np.concatenate([self._documents, more]), np.concatenate([self._terms, more])
        place_array = np.array(indices, dtype=np.int64)
        weights = np.repeat(counts, lengths)
        np.add.at(self._documents, place_array, weights)
        times = weights if self._vectorizer.binary else weights * np.array(often, dtype=np.int64)
        np.add.at(self._terms, place_array, times)

    def merge(self, other: "Terms") -> None:
        """Add frequencies, term by term."""
        self.rows += other.rows
        places = self._places
        mapped = np.empty(len(other._places), dtype=np.int64)
        for term, place in other._places.items():
            mapped[place] = places.setdefault(term, len(places))
        if len(self._documents) < len(places):
            more = np.zeros(len(places) - len(self._documents), dtype=np.int64)
            self._documents, self._terms = np.concatenate([self._documents, more]), np.concatenate([self._terms, more])
        np.add.at(self._documents, mapped, other._documents)
        np.add.at(self._terms, mapped, other._terms)

    def sorted(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Terms in order (a fixed vocabulary in its own), in how many documents, and how often."""
        if self._vectorizer.fixed_vocabulary_:
            return list(self._places), self._documents, self._terms
        terms = sorted(self._places)
        order = np.array([self._places[term] for term in terms], dtype=np.int64)
        return terms, self._documents[order], self._terms[order]


def _distinct(texts: Any) -> tuple[list[object], np.ndarray]:
    values = texts.tolist() if hasattr(texts, "tolist") else list(texts)
    try:
        codes, unique = pd.factorize(np.array(values, dtype=object), use_na_sentinel=False)
    except TypeError:
        # Documents that are lists have no hash.
        return values, np.ones(len(values), dtype=np.int64)
    return unique.tolist(), np.bincount(codes, minlength=len(unique)).astype(np.int64)


def vectorizer(context: Context, estimator: BaseEstimator, stream: Stream, where: str) -> Fit:
    """One pass; answers the number of stored entries, which is the sum of the document frequencies."""
    with quiet():
        if isinstance(estimator, TfidfVectorizer):
            weighting = TfidfTransformer(
                norm=estimator.norm, use_idf=estimator.use_idf, smooth_idf=estimator.smooth_idf, sublinear_tf=estimator.sublinear_tf
            )
            scikit.set_weighting(estimator, weighting)
        scikit.check_vectorizer(estimator)
    (found,) = yield from context.need(Request(("terms", stream.key, where), stream, Terms(estimator)))
    terms, documents, often = found.sorted()
    if not estimator.fixed_vocabulary_:
        if not terms:
            raise ValueError("empty vocabulary; perhaps the documents only contain stop words")
        kept = _limited(estimator, found.rows, documents, often)
        terms, documents = [term for term, keep in zip(terms, kept, strict=True) if keep], documents[kept]
        estimator.vocabulary_ = {term: place for place, term in enumerate(terms)}
    if isinstance(estimator, TfidfVectorizer):
        dtype = np.dtype(estimator.dtype)
        weighting = scikit.weighting_of(estimator)
        with quiet():
            weighting.fit(scipy.sparse.csr_matrix(np.ones((1, len(terms)), dtype=dtype)))
        if estimator.use_idf:
            weighting.idf_ = _idf(estimator, documents, found.rows, dtype)
    return estimator, None, int(documents.sum())


def _limited(estimator: BaseEstimator, rows: int, documents: np.ndarray, often: np.ndarray) -> np.ndarray:
    """Which terms stay, by the same comparisons as scikit-learn's."""
    most = estimator.max_df if isinstance(estimator.max_df, Integral) else estimator.max_df * rows
    least = estimator.min_df if isinstance(estimator.min_df, Integral) else estimator.min_df * rows
    if most < least:
        raise ValueError("max_df corresponds to < documents than min_df")
    mask = (documents <= most) & (documents >= least)
    if estimator.max_features is not None and mask.sum() > estimator.max_features:
        # Sorted in the vectorizer's own type, in which other counts tie: what is kept of equally frequent terms depends on it.
        times = often.astype(estimator.dtype) if np.dtype(estimator.dtype).kind == "f" else often
        chosen = (-times[mask]).argsort()[: estimator.max_features]
        new = np.zeros(len(mask), dtype=bool)
        new[np.flatnonzero(mask)[chosen]] = True
        mask = new
    if not mask.any():
        raise ValueError("After pruning, no terms remain. Try a lower min_df or a higher max_df.")
    return mask


def _idf(estimator: BaseEstimator, documents: np.ndarray, rows: int, dtype: np.dtype) -> np.ndarray:
    """The formula of TfidfTransformer, in its type."""
    kind = dtype if dtype in (np.float64, np.float32) else np.dtype(np.float64)
    df = documents.astype(kind) + float(estimator.smooth_idf)
    idf = np.full_like(df, fill_value=rows + int(estimator.smooth_idf), dtype=kind)
    with np.errstate(divide="ignore"):
        idf /= df
    np.log(idf, out=idf)
    idf += 1.0
    return idf


class Stored(Gatherer):
    """In how many rows each column is stored."""

    def __init__(self) -> None:
        self.rows = 0
        self.documents: np.ndarray | None = None

    def gather(self, stream: Stream, chunk: Chunk) -> None:
        """Count a chunk."""
        X = stream.evaluate(chunk)
        X = X if scipy.sparse.issparse(X) else scipy.sparse.csr_matrix(np.asarray(X))
        found = np.bincount(X.tocsr().indices, minlength=X.shape[1]).astype(np.int64)
        self.rows += X.shape[0]
        self.documents = found if self.documents is None else self.documents + found

    def merge(self, other: "Stored") -> None:
        """Add."""
        self.rows += other.rows
        if other.documents is not None:
            self.documents = other.documents if self.documents is None else self.documents + other.documents


def tfidf(context: Context, estimator: BaseEstimator, stream: Stream, where: str) -> Fit:
    """One pass over the counts."""
    (found,) = yield from context.need(Request(("documents", stream.key), stream, Stored()))
    head = context.peek(stream)
    with quiet():
        estimator = clone(estimator).fit(head)
    if estimator.use_idf:
        estimator.idf_ = _idf(estimator, found.documents, found.rows, np.dtype(getattr(head, "dtype", np.float64)))
    return estimator, None, int(found.documents.sum())
