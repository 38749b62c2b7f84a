"""What authors of accumulators test with: equality of fitted objects, and the conformance tests to subclass.

.. code-block:: python

    from windtunnel.beam_jobs.features.testing import AccumulatorConformance

    class TestRangeAccumulator(AccumulatorConformance):
        def make_estimator(self):
            return RangeScaler()

        def make_accumulator(self, estimator):
            return RangeAccumulator(estimator)
"""

import inspect
import itertools
import math
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from sklearn.base import BaseEstimator, clone

from windtunnel.beam_jobs.features.tallies.accumulator import Accumulator

__all__ = ["AccumulatorConformance", "assert_same_answer", "assert_same_fit"]

TOLERANCE = 1e-9
_ADDRESSES = ("_stop_words_id", "_metadata_request")
"""Attributes that hold a place in memory, which is never the same, or the estimator itself."""


def assert_same_fit(ours: Any, theirs: object, *, tolerance: float = TOLERANCE, where: str = "fitted") -> None:  # noqa: PLR0912 - one branch a kind of value
    """Fail unless two fitted objects are of the same class with the same attributes, all the way down.

    Args:
        ours: one.
        theirs: the other.
        tolerance: relative and absolute, for floats; everything else must be identical, types of arrays included.
        where: what is compared, for the message.
    """
    if isinstance(theirs, np.ndarray):
        _same_array(ours, theirs, tolerance, where)
        return
    if scipy.sparse.issparse(theirs) or isinstance(theirs, pd.DataFrame | pd.Series):
        assert_same_answer(ours, theirs, tolerance=tolerance, where=where)
        return
    if isinstance(theirs, pd.Index):
        _check(isinstance(ours, pd.Index) and ours.dtype == theirs.dtype and list(ours) == list(theirs), where, ours, theirs)
        return
    if isinstance(theirs, np.random.RandomState | np.random.Generator):
        return
    if isinstance(theirs, bool | np.bool_):
        _check(isinstance(ours, bool | np.bool_) and bool(ours) == bool(theirs), where, ours, theirs)
        return
    if isinstance(theirs, int | np.integer):
        _check(isinstance(ours, int | np.integer) and int(ours) == int(theirs), where, ours, theirs)
        return
    if isinstance(theirs, float | np.floating):
        _check(isinstance(ours, float | np.floating) and _close(float(ours), float(theirs), tolerance), where, ours, theirs)
        return
    _check(type(ours) is type(theirs), where, ours, theirs)
    if isinstance(theirs, Mapping):
        _check(set(ours) == set(theirs), f"{where} (keys)", sorted(map(str, set(ours) ^ set(theirs))), "")
        for key in theirs:
            assert_same_fit(ours[key], theirs[key], tolerance=tolerance, where=f"{where}[{key!r}]")
    elif isinstance(theirs, list | tuple):
        _check(len(ours) == len(theirs), f"{where} (length)", len(ours), len(theirs))
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            assert_same_fit(a, b, tolerance=tolerance, where=f"{where}[{i}]")
    elif inspect.isroutine(theirs) or inspect.isclass(theirs) or isinstance(theirs, np.ufunc):
        _check(ours is theirs or getattr(ours, "__qualname__", 0) == getattr(theirs, "__qualname__", 1), where, ours, theirs)
    elif isinstance(theirs, str | bytes | slice | type(None)):
        _check(ours == theirs, where, ours, theirs)
    elif hasattr(theirs, "__dict__") or hasattr(theirs, "__slots__"):
        mine, other = _state(ours), _state(theirs)
        for name in _ADDRESSES:
            mine.pop(name, None)
            other.pop(name, None)
        _check(set(mine) == set(other), f"{where} (attributes)", sorted(set(mine) - set(other)), sorted(set(other) - set(mine)))
        for name in other:
            assert_same_fit(mine[name], other[name], tolerance=tolerance, where=f"{where}.{name}")
    else:
        _check(bool(ours == theirs), where, ours, theirs)


def assert_same_answer(ours: Any, theirs: Any, *, tolerance: float = TOLERANCE, where: str = "answer") -> None:
    """Fail unless two answers of ``transform`` are of the same container, types and values."""
    _check(type(ours) is type(theirs), where, type(ours), type(theirs))
    if scipy.sparse.issparse(theirs):
        _check(ours.shape == theirs.shape and ours.dtype == theirs.dtype, where, (ours.shape, ours.dtype), (theirs.shape, theirs.dtype))
        _check(ours.nnz == theirs.nnz, f"{where} (stored entries)", ours.nnz, theirs.nnz)
        _same_array(ours.toarray(), theirs.toarray(), tolerance, where)
    elif isinstance(theirs, pd.DataFrame):
        _check(list(ours.columns) == list(theirs.columns), f"{where} (columns)", list(ours.columns), list(theirs.columns))
        _check(list(ours.dtypes) == list(theirs.dtypes), f"{where} (types)", list(ours.dtypes), list(theirs.dtypes))
        for i in range(theirs.shape[1]):
            _same_array(ours.iloc[:, i].to_numpy(), theirs.iloc[:, i].to_numpy(), tolerance, f"{where}[{theirs.columns[i]}]")
    elif isinstance(theirs, pd.Series):
        _same_array(ours.to_numpy(), theirs.to_numpy(), tolerance, where)
    else:
        _same_array(np.asarray(ours), np.asarray(theirs), tolerance, where)


def _same_array(ours: Any, theirs: np.ndarray, tolerance: float, where: str) -> None:
    _check(isinstance(ours, np.ndarray) and ours.shape == theirs.shape, f"{where} (shape)", getattr(ours, "shape", ours), theirs.shape)
    _check(ours.dtype == theirs.dtype or ours.dtype.kind == theirs.dtype.kind == "U", f"{where} (type)", ours.dtype, theirs.dtype)
    if theirs.dtype.kind == "f":
        loose = max(tolerance, 1e-6) if theirs.dtype.itemsize < 8 else tolerance  # float32 holds seven digits
        with np.errstate(invalid="ignore"):
            same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs)) | (np.abs(ours - theirs) <= loose * np.maximum(1, np.abs(theirs)))
        if not same.all():
            place = tuple(int(i) for i in np.argwhere(~same)[0])
            _check(False, f"{where}{list(place)}", ours[place], theirs[place])
    elif theirs.dtype.kind == "O":
        for i, (a, b) in enumerate(zip(ours.ravel().tolist(), theirs.ravel().tolist(), strict=True)):
            assert_same_fit(a, b, tolerance=tolerance, where=f"{where}[{i}]")
    else:
        null = theirs.dtype.kind in "mM"  # NaT equals nothing
        _check(bool(np.array_equal(ours.view(np.int64) if null else ours, theirs.view(np.int64) if null else theirs)), where, ours, theirs)


def _close(a: float, b: float, tolerance: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b)) or abs(a - b) <= tolerance * max(1.0, abs(b))


def _state(value: Any) -> dict[str, object]:
    if hasattr(value, "__dict__") and vars(value):
        return dict(vars(value))
    return {name: getattr(value, name) for name in getattr(value, "__slots__", ()) if hasattr(value, name)}


def _check(met: bool, where: str, ours: object, theirs: object) -> None:
    if not met:
        raise AssertionError(f"{where}: {ours!r} is not {theirs!r}")


class AccumulatorConformance:
    """Subclass it, answer `make_estimator` and `make_accumulator`, and pytest runs the tests.

    They check that the fit is scikit-learn's own, that it does not depend on how rows are cut, that states survive pickling, that an
    accumulator without rows merges as nothing, and that the estimator that was given is not fitted on the way.
    """

    def make_estimator(self) -> BaseEstimator:
        """An unfitted estimator."""
        raise AssertionError("answer make_estimator")

    def make_accumulator(self, estimator: BaseEstimator) -> Accumulator:
        """An accumulator for a clone of it."""
        raise AssertionError("answer make_accumulator")

    def make_data(self) -> tuple[Any, np.ndarray]:
        """Rows and labels to fit on; at least 40 rows."""
        random = np.random.default_rng(7)
        x = pd.DataFrame({"a": random.normal(size=101), "b": random.integers(0, 9, 101), "c": np.r_[np.nan, random.normal(size=100)]})
        return x.drop(columns="c") if not self.allows_nan else x, random.integers(0, 2, 101)

    allows_nan = False
    """Whether the estimator takes NaN."""

    tolerance = TOLERANCE
    """Of floats, relative and absolute."""

    def _fitted(self, cuts: list[int], *, shuffle: bool = False, pickled: bool = False) -> BaseEstimator:
        x, y = self.make_data()
        bounds = [0, *cuts, len(y)]
        parts = []
        for start, end in itertools.pairwise(bounds):
            part = self.make_accumulator(clone(self.make_estimator()))
            if end > start:
                # In two chunks, so that taking in a second one is tested as well.
                middle = (start + end) // 2
                for a, b in ((start, middle), (middle, end)):
                    if b > a:
                        part.accumulate(x.iloc[a:b] if hasattr(x, "iloc") else x[a:b], y[a:b])
            parts.append(pickle.loads(pickle.dumps(part)) if pickled else part)  # made in the line before
        first = parts[0]
        for part in parts[1:]:
            first.merge(part)
        return first.finish()

    def _expected(self) -> Any:
        x, y = self.make_data()
        return clone(self.make_estimator()).fit(x, y)

    def test_equals_scikit_learn(self) -> None:
        """One range gives scikit-learn's own fit."""
        assert_same_fit(self._fitted([]), self._expected(), tolerance=self.tolerance)

    def test_does_not_depend_on_the_cut(self) -> None:
        """Nor do several, some of them empty."""
        for cuts in ([1], [20], [1, 2, 3], [13, 13, 40], [0, 0], list(range(5, 40, 5))):
            assert_same_fit(self._fitted(cuts), self._expected(), tolerance=self.tolerance)

    def test_survives_pickling(self) -> None:
        """States travel between processes."""
        assert_same_fit(self._fitted([17, 30], pickled=True), self._expected(), tolerance=self.tolerance)

    def test_answers_the_same(self) -> None:
        """What is fitted transforms as scikit-learn's own does."""
        x, _ = self.make_data()
        assert_same_answer(self._fitted([11]).transform(x), self._expected().transform(x), tolerance=self.tolerance)

    def test_does_not_fit_what_it_was_given(self) -> None:
        """Gathering leaves the estimator unfitted."""
        x, y = self.make_data()
        estimator = clone(self.make_estimator())
        before = set(vars(estimator))
        self.make_accumulator(estimator).accumulate(x, y)
        _check(set(vars(estimator)) == before, "attributes", sorted(set(vars(estimator)) - before), [])
