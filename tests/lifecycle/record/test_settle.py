"""Equal pipelines give equal bytes: without that no replay could prove itself."""

import numpy as np
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from windtunnel.lifecycle.model import bundle


def fitted():
    import pandas as pd

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=300), "c": rng.choice(["x", "y"], 300), "t": rng.choice(["one two", "two three"], 300)})
    steps = [("n", StandardScaler(), ["a"]), ("c", OneHotEncoder(sparse_output=False), ["c"]), ("t", TfidfVectorizer(), "t")]
    transformer = ColumnTransformer(steps, sparse_threshold=0)
    model = HistGradientBoostingClassifier(max_iter=5, random_state=0)
    pipeline = Pipeline([("features", transformer), ("model", model)]).fit(frame, rng.integers(0, 2, 300))
    return frame, pipeline


def test_two_fits_give_the_same_bytes_and_the_pipeline_still_works(tmp_path):
    found = []
    for name in "ab":
        frame, pipeline = fitted()
        path = tmp_path / f"{name}.skops"
        skops.io.dump(pipeline, path)
        bundle.settle(path)
        found.append(path.read_bytes())
        again = skops.io.load(path, trusted=list(bundle.TRUSTED))
        assert np.array_equal(again.predict_proba(frame), pipeline.predict_proba(frame))
    assert found[0] == found[1]
