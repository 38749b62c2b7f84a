"""Random transformers over random tables, ours against scikit-learn's: through Beam, each bundle twice, and with two workers.

WINDTUNNEL_SWEEP=5000 runs so many cases instead of a few.
"""

import os

import pytest
from features_sweep import run_case

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
