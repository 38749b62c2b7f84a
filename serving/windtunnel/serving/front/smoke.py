"""The smoke test of a deployment: does a bundle answer as it did where it was trained, in an environment that has nothing else?

``python -m windtunnel.serving.front.smoke FOLDER --digest D`` compiles a bundle, proves parity, answers the bundle's samples and measures
latency and size in this process, which has neither Airflow nor Beam nor the training code; with ``--load-p99-ms`` it also serves it to
several clients at once. It prints one JSON object.
"""

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from windtunnel.lifecycle.contract.errors import GateError, WindtunnelError
from windtunnel.lifecycle.model import answers
from windtunnel.lifecycle.model.bundle import Bundle, read, read_samples
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.serving.compiler.gate import compile_bundle
from windtunnel.serving.front.load import percentiles, under_load

__all__ = ["check", "foreign", "main"]

_WARM = 20
_FOREIGN = {"airflow", "apache_beam", "mlflow", "great_expectations", "pyiceberg", "optuna"}


def check(folder: Path, digest: str | None, seconds: float) -> JsonObject:
    """Load a bundle as the server will, answer its samples, measure: what the smoke test of a deployment reports.

    Raises:
        GateError: an answer differs from the training environment's.
    """
    from windtunnel.serving.compiler.engine import Engine

    started = time.perf_counter()
    engine = Engine.load(folder, digest)
    load_seconds = time.perf_counter() - started
    samples = read_samples(folder)
    inputs, expected = samples.get("inputs", []), samples.get("outputs", [])
    for row, output in zip(inputs, expected, strict=True):
        found = engine.predict_rows([row])[0]
        wanted = output if isinstance(output, dict) else {"score" if bundle_has_score(engine.bundle) else "prediction": output}
        if not answers.same(found, wanted):
            raise GateError(f"the model answers {found} where training answered {wanted}, for {row!r}")
    timed = _timed(engine, inputs, seconds) if inputs else {"latency_ms": {}, "slowdown": 1.0}
    return {
        "samples": len(expected),
        "engine": engine.kind,
        "load_seconds": round(load_seconds, 4),
        **timed,
        "size_mb": round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6, 3),
        "foreign": foreign(),
    }


def _timed(engine: Any, inputs: Sequence[dict[str, object]], seconds: float) -> dict[str, object]:
    """How long one row takes, and how much slower this machine was meanwhile than it can be.

    Between any two answers a piece of work that never changes is timed, of about an answer's length: what makes its slowest runs slower
    than its usual ones is the machine's doing, and makes answers slower as well.
    """
    for row in inputs[:_WARM]:
        engine.predict_rows([row])
    loops = _loops(min(_milliseconds(functools.partial(engine.predict_rows, [row])) for row in inputs))
    taken: list[float] = []
    calibration: list[float] = []
    ends = time.perf_counter() + seconds
    while len(taken) < 20 or (time.perf_counter() < ends and len(taken) < 5000):  # enough for a p99
        row = inputs[len(taken) % len(inputs)]
        taken.append(_milliseconds(functools.partial(engine.predict_rows, [row])))
        calibration.append(_milliseconds(lambda: _work(loops)))
    slowdown = max(percentiles(calibration)["p99"] / min(calibration), 1.0)
    return {"latency_ms": percentiles(taken), "slowdown": round(slowdown, 4)}


def _work(loops: int) -> float:
    """The work that never changes."""
    total = 0.0
    for number in range(loops):
        total += number * 0.5
    return total


def _loops(milliseconds: float) -> int:
    """How many loops of `_work` take about so long."""
    once = min(_milliseconds(lambda: _work(1000)) for _ in range(5))
    return max(int(1000 * milliseconds / once), 100)


def _milliseconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def foreign() -> list[str]:
    """What was imported that a model server does not have."""
    return sorted({name.split(".")[0] for name in sys.modules} & _FOREIGN)


class _Blocker:
    """Refuses to import what a model server does not have, so that a model that needs it fails here and not there."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """None for what may be imported.

        Raises:
            ImportError: for what may not.
        """
        if name.split(".", maxsplit=1)[0] in _FOREIGN:
            raise ImportError(f"{name} is not there where models are served")


def bundle_has_score(bundle: Bundle) -> bool:
    """Whether a plain number among a bundle's sample answers is a score (else it is the predicted value)."""
    return bundle.task != "regression"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; status 1 and ``{"error": ...}`` where the bundle does not pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--digest", help="the digest that the bundle must have")
    parser.add_argument("--compile", action="store_true", help="compile it in place first")
    parser.add_argument("--seconds", type=float, default=0.2, help="how long to measure the latency of one row")
    parser.add_argument("--load-p99-ms", type=float, help="serve it to several clients at once too; the p99 that is wanted")
    given = parser.parse_args(arguments)
    sys.meta_path.insert(0, _Blocker())
    try:
        result: JsonObject = {}
        digest = given.digest
        if given.compile:
            read(given.folder, digest)
            result = compile_bundle(given.folder)
            digest = result["digest"]
        result |= check(given.folder, digest, given.seconds)
        rows = read_samples(given.folder).get("inputs", [])
        if given.load_p99_ms is not None and rows:
            result["under_load"] = under_load(given.folder, rows, given.load_p99_ms)
            result["foreign"] = foreign()
        code = 0
    except WindtunnelError as error:
        result = {"error": {"type": type(error).__name__, "message": error.message, "hint": error.hint}}
        code = 1
    sys.stdout.write(json.dumps(result) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
