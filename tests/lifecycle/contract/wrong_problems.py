"""Wrong problem files: each field wrong in each way. Made from the models, so that a new field is tried as soon as it is there."""

import copy
import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.problem.parts import Registered

__all__ = ["BASE", "Wrong", "all_wrong"]

BASE: dict[str, Any] = {
    "name": "tiny",
    "owner": "team@example.org",
    "title": "A tiny problem",
    "description": "for tests",
    "kpi": {"name": "gain", "description": "what it earns", "function": "statistics:fmean"},
    "task": "binary",
    "source": {"format": "csv", "path": "/data/{day}.csv", "options": {"delimiter": ";"}},
    "columns": {"id": "int64", "day": "date", "plan": "string", "note": "string", "size": "float64", "late": "float64", "sex": "string"},
    "optional_columns": ["size"],
    "event_time": {"column": "day"},
    "keys": ["id"],
    "sensitive": ["sex"],
    "label": {"column": "late", "positive": {"above": 15}, "delay_days": 2},
    "features": {"numeric": ["size"], "categorical": ["plan"], "text": ["note"], "min_frequency": 5, "max_categories": 20},
    "slices": [["plan"], ["plan", "sex"]],
    "splits": {"by": "key", "key": ["id"], "test": 0.2, "salt": "a"},
    "windows": {"train_days": 28, "history_start": "2024-01-01", "history_end": "2024-12-31"},
    "model": {"family": "linear", "parameters": {"C": 1.0}, "search": {"C": [0.1, 1.0], "tol": {"low": 0.001, "high": 0.1, "log": True}}},
    "budget": {"trials": 2, "seconds": 60, "memory_mb": 512},
    "baseline": {"kind": "prior"},
    "explanations": {"shap": False, "rows": 100},
    "gates": [{"metric": "auc", "at_least": 0.7}, {"metric": "recall", "at_least": 0.2, "slices": True}],
    "costs": {"false_positive": 1.0, "false_negative": 4.0},
    "objectives": {"auc": 1.0, "expected_cost": 0.1},
    "limits": {"drift": 0.3},
    "approval": {"promotion": "ask", "approvers": ["ann"], "timeout_hours": 24, "notifiers": [{"notifier": "log"}]},
    "serving": {
        "threshold": 0.5,
        "abstain_below": 0.6,
        "canary_share": 0.1,
        "sticky": "plan",
        "reward": "statistics:fmean",
        "lookup": {"key": ["id"]},
        "targets": ["/srv/models"],
        "manifests": {"image": "registry/server:1"},
        "redact": ["note"],
    },
    "monitoring": {"schedule": "@daily"},
    "alerts": [{"notifier": "smtp", "options": {"to": "a@example.org"}}],
    "suite": "tiny.suite.json",
    "schedule": "0 3 * * *",
    "start_date": "2024-01-01",
    "tags": ["demo"],
}
"""A problem that uses every section, and is right."""


@dataclasses.dataclass(frozen=True)
class Wrong:
    """One wrong file.

    Attributes:
        what: the mistake, which names the test.
        values: the file.
        field: what the error must name.
        says: what else the error must say, a regular expression.
    """

    what: str
    values: dict[str, Any]
    field: str
    says: str = ""


def _changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    values = copy.deepcopy(BASE)
    place: Any = values
    for name in path[:-1]:
        if isinstance(place, dict) and not isinstance(place.get(name), dict | list):
            place[name] = {}
        place = place[name]
    place[path[-1]] = value
    return values


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in path)


def _fields(model: type[BaseModel], path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any, type[BaseModel]]]:
    """Every field of every section, with its place in `BASE`."""
    for name, field in model.model_fields.items():
        if field.exclude:
            continue
        here = (*path, name)
        yield here, field, model
        for kind, many in _models(field.annotation):
            yield from _fields(kind, (*here, 0) if many else here)


def _models(annotation: Any, *, many: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, many
    for argument in typing.get_args(annotation):
        yield from _models(argument, many=many or typing.get_origin(annotation) is list)


def _leaves(annotation: Any) -> set[Any]:
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return set()
    if typing.get_origin(annotation) in {list, dict}:
        return {typing.get_origin(annotation)}
    return {annotation} if not arguments else {leaf for argument in arguments for leaf in _leaves(argument)}


def _literals(annotation: Any) -> list[str]:
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    return [name for argument in typing.get_args(annotation) for name in _literals(argument)]


def _registered(field: Any) -> list[str]:
    inner = [*field.metadata, *(entry for part in typing.get_args(field.annotation) for entry in getattr(part, "__metadata__", ()))]
    return next((entry.registry.names for entry in inner if isinstance(entry, Registered)), [])


def _of_a_wrong_kind() -> Iterator[Wrong]:
    for path, field, _ in _fields(Problem):
        leaves = _leaves(field.annotation)
        kinds = {int: "many", float: "many", bool: "perhaps", str: {"a": 1}, list: "one", dict: "one"}
        wrong = next((value for kind, value in kinds.items() if kind in leaves), None)
        if path[:2] == ("label", "positive") or wrong is None:
            continue
        yield Wrong(f"{_dotted(path)} is {wrong!r}", _changed(path, wrong), _dotted(path))
        if leaves & {int, float} and bool not in leaves:
            yield Wrong(f"{_dotted(path)} is yes", _changed(path, True), _dotted(path), "must be a number")
            yield Wrong(f"{_dotted(path)} is a list", _changed(path, [1]), _dotted(path))
        if float in leaves:
            yield Wrong(f"{_dotted(path)} is no number", _changed(path, float("nan")), _dotted(path))
        if str in leaves and not field.is_required():
            yield Wrong(f"{_dotted(path)} is a list", _changed(path, ["a", "b"]), _dotted(path))


def _misspelt_fields() -> Iterator[Wrong]:
    seen = set()
    for path, _, model in _fields(Problem):
        name = path[-1]
        if (model, name) in seen or len(name) < 4:
            continue
        seen.add((model, name))
        wrong = name[:-2] + name[-1]
        if wrong in model.model_fields:
            continue
        values = _changed((*path[:-1], wrong), 1)
        yield Wrong(f"{_dotted(path)} is spelt {wrong}", values, _dotted((*path[:-1], wrong)), rf"allowed: .*\b{name}\b.*did you mean")


def _misspelt_choices() -> Iterator[Wrong]:
    for path, field, _ in _fields(Problem):
        for name in _literals(field.annotation):
            yield Wrong(f"{_dotted(path)} is {name}x", _changed(path, f"{name}x"), _dotted(path), name)
        for name in _registered(field):
            yield Wrong(f"{_dotted(path)} is {name}x", _changed(path, f"{name}x"), _dotted(path), rf"allowed: .*did you mean '{name}'")


def _out_of_bounds() -> Iterator[Wrong]:
    for path, field, _ in _fields(Problem):
        marks = [*field.metadata, *(entry for part in typing.get_args(field.annotation) for entry in getattr(part, "__metadata__", ()))]
        marks += [entry for mark in marks for entry in getattr(mark, "metadata", ())]
        for mark in marks:
            for name, step in (("ge", -1), ("gt", 0), ("le", 1), ("lt", 0)):
                bound = getattr(mark, name, None)
                if isinstance(bound, int | float):
                    yield Wrong(f"{_dotted(path)} is {bound + step}", _changed(path, bound + step), _dotted(path), "(greater|less) than")


def _unknown_columns() -> Iterator[Wrong]:
    lists = ("optional_columns", "keys", "sensitive", "features.numeric", "features.categorical", "features.text", "splits.key")
    for name in (*lists, "serving.redact", "serving.lookup.key"):
        path = tuple(name.split("."))
        yield Wrong(f"{name} names plam", _changed(path, ["plam"]), name, "allowed: .*did you mean 'plan'")
    for name in ("label.column", "serving.sticky", "event_time.column"):
        yield Wrong(f"{name} names plam", _changed(tuple(name.split(".")), "plam"), name, "allowed: .*did you mean 'plan'")
    yield Wrong("slices names plam", _changed(("slices",), [["plam"]]), "slices", "did you mean 'plan'")


def _missing() -> Iterator[Wrong]:
    for name, field in Problem.model_fields.items():
        if field.is_required():
            values = copy.deepcopy(BASE)
            del values[name]
            yield Wrong(f"{name} is missing", values, name, "missing")


def _regression(**changes: Any) -> dict[str, Any]:
    values = copy.deepcopy(BASE) | {"task": "regression", "label": {"column": "late"}, "objectives": {}, "costs": None, "baseline": {}}
    values["gates"] = [{"metric": "rmse", "at_most": 3}]
    values["serving"]["abstain_below"] = None
    return values | changes


def _anomaly(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(BASE) | {"task": "anomaly", "model": {"family": "isolation_forest"}} | changes


def change(name: str, value: Any, says: str, field: str = "") -> Wrong:
    """One field of the right file, changed."""
    path = tuple(int(part) if part.isdigit() else part for part in name.split("."))
    return Wrong(f"{name} is {value!r}"[:90], _changed(path, value), field or name, says)


_CRONS = ("every day at 3", "99 99 * * *", "nope", "0 3 * *", "0 0 31 2 *", "", "@dayly", "* * * * * *")
_SPACES: tuple[tuple[Any, str], ...] = (
    ([], "no choice"),
    (5, "list of choices"),
    ({"low": 5, "high": 1}, "low must be less than high"),
    ({"low": 1, "high": 1}, "low must be less than high"),
    ({"low": 0, "high": 1, "log": True}, "starts above 0"),
    ({"low": 1}, "needs low and high"),
    ({"low": "a", "high": "b"}, "needs low and high"),
    ({"low": 1, "hihg": 2}, "did you mean 'high'"),
    ({"low": 1, "high": 2, "log": "yes please"}, "true or false"),
)
_TIMELESS = {
    "event_time": None,
    "source": {"format": "csv", "path": "/data/x.csv"},
    "schedule": None,
    "label": BASE["label"] | {"delay_days": 0},
}
_KEYLESS = {"keys": [], "splits": {}, "serving": {}}


def _timeless(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(BASE) | _TIMELESS | changes


SENSELESS = [
    *(change(name, cron, "allowed: five fields") for cron in _CRONS for name in ("schedule", "monitoring.schedule")),
    *(change("name", f"tiny{end}", "another problem") for end in ("_monitoring", "_feedback")),
    *(change("name", name, "pattern") for name in ("", "Tiny", "ti ny", "1tiny", "x" * 64)),
    *(change("model.search.C", space, says) for space, says in _SPACES),
    change("tags", ["x" * 101], "1 to 100 characters", "tags.0"),
    change("tags", [""], "1 to 100 characters", "tags.0"),
    change("owner", "", "at least 1"),
    change("owner", "  ", "must not be empty"),
    change("windows.history_end", "2023-12-31", "not after history_start"),
    change("windows.history_end", "2024-01-01", "not after history_start"),
    change("windows.history_end", "tomorrow", "date"),
    change("label.delay_days", 28, "allowed: 0 to 27"),
    change("model.family", "isolation_forest", "allowed: hist_gradient_boosting, random_forest, linear"),
    change("gates.0.metric", "accuracyy", "allowed: .*did you mean 'accuracy'"),
    change("gates.0.metric", "rmse", "is not a metric of a binary task"),
    change("gates", [{"metric": "size_mb", "above_baseline_by": 1}], "at_least, at_most", "gates.0.above_baseline_by"),
    change("gates", [{"metric": "latency_p99_ms", "above_champion_by": 1}], "at_least, at_most", "gates.0.above_champion_by"),
    change("gates", [{"metric": "size_mb", "at_most": 1, "slices": True}], "not computed for slices", "gates.0.slices"),
    change("gates", [{"metric": "auc", "at_least": 1, "at_most": 2}], "exactly one", "gates.0"),
    change("gates", [{"metric": "auc"}], "exactly one", "gates.0"),
    change("objectives", {"aucc": 1}, "did you mean 'auc'", "objectives.aucc"),
    change("objectives", {"objective": 1}, "cannot be one of them", "objectives.objective"),
    change("costs", {"false_positive": 0}, "at least one"),
    change("costs", None, "only computed where the problem has costs", "objectives.expected_cost"),
    change("features.numeric", ["plan"], "allowed types: .*float64"),
    change("features.numeric", ["day"], "allowed types"),
    change("features.text", ["size"], "allowed types: string"),
    change("features.numeric", ["size", "size"], "more than once", "features"),
    change("features.categorical", ["plan", "size"], "more than once", "features"),
    change("features.numeric", ["late"], "would see the answer", "features"),
    change("features", {}, "at least one column"),
    change("keys", ["id", "id"], "more than once"),
    change("columns", {}, "declares no column"),
    change("columns.event_date", "date", "ingest adds", "columns"),
    change("event_time", {"column": "plan"}, "allowed types: date, timestamp", "event_time.column"),
    change("event_time", {"year": "size", "month": "id", "day": "id"}, "allowed types: int32, int64", "event_time.year"),
    change("event_time", {"year": "id"}, "all of year, month and day", "event_time"),
    change("source.options", {"delimeter": ";"}, "did you mean 'delimiter'.*allowed"),
    change("source.options", {"delimiter": ";;"}, "one ASCII character"),
    change("source.options", {"encoding": "utf-9"}, "such as utf-8"),
    change("source.path", "/data/{dya}.csv", "did you mean 'day'"),
    change("source.path", "/data/{day.csv", "fields"),
    change("source", {"format": "parquet", "path": "x", "options": {"delimiter": ";"}}, "no options", "source.options.delimiter"),
    change("source", {"format": "csv"}, "needs path", "source"),
    change("source", {"format": "sql", "connection": "c"}, "needs table or query", "source"),
    change("source", {"format": "sql", "table": "t"}, "Airflow connection", "source.connection"),
    change("source", {"format": "sql", "table": "t", "connection": "c", "options": {"partitions": 0}}, "from 1", "source.options"),
    change("source", {"format": "python"}, "needs generator", "source"),
    change("source", {"format": "iceberg"}, "needs table", "source"),
    change("serving.targets", ["s4://x"], "allowed: .*a path", "serving.targets.0"),
    change("serving.targets", ["htttps://x"], "did you mean 'https:'", "serving.targets.0"),
    change("serving.sticky", "nocol", "allowed: day, id"),
    change("serving.redact", ["nocol"], "allowed: day, id"),
    Wrong("a bandit without a canary", _changed(("serving",), {"bandit": True}), "serving.bandit", "canary_share is 0"),
    change("alerts", [{"notifier": "slak"}], "did you mean 'slack'", "alerts.0.notifier"),
    change("approval.notifiers", [{"notifier": "smtpp"}], "did you mean 'smtp'", "approval.notifiers.0.notifier"),
    change("alerts", [{"notifier": "not a path"}], "pattern", "alerts.0.notifier"),
    change("label", {"column": "late"}, "one of above", "label.positive"),
    change("label", {"column": "plan", "positive": {"above": 3}}, "allowed: equals, not_equals", "label.positive.above"),
    change("label", {"column": "late", "positive": {"equals": "yes"}}, "of type float64", "label.positive.equals"),
    change("label", {"column": "late", "positive": {"above": 1, "equals": 2}}, "exactly one", "label.positive"),
    change("label", {"column": "late", "positive": {"above": 1}, "classes": ["a", "b"]}, "for multiclass", "label.classes"),
    change("splits.test", 0, "more than 0, less than 1"),
    change("splits.test", 1, "more than 0, less than 1"),
    change("slices", [["plan", "sex", "note"]], "list of two", "slices.0"),
    change("slices", [["plan", "plan"]], "with itself", "slices.0"),
    change("baseline", {"kind": "mean"}, "one of prior, single_feature, logistic", "baseline.kind"),
    change("baseline", {"kind": "prior", "group": ["plan"]}, "only for the kind previous", "baseline.group"),
    Wrong("a lookup without a key", copy.deepcopy(BASE) | {"keys": [], "serving": {"lookup": {}}}, "serving.lookup.key", "needs a key"),
    Wrong("costs on a regression", _regression(costs={"false_positive": 1}), "costs", "yes and no"),
    Wrong("auc of a regression", _regression(gates=[{"metric": "auc", "at_least": 1}]), "gates.0.metric", "a metric of a regression task"),
    Wrong("a label of text for a regression", _regression(label={"column": "plan"}), "label.column", "float64"),
    Wrong("positive of a regression", _regression(label=BASE["label"]), "label.positive", "yes and no"),
    Wrong("weights of a regression", _regression(model={"class_balance": "weights"}), "model.class_balance", "allowed .*none"),
    Wrong("a bandit of a regression", _regression(serving={"bandit": True, "canary_share": 0.1}), "serving.reward", "from 0 to 1"),
    Wrong("confidence of a regression", _regression(serving={"abstain_below": 0.5}), "serving.abstain_below", "confidence"),
    Wrong(
        "a forest for anomalies", _anomaly(model={"family": "random_forest"}, objectives={}), "model.family", "allowed: isolation_forest"
    ),
    Wrong("log loss of an anomaly", _anomaly(objectives={"log_loss": 1}), "objectives.log_loss", "anomaly task"),
    Wrong("one class", copy.deepcopy(BASE) | {"task": "multiclass", "label": {"column": "plan", "classes": ["a"]}}, "label.classes", "two"),
    Wrong("neither key nor date", _timeless(**_KEYLESS), "splits.by", "give keys"),
    Wrong("a split by time without a date", _timeless(splits={"by": "time"}), "splits.by", "event_time"),
    Wrong("an asset without a name", change("schedule", {"assets": [""]}, "").values, "schedule", "at least 1 character"),
    Wrong("a schedule without a date", _timeless(schedule="@daily"), "schedule", "event_time"),
    Wrong("late labels without a date", _timeless(label=BASE["label"]), "label.delay_days", "event_time"),
]
"""What each field alone may be, but not in this file."""


def all_wrong() -> list[Wrong]:
    """All of them."""
    makers = (_of_a_wrong_kind, _misspelt_fields, _misspelt_choices, _out_of_bounds, _unknown_columns, _missing)
    return [*(wrong for maker in makers for wrong in maker()), *SENSELESS]
