"""Random transformers over random tables: each case is its seed, so that a failure can be looked at again.

python tests/beam_jobs/features/features_sweep.py 0 1000    # cases 0 to 999; prints what differs from scikit-learn
"""

import collections
import functools
import math
import pickle
import re
import sys
import tempfile
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import scipy.sparse
from sklearn.base import clone
from sklearn.decomposition import PCA
from sweep_cases import Maker

from windtunnel.beam_jobs.features import Options, transform
from windtunnel.beam_jobs.features import data as data_room
from windtunnel.beam_jobs.features.data import open_data
from windtunnel.beam_jobs.features.fitting.fitting import fit_data
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.testing import assert_same_answer, assert_same_fit
from windtunnel.lifecycle.contract.errors import UnsupportedError, WindtunnelError
from windtunnel.lifecycle.learning.shards import load_shards


def stacked(parts):
    if scipy.sparse.issparse(parts[0]):
        return scipy.sparse.vstack(parts, format=parts[0].format)
    return pd.concat(parts, ignore_index=True) if hasattr(parts[0], "iloc") else np.concatenate(parts)


def shown(transformer):
    """The whole of it; scikit-learn shortens what it prints."""
    return transformer.__repr__(N_CHAR_MAX=1_000_000)


def same_name(ours, theirs, tolerance):
    """Whether two names of features are equal but for the last digits of a number that is a category."""
    mine, other = (re.split(r"(-?\d+\.\d+(?:e[-+]?\d+)?)", name) for name in (ours, theirs))
    return mine[::2] == other[::2] and all(
        math.isclose(float(a), float(b), rel_tol=tolerance) for a, b in zip(mine[1::2], other[1::2], strict=True)
    )


def nudged(table, times):
    """The same numbers but for their last bits, up and down, otherwise each time."""
    factors = 1 + 2e-15 * times * np.sign(np.sin(np.sqrt(times) * (np.arange(table.shape[0]) + 1)))
    if scipy.sparse.issparse(table):
        return scipy.sparse.diags(factors) @ table
    table = np.asarray(table, dtype=np.float64)
    return table * (factors if table.ndim == 1 else factors[:, None])


def scored_on_nudged(function, times):
    """A score function that is given numbers which differ in their last bits, under its own name."""

    @functools.wraps(function)
    def scores(x, y):
        return function(nudged(x, times), y)

    return scores


def stable(transformer, inputs, y, theirs, tolerance):
    """Whether scikit-learn's own fit agrees with its own transform, and is the same for numbers that differ in their last bits."""
    if not any(name in shown(transformer) for name in ("PCA", "SVD", "PowerTransformer", "SelectKBest", "UnivariateSelect")):
        return True
    with mock.patch.object(PCA, "fit_transform", lambda pca, x, y=None: pca.fit(x, y).transform(x)):  # of one row it is another value
        if not unmoved(transformer, inputs, y, theirs, tolerance, 0):
            return False
    return all(unmoved(transformer, inputs, y, theirs, tolerance, times) for times in range(1, 6))


def unmoved(transformer, inputs, y, theirs, tolerance, times):
    """Whether it is for one such difference."""
    moved = inputs.copy()
    for name in moved.columns:
        if moved[name].dtype.kind == "f":
            moved[name] = nudged(moved[name], times).astype(moved[name].dtype)
    other = clone(transformer)
    scores = {name: value for name, value in other.get_params().items() if name.endswith("score_func")}
    other.set_params(**{name: scored_on_nudged(value, times) for name, value in scores.items()})
    again, refusal = attempt(lambda: other.fit(moved, y))
    if refusal is not None:
        return False
    try:
        assert_same_fit(again, theirs, tolerance=tolerance)
        assert_same_answer(again.transform(inputs), theirs.transform(inputs), tolerance=tolerance)
    except AssertionError:
        return False
    return True


def compare(case, ours, theirs, transformer, inputs, y, loose):
    """Fitted attributes, names, what known and unseen rows become, and what a model would be trained on."""
    assert_same_fit(ours.transformer, theirs, tolerance=loose)
    names, unnamed = attempt(theirs.get_feature_names_out)
    mine, unnamed_too = attempt(ours.transformer.get_feature_names_out)
    assert (unnamed is None) == (unnamed_too is None), f"names: {unnamed} {unnamed_too}"
    if unnamed is None:
        assert len(names) == len(mine), f"names: {list(mine)} {list(names)}"
        for a, b in zip(mine, names, strict=True):
            assert same_name(a, b, loose), f"name: {a!r} {b!r}"
    for which, rows in (("known", inputs), ("unseen", case.unseen.to_pandas()[case.inputs])):
        expected, refusal = attempt(theirs.transform, rows)
        got, failure = attempt(ours.transformer.transform, rows)
        assert (refusal is None) == (failure is None), f"{which} transform: {failure!r} {refusal!r}"
        if refusal is None:
            assert_same_answer(got, expected, where=which, tolerance=loose)
    crossed = "TargetEncoder" in shown(transformer)  # else a PCA of constants answers otherwise in fit_transform than in transform
    expected, refusal = attempt(lambda: clone(transformer).fit_transform(inputs, y) if crossed else theirs.transform(inputs))
    if refusal is None:
        parts, failure = attempt(lambda: [ours.out.evaluate(chunk) for chunk in case.chunks])
        assert failure is None, f"training rows: {failure!r}"
        if hasattr(expected, "iloc"):  # a chunk knows its own categories only
            expected = expected.astype({name: object for name, dtype in expected.dtypes.items() if dtype == "category"})
            parts = [part.astype(expected.dtypes) for part in parts]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert_same_answer(stacked(parts), expected, where="training rows", tolerance=max(loose, 1e-8))


def attempt(function, *arguments):
    """What a call answers, and what it raises."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return function(*arguments), None
        except Exception as error:  # noqa: BLE001 - whatever it refuses
            return None, error


@quiet()
def run_case(seed, options=None, *, shards=False):
    """Compare one case; answers "same", "both refuse" or "refused" (not fitted over any amount of data, and said so)."""
    case = Maker(seed)
    transformer = case.transformer()
    label = case.pick(["y", "y", "g", "k", None])
    options = Options(columns=tuple(case.inputs), label=label, **(options or {}))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in").mkdir()
        path = case.write(case.table, Path(folder, "in"))
        frame = pd.read_parquet(path)
        inputs, y = frame[case.inputs], None if label is None else frame[label].to_numpy()
        before = shown(transformer)
        theirs, refusal = attempt(lambda: clone(transformer).fit(inputs, y))
        data = open_data(path, options)
        case.chunks = [chunk for _, start, groups in data.bins() for chunk in data.chunks(groups, list(data.dtypes), start)]
        try:
            ours = fit_data(transformer, data, options)
        except UnsupportedError as error:
            return f"refused: {type(error).__name__} {str(error)[:90]}"
        except WindtunnelError as error:
            if refusal is None:
                raise AssertionError(f"only ours refuses: {error}") from error
            return "both refuse"
        if refusal is not None:
            raise AssertionError(f"only theirs refuses: {type(refusal).__name__}: {refusal}")
        assert shown(transformer) == before
        loose = 1e-5 if case.single else 1e-9  # scikit-learn sums float32 columns in single precision
        try:
            compare(case, ours, theirs, transformer, inputs, y, loose)
        except AssertionError:
            if stable(transformer, inputs, y, theirs, loose):
                raise
            return "unstable"
        if shards:
            check_shards(case, ours.transformer, theirs, options, Path(folder))
    return "same"


def check_shards(case, fitted, theirs, options, folder):
    """Our shards of unseen rows hold what scikit-learn's transform answers."""
    (folder / "new").mkdir()
    path = case.write(case.unseen, folder / "new")
    rows = pd.read_parquet(path)[case.inputs]
    expected, refusal = attempt(theirs.transform, rows)
    try:
        manifest = transform(
            fitted,
            path,
            folder / "out",
            Options(columns=options.columns, dtype="float64", runner_options=options.runner_options, workers=options.workers),
        )
    except WindtunnelError as error:
        if refusal is None:
            raise AssertionError(f"only our shards refuse: {error}") from error
        return
    assert refusal is None, f"only theirs refuses: {refusal}"
    x, _ = load_shards(str(folder / "out"))
    if manifest["layout"] == "columns":
        for i in range(expected.shape[1]):
            a = x.iloc[:, i].to_numpy()
            b = expected.iloc[:, i].to_numpy() if hasattr(expected, "iloc") else expected[:, i]
            assert len(a) == len(b)
        return
    plain = [table.toarray() if scipy.sparse.issparse(table) else np.asarray(table, dtype=np.float64) for table in (x, expected)]
    np.testing.assert_allclose(plain[0], plain[1], rtol=1e-6 if "float32" in shown(theirs) else 1e-9, atol=1e-9)


def without_beam():
    """Gather in a loop, states pickled as between workers: the same pass without a runner, to look at many cases."""
    from windtunnel.beam_jobs.features.fitting import fitting, passes

    def gather(data, requests, spec, work, starts=None):
        columns = sorted(set().union(*[request.stream.source_columns(list(data.dtypes)) for request in requests]))
        with tempfile.TemporaryDirectory() as folder:
            counts, merged = [], None
            for element in data.bins():
                do = pickle.loads(pickle.dumps(passes._Gather(data, requests, columns, folder, starts)))
                ((number, rows),) = do.process(element)
                with Path(folder, f"{number:06d}.state").open("rb") as file:
                    rows, states = pickle.load(file)
                counts.append(rows)
                if merged is None:
                    merged = states
                else:
                    for mine, other in zip(merged, states, strict=True):
                        mine.merge(other)
        return [*merged, counts]

    fitting.gather = gather


def main():
    first, end = int(sys.argv[1]), int(sys.argv[2])
    data_room.BIN_ROWS = 40
    if "--beam" not in sys.argv:
        without_beam()
    outcomes, failures = collections.Counter(), collections.defaultdict(list)
    for seed in range(first, end):
        try:
            outcome = run_case(seed, shards="--beam" in sys.argv)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            outcome = "DIFFERENT"
            text = f"{type(error).__name__}: {error}"
            key = "".join(c for c in text[:70] if not c.isdigit())
            failures[key].append((seed, text[:400]))
        outcomes[outcome.split(":")[0]] += 1
    sys.stdout.write(f"{dict(outcomes)}\n")
    for found in sorted(failures.values(), key=len, reverse=True):
        sys.stdout.write(f"{len(found)} x {[seed for seed, _ in found[:6]]} {found[0][1]}\n")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
