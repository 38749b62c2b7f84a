"""One suite on GX's pandas engine and on ours, for comparison."""

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import windtunnel.beam_jobs.expectations

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import great_expectations as gx

logging.getLogger("great_expectations").setLevel(logging.CRITICAL)
FORMATS: list[Any] = ["BASIC", "SUMMARY", "COMPLETE"]
QUIET = {"globally": False, "metric_calculations": False}
assert windtunnel.beam_jobs.expectations


def on_pandas(path: Path, suite: dict[str, Any], form: Any) -> dict[str, Any]:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = QUIET
    asset = context.data_sources.add_pandas("source").add_dataframe_asset("data")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": pd.read_parquet(path)})
    return cleaned(batch.validate(gx.ExpectationSuite(**suite), result_format=form).to_json_dict())


def on_arrow(path: Path, suite: dict[str, Any], form: Any, rows: int, **options: Any) -> dict[str, Any]:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = QUIET
    asset = context.data_sources.add_arrow("source").add_parquet_asset("data", path=str(path), batch_rows=rows, **options)
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch()
    return cleaned(batch.validate(gx.ExpectationSuite(**suite), result_format=form).to_json_dict())


def cleaned(result: dict[str, Any]) -> dict[str, Any]:
    """Without what differs from call to call, or names places in code."""
    result = json.loads(json.dumps(result, default=_plain))
    result.pop("meta")
    for entry in result["results"]:
        for info in [entry["exception_info"], *entry["exception_info"].values()]:
            if isinstance(info, dict):
                info.pop("exception_traceback", None)
    return result


def _plain(value: Any) -> Any:
    """GX's own result of quantiles has a numpy boolean, which JSON does not know."""
    return bool(value)


def differences(
    path: Path, expectations: Sequence[dict[str, Any]], rows: int = 2, forms: Sequence[Any] = FORMATS, **options: Any
) -> list[str]:
    """What differs between the two engines, one line each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        suite = {"name": "s", "expectations": [{**entry, "meta": {"n": n}} for n, entry in enumerate(expectations)]}
        lines = []
        for form in forms:
            ours, theirs = on_arrow(path, suite, form, rows, **options), on_pandas(path, suite, form)
            key = lambda entry: entry["expectation_config"]["meta"]["n"]  # noqa: E731
            for left, right in zip(sorted(ours["results"], key=key), sorted(theirs["results"], key=key), strict=True):
                if json.dumps(left, sort_keys=True) != json.dumps(right, sort_keys=True):
                    lines.append(f"{form} {left['expectation_config']['type']}\n ours   {_told(left)}\n pandas {_told(right)}")
            if not lines and ours["statistics"] != theirs["statistics"]:
                lines.append(f"{form}: {ours['statistics']} {theirs['statistics']}")
    return lines


def _told(entry: dict[str, Any]) -> str:
    config = entry["expectation_config"]["kwargs"]
    return json.dumps(
        {"kwargs": config, "success": entry["success"], "result": entry["result"], "error": entry["exception_info"]}, sort_keys=True
    )
