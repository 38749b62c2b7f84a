"""A job: a JSON spec in, a JSON result out, on any Beam runner, with its progress seen.

Every module of this folder has ``run(spec, progress) -> result`` with plain data on both sides, and ends with ``main(run)``: an operator
calls ``run`` in the task's own process, or starts ``python -m windtunnel.beam_jobs.X --spec S --result R`` in a process group of its own.
"""

import argparse
import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from windtunnel.beam_jobs.light import all_filesystems
from windtunnel.lifecycle.contract.errors import ConfigurationError, WindtunnelError
from windtunnel.lifecycle.payload import JsonMapping, JsonObject

__all__ = ["Progress", "main", "pipeline", "progress_of", "runner_options", "spread"]

log = logging.getLogger("windtunnel.jobs")


class Progress:
    """Counts rows and logs share and rate, at most every few seconds.

    Args:
        what: the name of the work, for the log.
        total: rows that are expected; 0 if unknown.
        every: seconds between lines.
    """

    def __init__(self, what: str = "job", total: int = 0, every: float = 2.0) -> None:
        self.what, self.total, self.every = what, total, every
        self.rows = 0
        self._start = self._last = time.monotonic()
        self._lock = threading.Lock()

    def add(self, rows: int) -> None:
        """Rows that were done."""
        with self._lock:
            self.rows += rows
            now = time.monotonic()
            due = now - self._last >= self.every
            self._last = now if due else self._last
        # Outside of the lock: a handler may take its time, and other threads count meanwhile.
        if due:
            log.info("%s", self)

    def done(self) -> None:
        """The last line."""
        log.info("%s", self)

    def __str__(self) -> str:
        seconds = max(time.monotonic() - self._start, 1e-9)
        share = f" ({self.rows / self.total:.0%} of {self.total:,})" if self.total else ""
        return f"{self.what}: {self.rows:,} rows{share} in {seconds:.1f} s, {self.rows / seconds:,.0f} rows/s"


_CURRENT: dict[str, Progress] = {}


def progress_of(name: str) -> Progress:
    """The progress that steps of a pipeline in this process report to (a fresh one in a remote worker)."""
    return _CURRENT.setdefault(name, Progress(name))


@contextlib.contextmanager
def reporting(name: str, progress: Progress) -> Iterator[Progress]:
    """Make `progress` what `progress_of(name)` answers while a pipeline runs."""
    _CURRENT[name] = progress
    try:
        yield progress
    finally:
        _CURRENT.pop(name, None)
        progress.done()


def runner_options(spec: JsonMapping) -> JsonObject:
    """The part of a spec that says where the pipeline runs: ``runner``, ``runner_options``, ``workers``."""
    return {"runner": "in-process", "runner_options": "", "workers": 1} | {
        key: spec[key] for key in ("runner", "runner_options", "workers") if key in spec
    }


def pipeline(spec: JsonMapping) -> beam.Pipeline:
    """A pipeline for the runner that a spec names; use it as a context manager.

    ``in-process`` is Beam's FnApiRunner, named explicitly because the default runner first tries to download another one.

    Raises:
        ConfigurationError: Beam does not know the runner.
    """
    import shlex

    chosen = runner_options(spec)
    arguments = shlex.split(chosen["runner_options"])
    if chosen["runner"] != "in-process":
        all_filesystems()
        try:
            return beam.Pipeline(runner=chosen["runner"], options=PipelineOptions(arguments))
        except (ImportError, ValueError) as error:
            raise ConfigurationError(f"Beam cannot use runner {chosen['runner']!r}: {error}") from error
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    workers = int(chosen["workers"])
    if workers > 1:
        arguments += [f"--direct_num_workers={workers}", "--direct_running_mode=multi_processing"]
    return beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(arguments))


def spread(items: Sequence[Any], spec: JsonMapping) -> beam.Create:
    """The start of a pipeline: references, spread over the workers where there are several.

    `beam.Create` reshuffles by itself; with one worker in this process that would only be a stage more.
    """
    chosen = runner_options(spec)
    return beam.Create(items, reshuffle=chosen["runner"] != "in-process" or int(chosen["workers"]) > 1)


def main(run: Callable[[dict[str, object], Progress], dict[str, object]], arguments: list[str] | None = None) -> None:
    """The command line of a job; exits with 0 and a result, or with 1 and an ``error`` in the result file."""
    parser = argparse.ArgumentParser(description=sys.modules[run.__module__].__doc__)
    parser.add_argument("--spec", required=True, help="the job's JSON spec, or - for standard input")
    parser.add_argument("--result", help="where the JSON result goes; standard output if not given")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    code = 0
    try:
        text = sys.stdin.read() if given.spec == "-" else Path(given.spec).read_text(encoding="utf-8")
        result = run(json.loads(text), Progress())
    except WindtunnelError as error:
        log.error("%s", error)  # a person reads the message; the trace says nothing more
        result = {"error": {"type": type(error).__name__, "message": error.message, "hint": error.hint, "details": error.details}}
        code = 1
    body = json.dumps(result, indent=None if given.result else 2, default=str)
    if given.result:
        # Whoever waits for the result must not find half of it.
        temporary = Path(f"{given.result}.{os.getpid()}")
        temporary.write_text(body, encoding="utf-8")
        temporary.replace(given.result)
    else:
        sys.stdout.write(body + "\n")
    sys.exit(code)
