"""Which run asks: decisions depend on it (a backfill never touches production) and the ledger keeps it."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Self

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.naming import did_you_mean, most_alike
from windtunnel.lifecycle.payload import JsonMapping, JsonObject

__all__ = ["ASKED", "PROMOTIONS", "Run", "check_asked", "stricter"]

PROMOTIONS = ("auto", "ask", "never")
"""Who lets a model into production, the laxest first: the gates, a person, nobody."""

ASKED = ("window_start", "window_end", "data_version", "trials", "promotion", "counterfactual", "reason")
"""What a run's conf may ask of our stages: the fields of the trigger form."""

_ALIKE = 0.8


def check_asked(conf: Mapping[str, object], declared: Collection[str], rule: str) -> None:
    """Refuse a conf that asks for what nobody knows, or for less than the problem's file demands.

    In a DAG that has none of our fields as Params a key of its own is nobody's mistake, unless it looks like a mistyped one of ours.

    Args:
        conf: the run's conf.
        declared: the names of the DAG's Params.
        rule: the problem's ``approval.promotion``.

    Raises:
        ConfigurationError: a key is unknown, or the promotion is laxer than the problem's.

    Example:
        >>> check_asked({"windw_end": "2013-02-01"}, ["window_end"], "ask")
        Traceback (most recent call last):
        windtunnel.lifecycle.contract.errors.ConfigurationError: the run's conf has 'windw_end', which is not known here
        Hint: did you mean 'window_end'? allowed: counterfactual, data_version, promotion, reason, trials, window_end, window_start
    """
    ours = bool(set(declared) & set(ASKED))
    allowed = sorted({*declared, *ASKED})
    for name in sorted(set(conf) - set(allowed)):
        if ours or most_alike(name, ASKED, cutoff=_ALIKE):
            guess = did_you_mean(name, allowed)
            hint = f"{guess} allowed: {', '.join(allowed)}".lstrip()
            raise ConfigurationError(f"the run's conf has {name!r}, which is not known here", hint=hint, key=str(name))
    asked = conf.get("promotion")
    if asked and stricter(str(asked), rule) != asked:
        raise ConfigurationError(
            f"this run asks for promotion {asked!r}, but the problem's approval.promotion is {rule!r}: a run may only be stricter",
            hint="leave it out, or change approval.promotion in the problem file",
        )


def stricter(asked: str, rule: str) -> str:
    """The stricter of what a run asks for (empty: nothing) and the problem's rule, of `PROMOTIONS`.

    Raises:
        ConfigurationError: there is no such promotion.

    Example:
        >>> stricter("never", "ask"), stricter("auto", "ask"), stricter("", "auto")
        ('never', 'ask', 'auto')
    """
    for name in (asked or rule, rule):
        if name not in PROMOTIONS:
            raise ConfigurationError(f"promotion must be one of {', '.join(PROMOTIONS)} but got {name!r}")
    return max(asked or rule, rule, key=PROMOTIONS.index)


@dataclasses.dataclass(frozen=True)
class Run:
    """The run that a decision belongs to.

    Attributes:
        dag_id: its DAG, or the name of a command.
        run_id: its id; never parsed.
        run_type: ``scheduled``, ``manual``, ``backfill``, ``asset_triggered``, or ``command``.
        by: the person who triggered it, where known.
        reason: what they said.
        promotion: ``auto``, ``ask`` or ``never``, as asked for by this run; empty means as the problem says. See `RunContext.promotion`.
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

    def to_dict(self) -> JsonObject:
        """Plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: JsonMapping) -> Self:
        """The run that `to_dict` wrote."""
        # An earlier state wrote fewer fields: those that are not there keep their defaults.
        return cls(**{field.name: values[field.name] for field in dataclasses.fields(cls) if field.name in values})
