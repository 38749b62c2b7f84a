"""What a caller may choose about fitting and transforming."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.statistics.counting import COLUMN_BYTES

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["Options"]


@dataclasses.dataclass(frozen=True)
class Options:
    """Choices for `fit`, `transform` and `fit_transform`; each may also be given as a mapping.

    Attributes:
        columns: the columns that the transformer is given, in this order; None for all but the label and the weights.
        label: the column that supervised steps learn from; it is not among the inputs unless `columns` names it.
        sample_weight: the column with row weights, for steps that take them.
        beyond: what happens to a column whose distinct values take more than `distinct_bytes` where order statistics are asked for:
            ``exact`` spills sorted runs to disk; ``sketch`` keeps a KLL sketch and states its error.
        distinct_bytes: bytes of the distinct values of one column, with their counts, that are kept in memory.
        distinct_limit: how many distinct values are kept at most, whatever they take; None for as many as fit.
        sample: rows of a declared sample to fit steps on: a number, for all steps that cannot be fitted otherwise; or class name ->
            number, for all steps of those classes.
        seed: of that sample.
        runner: the Beam runner.
        runner_options: its options, as on a command line.
        workers: processes of the in-process runner.
        work: a folder that driver and workers share, for partial results; None for a temporary one.
        dtype: of dense shards.
        layout: of shards; ``auto`` takes dense or sparse as the transformer answers, and columns for what are not numbers.
    """

    columns: tuple[str, ...] | None = None
    label: str | None = None
    sample_weight: str | None = None
    beyond: Literal["exact", "sketch"] = "exact"
    distinct_bytes: int = COLUMN_BYTES
    distinct_limit: int | None = None
    sample: int | Mapping[str, int] | None = None
    seed: int = 0
    runner: str = "in-process"
    runner_options: str = ""
    workers: int = 1
    work: str | None = None
    dtype: Literal["float32", "float64"] = "float32"
    layout: Literal["auto", "dense", "sparse", "columns"] = "auto"

    def __post_init__(self) -> None:
        for name, allowed in {
            "beyond": ("exact", "sketch"),
            "dtype": ("float32", "float64"),
            "layout": ("auto", "dense", "sparse", "columns"),
        }.items():
            if getattr(self, name) not in allowed:
                raise ConfigurationError(f"option {name} must be one of {', '.join(allowed)} but got {getattr(self, name)!r}")
        for name in ("workers", "distinct_bytes", "distinct_limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"option {name} must be at least 1 but got {value}")

    @classmethod
    def of(cls, given: "Options | Mapping[str, Any] | None") -> Self:
        """Options from options, a mapping or nothing.

        Raises:
            ConfigurationError: names an option that there is not.

        Example:
            >>> Options.of({"label": "price"}).label
            'price'
        """
        if given is None:
            return cls()
        if isinstance(given, cls):
            return given
        known = {field.name for field in dataclasses.fields(cls)}
        values = dict(given) if isinstance(given, Mapping) else dataclasses.asdict(given)
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigurationError(f"unknown options {unknown}", hint=f"known ones: {', '.join(sorted(known))}")
        if values.get("columns") is not None:
            values["columns"] = tuple(values["columns"])
        return cls(**values)

    def sample_for(self, estimator: "BaseEstimator") -> int | None:
        """The sample that was declared for exactly this class, which then has precedence over any other way."""
        return self.sample.get(type(estimator).__name__) if isinstance(self.sample, Mapping) else None

    def sample_of(self, estimator: "BaseEstimator") -> int | None:
        """The declared sample for an estimator's class, if any."""
        if isinstance(self.sample, Mapping):
            return self.sample.get(type(estimator).__name__)
        return self.sample

    @property
    def each_null(self) -> int:
        """Nulls of a column of times that may each become a category of their own."""
        # A value and its count, eight bytes each.
        return self.distinct_limit or self.distinct_bytes // 16

    @property
    def spec(self) -> dict[str, object]:
        """Where pipelines run, as `job.pipeline` takes it."""
        return {"runner": self.runner, "runner_options": self.runner_options, "workers": self.workers}
