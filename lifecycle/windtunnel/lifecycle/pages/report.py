"""The report on a candidate: one self-contained HTML page, which is its model card as well.

It has three readings of the same evaluation: for who leads (is it better, may it go live, what does it cost), for who uses the answers
(when can they be relied on, when not), and for who develops (every figure, curve and weak spot).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.seams.metrics import lower_is_better
from windtunnel.lifecycle.pages import page
from windtunnel.lifecycle.payload import JsonMapping

__all__ = ["render"]


def render(problem: Problem, evaluation: JsonMapping) -> str:
    """The page for an evaluation (what ``evaluation.json`` holds)."""
    body = [
        *_leader(problem, evaluation),
        *_user(problem, evaluation),
        *_developer(problem, evaluation),
    ]
    title = f"{problem.title or problem.name}: candidate of {evaluation['candidate_bundle']['cutoff']}"
    rows = evaluation["rows"]
    about = f"{rows['judged']:,} held-out rows of {rows['window']:,} in the window; owner {problem.owner}"
    return page.render(title, body, about)


# For who leads ----------------------------------------------------------------------------------------------------------------------


def _leader(problem: Problem, evaluation: JsonMapping) -> list[Markup]:
    """What the one who decides reads first."""
    gates = [(gate["gate"], _passed(gate["passed"]), gate["reason"]) for gate in evaluation["gates"]]
    passed = all(gate["passed"] for gate in evaluation["gates"])
    verdict = page.badge("every gate passed", "good") if passed else page.badge("not every gate passed", "bad")
    parts: list[Markup] = [verdict, page.tiles(_leading_figures(problem, evaluation)), page.paragraph(_summary(problem, evaluation))]
    parts.append(page.table(["gate", "", "reason"], gates) if gates else page.paragraph("The problem names no gate."))
    return [page.section("To lead: may it go live?", *parts)]


def _passed(passed: bool) -> Markup:
    return page.badge("passed", "good") if passed else page.badge("failed", "bad")


def _leading_figures(problem: Problem, evaluation: JsonMapping) -> list[tuple[str, Any]]:
    """The main metric of all three, on how many rows, and what it is worth in the business' own figures."""
    metric, candidate = evaluation["metric"], evaluation["candidate"]
    champion = evaluation["champion_figures"] or {}
    tiles = [
        (metric, candidate[metric]),
        ("champion's " + metric, champion.get(metric)),
        (f"{metric} of the baseline {evaluation['baseline']['kind']}", evaluation["baseline_figures"].get(metric)),
        ("held-out rows", evaluation["rows"]["judged"]),
    ]
    if candidate.get("kpi") is not None and problem.kpi is not None:
        tiles.append((problem.kpi.name, candidate["kpi"]))
    if candidate.get("expected_cost") is not None:
        tiles.append(("expected cost a row", candidate["expected_cost"]))
    return tiles


def _summary(problem: Problem, evaluation: JsonMapping) -> str:
    """The evaluation in a few sentences."""
    metric = evaluation["metric"]
    bounds = evaluation["intervals"].get(metric)
    interval = f" (95 % interval {bounds[0]:.4g} to {bounds[1]:.4g})" if bounds else ""
    sentences = [
        f"On rows that it never saw the candidate reaches {metric} {evaluation['candidate'][metric]:.4g}{interval}.",
        _beside_champion(evaluation),
        _beside_baseline(evaluation),
        _alarms(problem, evaluation["candidate"]),
    ]
    if evaluation["uses"] > 1:
        used = f"These rows have judged {evaluation['uses']} candidates"
        sentences.append(f"{used}, so the margin over the champion is wider than at first.")
    return " ".join(filter(None, sentences))


def _beside_champion(evaluation: JsonMapping) -> str:
    """How the candidate stands to the champion on the same rows."""
    metric = evaluation["metric"]
    difference = evaluation["differences"].get(metric)
    if not difference:
        return "There is no champion yet." if evaluation["champion"] is None else ""
    better = difference["value"] < 0 if lower_is_better(metric) else difference["value"] > 0
    sure = difference["low"] > 0 or difference["high"] < 0
    how = ("better" if better else "worse") if sure else "not distinguishable"
    return f"Against the champion, version {evaluation['champion']['version']}, on the same rows it is {how} ({_difference(difference)})."


def _beside_baseline(evaluation: JsonMapping) -> str:
    """How the candidate stands to the simple baseline."""
    metric = evaluation["metric"]
    value = evaluation["baseline_figures"].get(metric)
    if value is None:
        return ""
    difference = evaluation["baseline_differences"].get(metric)
    gain = f" ({_difference(difference)})" if difference else ""
    return f"The simple baseline ({evaluation['baseline']['what']}) reaches {value:.4g}{gain}."


def _difference(difference: Mapping[str, float]) -> str:
    return f"difference {difference['value']:+.4g}, {difference['low']:+.4g} to {difference['high']:+.4g}"


def _alarms(problem: Problem, figures: JsonMapping) -> str:
    """Precision and recall for those who do not know the words."""
    precision, recall = figures.get("precision"), figures.get("recall")
    if problem.task not in {"binary", "anomaly"} or precision is None or recall is None:
        return ""
    return f"Of 100 alarms {precision * 100:.0f} are right; of 100 true cases it finds {recall * 100:.0f}."


# For who uses the answers -----------------------------------------------------------------------------------------------------------


def _user(problem: Problem, evaluation: JsonMapping) -> list[Markup]:
    sections = [page.section("To use: when to rely on it", *_reliance(problem, evaluation))]
    explained = evaluation["explanations"]
    if explained.get("importance"):
        top = [entry for entry in explained["importance"] if entry["mean"] > 0][:10]
        most = max((entry["mean"] for entry in top), default=0.0) or 1.0
        rows = [(entry["column"], entry["mean"], page.meter(entry["mean"] / most, title=entry["column"])) for entry in top]
        text = f"How much worse it gets when a column is shuffled ({explained['rows']:,} sampled rows, loss per row)."
        sections.append(
            page.section("To use: what its answers rest on", page.paragraph(text), page.table(["column", "loss added", ""], rows))
        )
    if explained.get("shap"):
        sections.append(page.section("To use: SHAP values", *_shap(explained["shap"])))
    if explained.get("examples"):
        sections.append(
            page.section("To use: where it was surely wrong, and what would have changed its mind", *_examples(explained["examples"]))
        )
    return sections


def _live(evaluation: JsonMapping) -> Iterable[Markup]:
    for entry in evaluation.get("unseen_live", []):
        shown = ", ".join(f"{value['value']} ({value['rows']:,} requests)" for value in entry["values"][:8])
        yield page.paragraph(f"Asked about live, but not judged: {entry['count']} values of {entry['column']}: {shown}.")


def _shap(found: JsonMapping) -> Iterable[Markup]:
    if "missing" in found:
        yield page.paragraph(f"There are none: {found['missing']}")
        return
    yield page.paragraph(
        f"By how much each column moves an answer, on average over {found['rows']:,} held-out rows ({found['explainer']} explainer; "
        "log-odds for trees and linear classifiers)."
    )
    most = max((entry["mean_abs"] for entry in found["columns"]), default=0.0) or 1.0
    yield page.table(
        ["column", "mean |SHAP|", ""],
        [
            (entry["column"], entry["mean_abs"], page.meter(entry["mean_abs"] / most, title=entry["column"]))
            for entry in found["columns"][:15]
        ],
    )


def _reliance(problem: Problem, evaluation: JsonMapping) -> Iterable[Markup]:
    yield page.paragraph(problem.description or "The problem file has no description.")
    spots = evaluation["found"]
    if spots:
        yield page.paragraph("It is weaker than elsewhere for the following rows; look twice there.")
        yield page.table(["where", "rows", "why"], [(spot["name"], spot["rows"], spot["reason"]) for spot in spots[:5]])
    else:
        yield page.paragraph(f"No weak spot stands out among {evaluation['looked_at']['cells']:,} slices that were looked at.")
    for entry in evaluation["unseen"]:
        shown = ", ".join(f"{value['value']} ({value['rows']:,} rows)" for value in entry["values"][:8])
        yield page.paragraph(
            f"Not judged: {entry['count']} values of {entry['column']} are in the window but not among the held-out rows: {shown}."
        )
    yield from _live(evaluation)


def _examples(examples: Sequence[JsonMapping]) -> Iterable[Markup]:
    for example in examples:
        changes = [
            ", ".join(f"{column}: {a} to {b}" for column, (a, b) in change["columns"].items()) + f" (score {change['score']:.3f})"
            for change in example["changes"]
        ]
        row = ", ".join(f"{name} {value}" for name, value in example["row"].items())
        parts = ", ".join(f"{name} {value:+.3f}" for name, value in list(example["contributions"].items())[:5])
        yield page.table(
            ["", ""],
            [
                ("row", row),
                ("truth and score", f"{example['truth']}, {example['score']:.3f}"),
                ("would flip it", "; ".join(changes) or "no single or double change within the data"),
                ("Shapley values", parts),
            ],
        )


# For who develops -------------------------------------------------------------------------------------------------------------------


def _developer(problem: Problem, evaluation: JsonMapping) -> list[Markup]:
    sections = [_metrics(evaluation), *_pictures(problem, evaluation)]
    if evaluation["slices"]:
        sections.append(_slices(evaluation))
    if evaluation["found"]:
        rows = [(s["name"], s["rows"], s["loss"], s["rest"], s["p_value"]) for s in evaluation["found"]]
        given = evaluation["looked_at"]
        text = f"{given['cells']:,} slices were looked at; p-values are corrected for that."
        if given["given_up"]:
            text += f" Too many values to look at: {', '.join(given['given_up'])}."
        table = page.table(["slice", "rows", "loss", "loss elsewhere", "p"], rows)
        sections.append(page.section("To develop: weak spots that were found", page.paragraph(text), table))
    sections += [_fairness(column, found) for column, found in evaluation["fairness"].items()]
    if evaluation["explanations"].get("dependence"):
        sections.append(_dependence(evaluation["explanations"]))
    sections.append(_card(problem, evaluation))
    return sections


def _metrics(evaluation: JsonMapping) -> Markup:
    newest = evaluation["newest"].get("candidate", {})
    last = f"newest days ({newest['rows']:,} rows)" if newest.get("rows") else "newest days"
    others = [
        (kind, evaluation[f"{kind}_figures"], evaluation["differences" if kind == "champion" else "baseline_differences"])
        for kind in ("champion", "baseline")
        if evaluation[f"{kind}_figures"]
    ]
    headers = ["metric", "candidate", "95 % interval", *(name for kind, _, _ in others for name in (kind, "difference")), last]
    rows = [
        (
            name,
            value,
            _between(evaluation["intervals"].get(name)),
            *(cell for _, figures, gains in others for cell in (figures.get(name), _gain(gains.get(name)))),
            newest.get(name),
        )
        for name, value in evaluation["candidate"].items()
    ]
    return page.section("To develop: every metric", page.table(headers, rows))


def _pictures(problem: Problem, evaluation: JsonMapping) -> list[Markup]:
    """A section a picture that the evaluation has."""
    pictures = evaluation["pictures"]
    sections: list[Markup] = []
    if pictures.get("curve"):
        sections.append(page.section("To develop: curves", page.side_by_side(_curve_charts(pictures))))
        if pictures.get("costs"):
            sections.append(_costs(evaluation, pictures["costs"]))
    if pictures.get("confusion"):
        sections.append(_confusion(problem, evaluation, pictures))
    if pictures.get("errors"):
        text = "Absolute errors, an eighth of an octave a bar."
        chart = page.bars(pictures["errors"], width=640, height=90, title="absolute errors")
        sections.append(page.section("To develop: errors", page.paragraph(text), chart))
    return sections


def _curve_charts(pictures: JsonMapping) -> list[tuple[str, Markup]]:
    """The charts of a score: ROC, precision, calibration and costs, each with its caption."""
    # The points are by rising threshold; a ROC curve begins where it is highest.
    roc = [(0.0, 0.0), *[(fpr, tpr) for _, fpr, tpr, _ in reversed(pictures["curve"])], (1.0, 1.0)]
    recall = [(tpr, precision) for _, _, tpr, precision in reversed(pictures["curve"])]
    charts = [("ROC: true against false positive rate", page.line(roc, diagonal=True, title="ROC"))]
    charts.append(("precision against recall", page.line(recall, unit=True, title="precision against recall")))
    if pictures.get("calibration"):
        points = [(score, share) for score, share, _ in pictures["calibration"]]
        charts.append(("calibration: share of yes against score", page.line(points, diagonal=True, title="calibration")))
    if pictures.get("costs"):
        costs = [tuple(point) for point in pictures["costs"]["points"]]
        charts.append(("expected cost a row by threshold", page.line(costs, title="cost")))
    return charts


def _costs(evaluation: JsonMapping, costs: JsonMapping) -> Markup:
    """What the threshold in use costs, beside the best one and beside no model at all."""
    tiles = [
        ("threshold in use", evaluation["candidate_bundle"]["threshold"]),
        ("its cost a row", evaluation["candidate"].get("expected_cost")),
        ("best threshold", costs["threshold"]),
        ("its cost a row", costs["cost"]),
        ("never yes", costs["never"]),
        ("always yes", costs["always"]),
    ]
    return page.section("To develop: costs", page.tiles(tiles))


def _confusion(problem: Problem, evaluation: JsonMapping, pictures: JsonMapping) -> Markup:
    """What was said of the rows of each class."""
    names = pictures.get("classes") or ["no", "yes"]
    rows = [(f"truly {name}", *row) for name, row in zip(names, pictures["confusion"], strict=True)]
    threshold = evaluation["candidate_bundle"]["threshold"]
    at = f" at threshold {threshold:g}" if problem.task in {"binary", "anomaly"} else ""
    return page.section(f"To develop: confusion{at}", page.table(["", *(f"said {name}" for name in names)], rows))


def _slices(evaluation: JsonMapping) -> Markup:
    slices = evaluation["slices"]
    metric = evaluation["metric"]
    metric = metric if any(entry["figures"].get(metric) is not None for entry in slices) else "loss"
    others = [name for name in ("champion", "baseline") if any(entry.get(name) for entry in slices)]
    rows = [_slice(entry, metric, others) for entry in slices]
    numbers = evaluation["task"] == "regression"
    headers = ["slice", "rows", metric, "95 % interval", *others, *(("accuracy", "mae") if numbers else ("precision", "recall"))]
    return page.section("To develop: declared slices", page.table(headers, rows))


def _slice(entry: JsonMapping, metric: str, others: Sequence[str]) -> tuple[object, ...]:
    figures = entry["figures"]
    return (
        entry["name"],
        entry["rows"],
        figures.get(metric),
        _between(figures.get(f"{metric}_interval")),
        *((entry.get(other) or {}).get(metric) for other in others),
        figures.get("precision", figures.get("accuracy")),
        figures.get("recall", figures.get("mae")),
    )


def _fairness(column: str, found: JsonMapping) -> Markup:
    figures = [(name, value, _between(found["intervals"].get(name))) for name, value in found["figures"].items()]
    names = sorted({name for group in found["groups"].values() for name in group} - {"rows"})
    groups = [(name, group["rows"], *(group.get(figure) for figure in names)) for name, group in found["groups"].items()]
    parts = [page.table(["", "value", "95 % interval"], figures), page.table(["group", "rows", *names], groups)]
    if found["left_out"]:
        parts.append(page.paragraph(f"Too few rows to compare: {', '.join(found['left_out'])}."))
    return page.section(f"To develop: fairness over {column}", *parts)


def _dependence(explained: JsonMapping) -> Markup:
    charts = []
    for entry in explained["dependence"]:
        points = entry["points"]
        numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value, _ in points)
        if numeric:
            charts.append((entry["column"], page.line([(float(value), mean) for value, mean in points], title=entry["column"])))
        else:
            charts.append((entry["column"], page.table(["value", "mean answer"], points)))
    text = f"The mean {explained['answer']} when every row has the same value in a column."
    return page.section("To develop: partial dependence", page.paragraph(text), page.side_by_side(charts))


def _card(problem: Problem, evaluation: JsonMapping) -> Markup:
    lineage = evaluation["candidate_bundle"]["lineage"]
    rows: list[tuple[str, Any]] = [
        ("problem", problem.name),
        ("owner", problem.owner),
        ("KPI", problem.kpi.name if problem.kpi else None),
        ("task", problem.task),
        ("label", problem.label.column),
        ("features", ", ".join(problem.features.columns)),
        ("sensitive columns", ", ".join(problem.sensitive) or "none"),
        ("family", problem.model.estimator or problem.model.family),
        ("data cut-off", evaluation["candidate_bundle"]["cutoff"]),
        ("judged how often on these rows", evaluation["uses"]),
        *((f"lineage: {name}", str(value)) for name, value in lineage.items()),
        *(("left out", text) for text in evaluation["left_out"]),
        ("fingerprint", evaluation.get("fingerprint")),
    ]
    return page.section("Model card", page.table(["", ""], rows))


def _between(bounds: Sequence[float | None] | None) -> Markup | None:
    if not bounds or bounds[0] is None or bounds[1] is None:
        return None
    return page.number(bounds[0]) + " to " + page.number(bounds[1])


def _gain(difference: Mapping[str, float] | None) -> str | None:
    return f"{difference['value']:+.4g} ({difference['low']:+.4g} to {difference['high']:+.4g})" if difference else None
