"""The short way of single plain rows answers, logs and counts what the ordinary way does, and leaves everything odd to it."""

import asyncio
import json
import math
import struct

import numpy as np
import pytest
import serving_models
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.lifecycle.model import bundle
from windtunnel.serving.base.log import PredictionLog, entries
from windtunnel.serving.base.metrics import Metrics
from windtunnel.serving.compiler.engine import Engine
from windtunnel.serving.compiler.masked_row import MaskedRow
from windtunnel.serving.compiler.plan import Strand
from windtunnel.serving.compiler.steps import Chain
from windtunnel.serving.front.access import Access
from windtunnel.serving.front.http.application import Application
from windtunnel.serving.front.http.framing import head_of
from windtunnel.serving.front.rpc import _Servicer
from windtunnel.serving.front.rpc_rows import PlainRows
from windtunnel.serving.protocol import open_inference_pb2 as pb
from windtunnel.serving.routing.models import Models
from windtunnel.serving.routing.service import Service
from windtunnel.serving.routing.store import Store

TOKEN = b"Bearer secret"


class Worker:
    """Two of the same: one is asked by the short way, the other by the ordinary one."""

    def __init__(self, root, folder, runner, **options):
        self.home = root / "home"
        models = Models(Store(self.home), 0)
        self.service = Service(models, PredictionLog(self.home / "log", 0), Metrics(root / "metrics", 0), **options)
        written = bundle.read(folder)
        runner.run(models.load("m", str(folder), written.digest, "1", ["champion"]))
        self.application = Application(self.service, Access.of("secret"))
        self.service.ready = True

    def head(self, path, body, extra):
        lines = b"".join(b"%s: %s\r\n" % pair for pair in ((b"Authorization", TOKEN), *extra))
        return head_of(b"POST %s HTTP/1.1\r\nHost: h\r\n%sContent-Length: %d\r\n\r\n" % (path, lines, len(body)))

    def shortly(self, path, body, extra=()):
        head = self.head(path, body, extra)
        express = self.application.express(head, self.application.target(head.url))
        return None if express is None else express.reply(body, 0.0)

    def ordinarily(self, path, body, extra=()):
        head = self.head(path, body, extra)
        return self.application.at_once(self.application.target(head.url), "POST", head.headers, body, 0.0)

    def logged(self):
        found = [{**entry, "id": 0, "time": 0, "seconds": 0} for entry in entries(self.home / "log")]
        self.service.log.close()
        for path in (self.home / "log" / "closed").iterdir():
            path.unlink()
        return found

    def counted(self):
        return sorted(line for line in self.service.metrics.text().decode().splitlines() if "seconds" not in line and "swaps" not in line)


@pytest.fixture(scope="module", params=["trees", "linear"])
def pair(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("express")
    serving_models.flight_bundle(root / "b", request.param)
    with asyncio.Runner() as runner:
        workers = [Worker(root / name, root / "b", runner) for name in ("short", "ordinary")]
        yield *workers, bundle.read_samples(root / "b")["inputs"]


def split(raw):
    """Status line, headers and body of a reply's bytes."""
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines[1:])
    assert int(headers.pop(b"content-length")) == len(body)
    return lines[0], headers, body


def without_ids(headers, body):
    """A reply without its id, whose bytes have one length."""
    identity = headers.pop(b"x-request-id")
    length = int(headers.pop(b"inference-header-content-length", len(body)))
    value = json.loads(body[:length])
    if "id" in value:
        assert value.pop("id").encode() == identity
    return headers, value, body[length:]


def tensors(row, raw=False, **more):
    kinds = {float: "FP64", int: "INT64", str: "BYTES", bool: "BOOL"}
    inputs, blobs = [], []
    for name, value in row.items():
        kind = kinds.get(type(value), "FP64")
        entry = {"name": name, "shape": [1], "datatype": kind}
        if raw:
            blob = struct.pack("<I", len(value)) + value.encode() if kind == "BYTES" else np.array(value, dtype=type(value)).tobytes()
            entry["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            entry["data"] = [value]
        inputs.append(entry)
    head = json.dumps({"inputs": inputs, **more}).encode()
    return (head + b"".join(blobs), [(b"Inference-Header-Content-Length", b"%d" % len(head))]) if raw else (head, [])


def plain_requests(row):
    """Plain requests of each protocol for one row: path, body, headers."""
    binary = {"parameters": {"binary_data_output": True}}
    one = {"outputs": [{"name": "score", "parameters": {"binary_data": True}}, {"name": "prediction"}]}
    bodies = {
        b"/v1/models/m/predict": [{"rows": [row]}, {"rows": [{**row, "key": "a:b"}]}],
        b"/v1/models/m:predict": [{"instances": [row]}, {"instances": [list(row.values())]}],
        b"/invocations": [{"dataframe_records": [row]}, {"instances": [row]}],
        b"/models/m/invocations": [{"dataframe_split": {"columns": list(row)[::-1], "data": [list(row.values())[::-1]], "index": [0]}}],
    }
    for path, values in bodies.items():
        for value in values:
            yield path, json.dumps(value).encode(), []
            yield path, json.dumps(value, separators=(",", ":")).encode(), [(b"X-Request-Id", b'a "b"')]
    yield b"/v2/models/m/infer", *tensors(row)
    yield b"/v2/models/m/versions/champion/infer", *tensors(row)
    for more in ({}, binary, one):
        yield b"/v2/models/m/infer", *tensors(row, raw=True, **more)


def test_plain_rows_take_the_short_way_and_get_the_same(pair):
    short, ordinary, rows = pair
    complete = [row for row in rows if None not in row.values()]
    assert len(complete) > 3
    for row in complete:
        for path, body, extra in plain_requests(row):
            raw = short.shortly(path, body, extra)
            assert raw is not None, (path, body)
            status, headers, content = split(raw)
            reply = ordinary.ordinarily(path, body, extra)
            assert (status, reply.status) == (b"HTTP/1.1 200 OK", 200)
            theirs = {b"content-type": reply.kind, **dict(reply.headers)}
            assert without_ids(headers, content) == without_ids(theirs, reply.content), (path, body)
    assert short.logged() == ordinary.logged()
    assert short.counted() == ordinary.counted()


def test_null_is_plain_where_the_model_fills_it(pair):
    short, ordinary, rows = pair
    row = {**rows[0], "dep_delay": None}
    body = json.dumps({"rows": [row]}).encode()
    _, headers, content = split(short.shortly(b"/v1/models/m/predict", body))
    reply = ordinary.ordinarily(b"/v1/models/m/predict", body)
    assert without_ids(headers, content)[1] == without_ids(dict(reply.headers), reply.content)[1]
    assert short.logged() == ordinary.logged()


ODD = {
    "two rows": lambda row: {"rows": [row, row]},
    "no row": lambda row: {"rows": []},
    "absent": lambda row: {"rows": [{name: value for name, value in row.items() if name != "dest"}]},
    "unseen": lambda row: {"rows": [{**row, "dest": "nowhere"}]},
    "another type": lambda row: {"rows": [{**row, "distance": "far"}]},
    "a fraction": lambda row: {"rows": [{**row, "distance": 1.5}]},
    "a boolean": lambda row: {"rows": [{**row, "distance": True}]},
    "something beside": lambda row: {"rows": [row], "more": 1},
    "a row that is none": lambda row: {"rows": [1]},
    "null": lambda row: None,
}


@pytest.mark.parametrize("odd", ODD)
def test_what_is_odd_goes_the_ordinary_way(pair, odd):
    short, _, rows = pair
    before = short.counted()
    assert short.shortly(b"/v1/models/m/predict", json.dumps(ODD[odd](rows[0])).encode()) is None
    assert (short.logged(), short.counted()) == ([], before)


@pytest.mark.parametrize(
    "text",
    [
        b'{"rows":[{%s,"dest":"ATL","dest":"ORD"}]}',
        b'{"rows":[{%s,"x" :1,"x":2}]}',
        b'{"rows":[{%s,"x":NaN}]}',
        b'{"rows":[{%s,"x":Infinity}]}',
        b'{"rows":[{%s,"x":1e999}]}',
        b'{"rows":[{%s}]} x',
        b'\xef\xbb\xbf{"rows":[{%s}]}',
        b'{"rows":[{%s,"x":"\xff"}]}',
        b'{"rows":[{%s}],"rows":[{%s}]}',
    ],
)
def test_what_is_not_surely_strict_goes_the_ordinary_way(pair, text):
    short, _, rows = pair
    row = json.dumps(rows[0]).encode()[1:-1]
    assert short.shortly(b"/v1/models/m/predict", text.replace(b"%s", row)) is None
    assert short.logged() == []


@pytest.mark.parametrize(
    ("path", "extra"),
    [
        (b"/v1/models/m/predict", [(b"Content-Encoding", b"gzip")]),
        (b"/v1/models/m/predict", [(b"X-Windtunnel-Version", b"9")]),
        (b"/v1/models/m/explain", []),
        (b"/v1/models/other/predict", []),
        (b"/invocations", [(b"Content-Type", b"text/csv")]),
        (b"/invocations", [(b"X-Windtunnel-Model", b"other")]),
        (b"/v2/models/m/infer", [(b"Inference-Header-Content-Length", b"3")]),
    ],
)
def test_odd_heads_have_no_short_way(pair, path, extra):
    short, _, rows = pair
    assert short.shortly(path, json.dumps({"rows": [rows[0]]}).encode(), extra) is None


@pytest.mark.parametrize("token", [b"Bearer wrong", b"secret", b""])
def test_strangers_have_no_short_way(pair, token, monkeypatch):
    short, _, rows = pair
    monkeypatch.setitem(globals(), "TOKEN", token)
    assert short.shortly(b"/v1/models/m/predict", json.dumps({"rows": [rows[0]]}).encode()) is None


def test_a_worker_that_is_behind_or_whose_disk_is_full_has_no_short_way(pair, monkeypatch):
    short, _, rows = pair
    body = json.dumps({"rows": [rows[0]]}).encode()
    short.service.lag = short.service.lag = short.service.lag = 9.0
    assert short.shortly(b"/v1/models/m/predict", body) is None
    short.service.lag = 0.0
    monkeypatch.setattr("os.write", lambda *_: 0)
    assert short.shortly(b"/v1/models/m/predict", body) is None


@pytest.mark.parametrize("option", [{"redact": ["dest"]}, {"log_sample": 0.5}, {"abstain_below": 0.9}])
def test_versions_whose_answers_are_partly_hidden_or_withheld_have_no_short_way(tmp_path, option):
    serving_models.flight_bundle(tmp_path / "b", "linear", **option)
    with asyncio.Runner() as runner:
        worker = Worker(tmp_path, tmp_path / "b", runner)
        body = json.dumps({"rows": bundle.read_samples(tmp_path / "b")["inputs"][:1]}).encode()
        assert worker.shortly(b"/v1/models/m/predict", body) is None
        assert worker.ordinarily(b"/v1/models/m/predict", body).status == 200


def test_a_short_way_ends_with_the_state_that_it_is_of(pair):
    short, _, rows = pair
    body = json.dumps({"rows": [rows[0]]}).encode()
    head = short.head(b"/v1/models/m/predict", body, ())
    express = short.application.express(head, short.application.target(head.url))
    assert express.reply(body, 0.0) is not None
    short.service.models.served = dict(short.service.models.served)
    assert express.reply(body, 0.0) is None
    assert short.shortly(b"/v1/models/m/predict", body) is not None
    assert len(short.logged()) == 2


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engine") / "b"
    serving_models.flight_bundle(folder, "trees")
    return Engine.load(folder)


FLOATS = st.floats(allow_infinity=False, width=64)


@given(numbers=st.lists(FLOATS, min_size=4, max_size=4), place=st.integers(0, 10**6), texts=st.tuples(*[st.sampled_from("abc")] * 3))
@settings(max_examples=300, deadline=None)
def test_a_row_straight_to_the_leaves_gets_bit_for_bit_what_the_steps_give(engine, numbers, place, texts):
    plan = engine._plan
    scorer, trees = plan._scorer, plan.step.steps[-1]
    row_of_masks = MaskedRow.of(
        trees._words(), [Chain(plan.step.steps[:-1]).strands([Strand(n) for n in range(7)])[n] for n in trees.places]
    )
    edges = [(at, edge) for at, thresholds, _ in row_of_masks._thresholds for edge in thresholds]
    at, edge = edges[place % len(edges)]
    known = [next(iter(values)) for values in engine._known.values()]
    for value in (edge, math.nextafter(edge, math.inf), math.nextafter(edge, -math.inf), math.nan, *numbers):
        row = [value if position == at else entry for position, entry in enumerate([*numbers, *known])]
        with np.errstate(all="ignore"):
            assert scorer(row) == plan.step.one(row)
    assert scorer([*numbers, *texts]) is None


def message(row, raw, **more):
    """A gRPC request of one row."""
    kinds = {float: ("FP64", "fp64_contents", "<d"), int: ("INT64", "int64_contents", "<q"), str: ("BYTES", "bytes_contents", "")}
    found = pb.ModelInferRequest(model_name="m", **more)
    for name, value in row.items():
        kind, field, code = kinds[type(value)]
        tensor = found.inputs.add(name=name, datatype=kind, shape=[1])
        encoded = value.encode() if kind == "BYTES" else value
        if not raw:
            getattr(tensor.contents, field).append(encoded)
        else:
            text = kind == "BYTES"
            found.raw_input_contents.append(struct.pack("<I", len(encoded)) + encoded if text else struct.pack(code, value))
    return found


@pytest.mark.parametrize("raw", [True, False])
def test_grpc_gets_the_same_by_the_short_way(pair, raw):
    rows = [row for row in pair[2] if None not in row.values()]
    metadata = {"authorization": TOKEN.decode()}
    access = Access.of("secret")
    for row in rows:
        for more in ({}, {"id": 'a "b"'}, {"model_version": "champion"}):
            asked = message(row, raw, **more)
            shortly = pb.ModelInferResponse.FromString(PlainRows(pair[0].service, access).answer(asked, metadata, 0.0))
            with asyncio.Runner() as runner:
                theirs = runner.run(_Servicer(pair[1].service, access, 9.0)._infer(asked, metadata, 0.0))
            if not more.get("id"):
                shortly.id, theirs.id = "", ""
            assert shortly == theirs
    assert pair[0].logged() == pair[1].logged()
    plain = PlainRows(pair[0].service, access)
    odd = [message(row, raw), message({**row, "dest": "nowhere"}, raw), message({**row, "dep_delay": math.nan}, raw)]
    odd[0].inputs[0].shape[0] = 2
    assert [plain.answer(one, metadata, 0.0) for one in odd] == [None] * 3
    assert plain.answer(message(row, raw), {"authorization": "Bearer other"}, 0.0) is None
    assert plain.answer(message(row, raw, model_version="9"), metadata, 0.0) is None
    assert pair[0].logged() == []
