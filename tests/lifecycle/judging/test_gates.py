import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from windtunnel.lifecycle.contract.problem import Costs, parse
from windtunnel.lifecycle.judging.costs import cost_curve, expected_cost
from windtunnel.lifecycle.judging.curves import Scores
from windtunnel.lifecycle.judging.explain import importance, partial_dependence, shapley, what_if
from windtunnel.lifecycle.judging.gates import judge
from windtunnel.lifecycle.judging.sample import Sample
from windtunnel.lifecycle.judging.tallies import Spread
from windtunnel.lifecycle.judging.text import Text

PROBLEM = {
    "name": "churn",
    "owner": "o@example.org",
    "task": "binary",
    "source": {"format": "csv", "path": "x"},
    "columns": {"age": "int64", "left": "string"},
    "label": {"column": "left", "positive": {"equals": "Yes"}},
    "features": {"numeric": ["age"]},
}


def verdict(gate, **changes):
    evaluation = {
        "candidate": {"auc": 0.80, "log_loss": 0.40, "precision": None},
        "baseline_figures": {"auc": 0.50, "log_loss": 0.60},
        "champion": {"version": "1"},
        "champion_figures": {"auc": 0.79, "log_loss": 0.35},
        "differences": {"auc": {"error": 0.005}},
        "slices": [
            {"name": "a", "rows": 500, "figures": {"auc": 0.75}, "champion": {"auc": 0.80}},
            {"name": "b", "rows": 10, "figures": {"auc": 0.10}, "champion": {"auc": 0.80}},
        ],
        "uses": 1,
        **changes,
    }
    (found,) = judge(parse({**PROBLEM, "gates": [gate]}), evaluation)
    return found


@pytest.mark.parametrize(
    ("gate", "passed", "reason"),
    [
        ({"metric": "auc", "at_least": 0.8}, True, "within 0.8"),
        ({"metric": "auc", "at_least": 0.81}, False, "not within 0.81"),
        ({"metric": "log_loss", "at_most": 0.3}, False, "not within"),
        ({"metric": "auc", "above_baseline_by": 0.2}, True, "better by 0.3"),
        ({"metric": "log_loss", "above_baseline_by": 0.2}, True, "better by 0.2"),
        ({"metric": "log_loss", "above_champion_by": 0}, False, "better by -0.05"),
        ({"metric": "auc", "above_champion_by": 0.005}, True, "better by 0.01"),
        ({"metric": "precision", "at_least": 0.1}, False, "could not be computed; there are: auc, log_loss"),
        ({"metric": "auc", "at_least": 0.7, "slices": True}, True, "all 1 slices"),
        ({"metric": "auc", "at_least": 0.76, "slices": True}, False, "the worst is a"),
        ({"metric": "auc", "above_champion_by": -0.01, "slices": True}, False, "the worst is a"),
    ],
)
def test_each_gate_says_yes_or_no_and_why(gate, passed, reason):
    found = verdict(gate)
    assert found.passed is passed
    assert reason in found.reason


def test_a_small_slice_does_not_block_by_chance():
    gate = {"metric": "auc", "at_least": 0.76, "slices": True}
    wide = [{"name": "a", "rows": 60, "figures": {"auc": 0.75, "auc_interval": [0.6, 0.9]}}]
    found = verdict(gate, slices=wide)
    assert found.passed
    assert "may by their intervals: a" in found.reason
    narrow = [{"name": "a", "rows": 6000, "figures": {"auc": 0.75, "auc_interval": [0.745, 0.755]}}]
    assert not verdict(gate, slices=narrow).passed


def test_better_overall_and_worse_for_the_worst_group_is_blocked():
    figures = {"candidate": {"auc": 0.85, "worst_group_auc": 0.61}, "champion_figures": {"auc": 0.80, "worst_group_auc": 0.66}}
    assert verdict({"metric": "auc", "above_champion_by": 0}, **figures).passed
    blocked = verdict({"metric": "worst_group_auc", "above_champion_by": 0}, **figures)
    assert not blocked.passed
    assert blocked.reason == "worst_group_auc is 0.61, the champion's 0.66: better by -0.05"


def test_without_a_champion_there_is_nobody_to_beat():
    found = verdict({"metric": "auc", "above_champion_by": 0.5}, champion=None, champion_figures=None)
    assert found.passed
    assert "no champion yet" in found.reason


def test_the_margin_grows_with_every_use_of_the_rows():
    gate = {"metric": "auc", "above_champion_by": 0.005}
    bounds = [verdict(gate, uses=uses).bound for uses in (1, 2, 10, 100)]
    assert bounds[0] == 0.005
    assert bounds == sorted(bounds)
    assert bounds[-1] > bounds[0] + 0.005
    assert not verdict(gate, uses=100).passed


def test_the_cheapest_threshold_is_the_cheapest():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 500)
    score = np.clip(rng.normal(0.4 + 0.2 * truth, 0.2), 0, 1).round(2)
    costs = Costs(false_positive=1, false_negative=5, true_positive=-2)
    scores = Scores()
    scores.add(truth, score)
    found = cost_curve(scores.curve(), costs)

    def cost(threshold):
        said = score >= threshold
        return expected_cost(np.array([[((truth == t) & (said == s)).sum() for s in (0, 1)] for t in (0, 1)]), costs)

    every = {threshold: cost(threshold) for threshold in [*np.unique(score), 2.0]}
    assert found.cost == pytest.approx(min(every.values()))
    assert cost(found.threshold) == pytest.approx(found.cost)
    assert found.never == pytest.approx(every[2.0])
    assert found.always == pytest.approx(cost(0.0))


def frame(n=400, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"a": rng.normal(size=n), "b": rng.normal(size=n), "c": pd.Series(rng.choice(["x", "y"], n), dtype="str")})


def answer(rows):
    return 1 / (1 + np.exp(-(2 * rows["a"].to_numpy() + 1.5 * (rows["c"] == "y").to_numpy() - 1)))


def test_importance_ranks_what_the_model_uses():
    rows = frame()
    truth = answer(rows)
    found = importance(answer, lambda scored: float(((scored - truth) ** 2).mean()), rows)
    assert [entry.column for entry in found] == ["a", "c", "b"]
    assert found[2].mean == 0


def test_partial_dependence_follows_the_model():
    rows = frame()
    rising = [mean for _, mean in partial_dependence(answer, rows, "a")]
    assert rising == sorted(rising)
    by_class = dict(partial_dependence(answer, rows, "c"))
    assert by_class["y"] > by_class["x"] + 0.1


def test_what_if_flips_the_answer_with_values_of_the_data():
    rows = frame()
    row = pd.DataFrame({"a": [-1.0], "b": [0.0], "c": pd.Series(["x"], dtype="str")})
    found = what_if(answer, row, rows, 0.5)
    assert found
    change = found[0]
    assert set(change.columns) == {"a"}
    assert change.score >= 0.5
    assert change.columns["a"][1] in set(rows["a"])
    assert what_if(answer, row, rows, 0.5, fixed=["a"]) == []
    two = what_if(lambda r: answer(r) * ((r["c"] == "y").to_numpy()), row, rows, 0.5)
    assert set(two[0].columns) == {"a", "c"}


def test_shapley_values_add_up():
    rows = frame()
    row = rows.iloc[[7]].reset_index(drop=True)
    found = shapley(answer, row, rows, samples=400)
    assert sum(found.values()) == pytest.approx(answer(row)[0] - answer(rows).mean(), abs=0.06)
    assert found["b"] == pytest.approx(0, abs=1e-12)


def test_a_sample_is_the_same_in_any_order():
    keys = np.random.default_rng(0).permutation(1000).astype(np.uint64)
    found = []
    for order in (np.arange(1000), np.arange(1000)[::-1]):
        parts = []
        for place in np.array_split(order, 7):
            part = Sample(50)
            part.add(keys[place], pa.table({"key": keys[place]}))
            parts.append(part)
        total = Sample(50)
        for part in parts:
            total.merge(part)
        found.append(total.table()["key"].to_pylist())
        assert not total.whole
    assert found[0] == found[1] == list(range(50))


def test_bleu_and_rouge_of_known_examples():
    tally = Text()
    tally.add(["the the the the the the the"], [["the cat is on the mat", "there is a cat on the mat"]])
    assert (tally.matches[:, 0].sum(), tally.totals[:, 0].sum()) == (2, 7), "the clipped precision of Papineni's example"
    one, other, both = Text(), Text(), Text()
    first = (["the cat sat on the mat today"], [["the cat sat on a mat today"]])
    second = (["police killed the gunman"], [["police kill the gunman"]])
    for part, texts in ((one, first), (other, second), (both, first), (both, second)):
        part.add(*texts)
    one.merge(other)
    assert one.figures() == both.figures()
    assert other.figures()["rouge_l"] == pytest.approx(0.75), "Lin's example: LCS of 3 in 4 words"
    assert other.figures()["rouge_2"] == pytest.approx(1 / 3)
    expected = np.exp(np.mean(np.log([9 / 11, 5 / 9, 2 / 7, 1 / 5])))
    assert one.matches.sum(axis=0).tolist() == [9, 5, 2, 1]
    assert one.figures()["bleu"] == pytest.approx(expected)


def test_generated_texts_have_intervals_too():
    rng = np.random.default_rng(0)
    words = np.array(["the", "cat", "dog", "sat", "ran", "on", "under", "a", "mat", "log", "today"])
    known = [" ".join(rng.choice(words, 9)) for _ in range(400)]
    said = [" ".join(word if rng.random() < 0.8 else "fish" for word in text.split()) for text in known]
    tally = Text()
    tally.add(said, [[text] for text in known])
    spread = Spread.of(tally)
    for name, value in tally.figures().items():
        low, high = spread.interval(name)
        assert low < value < high, name
        assert high - low < 0.1
