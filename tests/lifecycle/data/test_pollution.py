"""No pollution is read as something else: every value is right, or its record is refused with its lines, or the file is refused."""

import collections
import importlib.util
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from windtunnel.lifecycle.contract.errors import WindtunnelError
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.schema import pinnable
from windtunnel.lifecycle.data.sources import Piece, read
from windtunnel.lifecycle.data.sources.untyped import Reading, read_untyped

_SPEC = importlib.util.spec_from_file_location("pollution", Path(__file__).with_name("pollution.py"))
pollution = sys.modules["pollution"] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(pollution)
CASES = pollution.polluted()


def declared(case, path):
    names = list(case.table.columns)
    return parse(
        {
            "name": "p",
            "owner": "o",
            "task": "regression",
            "source": {"format": "csv", "path": str(path), "options": case.options},
            "columns": case.table.columns,
            "features": {"numeric": [names[0]]},
            "label": {"column": names[-1]},
        }
    )


def checked(case, rows: list[tuple], refused: int) -> None:
    """Rows are those of the truth, in order, without some of the spoiled ones; what is missing was refused."""
    truth = [tuple(row) for row in case.table.rows]
    intact = collections.Counter(row for i, row in enumerate(truth) if i not in case.spoiled)
    kept = collections.Counter(rows)
    wrong = kept - collections.Counter([*truth, *case.also])
    assert not wrong, f"read as {list(wrong)[:3]}"
    assert not intact - kept, f"lost {list(intact - kept)[:3]}"
    assert refused or len(rows) == len(truth)


@pytest.fixture
def file(tmp_path):
    def write(case):
        path = tmp_path / f"data.{case.suffix}"
        path.write_bytes(case.data)
        return path

    return write


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.table.name}: {case.name}")
def test_declared(case, file):
    path = file(case)
    rows, refused = [], []
    try:
        for chunk in read(declared(case, path), Piece(0, str(path)), Settings()):
            rows += [tuple(row.values()) for row in chunk.batch.to_pylist()]
            refused += chunk.rejected
    except WindtunnelError:
        return
    checked(case, rows, len(refused))
    lines = case.data.decode(case.options.get("encoding", "utf-8"), "replace").count("\n") + case.data.count(b"\r") + 1
    assert all(0 < entry.line <= (entry.last_line or entry.line) <= lines and entry.reason for entry in refused)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.table.name}: {case.name}")
def test_inferred(case, file):
    """The same without types: where the inferred ones are not the declared ones, that is told."""
    path = file(case)
    reading, batches = Reading(), []
    options = {name: value for name, value in case.options.items() if name != "names"}
    try:
        for batch in read_untyped(str(path), options, reading):
            batches = [] if batch is None else [*batches, batch]
    except WindtunnelError:
        return
    table = pa.Table.from_batches(batches)
    if case.options.get("header", True):
        assert table.column_names == list(case.table.columns)
    other = [name for name, kind in zip(table.column_names, case.table.columns.values(), strict=True) if pinnable(table[name].type) != kind]
    if other and case.table.rows:
        assert all(
            name in reading.notes or set(table[name].to_pylist()) <= {None} for name in other if case.table.columns.get(name) != "string"
        )
        return
    checked(case, [tuple(row.values()) for row in table.to_pylist()], reading.refused)
