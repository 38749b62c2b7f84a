"""Flipped labels are found, and the source that flipped them is named."""

import warnings

import numpy as np
import pytest

from windtunnel.beam_jobs.expectations.labels import suspicious_labels
from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.quality.flips import flipped_sources


def test_flips_are_found_and_their_source_is_named():
    random = np.random.default_rng(0)
    features = random.normal(size=(2000, 4))
    truth = (features[:, 0] + features[:, 1] > 0).astype(int)
    sources = random.choice(["a", "b", "c", "d"], 2000)
    flipped = (sources == "c") & (random.random(2000) < 0.4)
    labels = np.where(flipped, 1 - truth, truth)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = suspicious_labels(features, labels, folds=3)
    right = np.isin(np.flatnonzero(flipped), found.places).mean()
    assert right > 0.8
    named, looked = flipped_sources(found.codes, found.probabilities, sources)
    assert [entry.source for entry in named] == ["c"]
    assert abs(named[0].share - 0.4) < 0.1
    assert len(looked) == 4
    assert flipped_sources(found.codes, found.probabilities, random.choice(["x", "y"], 2000))[0] == []


def test_one_class_cannot_be_wrong():
    with pytest.raises(ConfigurationError, match="two classes"):
        suspicious_labels(np.zeros((9, 1)), np.zeros(9))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_suite_can_ask_for_flipped_labels(tmp_path, flights):
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

    from windtunnel.beam_jobs.expectations.engine.source import Source
    from windtunnel.beam_jobs.expectations.labels import label_errors
    from windtunnel.lifecycle.contract import problem as problems

    problem = problems.load(Path(__file__).parents[3] / "dags/problems/flight_delays.yaml")
    week = flights[(flights.month == 3) & (flights.day <= 5)].copy()
    poisoned = (week.carrier == "US") & (np.random.default_rng(0).random(len(week)) < 0.6)
    for frame, good in ((week, True), (week.assign(arr_delay=week.arr_delay.mask(poisoned, 30 - week.arr_delay)), False)):
        path = tmp_path / f"{good}.parquet"
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
        found = label_errors(problem, Source(str(path)), {"source": "carrier", "rows": 3000})
        assert found.findings[-1].ok is good
        assert found.flipped == ([] if good else ["US"])
    assert "US" in found.findings[-1].got


@pytest.mark.parametrize(("flips", "named"), [(0.0, []), (0.03, ["b"])])
def test_three_percent_in_one_of_three_sources_are_seen_and_none_is_seen_in_none(flips, named):
    """Ten seeds each; what many say is in `benchmarks/label_flips.py`."""
    seen = []
    for seed in range(10):
        random = np.random.default_rng(seed)
        signal = random.normal(-1, 2.5, 20_000)
        labels = (random.random(20_000) < 1 / (1 + np.exp(-signal))).astype(int)
        sources = random.choice(["a", "b", "c"], 20_000)
        mine = np.flatnonzero(sources == "b")
        flipped = random.choice(mine, round(flips * len(mine)), replace=False)
        labels[flipped] = 1 - labels[flipped]
        sure = 1 / (1 + np.exp(-0.8 * signal - random.normal(0, 0.2, 20_000)))  # neither calibrated nor exact
        found, _ = flipped_sources(labels, np.column_stack([1 - sure, sure]), sources)
        seen.append([entry.source for entry in found])
    assert sum(found == named for found in seen) >= 9, seen
