"""A suite over Parquet files: ``{"suite": PATH or object, "data": PATH or paths}`` in, Great Expectations' result out."""

from windtunnel.beam_jobs.expectations.run import run_suite
from windtunnel.beam_jobs.job import Progress
from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.lifecycle.quality.suites import load_suite, normal

__all__ = ["run"]


def run(spec: JsonObject, progress: Progress) -> JsonObject:
    """Validate.

    Args:
        spec: ``suite`` (a path or the suite itself), ``data`` (a path, a folder, a glob, or several), ``result_format``
            (GX's), ``batch_rows``; with ``runner``, ``runner_options`` or ``workers`` distinct rows are counted by a Beam job, which
            needs ``shared``, a folder or URL that all workers reach, unless they are on this machine.
        progress: told the rows that were read.

    Raises:
        ConfigurationError: the spec or the suite is wrong.
    """
    if "suite" not in spec or "data" not in spec:
        raise ConfigurationError(f"a spec needs suite and data but has {sorted(spec)}")
    suite = load_suite(spec["suite"]) if isinstance(spec["suite"], str) else normal(spec["suite"])
    options = {key: spec[key] for key in ("result_format", "batch_rows", "distinct_bytes", "distinct_limit") if key in spec}
    progress.what = "validate"
    counting = None
    if {"runner", "runner_options", "workers"} & set(spec):
        from windtunnel.beam_jobs.expectations.engine.route import beam_counting

        counting = beam_counting(spec, str(spec.get("shared", "")))
    result = run_suite(suite, spec["data"], progress=progress.add, counting=counting, **options)
    progress.done()
    return result
