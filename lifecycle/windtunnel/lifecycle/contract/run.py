"""Which run asks: decisions depend on it (a backfill never touches production) and the ledger keeps it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

__all__ = ["Run"]


@dataclasses.dataclass(frozen=True)
class Run:
    """The run that a decision belongs to.

    Attributes:
        dag_id: its DAG, or the name of a command.
        run_id: its id; never parsed.
        run_type: ``scheduled``, ``manual``, ``backfill``, ``asset_triggered``, or ``command``.
        by: the person who triggered it, where known.
        reason: what they said.
        promotion: ``auto``, ``ask`` or ``never``, as asked for by this run; empty means as the problem says.
        counterfactual: it asks what would have been, and changes nothing (`windtunnel.lifecycle.judging.counterfactual`).
    """

    dag_id: str = ""
    run_id: str = ""
    run_type: str = "command"
    by: str = ""
    reason: str = ""
    promotion: str = ""
    counterfactual: bool = False

    @property
    def may_promote(self) -> bool:
        """Whether this run may touch production at all."""
        return self.run_type != "backfill" and self.promotion != "never" and not self.counterfactual

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The run that `to_dict` wrote."""
        return cls(**{field.name: values[field.name] for field in dataclasses.fields(cls) if field.name in values})
