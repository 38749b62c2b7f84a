"""Random transformers over random tables, ours against scikit-learn's: through Beam, each bundle twice, and with two workers.

WINDTUNNEL_SWEEP=5000 runs so many cases instead of a few.
"""

import os

import numpy as np
import pandas as pd
import pytest
from features_sweep import attempt, run_case, same_name, stable
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

SHARE = 20
CASES = int(os.environ.get("WINDTUNNEL_SWEEP", "120"))


@pytest.fixture(autouse=True)
def many_bins(monkeypatch):
    monkeypatch.setattr("windtunnel.beam_jobs.features.data.BIN_ROWS", 40)
    monkeypatch.setattr("windtunnel.beam_jobs.features.data.CHUNK_ROWS", 16)


@pytest.mark.parametrize("first", range(0, CASES, SHARE))
def test_in_process(first):
    outcomes = [run_case(seed, shards=seed % 2 == 0) for seed in range(first, min(first + SHARE, CASES))]
    assert outcomes.count("same") > SHARE // 3


@pytest.mark.parametrize("first", range(0, CASES // 3, SHARE))
def test_every_bundle_twice(first):
    for seed in range(100_000 + first, 100_000 + first + SHARE):
        run_case(seed, {"runner_options": "--direct_runner_bundle_repeat=1"}, shards=True)


@pytest.mark.slow
def test_two_workers():
    for seed in range(200_000, 200_000 + max(1, CASES // 500)):  # each pass starts processes anew
        run_case(seed, {"workers": 2}, shards=True)


def test_names_are_the_same_but_for_last_digits():
    assert same_name("n_1.7212615313705133", "n_1.7212615313705135", 1e-9)
    assert same_name("n_-1.5e-12_x1.0", "n_-1.5e-12_x1.0", 1e-9)
    for other in ("n_1.7212615", "m_1.7212615313705135", "n_-1.7212615313705135", "n_1.7212615313705135_b", "n_1"):
        assert not same_name("n_1.7212615313705135", other, 1e-9)


def test_what_rounding_alone_decides_is_told_from_what_is_wrong():
    y = np.arange(60) % 2
    noise = pd.DataFrame({"fixed": np.full(60, -5.199337582), "good": np.sin(np.arange(60.0)) + y})
    for names, expected in ((["fixed", "good"], False), (["good"], True)):
        step = SelectKBest(k=1)
        assert stable(step, noise[names], y, SelectKBest(k=1).fit(noise[names], y), 1e-9) is expected
    row, whole = pd.DataFrame({"a": [1.0], "b": [2.0]}), pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [2.0, 0.0, 1.0]})
    for table, expected in (
        (row, False),
        (whole, True),
    ):  # a whitened PCA of one row: 0 in fit_transform, NaN in transform
        chain = make_pipeline(PCA(1, whiten=True), MaxAbsScaler())
        assert stable(chain, table, None, attempt(clone(chain).fit, table)[0], 1e-9) is expected
    wrong = StandardScaler().fit(noise * 2)
    assert stable(StandardScaler(), noise, y, wrong, 1e-9)  # no rounding excuses it
