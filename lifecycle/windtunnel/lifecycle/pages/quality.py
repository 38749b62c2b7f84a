"""The page of quality over time: a picture of the scores, and of every bad day and column why."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from windtunnel.lifecycle.pages import page
from windtunnel.lifecycle.quality.history import Measures
from windtunnel.lifecycle.quality.score import DayScore, Trend, scores, trend, worst_columns

__all__ = ["quality_page"]

_TONES = {"falling": "bad", "rising": "good", "steady": "good", "unknown": "info"}
_GOOD, _FAIR = 90.0, 70.0
_COLUMNS = 30


def quality_page(problem: str, history: Mapping[str, Measures], days: int) -> str:
    """The page of one problem's table.

    Args:
        problem: its name.
        history: recorded days; `BEFORE` more than are shown say what was usual.
        days: how many of them are shown, the newest.
    """
    found = scores(history)[-days:]
    direction = trend(found)
    newest = found[-1]
    body = [
        page.section(
            "Now",
            page.tiles(
                [
                    ("score of the newest day", round(newest.score, 1)),
                    ("day", newest.day),
                    ("trend", f"{direction.word} ({direction.a_week:+.1f} a week)"),
                    ("rows", newest.rows),
                    ("days", len(found)),
                ]
            ),
            page.paragraph(page.badge(direction.word, _TONES[direction.word]), " ", _chance(direction)),
        ),
        page.section("Score of each day", page.line([(place, entry.score) for place, entry in enumerate(found)], width=900, height=160)),
        page.section("Rows of each day", page.bars([entry.rows for entry in found], width=900, height=60)),
        _blamed(found),
        _pictures(history, found),
        _days(found),
    ]
    return page.render(f"Data quality of {problem}", body, f"{found[0].day} to {newest.day}")


def _chance(direction: Trend) -> str:
    if direction.word == "unknown":
        return "too few days to tell a trend"
    return f"Kendall's test for a trend: p {direction.p_value:.2g}"


def _blamed(found: Sequence[DayScore]) -> Markup:
    rows = [[page.bold(name), days, reason] for name, days, reason in worst_columns(found)]
    nothing = page.paragraph(f"None: all columns were as usual on {sum(entry.compared > 0 for entry in found)} compared days.")
    return page.section("Worst columns", page.table(["column", "days", "the newest reason"], rows) if rows else nothing)


def _pictures(history: Mapping[str, Measures], found: Sequence[DayScore]) -> Markup:
    """What is missing of each column, day by day, and where its values lie: columns to blame first."""
    blame = {name: days for name, days, _ in worst_columns(found)}
    names = sorted({name for entry in found for name in history[entry.day]} - {""})
    order = sorted(names, key=lambda name: -blame.get(name, 0))[:_COLUMNS]
    rows = [_column(name, [history[entry.day].get(name, {}) for entry in found]) for name in order]
    more = [page.paragraph(f"and {len(names) - _COLUMNS} more columns")] if len(names) > _COLUMNS else []
    return page.section("Columns", page.table(["column", "missing", "mean, or mean length"], rows), *more)


def _column(name: str, values: Sequence[Mapping[str, float]]) -> list[Markup]:
    middle = [entry.get("mean", entry.get("length")) for entry in values]
    points = [(float(place), value) for place, value in enumerate(middle) if value is not None]
    # A day without the column lacks all of its values.
    missing = page.bars([entry.get("missing", 1.0) for entry in values], width=240, title="share missing")
    return [page.bold(name), missing, page.line(points, width=240, height=36, title="mean, or mean length")]


def _days(found: Sequence[DayScore]) -> Markup:
    rows = [
        [
            entry.day,
            page.badge(f"{entry.score:.0f}", "good" if entry.score >= _GOOD else "warn" if entry.score >= _FAIR else "bad"),
            entry.rows,
            f"{entry.validity:.1%}",
            f"{entry.completeness:.1%}",
            f"{entry.stability:.1%}" if entry.compared else None,
            f"{entry.volume:.1%}" if entry.compared else None,
            "; ".join(map(str, entry.blame)) or ("" if entry.compared else "too few days before it to compare"),
        ]
        for entry in reversed(found)
    ]
    return page.section("Days", page.table(["day", "score", "rows", "validity", "completeness", "stability", "volume", "why"], rows))
