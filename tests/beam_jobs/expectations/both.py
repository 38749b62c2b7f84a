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
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

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


def valid(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that Great Expectations accepts as expectations at all."""
    found = []
    for entry in entries:
        try:
            ExpectationConfiguration(**entry).to_domain_obj()
        except Exception:  # noqa: BLE001 - whatever it refuses is no case
            continue
        found.append(entry)
    return found


def sweep_differences(path: Path, entries: Sequence[dict[str, Any]], rows: int, form: Any, **options: Any) -> list[str]:
    """`differences` for suites that may crash Great Expectations itself: those are asked one by one, and where its own engine crashes
    ours may answer, or crash with a message."""
    known = valid(entries)
    try:
        return differences(path, known, rows, [form], **options) if known else []
    except Exception as error:  # noqa: BLE001 - a crash of either engine
        if len(known) > 1:
            return [line for entry in known for line in sweep_differences(path, [entry], rows, form, **options)]
        suite = {"name": "s", "expectations": known}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                on_pandas(path, suite, form)
        except Exception:  # noqa: BLE001 - its own crash
            return []
        return [f"{form} crash {known[0]['type']} {known[0]['kwargs']} {type(error).__name__}: {error}"]
