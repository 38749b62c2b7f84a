"""Generated suites over generated tables give the same JSON as GX's pandas engine.

``WINDTUNNEL_SWEEP=START:END`` runs other seeds; the thousands were run once, and each difference that they found is mended.
"""

import importlib.util
import os
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def _here(name):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


both, sweep = _here("both"), _here("sweep")
START, END = (int(part) for part in os.environ.get("WINDTUNNEL_SWEEP", "0:24").split(":"))
MENDED = [30, 34, 35, 46, 64, 88, 95, 119, 120, 215, 288, 338, 346]  # each once showed a difference of its own


def write(case, path):
    if isinstance(case.table, pa.Table):
        pq.write_table(case.table, path, row_group_size=case.row_group)
    else:
        case.table.to_parquet(path, row_group_size=case.row_group)


@pytest.mark.parametrize("seed", [*range(START, END), *MENDED])
def test_a_generated_suite_agrees(seed, tmp_path):
    case = sweep.case(seed)
    write(case, tmp_path / "t.parquet")
    assert both.sweep_differences(tmp_path / "t.parquet", case.expectations, case.rows, case.form, distinct_limit=case.limit) == []


def test_every_expectation_type_of_pandas_is_asked():
    from great_expectations.expectations import core

    def plain(name):
        return name.replace("_", "").lower()

    known = {plain(name) for name in core.__dict__ if name.startswith("Expect")}
    other_engines = {name for name in known if "likepattern" in name or "query" in name or "othertable" in name}
    never = {plain("ExpectMulticolumnValuesToBeUnique")}  # GX gives it no metric on any engine
    assert known - other_engines - never == {plain(name) for name in sweep.ASK}
