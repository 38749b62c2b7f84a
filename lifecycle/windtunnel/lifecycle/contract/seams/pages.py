"""Pages: what each stage leaves for people to look at, and further pages that packages add beside it."""

import dataclasses

from windtunnel.lifecycle.contract.seams.registry import Registry, Row, part

__all__ = ["PAGES", "PageRow", "further_pages"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PageRow(Row):
    """One page of one stage.

    Attributes:
        stage: the stage whose output it is about: the name of its folder among the artefacts.
        file: its file's name in that folder.
        render: ``function(folder, result) -> html`` of a package's own page: called once when the stage has written its folder, with the
            folder and what ``result.json`` will hold. Ours are written by their stages.
    """

    stage: str
    file: str
    render: str = part("")


PAGES = Registry(
    "pages",
    "a page",
    PageRow,
    [
        PageRow(name="statistics", stage="profile", file="report.html", summary="statistics of every column, drift against the reference"),
        PageRow(name="validation", stage="validate", file="index.html", summary="Great Expectations' Data Docs"),
        PageRow(name="features", stage="preprocess", file="features.html", summary="what every column became"),
        PageRow(name="trials", stage="tune", file="trials.html", summary="the search, best first"),
        PageRow(name="evaluation", stage="evaluate", file="report.html", summary="the evaluation report"),
        PageRow(name="monitor", stage="monitor", file="monitor.html", summary="what the monitor saw"),
        PageRow(name="feedback", stage="feedback", file="feedback.html", summary="how predictions turned out"),
    ],
)
"""All pages."""


def further_pages(stage: str) -> list[PageRow]:
    """The pages that packages add to a stage."""
    return [row for row in PAGES if row.stage == stage and row.render]
