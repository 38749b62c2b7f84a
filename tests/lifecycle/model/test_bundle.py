import json

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from windtunnel.lifecycle.contract.errors import ConfigurationError, IntegrityError
from windtunnel.lifecycle.model import bundle


@pytest.fixture(scope="module")
def fitted():
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"n": generator.normal(size=200), "c": generator.choice(["a", "b"], 200)})
    transformer = ColumnTransformer([("n", StandardScaler(), ["n"]), ("c", OneHotEncoder(), ["c"])], sparse_threshold=0)
    pipeline = Pipeline([("features", transformer), ("model", HistGradientBoostingClassifier(max_iter=5))])
    return pipeline.fit(frame, frame["n"] > 0), frame


@pytest.fixture
def written(fitted, tmp_path):
    described = bundle.Bundle(
        problem="p",
        task="binary",
        classes=["0", "1"],
        threshold=0.5,
        inputs=[bundle.Input("n", "float64", "float64"), bundle.Input("c", "string", "str")],
        label="y",
        cutoff="2013-02-01",
    )
    return tmp_path, bundle.write(tmp_path, described, fitted[0], {"inputs": [], "outputs": []})


def test_there_and_back_with_the_same_answers(fitted, written):
    folder, sealed = written
    assert bundle.read(folder, sealed.digest) == sealed
    again = bundle.read_pipeline(folder)
    np.testing.assert_array_equal(again.predict_proba(fitted[1]), fitted[0].predict_proba(fitted[1]))
    assert sealed.dtypes == {"n": "float64", "c": "str"}


@pytest.mark.parametrize("name", ["pipeline.skops", "samples.json", "model.json"])
def test_a_changed_file_is_noticed(written, name):
    folder, sealed = written
    path = folder / name
    if name == "model.json":
        path.write_text(path.read_text().replace('"threshold": 0.5', '"threshold": 0.1'))
    else:
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(IntegrityError):
        bundle.read(folder, sealed.digest)


def test_a_missing_file_and_a_missing_bundle(written, tmp_path):
    folder, sealed = written
    (folder / "samples.json").unlink()
    with pytest.raises(IntegrityError, match=r"samples\.json"):
        bundle.read(folder, sealed.digest)
    with pytest.raises(ConfigurationError, match=r"has no model\.json"):
        bundle.read(tmp_path / "nowhere")


def test_a_bundle_cannot_hold_code(fitted, tmp_path):
    described = bundle.Bundle("p", "binary", ["0", "1"], 0.5, [], "y", "2013-02-01")
    with pytest.raises(ConfigurationError, match="may not hold"):
        bundle.write(tmp_path, described, Pipeline([("f", FunctionTransformer(json.loads))]), {})


def test_a_newer_format_is_refused(written):
    folder, _ = written
    values = json.loads((folder / "model.json").read_text()) | {"format": 99}
    (folder / "model.json").write_text(json.dumps(values))
    with pytest.raises(ConfigurationError, match="format 99"):
        bundle.read(folder)


def test_equal_pipelines_are_equal_bytes_whatever_words_they_know(tmp_path):
    texts = pd.DataFrame({"t": ["file __id__ __loader__", "file content type", "other words"]})
    digests = set()
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        vectorizer = CountVectorizer(token_pattern=r"\S+").fit(texts["t"])
        assert {"file", "__id__", "__loader__"} <= set(vectorizer.vocabulary_)
        described = bundle.Bundle("p", "binary", ["0", "1"], 0.5, [bundle.Input("t", "string", "str")], "y", "2013-02-01")
        digests.add(bundle.write(tmp_path / name, described, vectorizer, {}).digest)
        assert bundle.read_pipeline(tmp_path / name).vocabulary_ == vectorizer.vocabulary_
    assert len(digests) == 1
