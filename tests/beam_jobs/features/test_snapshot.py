"""Features of real flights in an Iceberg table: a snapshot is data like any other."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.preprocessing import StandardScaler

from windtunnel.beam_jobs.features import fit, load_shards, load_transformer, preprocess
from windtunnel.beam_jobs.features.testing import assert_same_answer
from windtunnel.beam_jobs.job import Progress
from windtunnel.lifecycle.contract.settings import PREFIX
from windtunnel.lifecycle.data import pins, rows
from windtunnel.lifecycle.learning.transformers import transformer_of


@pytest.fixture
def flights(world):
    return world, world.ingest("2013-01-01", "2013-01-06")


def test_flights(flights, monkeypatch):
    world, snapshot = flights
    found = preprocess(world.problem, snapshot, world.settings, Progress())
    files = pins.files(world.settings, snapshot)
    table = pq.ParquetDataset(files, partitioning=None).read()
    test = rows.split_of(world.problem, table, snapshot.end)
    y = rows.label_of(world.problem, table).to_pandas().to_numpy()
    inputs = table.to_pandas()[world.problem.features.columns]
    theirs = transformer_of(world.problem).fit(inputs[~test & ~np.isnan(y)])
    assert_same_answer(load_transformer(found.uri).transform(inputs), theirs.transform(inputs))
    x, label = load_shards(found.uri, "test")
    np.testing.assert_array_equal(label, y[test & ~np.isnan(y)])
    assert abs(x - theirs.transform(inputs[test & ~np.isnan(y)])).max() < 1e-5
    for name, value in world.settings.to_dict().items():
        monkeypatch.setenv(f"{PREFIX}{name.upper()}", str(value))
    scaler = fit(StandardScaler(), snapshot, {"columns": ["dep_delay", "distance"]})
    np.testing.assert_allclose(scaler.mean_, table.to_pandas()[["dep_delay", "distance"]].mean(), rtol=1e-12)
