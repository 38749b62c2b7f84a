"""Classes are answered in the type of the label's column by every protocol; tables, metrics and older bundles have their names."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from serving_models import NUMERIC, TOKEN, flights, rows_of, write
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.data.rows import class_type
from windtunnel.lifecycle.model import answers, bundle
from windtunnel.serving.base import log
from windtunnel.serving.compiler.engine import Engine
from windtunnel.serving.compiler.gate import compile_bundle
from windtunnel.serving.routing.entries import Entries

FAR = (1 << 60) + 1
# model: type of the label, task, names of the classes, what is answered, the datatype of tensors
KINDS = {
    "ints": ("int64", "multiclass", ["-3", "7", str(FAR)], [-3, 7, FAR], "INT64"),
    "small_ints": ("int32", "binary", ["0", "1"], [0, 1], "INT64"),
    "flags": ("bool", "binary", ["0", "1"], [False, True], "BOOL"),
    "words": ("bool", "multiclass", ["false", "true"], [False, True], "BOOL"),
    "floats": ("float64", "multiclass", ["0.5", "2", "10"], [0.5, 2.0, 10.0], "FP64"),
    "texts": ("string", "multiclass", ["1", "2", "late"], ["1", "2", "late"], "BYTES"),
    "whole_texts": ("string", "binary", ["0", "1"], ["0", "1"], "BYTES"),
    "outliers": ("bool", "anomaly", ["0", "1"], [False, True], "BOOL"),
    "before": ("", "binary", ["0", "1"], ["0", "1"], "BYTES"),
}


def pipeline_of(classes):
    frame = flights(600)[NUMERIC].astype("float64").dropna()
    return make_pipeline(SimpleImputer(), DecisionTreeClassifier(max_depth=6, random_state=0)).fit(
        frame, np.arange(len(frame)) % classes
    ), frame


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("classes")
    for name, (kind, task, names, _, _) in KINDS.items():
        pipeline, frame = pipeline_of(len(names))
        write(root / name, pipeline, frame, task, names, problem=name, label_type=kind, abstain_below=0.1)
        if name not in {"words", "small_ints"}:  # those are answered by scikit-learn
            compile_bundle(root / name, rows=50)
    return {name: root / name for name in KINDS}


@pytest.fixture(scope="module")
def rows():
    return rows_of(pipeline_of(2)[1].head(40))


def exactly(value):
    """True is no 1, and 1 no 1.0."""
    return json.dumps(value)


def by_triton(module, server, name, rows, headers):
    address = server.grpc if module is triton_grpc else server.url.removeprefix("http://")
    tensors = []
    for column in rows[0]:
        tensor = module.InferInput(column, [len(rows)], "FP64")
        tensor.set_data_from_numpy(np.array([row[column] for row in rows]))
        tensors.append(tensor)
    with module.InferenceServerClient(address) as client:
        found = client.infer(name, tensors, headers=headers)
    output = found.get_output("prediction")
    datatype = output.datatype if module is triton_grpc else output["datatype"]
    values = [value.decode() if isinstance(value, bytes) else value for value in found.as_numpy("prediction").tolist()]
    return datatype, values


def test_every_protocol_answers_in_the_type_of_the_label(serve, places, rows):
    server = serve("--grpc-port", "0", *(word for name, place in places.items() for word in ("--preload", f"{name}=1={place}")))
    asked = {}
    for name, (kind, _, names, values, datatype) in KINDS.items():
        engine = Engine.load(places[name])
        wanted = [answer["prediction"] for answer in engine.predict_rows(rows)]
        assert {exactly(value) for value in wanted} <= {exactly(value) for value in values}
        assert len(set(wanted)) > 1
        for few in (rows, rows[:1]):
            found = server.predict(few, name)
            asked[found["id"]] = name, wanted[: len(few)]
            assert exactly([row["prediction"] for row in found["predictions"]]) == exactly(wanted[: len(few)])
        tensors = [{"name": column, "shape": [40], "datatype": "FP64", "data": [row[column] for row in rows]} for column in rows[0]]
        status, body = server.call(f"/v2/models/{name}/infer", {"inputs": tensors})
        (output,) = [output for output in body["outputs"] if output["name"] == "prediction"]
        assert (status, output["datatype"], exactly(output["data"])) == (200, datatype, exactly(wanted))
        for module in (triton_http, triton_grpc):
            headers = {("authorization" if module is triton_grpc else "Authorization"): f"Bearer {TOKEN}"}
            assert exactly(by_triton(module, server, name, rows, headers)) == exactly((datatype, wanted))
        about = server.call(f"/v2/models/{name}")[1]
        assert {entry["datatype"] for entry in about["outputs"] if entry["name"] == "prediction"} == {datatype}
        assert exactly(about["parameters"]["classes"]) == exactly(values)
        plain = wanted if kind else [int(value) for value in wanted]  # of an older bundle it is guessed, as ever
        table = ",".join(rows[0]) + "\n" + "\n".join(",".join(str(value) for value in row.values()) for row in rows)
        for path, sent, media in (
            (f"/v1/models/{name}:predict", {"instances": rows}, "application/json"),
            (f"/models/{name}/invocations", {"dataframe_records": rows}, "application/json"),
            (f"/models/{name}/invocations", table.encode(), "text/csv"),
        ):
            status, body = server.call(path, sent, Content_Type=media)
            assert (status, exactly(body)) == (200, exactly({"predictions": plain}))
        counted = {line.split('prediction="')[1].split('"')[0] for line in server.call("/metrics")[1].decode().splitlines()
                   if line.startswith("windtunnel_predictions_total") and f'model="{name}"' in line}  # fmt: skip
        assert counted <= set(names)
    logged = {entry["id"]: entry for entry in log.entries(server.home / "log")}
    for identity, (_, wanted) in asked.items():
        if identity in logged:
            said = logged[identity]["answers"]
            assert exactly(said["prediction"] if isinstance(said, dict) else [row["prediction"] for row in said]) == exactly(wanted)
    server.stop()
    kept = [row for path in (server.home / "predictions").rglob("*.parquet") for row in pq.read_table(path).to_pylist()]
    for identity, (name, wanted) in asked.items():
        names = Engine.load(places[name]).names
        of_request = sorted((row for row in kept if row["request_id"] == identity), key=lambda row: row["row"])
        assert [row["prediction"] for row in of_request] == [names[value] for value in wanted]


def test_classes_of_a_bundle_that_are_no_values_of_their_type(places):
    good = bundle.read(places["before"])
    assert "label_type" not in (places["before"] / "model.json").read_text()  # and so the digests of bundles stay what they were
    with pytest.raises(ConfigurationError, match="cannot be labels of type int64"):
        answers.typed(["a", "b"], "int64")
    assert answers.typed(["1", "01"], "int64") == ["1", "01"], "two classes may not become one"
    assert good.label_type == ""


def problem(task, kind, **label):
    columns = {"x": "int64", "y": kind}
    source = {"format": "csv", "path": "x"}
    features = {"numeric": ["x"]}
    return parse({"name": "p", "owner": "o", "task": task, "source": source, "columns": columns, "features": features,
                  "label": {"column": "y", **label}})  # fmt: skip


@pytest.mark.parametrize(
    ("task", "kind", "label", "wanted"),
    [
        ("binary", "bool", {"positive": {"equals": True}}, "bool"),
        ("binary", "bool", {"positive": {"equals": False}}, "int64"),
        ("binary", "bool", {"positive": {"not_equals": True}}, "int64"),
        ("binary", "int32", {"positive": {"equals": 1}}, "int64"),
        ("binary", "float64", {"positive": {"above": 3}}, "int64"),
        ("binary", "string", {"positive": {"equals": "yes"}}, "int64"),
        ("multiclass", "int64", {}, "int64"),
        ("multiclass", "string", {}, "string"),
        ("anomaly", "bool", {}, "bool"),
        ("regression", "float64", {}, ""),
    ],
)
def test_the_type_of_classes(task, kind, label, wanted):
    assert class_type(problem(task, kind, **label)) == wanted


def test_log_lines_of_every_time_are_read():
    about = {"id": "a", "time": 1.75e9, "problem": "p", "model": "m", "version": "1", "route": "champion", "seconds": 0.1, "inputs": [{}]}
    lines = [
        ({"prediction": "1", "score": 0.5}, {}, "1"),  # as they were before the label's type was kept
        ({"prediction": FAR, "score": 0.5}, {}, str(FAR)),
        ({"prediction": True, "score": 0.5}, {"names": {"false": "0", "true": "1"}}, "1"),
        ({"prediction": True, "score": 0.5}, {}, "true"),
        ({"prediction": 2.0, "score": 0.5}, {"names": {"2.0": "2"}}, "2"),
        ({"prediction": 2.5}, {}, "2.5"),  # a regression
    ]
    for answer, more, wanted in lines:
        found = Entries()
        found.add(about | {"answers": [answer]} | more)
        (row,) = found.table().to_pylist()
        assert (row["prediction"], row["value"]) == (wanted, answer.get("score", answer["prediction"]))
    for damage in ([1], None, {"a": 1}):
        with pytest.raises(TypeError):
            Entries().add(about | {"answers": [{"prediction": damage, "score": 0.5}]})
