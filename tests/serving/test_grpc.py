"""tritonclient, the field's own client, talks to the server over gRPC and over HTTP with raw bytes."""

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from windtunnel.lifecycle.model import bundle
from windtunnel.serving.compiler.engine import Engine

KINDS = {"dep_delay": "FP64", "sched_dep_time": "INT64", "distance": "INT64", "month": "INT64"}
TYPES = {"FP64": np.float64, "INT64": np.int64, "BYTES": np.object_}


def tensors(module, rows, **replaced):
    found = []
    for name in rows[0]:
        kind = replaced.get(name, (KINDS.get(name, "BYTES"),))[0]
        values = replaced[name][1] if name in replaced else [row[name] for row in rows]
        tensor = module.InferInput(name, [len(values)], kind)
        tensor.set_data_from_numpy(np.array(values, dtype=TYPES[kind]))
        found.append(tensor)
    return found


def test_grpc(serve, bundles, rows):
    server = serve("--workers", "2", "--grpc-port", "0")
    digest = bundle.read(bundles["one"]).digest
    headers = {"authorization": "Bearer only-for-tests"}
    client = triton.InferenceServerClient(server.grpc)
    assert client.is_server_live()
    assert client.is_server_ready()
    with pytest.raises(InferenceServerException, match="bearer token"):
        client.get_server_metadata()
    config = {"uri": str(bundles["one"]), "digest": digest, "version": "1", "labels": "champion,stable"}
    server.load(bundles["one"], config["version"], ["champion", "stable"])
    assert client.is_model_ready("flight_delays", headers=headers)
    assert not client.is_model_ready("nothing", headers=headers)
    described = client.get_model_metadata("flight_delays", headers=headers)
    assert [entry.name for entry in described.inputs] == list(rows[0])
    wanted = Engine.load(bundles["one"]).predict_rows(rows)
    found = client.infer("flight_delays", tensors(triton, rows), headers=headers, request_id="g1")
    assert found.as_numpy("score").tolist() == [row["score"] for row in wanted]
    assert [value.decode() for value in found.as_numpy("prediction")] == [row["prediction"] for row in wanted]
    assert found.get_response().id == "g1"
    assert found.get_response().parameters["route"].string_param == "champion"
    some = client.infer(
        "flight_delays", tensors(triton, rows), model_version="stable", outputs=[triton.InferRequestedOutput("score")], headers=headers
    )
    assert some.as_numpy("prediction") is None
    figures = client.get_inference_statistics("flight_delays", headers=headers).model_stats[0]
    assert (figures.version, figures.inference_count, figures.execution_count) == ("1", 2 * len(rows), 2)
    assert figures.inference_stats.success.count == 2
    assert 0 < figures.inference_stats.success.ns < 20e9
    assert len(client.get_inference_statistics(headers=headers).model_stats) == 1
    with pytest.raises(InferenceServerException, match="no version"):
        client.get_inference_statistics("flight_delays", "9", headers=headers)
    # Types are checked: bytes that are no text, text where a number belongs, a number where text belongs.
    for name, kind, value in (("carrier", "BYTES", [b"\xff\xfe"]), ("dep_delay", "BYTES", ["soon"]), ("carrier", "INT64", [7])):
        with pytest.raises(InferenceServerException, match=name) as caught:
            client.infer("flight_delays", tensors(triton, rows[:1], **{name: (kind, value)}), headers=headers)
        assert "INVALID_ARGUMENT" in str(caught.value.status())
    with pytest.raises(InferenceServerException, match="no model"):
        client.infer("nothing", tensors(triton, rows[:1]), headers=headers)
    assert [entry.name for entry in client.get_model_repository_index(headers=headers).models] == ["flight_delays"]
    client.unload_model("flight_delays", headers=headers)
    assert server.call("/v2/repository/index", {})[1] == []
    client.close()


def test_http_with_raw_bytes(serve, bundles, rows):
    server = serve()
    server.load(bundles["two"], "7", ["champion"])
    headers = {"authorization": "Bearer only-for-tests"}
    client = triton_http.InferenceServerClient(server.url.removeprefix("http://"))
    assert client.is_server_ready()
    wanted = Engine.load(bundles["two"]).predict_rows(rows)
    found = client.infer("flight_delays", tensors(triton_http, rows), headers=headers)
    assert found.as_numpy("score").tolist() == [row["score"] for row in wanted]
    assert [value.decode() for value in found.as_numpy("prediction")] == [row["prediction"] for row in wanted]
    assert [entry["version"] for entry in client.get_model_repository_index(headers=headers)] == ["7"]
    described = client.get_model_metadata("flight_delays", "champion", headers=headers)
    assert described["parameters"]["version"] == "7"
    assert client.is_model_ready("flight_delays", "7", headers=headers)
    assert not client.is_model_ready("flight_delays", "8", headers=headers)
    figures = client.get_inference_statistics("flight_delays", "champion", headers=headers)["model_stats"][0]
    assert (figures["version"], figures["inference_count"]) == ("7", len(rows))
    outputs = [triton_http.InferRequestedOutput("score", binary_data=False)]
    assert (
        client.infer("flight_delays", tensors(triton_http, rows), outputs=outputs, headers=headers).get_response()["model_version"] == "7"
    )
    client.close()
