"""Fit or apply scikit-learn preprocessing over data of any size.

The spec is JSON: ``data`` (Parquet paths), ``output`` (a folder), and either ``transformer`` (``module:function`` that returns an unfitted
one, to fit it and write the training rows' shards), ``problem`` (a problem file, for its features), or ``fitted`` (a folder with
``pipeline.skops``, to apply it); ``options`` as in `windtunnel.beam_jobs.features.Options`. The result is the manifest.
"""

import importlib
from typing import Any

from windtunnel.beam_jobs import job
from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.payload import JsonObject


def run(spec: JsonObject, _progress: job.Progress) -> JsonObject:
    """Fit and write, or apply and write."""
    from windtunnel.beam_jobs.features.applying.transforming import fit_transform, transform

    missing = [name for name in ("data", "output") if not spec.get(name)]
    given = [name for name in ("transformer", "problem", "fitted") if spec.get(name)]
    if missing or len(given) != 1:
        raise ConfigurationError(
            f"the spec lacks {missing}" if missing else f"the spec names {given or 'nothing'} to fit or to apply",
            hint="give data, output, and one of transformer, problem, fitted",
        )
    options = dict(spec.get("options", {})) | {key: spec[key] for key in ("runner", "runner_options", "workers") if key in spec}
    if spec.get("fitted"):
        from windtunnel.lifecycle.learning.shards import load_transformer

        return transform(load_transformer(spec["fitted"]), spec["data"], spec["output"], options)
    if spec.get("problem"):
        from windtunnel.lifecycle.contract.problem import load
        from windtunnel.lifecycle.learning.transformers import transformer_of

        problem = load(spec["problem"])
        transformer = transformer_of(problem)
        if problem.features.columns:
            options.setdefault("columns", problem.features.columns)
    else:
        transformer = _made(str(spec["transformer"]))
    return fit_transform(transformer, spec["data"], spec["output"], options)[1]


def _made(name: str) -> Any:
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"transformer {name!r} cannot be made: {error}", hint="name a function without arguments, module:function"
        ) from error


if __name__ == "__main__":
    job.main(run)
