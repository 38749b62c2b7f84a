"""A small world to judge in: rows in Parquet files, problems of each task, and bundles trained on them."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.data.rows import label_of, split_of
from windtunnel.lifecycle.model import bundle as bundles


@dataclasses.dataclass
class World:
    """Rows, a problem over them, and a way to train."""

    folder: Path
    problem: object
    table: pa.Table
    data: list[str]

    def train(self, columns=("a", "b", "c"), name="model"):
        frame = self.table.to_pandas()
        label = label_of(self.problem, self.table)
        test = split_of(self.problem, self.table, "2013-02-01")
        rows = ~test & ~pd.Series(label.to_pylist()).isna().to_numpy()
        numeric = [c for c in columns if c != "c"]
        steps = [("numbers", StandardScaler(), numeric)]
        if "c" in columns:
            steps.append(("words", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["c"]))
        model = {"regression": LinearRegression, "anomaly": IsolationForest}.get(self.problem.task, LogisticRegression)()
        pipeline = Pipeline([("features", ColumnTransformer(steps)), ("model", model)])
        truth = np.array(label.to_pylist(), dtype=object)[rows]
        truth = truth.astype(float if self.problem.task == "regression" else str)
        pipeline.fit(frame.loc[rows, list(columns)], truth)
        classes = {"regression": [], "anomaly": ["0", "1"]}.get(self.problem.task) or [str(c) for c in getattr(model, "classes_", [])]
        inputs = [bundles.Input(c, "string" if c == "c" else "float64", "str" if c == "c" else "float64") for c in columns]
        folder = self.folder / name
        folder.mkdir()
        manifest = bundles.Bundle("toy", self.problem.task, classes, 0.5, inputs, "y", "2013-02-01")
        bundles.write(folder, manifest, pipeline, {"inputs": [], "outputs": []})
        return folder

    def judged(self, folder):
        """Truth and answers on the held-out rows, computed in memory with scikit-learn alone."""
        label = np.array(label_of(self.problem, self.table).to_pylist(), dtype=object)
        test = split_of(self.problem, self.table, "2013-02-01") & np.array([value is not None for value in label])
        bundle, pipeline = bundles.read(folder), bundles.read_pipeline(folder)
        frame = self.table.to_pandas().loc[test, [column.name for column in bundle.inputs]]
        answer = pipeline.predict(frame) if self.problem.task == "regression" else pipeline.predict_proba(frame)
        return label[test], answer, self.table.filter(pa.array(test))


def world(folder, task, rows=6000, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=rows), rng.normal(size=rows)
    c, d = rng.choice(["x", "y", "z"], rows, p=[0.6, 0.3, 0.1]), rng.choice(["p", "q"], rows)
    signal = a - 0.5 * b + (c == "y") + rng.normal(size=rows) * np.where(d == "q", 3.0, 1.0)
    y = {
        "binary": np.where(signal > 0.8, "yes", "no"),
        "multiclass": np.select([signal < -0.5, signal < 1], ["low", "mid"], "high"),
        "regression": signal * 10 + 1e6,
        "anomaly": (np.hypot(a, b) > 2.2).astype(int),
    }[task]
    table = pa.table({"id": np.arange(rows), "a": a, "b": b, "c": c, "d": d, "y": y})
    table = table.set_column(5, "y", pa.array([None if i % 97 == 0 else value for i, value in enumerate(table["y"].to_pylist())]))
    data = []
    for index, start in enumerate(range(0, rows, 1700)):
        path = folder / f"{index}.parquet"
        pq.write_table(table.slice(start, 1700), path, row_group_size=700)
        data.append(str(path))
    values = {
        "name": "toy",
        "owner": "o@example.org",
        "task": task,
        "source": {"format": "parquet", "path": "x"},
        "columns": {
            "id": "int64",
            "a": "float64",
            "b": "float64",
            "c": "string",
            "d": "string",
            "y": {"regression": "float64", "anomaly": "int64"}.get(task, "string"),
        },
        "keys": ["id"],
        "sensitive": ["d"],
        "slices": ["c", ["c", "d"]],
        "features": {"numeric": ["a", "b"], "categorical": ["c"]},
        "label": {"column": "y", **({"positive": {"equals": "yes"}} if task == "binary" else {})},
        "splits": {"test": 0.3},
    }
    return World(folder, parse(values), table, data)


@pytest.fixture
def binary(tmp_path):
    return world(tmp_path, "binary")


@pytest.fixture
def multiclass(tmp_path):
    return world(tmp_path, "multiclass")


@pytest.fixture
def regression(tmp_path):
    return world(tmp_path, "regression")


@pytest.fixture
def anomaly(tmp_path):
    return world(tmp_path, "anomaly")
