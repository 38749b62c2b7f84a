"""All seams: what can be added, and what adding one takes."""

import dataclasses
from typing import Any

from windtunnel.lifecycle.contract.seams.baselines import BASELINES
from windtunnel.lifecycle.contract.seams.expectations import EXPECTATIONS
from windtunnel.lifecycle.contract.seams.learners import LEARNERS
from windtunnel.lifecycle.contract.seams.metrics import METRICS
from windtunnel.lifecycle.contract.seams.notifiers import NOTIFIERS
from windtunnel.lifecycle.contract.seams.pages import PAGES
from windtunnel.lifecycle.contract.seams.registry import Registry
from windtunnel.lifecycle.contract.seams.sources import SOURCES
from windtunnel.lifecycle.contract.seams.targets import TARGETS
from windtunnel.lifecycle.contract.seams.transformers import TRANSFORMERS

__all__ = ["SEAMS", "Seam", "table"]


@dataclasses.dataclass(frozen=True)
class Seam:
    """One kind of thing that can be added.

    Attributes:
        registry: its rows.
        code: where the code of ours is.
        tests: the test class of one's own to write, and where ours are.
        docs: the page that says what users see of it.
    """

    registry: Registry[Any]
    code: str
    tests: str
    docs: str

    @property
    def rows(self) -> str:
        """The file that holds our rows."""
        return f"lifecycle/windtunnel/lifecycle/contract/seams/{self.registry.seam}.py"


_CONFORMANCE = "`SeamConformance`"

SEAMS = (
    Seam(
        TRANSFORMERS,
        "beam_jobs/windtunnel/beam_jobs/features/fitting/families",
        f"`AccumulatorConformance`, {_CONFORMANCE}",
        "docs/features.md",
    ),
    Seam(EXPECTATIONS, "beam_jobs/windtunnel/beam_jobs/expectations/engine", _CONFORMANCE, "docs/validation.md"),
    Seam(LEARNERS, "lifecycle/windtunnel/lifecycle/learning", _CONFORMANCE, "docs/learning.md"),
    Seam(SOURCES, "lifecycle/windtunnel/lifecycle/data/sources", _CONFORMANCE, "docs/data.md"),
    Seam(TARGETS, "lifecycle/windtunnel/lifecycle/release/targets", _CONFORMANCE, "docs/serving.md"),
    Seam(METRICS, "lifecycle/windtunnel/lifecycle/judging", _CONFORMANCE, "docs/analysis.md"),
    Seam(BASELINES, "lifecycle/windtunnel/lifecycle/judging/baselines.py", _CONFORMANCE, "docs/analysis.md"),
    Seam(NOTIFIERS, "operators/windtunnel/operators/telling", _CONFORMANCE, "docs/monitoring.md"),
    Seam(PAGES, "lifecycle/windtunnel/lifecycle/pages", _CONFORMANCE, "docs/analysis.md"),
)
"""All of them."""


def table() -> str:
    """What can be added, as a Markdown table: CONTRIBUTING.md has it.

    Example:
        >>> print(table().splitlines()[0])
        | I want to add | its code beside | its row in | a package's entry point | its test class | its docs |
    """
    lines = [
        "| I want to add | its code beside | its row in | a package's entry point | its test class | its docs |",
        "|---|---|---|---|---|---|",
        _STAGE,
    ]
    for seam in SEAMS:
        registry = seam.registry
        lines.append(
            f"| {registry.thing} | `{seam.code}` | `{seam.rows}`: `{registry.row.__name__}` | `{registry.group}` | {seam.tests} | "
            f"[{seam.docs}]({seam.docs}) |"
        )
    return "\n".join(lines)


_STAGE = (
    "| a stage | `operators/windtunnel/operators/stages`, `beam_jobs/windtunnel/beam_jobs` | "
    "`lifecycle/windtunnel/lifecycle/contract/stages.py`: `Stage` | none: an operator of one's own serves in any DAG | "
    "`StageConformance` | [README.md](README.md) |"
)
