"""A suite of 40 expectations over the flights: ours and Great Expectations' pandas engine, each in its own process.

python benchmarks/validation.py 10            # ours and pandas on x10
python benchmarks/validation.py 100 ours      # ours alone on x100
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

from flights import flights


def expectations():
    found = [{"type": "expect_table_column_count_to_equal", "kwargs": {"value": 19}}]
    whole = ("year", "month", "day", "sched_dep_time", "carrier", "flight", "origin", "dest", "distance")
    found += [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": column}} for column in whole]
    for column, low, high in (
        ("month", 1, 12),
        ("day", 1, 31),
        ("dep_time", 1, 2400),
        ("sched_dep_time", 1, 2400),
        ("dep_delay", -60, 1000),
        ("arr_time", 1, 2400),
        ("arr_delay", -100, 1400),
        ("air_time", 15, 700),
        ("distance", 50, 5000),
        ("hour", 0, 23),
        ("minute", 0, 59),
    ):
        found.append({"type": "expect_column_values_to_be_between", "kwargs": {"column": column, "min_value": low, "max_value": high}})
    carriers = ["9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV"]
    found += [
        {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "carrier", "value_set": carriers}},
        {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "origin", "value_set": ["EWR", "JFK"]}},
        {"type": "expect_column_distinct_values_to_contain_set", "kwargs": {"column": "origin", "value_set": ["EWR", "JFK", "LGA"]}},
        {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "tailnum", "regex": "^N[0-9A-Z]{2,5}$"}},
        {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "dest", "regex": "^[A-Z]{3}$"}},
        {"type": "expect_column_value_lengths_to_be_between", "kwargs": {"column": "dest", "min_value": 3, "max_value": 3}},
        {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "dep_delay", "min_value": 0, "max_value": 30}},
        {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "distance", "min_value": 900, "max_value": 1200}},
        {"type": "expect_column_stdev_to_be_between", "kwargs": {"column": "dep_delay", "min_value": 10, "max_value": 60}},
        {"type": "expect_column_sum_to_be_between", "kwargs": {"column": "distance", "min_value": 1}},
        {"type": "expect_column_median_to_be_between", "kwargs": {"column": "dep_delay", "min_value": -10, "max_value": 10}},
        {"type": "expect_column_max_to_be_between", "kwargs": {"column": "arr_delay", "max_value": 2000}},
        {"type": "expect_column_min_to_be_between", "kwargs": {"column": "dep_delay", "min_value": -100}},
        {"type": "expect_column_unique_value_count_to_be_between", "kwargs": {"column": "dest", "min_value": 90, "max_value": 120}},
        {"type": "expect_column_most_common_value_to_be_in_set", "kwargs": {"column": "carrier", "value_set": ["UA", "B6"]}},
        {
            "type": "expect_column_quantile_values_to_be_between",
            "kwargs": {
                "column": "distance",
                "quantile_ranges": {"quantiles": [0.1, 0.5, 0.9], "value_ranges": [[100, 400], [500, 1000], [2000, 2600]]},
            },
        },
        {
            "type": "expect_column_pair_values_a_to_be_greater_than_b",
            "kwargs": {"column_A": "arr_time", "column_B": "dep_time", "mostly": 0.9},
        },
        {"type": "expect_select_column_values_to_be_unique_within_record", "kwargs": {"column_list": ["origin", "dest"]}},
        {"type": "expect_column_value_z_scores_to_be_less_than", "kwargs": {"column": "air_time", "threshold": 6, "double_sided": True}},
        {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1000}},
    ]
    assert len(found) == 41, len(found)
    return {"name": "flights", "expectations": found[1:]}


def run(who: str, times: int, target: str) -> None:
    warnings.simplefilter("ignore")
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    path = str(flights(times))
    start = time.process_time()
    if who == "ours":
        from windtunnel.beam_jobs.expectations import run_suite

        loaded = time.process_time() - start
        result = run_suite(expectations(), path)
    else:
        import logging

        logging.getLogger("great_expectations._docs_decorators").setLevel(logging.WARNING)
        import great_expectations as gx
        import pandas as pd

        loaded = time.process_time() - start
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False, "metric_calculations": False}
        batch = context.data_sources.add_pandas("p").add_dataframe_asset("d").add_batch_definition_whole_dataframe("b")
        frame = pd.read_parquet(path)
        result = batch.get_batch({"dataframe": frame}).validate(gx.ExpectationSuite(**expectations())).to_json_dict()
        result = json.loads(json.dumps(result, default=bool))
    results = [
        {
            "type": e["expectation_config"]["type"],
            "column": e["expectation_config"]["kwargs"].get("column"),
            "success": e["success"],
            "result": e["result"],
        }
        for e in result["results"]
    ]
    usage = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "who": who,
        "times": times,
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "import_s": round(loaded, 1),
        "peak_mb": usage.ru_maxrss // 1024,
    }
    with Path(target).open("w") as file:
        json.dump({"figures": figures, "results": sorted(results, key=lambda e: json.dumps(e, sort_keys=True))}, file)


def main() -> None:
    if len(sys.argv) == 4:
        run(sys.argv[1], int(sys.argv[2]), sys.argv[3])
        return
    times = int(sys.argv[1])
    flights(times)
    answers = {}
    for who in ["ours"] if len(sys.argv) == 3 else ["ours", "pandas", "ours", "pandas", "ours", "pandas"][: 2 if times > 10 else 6]:
        target = str(Path(tempfile.gettempdir()) / f"validation-{os.getpid()}-{who}.json")
        begun = time.monotonic()
        subprocess.run([sys.executable, __file__, who, str(times), target], check=True)
        answers[who] = json.loads(Path(target).read_text())
        Path(target).unlink()
        print({**answers[who]["figures"], "wall_s": round(time.monotonic() - begun, 1)}, flush=True)
    if len(answers) == 2:
        print("the same results:", answers["ours"]["results"] == answers["pandas"]["results"])


if __name__ == "__main__":
    main()
