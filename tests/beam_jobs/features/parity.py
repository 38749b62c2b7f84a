"""The same transformer fitted by us and by scikit-learn on the same Parquet files."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.base import clone

from windtunnel.beam_jobs.features import fit
from windtunnel.beam_jobs.features.testing import assert_same_answer, assert_same_fit


def write(frame, folder, files=2, groups=3):
    """The frame as several files of several row groups."""
    table = pa.Table.from_pandas(frame, preserve_index=False) if isinstance(frame, pd.DataFrame) else frame
    step = max(1, -(-table.num_rows // files))
    for i in range(files):
        part = table.slice(i * step, step)
        if part.num_rows or not i:
            pq.write_table(part, Path(folder) / f"part{i}.parquet", row_group_size=max(1, -(-part.num_rows // groups)))
    return str(folder)


def check(transformer, frame, *, unseen=None, y=None, tolerance=1e-9, attributes=True, files=2, groups=3, options=None):
    """Fail unless our fit and scikit-learn's are the same, and answer the same; returns ours."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(frame, folder, files, groups)
        whole = pd.read_parquet(path)
        label = None
        given = dict(options or {})
        inputs = whole
        if y is not None:
            given["label"] = y
            label = whole[y].to_numpy()
            inputs = whole.drop(columns=y)
        before = repr(transformer)
        ours = fit(transformer, path, given)
        assert repr(transformer) == before
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = clone(transformer).fit(inputs, label) if label is not None else clone(transformer).fit(inputs)
        if attributes:
            assert_same_fit(ours, theirs, tolerance=tolerance)
        if hasattr(theirs, "get_feature_names_out"):
            try:
                names = theirs.get_feature_names_out()
            except (AttributeError, ValueError, TypeError):
                pass
            else:
                assert list(ours.get_feature_names_out()) == list(names)
        for rows in [inputs] if unseen is None else [inputs, unseen]:
            assert_same_answer(ours.transform(rows), theirs.transform(rows), tolerance=max(tolerance, 1e-9))
    return ours


def numbers(rows=211, seed=1):
    """Numeric columns of every awkward kind."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "normal": random.normal(3, 2, rows),
            "whole": random.integers(-5, 60, rows),
            "skewed": random.lognormal(1, 1.5, rows),
            "few": random.choice([0.0, 1.0, 2.5], rows),
            "gaps": np.where(random.random(rows) < 0.3, np.nan, random.normal(size=rows)),
            "constant": np.full(rows, 7.0),
            "large": 1e5 + random.normal(size=rows),
            "zeros": np.zeros(rows),
        }
    )
