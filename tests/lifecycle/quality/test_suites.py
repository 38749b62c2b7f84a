"""Suites, checks and balance as plain functions."""

import json

import numpy as np
import pytest

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.quality import suites
from windtunnel.lifecycle.quality.balance import class_weights, downsample, remedies, sample_weights, shift
from windtunnel.lifecycle.quality.checks import Figures, check_all
from windtunnel.lifecycle.quality.suites import Column, propose


@pytest.fixture
def problem():
    return parse(
        {
            "name": "p",
            "owner": "o",
            "task": "binary",
            "source": {"format": "csv", "path": "x"},
            "columns": {"x": "float64", "y": "int64", "k": "int64"},
            "keys": ["k"],
            "features": {"numeric": ["x"]},
            "label": {"column": "y", "positive": {"equals": 1}},
            "limits": {"rows_min": 10, "label_shift": 0.1, "drift": 0.2},
        }
    )


def _bad(found):
    return {finding.check for finding in found if not finding.ok}


def test_good_figures_pass_every_check(problem):
    figures = Figures(
        rows=1000,
        labels={"0": 800, "1": 200},
        train={"0": 640, "1": 160},
        test={"0": 160, "1": 40},
        days={"2020-01-09": 1000},
        drift={"x": 0.1},
        reference={"0": 0.79, "1": 0.21},
    )
    found = check_all(problem, figures, "2020-01-10")
    assert _bad(found) == set()
    assert len(found) == 6


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"rows": 9}, "rows of the window"),
        ({"labels": {"0": 1000}}, "classes of the label"),
        ({"labels": {"0": 300, "1": 700}}, "label shift"),
        ({"test": {"0": 50, "1": 150}}, "split balance"),
        ({"drift": {"x": 0.3}}, "drift"),
        ({"days": {"2020-01-01": 1000}}, "freshness"),
        ({"purity": {"x": 1.0}}, "leak of the label"),
    ],
)
def test_each_bad_figure_is_named(problem, change, check):
    good = {
        "rows": 1000,
        "labels": {"0": 800, "1": 200},
        "train": {"0": 640, "1": 160},
        "test": {"0": 160, "1": 40},
        "days": {"2020-01-09": 1000},
        "reference": {"0": 800.0, "1": 200.0},
    }
    found = check_all(problem, Figures(**{**good, **change}), "2020-01-10")
    assert check in _bad(found)
    assert all(str(finding) for finding in found)


def test_a_suite_may_bound_shares_and_age(problem):
    figures = Figures(rows=1000, labels={"0": 300, "1": 700}, days={"2020-01-05": 1000})
    options = {"label_shares": {"1": [0.1, 0.5]}, "max_age_days": 2}
    found = check_all(problem, figures, "2020-01-10", options)
    assert {"share of class 1", "freshness"} <= _bad(found)
    assert next(finding for finding in found if finding.check == "freshness").severity == "critical"


def test_remedies_say_what_they_would_do():
    counts = {"0": 900, "1": 100}
    assert "200 rows" in remedies(counts)[2].effect
    assert class_weights(counts) == {"0": 1000 / 1800, "1": 5.0}
    labels = np.array([0] * 90 + [1] * 10)
    assert np.isclose(sample_weights(labels)[labels == 1].sum(), sample_weights(labels)[labels == 0].sum())
    kept = downsample(labels)
    assert np.bincount(labels[kept]).tolist() == [10, 10]
    assert (downsample(labels) == kept).all()
    assert shift({"0": 1, "1": 1}, {"0": 1, "1": 1})[1] == 0
    with pytest.raises(ConfigurationError):
        downsample(np.zeros(3))


def test_proposals_have_slack_and_reasons(problem):
    columns = [
        suites.Column("x", "number", 100, 3, 90, -1.0, 3.0),
        suites.Column("k", "whole", 100, 0, 100, 1, 100),
        suites.Column("w", "text", 100, 0, 2, None, None, {"a": 60, "b": 40}),
    ]
    suite = suites.propose("s", columns, problem)
    by_type = {(entry["type"], entry["kwargs"].get("column")): entry for entry in suite["expectations"]}
    assert by_type["expect_column_values_to_be_between", "x"]["kwargs"] == {"column": "x", "min_value": -1.8, "max_value": 3.8}
    assert by_type["expect_column_values_to_be_between", "k"]["kwargs"]["min_value"] == 0
    assert by_type["expect_column_values_to_not_be_null", "x"]["kwargs"]["mostly"] == 0.93
    assert by_type["expect_column_values_to_be_in_set", "w"]["kwargs"]["value_set"] == ["a", "b"]
    assert ("expect_column_values_to_be_unique", "k") in by_type
    assert suites.changes(suite, suite) == []
    assert any(
        "change" in line for line in suites.changes(suite, suites.propose("s", [columns[0].__class__("x", "number", 100, 3, 9, -9.0, 9.0)]))
    )


def test_a_suite_file_that_is_not_one(tmp_path):
    path = tmp_path / "s.json"
    path.write_text(json.dumps({"expectations": 3}), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"s\.json"):
        suites.load_suite(path)


def test_splits_that_differ_by_chance_are_no_fault(problem):
    """243 and 77 rows of 52.3 and 62.3 percent: one such draw in eight is as far apart."""
    figures = Figures(rows=320, labels={"0": 145, "1": 175}, train={"0": 116, "1": 127}, test={"0": 29, "1": 48})
    assert "split balance" not in _bad(check_all(problem, figures, "2020-01-10"))
    many = Figures(rows=32000, labels={"0": 14500, "1": 17500}, train={"0": 11600, "1": 12700}, test={"0": 2900, "1": 4800})
    found = next(finding for finding in check_all(problem, many, "2020-01-10") if finding.check == "split balance")
    assert not found.ok
    assert "splits.salt" in found.expected
    assert "limits.split_shift" in found.expected


@pytest.mark.parametrize("values", [("0", "1"), (0, 1), (False, True)])
def test_shares_of_a_few_values_are_proposed(values):
    kind = {str: "text", int: "whole", bool: "boolean"}[type(values[0])]
    suite = propose("s", [Column("y", kind, 1000, 0, 2, values[0], values[1], {values[0]: 500, values[1]: 500})])
    (entry,) = [entry for entry in suite["expectations"] if "divergence" in entry["type"]]
    limit = entry["kwargs"]["threshold"]
    divergence = lambda share: share * np.log(share / 0.5) + (1 - share) * np.log((1 - share) / 0.5)  # noqa: E731
    assert divergence(0.52) < limit < divergence(0.7)
