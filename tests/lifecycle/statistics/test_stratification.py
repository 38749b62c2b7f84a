"""Splits: a key never crosses them, and they are checked to be alike, as a whole and by sensitive group."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.data.rows import split_of
from windtunnel.lifecycle.quality.checks import Figures, check_all
from windtunnel.lifecycle.statistics.stratification import stratified, unbalanced


def make(**more):
    return parse(
        {
            "name": "p",
            "owner": "o",
            "task": "binary",
            "source": {"format": "csv", "path": "x"},
            "columns": {"k": "string", "j": "int64", "y": "int64", "sex": "string"},
            "features": {"numeric": ["j"]},
            "label": {"column": "y", "positive": {"equals": 1}},
            "keys": ["k"],
            "sensitive": ["sex"],
        }
        | more
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=4), st.integers(0, 5)), min_size=1, max_size=200), st.integers(1, 50))
def test_a_key_never_crosses_splits(rows, cut):
    """Whatever else a row holds, in whichever file or batch it comes, and with keys of one or two columns."""
    table = pa.table({"k": [k for k, _ in rows], "j": [j for _, j in rows], "y": [i % 2 for i in range(len(rows))]})
    for keys in (["k"], ["k", "j"]):
        problem = make(keys=keys, splits={"test": 0.5})
        places: dict[tuple, set[bool]] = {}
        for start in range(0, len(rows), cut):
            part = table.slice(start, cut)
            for key, test in zip(
                zip(*(part[name].to_pylist() for name in keys), strict=True), split_of(problem, part, "2013-01-01"), strict=True
            ):
                places.setdefault(key, set()).add(bool(test))
        assert all(len(found) == 1 for found in places.values())


def test_a_fair_draw_is_balanced_and_a_skewed_one_is_not():
    rng = np.random.default_rng(0)
    fair = {"train": {"0": 800, "1": 200}, "test": {"0": 205, "1": 45}}
    assert unbalanced(stratified(fair, {}, 0.1)) == []
    skewed = {"train": {"0": 800, "1": 200}, "test": {"0": 125, "1": 125}}
    assert [entry.name for entry in unbalanced(stratified(skewed, {}, 0.1))] == ["0"]
    groups = {
        f"g={i}": {s: dict(zip("01", rng.multinomial(n, [0.8, 0.2]).tolist(), strict=True)) for s, n in (("train", 80), ("test", 60))}
        for i in range(200)
    }
    whole = {"train": {"0": 12_800, "1": 3200}, "test": {"0": 9600, "1": 2400}}
    assert unbalanced(stratified(whole, groups, 0.1)) == [], "among many groups some differ by chance"


def test_groups_hide_in_a_balanced_whole():
    whole = {"train": {"0": 500, "1": 500}, "test": {"0": 250, "1": 250}}
    groups = {
        "sex=F": {"train": {"0": 400, "1": 100}, "test": {"0": 50, "1": 200}},
        "sex=M": {"train": {"0": 100, "1": 400}, "test": {"0": 200, "1": 50}},
    }
    found = unbalanced(stratified(whole, groups, 0.1))
    assert {(entry.of, entry.group) for entry in found} == {("labels", "sex=F"), ("labels", "sex=M")}
    absent = {"sex=F": {"train": {"0": 250, "1": 250}}, "sex=M": {"train": {"0": 250, "1": 250}, "test": {"0": 250, "1": 250}}}
    assert {(entry.of, entry.group) for entry in unbalanced(stratified(whole, absent, 0.1))} == {("rows", "sex=F"), ("rows", "sex=M")}


def test_too_few_rows_say_nothing():
    assert stratified({"train": {"0": 30, "1": 3}, "test": {"1": 9}}, {}, 0.1) == []
    assert stratified({"all": {"0": 300}}, {}, 0.1) == []


@pytest.mark.parametrize(("by", "severity"), [("key", "critical"), ("time", "warning")])
def test_the_problems_limit_stops_a_run_whose_splits_differ(by, severity):
    """A split by key that is not stratified stops the run; by time classes may change, and it is shown."""
    groups = {"sex=F": {"train": {"0": 400, "1": 100}, "test": {"0": 50, "1": 200}}}
    figures = Figures(rows=1500, labels={"0": 750, "1": 750}, train={"0": 500, "1": 500}, test={"0": 250, "1": 250}, groups=groups)
    problem = make(splits={"by": by})
    found = [entry for entry in check_all(problem, figures, "2013-01-02") if not entry.ok and "split" in entry.check]
    assert [(entry.check, entry.severity) for entry in found] == [("split balance of labels of sex=F", severity)]
    assert "training rows" in found[0].got
    wide = make(splits={"by": by}, limits={"split_shift": 0.7})
    assert [entry for entry in check_all(wide, figures, "2013-01-02") if not entry.ok and "split" in entry.check] == []
