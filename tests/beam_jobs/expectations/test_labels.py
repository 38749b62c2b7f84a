"""Flipped labels are found, and the source that flipped them is named."""

import warnings

import numpy as np
import pytest

from windtunnel.beam_jobs.expectations.labels import flipped_sources, suspicious_labels
from windtunnel.lifecycle.contract.errors import ConfigurationError


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
    assert list(flipped_sources(found, sources)) == ["c"]
    assert flipped_sources(found, random.choice(["x", "y"], 2000)) == {}


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
    from windtunnel.beam_jobs.expectations.labels import label_findings
    from windtunnel.lifecycle.contract import problem as problems

    problem = problems.load(Path(__file__).parents[3] / "dags/problems/flight_delays.yaml")
    week = flights[(flights.month == 3) & (flights.day <= 5)].copy()
    poisoned = (week.carrier == "US") & (np.random.default_rng(0).random(len(week)) < 0.6)
    for frame, good in ((week, True), (week.assign(arr_delay=week.arr_delay.mask(poisoned, 30 - week.arr_delay)), False)):
        path = tmp_path / f"{good}.parquet"
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
        found = label_findings(problem, Source(str(path)), {"source": "carrier", "rows": 3000})
        assert found[-1].ok is good
    assert "US" in found[-1].got
