"""Fairness by fairlearn's definitions, and weak spots that are really there."""

import warnings

import numpy as np
import pyarrow as pa
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import fairlearn.metrics as fairlearn

from windtunnel.lifecycle.judging.fairness import compare_groups, worst_groups
from windtunnel.lifecycle.judging.slices import LIMIT, Codes, Cuts, Slicing, cell_stats, encode
from windtunnel.lifecycle.judging.weak import weak_spots


def sliced(columns, truth, score, task="binary", by=("g",), *, histogram=False, batches=1):
    slicing = Slicing(by, task, histogram=histogram)
    for part in np.array_split(np.arange(len(truth)), batches):
        codes = {name: encode(Cuts.of(name, pa.array(values)), pa.array(values[part])) for name, values in columns.items()}
        stats = cell_stats(task, truth[part], score[part].reshape(-1, 1), 0.5, [])
        other = Slicing(by, task, histogram=histogram)
        other.add(codes, stats)
        slicing.merge(other)
    return slicing


def people(n=4000, seed=0):
    rng = np.random.default_rng(seed)
    group = rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    truth = (rng.random(n) < np.where(group == "a", 0.5, 0.3)).astype(int)
    score = np.clip(rng.normal(0.3 + 0.35 * truth + 0.1 * (group == "a"), 0.2), 0.01, 0.99)
    return group, truth, score


def test_differences_and_ratios_are_fairlearns():
    group, truth, score = people()
    said = (score >= 0.5).astype(int)
    cells = sliced({"g": group}, truth, score, batches=3).cells()
    figures = compare_groups("binary", {key[0]: value for key, value in cells.items()})["figures"]
    given = {"y_true": truth, "y_pred": said, "sensitive_features": group}
    for ours, theirs in (
        ("demographic_parity_difference", fairlearn.demographic_parity_difference),
        ("demographic_parity_ratio", fairlearn.demographic_parity_ratio),
        ("equalized_odds_difference", fairlearn.equalized_odds_difference),
        ("equalized_odds_ratio", fairlearn.equalized_odds_ratio),
        ("equal_opportunity_difference", fairlearn.equal_opportunity_difference),
        ("equal_opportunity_ratio", fairlearn.equal_opportunity_ratio),
    ):
        assert figures[ours] == pytest.approx(theirs(**given), abs=1e-12), ours


def test_intervals_hold_the_difference_and_small_groups_are_left_out():
    group, truth, score = people(n=600)
    group = np.where(np.arange(600) < 5, "tiny", group)
    cells = {key[0]: value for key, value in sliced({"g": group}, truth, score).cells().items()}
    found = compare_groups("binary", cells)
    assert found["left_out"] == ["tiny"]
    low, high = found["intervals"]["demographic_parity_difference"]
    assert low < found["figures"]["demographic_parity_difference"] < high
    assert compare_groups("binary", {"a": cells["a"]})["figures"] == {}
    low, high = found["intervals"]["demographic_parity_ratio"]
    assert low < found["figures"]["demographic_parity_ratio"] < high <= 1


def test_intervals_of_differences_of_errors_are_those_of_repeated_samples():
    """How far the differences of 200 samples scatter is what one sample's interval says."""
    rng = np.random.default_rng(1)
    drawn, reaches = {name: [] for name in ("rmse", "mae", "bias")}, {name: [] for name in ("rmse", "mae", "bias")}
    for _ in range(200):
        errors = {"a": rng.normal(0.5, 3.0, 400), "b": rng.normal(0.0, 1.0, 300)}
        stats = {name: cell_stats("regression", np.zeros(len(error)), error, 0.5, []) for name, error in errors.items()}
        slicing = Slicing(("g",), "regression")
        for name, rows in stats.items():
            slicing.add({"g": Codes(np.zeros(len(rows), dtype=np.int64), [name])}, rows)
        found = compare_groups("regression", {key[0]: value for key, value in slicing.cells().items()})
        for name in ("rmse", "mae", "bias"):
            value, (_, high) = found["figures"][f"{name}_difference"], found["intervals"][f"{name}_difference"]
            drawn[name].append(value)
            reaches[name].append((high - value) / 1.96)
    for name in ("rmse", "mae", "bias"):
        assert np.mean(reaches[name]) == pytest.approx(np.std(drawn[name]), rel=0.25), name


def test_the_worst_group_is_the_worst():
    group, truth, score = people()
    cells = {key[0]: value for key, value in sliced({"g": group}, truth, score, histogram=True).cells().items()}
    found = worst_groups([cells])
    assert found["worst_group_accuracy"] == min(cell["accuracy"] for cell in cells.values())
    assert found["worst_group_log_loss"] == max(cell["log_loss"] for cell in cells.values())


def test_a_planted_weak_spot_is_found_and_noise_is_not():
    rng = np.random.default_rng(5)
    n = 6000
    columns = {"c": rng.choice(list("wxyz"), n), "d": rng.choice(["p", "q"], n), "n": rng.normal(size=n)}
    truth = rng.integers(0, 2, n)
    score = np.clip(np.where(truth == 1, 0.8, 0.2) + rng.normal(0, 0.05, n), 0.01, 0.99)
    slicings = lambda s: [sliced(columns, truth, s, by=by) for by in (("c",), ("d",), ("n",), ("c", "d"), ("c", "n"), ("d", "n"))]  # noqa: E731
    quiet, looked = weak_spots(slicings(score))
    assert quiet == []
    assert looked > 30
    spot = (columns["c"] == "y") & (columns["d"] == "q")
    found, _ = weak_spots(slicings(np.where(spot, 1 - score, score)))
    assert (found[0].columns, found[0].values) in {(("c", "d"), ("y", "q")), (("c",), ("y",))}
    assert (("c", "d"), ("y", "q")) in {(entry.columns, entry.values) for entry in found}
    assert ("y", "p") not in {entry.values for entry in found}


def test_a_slicing_of_too_many_values_gives_up_whichever_came_first():
    values = np.arange(LIMIT + 10).astype(str)
    truth, score = np.zeros(len(values), dtype=int), np.full(len(values), 0.1)
    slicing = sliced({"g": values}, truth, score, batches=4)
    assert slicing.over
    assert slicing.cells() == {}


def test_missing_values_are_a_slice_of_their_own():
    codes = encode(Cuts("g"), pa.array(["a", None, "a"]).dictionary_encode())
    assert [codes.values[i] for i in codes.codes] == ["a", "(missing)", "a"]
    numbers = encode(Cuts("n", (1.0, 2.0)), pa.array([0.5, 1.0, 5.0, None]))
    assert [numbers.values[i] for i in numbers.codes] == ["< 1", "1 to < 2", ">= 2", "(missing)"]


def test_numbers_of_few_values_are_sliced_by_value():
    assert Cuts.of("n", pa.array(list(range(12)) * 9)).edges == ()
    assert len(Cuts.of("n", pa.array(np.arange(1000.0))).edges) == 4
    assert Cuts.of("n", pa.array(["a"])).edges == ()
