"""Typed columns: whatever a protocol sends becomes the same columns, and what does not fit is named, within a bound of work."""

import datetime as dt
import json
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import serving_models
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from windtunnel.lifecycle.contract.errors import IntegrityError, UnsupportedError
from windtunnel.lifecycle.model import answers, bundle
from windtunnel.serving.base.batch import Rows, from_csv, from_matrix, from_tensors
from windtunnel.serving.base.values import Columns, InvalidInputError, Schema, Texts, from_arrow
from windtunnel.serving.compiler.engine import Engine
from windtunnel.serving.compiler.frame import frame_of

INPUTS = [
    bundle.Input("whole", "int64", "int64"),
    bundle.Input("small", "int32", "int32"),
    bundle.Input("real", "float64", "float64"),
    bundle.Input("single", "float32", "float32"),
    bundle.Input("flag", "bool", "bool"),
    bundle.Input("text", "string", "str"),
]
SCHEMA = Schema(INPUTS)
ROW = {"whole": 1, "small": 2, "real": 0.5, "single": 1.5, "flag": True, "text": "a"}


def listed(columns):
    return {name: column.rows() if isinstance(column, Texts) else column.tolist() for name, column in columns.items()}


VALUES = st.fixed_dictionaries(
    {
        "whole": st.none() | st.integers(-(2**53), 2**53),
        "small": st.integers(-(2**31), 2**31 - 1),
        "real": st.none() | st.floats(allow_infinity=False, allow_nan=False),
        "single": st.floats(width=32, allow_infinity=False, allow_nan=False),
        "flag": st.booleans(),
        "text": st.none() | st.text(min_size=1, max_size=5),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=30))
def test_every_way_in_gives_the_same_columns(rows):
    wanted = listed(Rows(rows).columns(SCHEMA))
    lists = {name: [row[name] for row in rows] for name in ROW}
    ways = [
        from_tensors(lists.items()).columns(SCHEMA),
        from_matrix(SCHEMA, [[row[name] for name in ROW] for row in rows]).columns(SCHEMA),
    ]
    arrays = {name: np.array(values) if None not in values and name != "text" else values for name, values in lists.items()}
    ways.append(from_tensors(arrays.items()).columns(SCHEMA))
    types = {
        "whole": pa.int64(),
        "small": pa.int32(),
        "real": pa.float64(),
        "single": pa.float32(),
        "flag": pa.bool_(),
        "text": pa.string(),
    }
    ways.append(from_arrow(INPUTS, pa.RecordBatch.from_pydict(lists, pa.schema(types))))
    for columns in ways:
        assert json.dumps(listed(columns)) == json.dumps(wanted)
    assert Rows(rows).rows() == from_tensors(lists.items()).rows()
    for row in rows:
        alone = SCHEMA.one(row)
        assert alone is not None
        assert json.dumps(alone) == json.dumps([values[0] for values in listed(Rows([row]).columns(SCHEMA)).values()])


def test_csv_is_read_by_the_inputs_types():
    raw = b'key,text,flag,single,real,small,whole\r\n7,"a,\n""b""",true,1.5,,2.0,9007199254740993\r\n8,,False,0,1e3,2,1\r\n'
    batch = from_csv(SCHEMA, raw, 10)
    assert [batch.value("key", row) for row in range(2)] == ["7", "8"]
    found = listed(batch.columns(SCHEMA))
    assert found["text"] == ['a,\n"b"', None]
    assert found["whole"] == [9007199254740993, 1]
    assert (found["flag"], found["small"]) == ([1.0, 0.0], [2.0, 2.0])
    for bad, where in ((b"whole,whole\n1,2\n", "body"), (b"whole\n\xff\n", "body"), (b"whole,text\n1\n", "body"), (b'whole\n"1', "body")):
        with pytest.raises(InvalidInputError) as caught:
            from_csv(SCHEMA, bad, 10)
        assert caught.value.problems[0]["field"] == where
    with pytest.raises(InvalidInputError, match="row 1, field 'whole' must be a whole number but is 'soon'"):
        from_csv(Schema(INPUTS[:1]), b"whole\n1\nsoon\n", 10).columns(Schema(INPUTS[:1]))
    assert from_csv(Schema(INPUTS[:1]), b"whole\n" + b"1\n" * 100, 10).count == 11


def test_absent_columns_are_refused_unless_they_may_be():
    with pytest.raises(InvalidInputError) as caught:
        Rows([{}]).columns(SCHEMA)
    assert [problem["field"] for problem in caught.value.problems] == list(ROW)
    mistyped = {("reel" if name == "real" else name): value for name, value in ROW.items()}
    with pytest.raises(InvalidInputError, match="row 1, field 'real' is missing; 'reel' was sent: did you mean 'real'"):
        Rows([ROW, mistyped]).columns(SCHEMA)
    with pytest.raises(InvalidInputError, match="field 'text' is missing"):
        from_tensors((name, [value]) for name, value in ROW.items() if name != "text").columns(SCHEMA)
    free = Schema(INPUTS, optional=["real", "text"])
    assert free.one({**ROW}) is not None
    few = {name: value for name, value in ROW.items() if name not in {"real", "text"}}
    for batch in (Rows([few]), from_tensors((name, [value]) for name, value in few.items())):
        columns = batch.columns(free)
        assert columns.absent == ("real", "text")
        assert np.isnan(columns["real"][0])
        assert columns["text"].rows() == [None]
    with pytest.raises(InvalidInputError, match="'reel' is not an input"):
        from_tensors((name, [value]) for name, value in mistyped.items()).columns(SCHEMA)


def test_what_is_wrong_is_bounded_however_much_of_it_there_is():
    wide = Schema([bundle.Input(f"column_{number}", "float64", "float64") for number in range(60)])
    rows = [{f"colunm_{number}": 1.0 for number in range(60)} for _ in range(3000)]
    tracemalloc.start()
    with pytest.raises(InvalidInputError) as caught:
        Rows(rows).columns(wide)
    assert len(caught.value.problems) == 20
    with pytest.raises(InvalidInputError) as caught:
        Rows([{"column_0": "x"}] * 10_000).columns(Schema(wide.inputs[:1]))
    assert len(caught.value.problems) == 20
    assert len(str(caught.value)) < 2000
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("whole", 2**63),
        ("whole", 1.5),
        ("whole", True),
        ("whole", "1"),
        ("small", 2**31),
        ("real", float("inf")),
        ("real", 10**400),
        ("single", 1e39),
        ("flag", 1),
        ("text", 5),
        ("text", ["a"]),
        ("text", {"a": 1}),
    ],
)
def test_what_does_not_fit_is_refused_by_name_alone_and_among_many(name, value):
    bad = {**ROW, name: value}
    assert SCHEMA.one(bad) is None
    for rows in ([bad], [ROW] * 20 + [bad]):
        with pytest.raises(InvalidInputError) as caught:
            Rows(rows).columns(SCHEMA)
        assert (caught.value.problems[0]["row"], caught.value.problems[0]["field"]) == (len(rows) - 1, name)


def test_null_and_nan_are_one_thing():
    required = Schema([bundle.Input("real", "float64", "float64", required=True)])
    for rows in ([{"real": None}], [{"real": float("nan")}]):
        assert required.one(rows[0]) is None
        with pytest.raises(InvalidInputError, match="must not be null"):
            Rows(rows).columns(required)
    with pytest.raises(InvalidInputError, match="must not be null"):
        from_tensors([("real", np.array([1.0, np.nan]))]).columns(required)


def test_whole_numbers_beyond_floats_keep_their_value(tmp_path):
    big = 2**53 + 1
    frame = pd.DataFrame({"id": np.array([big, big + 1, big + 2, big + 3] * 10, dtype=np.int64)})
    # A float would make big and big - 1 one number.
    pipeline = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression(C=100)).fit(frame, [0, 1, 0, 1] * 10)
    serving_models.write(tmp_path / "b", pipeline, frame)
    engine = Engine.load(tmp_path / "b")
    wanted = pipeline.predict_proba(frame.head(4))[:, 1].tolist()
    rows = [{"id": big + number} for number in range(4)]
    assert [row["score"] for row in engine.predict_rows(rows)] == pytest.approx(wanted)
    assert [engine.predict_rows([row])[0]["score"] for row in rows] == pytest.approx(wanted)
    tensor = from_tensors([("id", np.array([big, big + 1]))]).columns(engine.schema)
    assert tensor["id"].tolist() == [big, big + 1]
    assert Columns.joined([tensor, tensor])["id"].tolist() == [big, big + 1] * 2


def hours(frame):
    return frame.apply(lambda column: (column - pd.Timestamp("2013-01-01")).dt.total_seconds() / 3600)


def test_any_offset_is_an_instant_and_errors_name_the_field():
    described = bundle.Bundle(
        "p",
        "regression",
        [],
        0.5,
        [bundle.Input("at", "timestamp", "datetime64[us]"), bundle.Input("zoned", "timestamp", "datetime64[us, Asia/Seoul]")],
        "y",
        "2013-02-01",
    )
    same = ["2013-01-01T12:00:00+00:00", "2013-01-01T07:00:00-05:00", "2013-01-01T21:00:00+09:00", "2013-01-01T12:00:00Z"]
    columns = Rows([{"at": text, "zoned": text} for text in [*same, "2013-01-01T12:00:00"]]).columns(Schema(described.inputs))
    frame = frame_of(described, columns)
    assert set(frame["at"]) == {pd.Timestamp("2013-01-01T12:00:00")}
    assert {when.astimezone(dt.UTC).hour for when in frame["zoned"]} == {12}
    assert str(frame["zoned"].dtype) == "datetime64[us, Asia/Seoul]"
    with pytest.raises(InvalidInputError, match="field 'at' must be an ISO time"):
        Rows([{"at": "yesterday", "zoned": None}]).columns(Schema(described.inputs))
    tight = bundle.Bundle("p", "regression", [], 0.5, [bundle.Input("at", "timestamp", "datetime64[ns]")], "y", "2013-02-01")
    with pytest.raises(InvalidInputError, match="field 'at' cannot be used as"):
        frame_of(tight, Rows([{"at": "9999-01-01T00:00:00"}]).columns(Schema(tight.inputs)))


def test_several_outputs_are_refused_where_the_bundle_is_written_and_never_shared_out(tmp_path):
    frame = pd.DataFrame({"x": np.arange(20.0)})
    pipeline = make_pipeline(FunctionTransformer(), LinearRegression()).fit(frame, np.column_stack([frame["x"], -frame["x"]]))
    described = bundle.Bundle("p", "regression", [], 0.5, [bundle.Input("x", "float64", "float64")], "y", "2013-02-01")
    (tmp_path / "b").mkdir()
    with pytest.raises(UnsupportedError, match="answers 2 things"):
        bundle.write(tmp_path / "b", described, pipeline, {"inputs": [], "outputs": []})
    with pytest.raises(UnsupportedError, match="shape"):
        answers.scores(pipeline, "regression", frame)

    class Short:
        def run(self, columns):
            return np.zeros((columns.count - 1, 1))

        inputs, width = ["x"], 1

    engine = Engine(described, None)
    engine._plan = Short()
    with pytest.raises(IntegrityError, match="1 answers to 2 rows"):
        engine.scores(Rows([{"x": 1.0}, {"x": 2.0}]).columns(engine.schema))


def test_unseen_categories_are_counted(tmp_path):
    serving_models.flight_bundle(tmp_path / "b", "trees", iterations=3)
    engine = Engine.load(tmp_path / "b")
    rows = serving_models.rows_of(serving_models.flights(20, 5)[serving_models.NUMERIC + serving_models.CATEGORICAL])
    assert not engine.guesses(Rows(rows).columns(engine.schema))
    odd = [{**rows[0], "carrier": "zz"}, {**rows[1], "carrier": "zz", "dest": "nowhere"}, {**rows[2], "carrier": None}]
    for many in (odd, odd * 5):
        found = engine.guesses(Rows(many).columns(engine.schema)).unseen
        assert found == {"carrier": 2 * len(many) // 3, "dest": len(many) // 3}
    assert engine.row_guesses(odd[1]).unseen == {"carrier": 1, "dest": 1}


@pytest.mark.parametrize("imputed", [False, True])
def test_unseen_categories_are_counted_where_scikit_learn_answers(tmp_path, imputed):
    frame = serving_models.flights(600)
    encoder = OneHotEncoder(handle_unknown="ignore")
    texts = make_pipeline(SimpleImputer(strategy="most_frequent"), encoder) if imputed else encoder
    numbers = KNNImputer(n_neighbors=2)  # has no compiler
    features = ColumnTransformer([("n", numbers, ["distance"]), ("t", texts, ["carrier", "origin"])])
    x = frame[["origin", "distance", "carrier"]]
    pipeline = make_pipeline(features, DecisionTreeClassifier(max_depth=3)).fit(x, frame["month"] > 6)
    serving_models.write(tmp_path / "b", pipeline, x)
    engine = Engine.load(tmp_path / "b")
    assert engine.kind == "pipeline"
    rows = serving_models.rows_of(x.head(20))
    assert not engine.guesses(Rows(rows).columns(engine.schema))
    odd = [{**rows[0], "carrier": "zz"}, {**rows[1], "carrier": "zz", "origin": "nowhere"}]
    assert engine.guesses(Rows(odd).columns(engine.schema)).unseen == {"carrier": 2, "origin": 1}


def test_a_column_transformer_of_one_input_takes_one_column(tmp_path):
    frame = pd.DataFrame({"x": np.arange(20.0), "unused": 1.0})
    features = ColumnTransformer([("x", "passthrough", ["x"])])
    pipeline = make_pipeline(features, LinearRegression()).fit(frame, frame["x"] * 2)
    serving_models.write(tmp_path / "b", pipeline, frame, task="regression")
    assert Engine.load(tmp_path / "b").predict_rows([{"x": 3.0, "unused": None}])[0]["prediction"] == pytest.approx(6.0)
