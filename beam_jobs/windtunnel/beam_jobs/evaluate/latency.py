"""How long a model takes to answer one row, with the engine that will serve it."""

import json
import time
from typing import Any

import pyarrow as pa

from windtunnel.lifecycle.contract.errors import UnsupportedError
from windtunnel.lifecycle.model.bundle import Bundle
from windtunnel.serving.compiler.compile import compile_pipeline
from windtunnel.serving.compiler.engine import Engine
from windtunnel.serving.front.load import percentiles

__all__ = ["latency"]

_WARM = 30
_MOST = 500
_SECONDS = 2.0
_PASSES = 3


def latency(bundle: Bundle, pipeline: Any, rows: pa.Table) -> dict[str, float]:
    """``latency_p50_ms`` and ``latency_p99_ms`` of answering one row: parsed from JSON values, scored, and shaped into an answer.

    Of three passes over the rows the quickest counts: what else the machine does can only add. What the network and the server
    around the engine add is measured where they are: in the deployment's smoke test.

    Args:
        bundle: the model's manifest.
        pipeline: the model; compiled as serving compiles it, or as it is where that is not possible.
        rows: input rows; at most 500 are asked about, for at most two seconds.
    """
    try:
        engine = Engine(bundle, compile_pipeline(pipeline, bundle))
    except UnsupportedError:
        engine = Engine(bundle, None, pipeline)
    asked = json.loads(json.dumps(rows.slice(0, _MOST).to_pylist(), default=str))
    for row in asked[:_WARM]:
        engine.predict_rows([row])
    passes: list[dict[str, float]] = []
    end = time.perf_counter() + _SECONDS
    while asked and len(passes) < _PASSES and (not passes or time.perf_counter() < end):
        taken: list[float] = []
        for row in asked:
            began = time.perf_counter()
            engine.predict_rows([row])
            taken.append((time.perf_counter() - began) * 1000)
            if time.perf_counter() > end:
                break
        passes.append(percentiles(taken))
    return {f"latency_{name}_ms": min(found[name] for found in passes) for name in ("p50", "p99")} if passes else {}
