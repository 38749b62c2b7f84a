"""The report on a candidate: one self-contained HTML page, which is its model card as well."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from windtunnel.lifecycle import page
from windtunnel.lifecycle.problem import Problem

__all__ = ["render"]


def render(problem: Problem, evaluation: Mapping[str, Any]) -> str:
    """The page for an evaluation (what ``evaluation.json`` holds)."""
    metric = evaluation["metric"]
    passed = all(gate["passed"] for gate in evaluation["gates"])
    champion = evaluation["champion_figures"] or {}
    tiles = [
        (metric, evaluation["candidate"][metric]),
        ("the champion's", champion.get(metric)),
        ("the baseline's", evaluation["baseline_figures"].get(metric)),
        ("held-out rows", evaluation["rows"]["judged"]),
    ]
    names = list(evaluation["candidate"])
    rows = [
        (
            name,
            evaluation["candidate"][name],
            _between(evaluation["intervals"].get(name)),
            evaluation["baseline_figures"].get(name),
            champion.get(name),
        )
        for name in names
    ]
    body = [
        page.section(
            "Verdict",
            page.badge("passed" if passed else "not passed", "good" if passed else "bad"),
            page.tiles(tiles),
            page.table(
                ["gate", "", "reason"],
                [
                    (g["gate"], page.badge("passed" if g["passed"] else "failed", "good" if g["passed"] else "bad"), g["reason"])
                    for g in evaluation["gates"]
                ],
            ),
        ),
        page.section("Metrics", page.table(["metric", "candidate", "95 % interval", "baseline", "champion"], rows)),
        page.section(
            "Slices",
            page.table(
                ["slice", "rows", metric],
                [(entry["name"], entry["rows"], entry["figures"].get(metric)) for entry in evaluation["slices"]],
            ),
        ),
    ]
    return page.render(
        f"{problem.title or problem.name}: the candidate of {evaluation['candidate_bundle']['cutoff']}", body, problem.description
    )


def _between(bounds: Any) -> Markup | None:
    return page.number(bounds[0]) + " to " + page.number(bounds[1]) if bounds else None
