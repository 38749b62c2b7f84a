"""Suites and tables that nobody thought of: a generator over every expectation type, column type, condition and result format.

`case(seed)` is always the same for the same seed. Values of bounds and sets come from the table or near it, so that expectations are
met, hardly met and missed alike.
"""

import datetime as dt
import random
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa

Expectations = list[dict[str, Any]]
_BERLIN = "Europe/Berlin"
_WORDS = [
    "a",
    "b",
    "B",
    "",
    " ",
    "é☃",
    "10",
    "3.5",
    "ㅎㅇ",
    "a_b",
    "100%",
    "2020-01-02",
    '{"a": 1}',
    "[1, 2]",
    "N123",
    "nan",
    "None",
    "x" * 40,
    "🙂",
    "a\nb",
]
_INSTANTS = [dt.datetime(2020, 1, 1) + dt.timedelta(hours=h) for h in (0, 3, 24, 25, 72, 4000)]  # noqa: DTZ001 - times without a zone

KINDS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "i64": (pa.int64(), [-3, -1, 0, 1, 2, 3, 7]),
    "big": (pa.int64(), [2**53 + 1, 2**53, -(2**60), 1, 2**62]),
    "i8": (pa.int8(), [-128, 0, 1, 5, 127]),
    "u16": (pa.uint16(), [0, 1, 2, 65535]),
    "u64": (pa.uint64(), [0, 1, 2**63 + 5]),
    "f64": (pa.float64(), [0.0, 0.1, 0.2, 0.3, 1.5, -2.25, 1e9, float("nan")]),
    "inf": (pa.float64(), [float("inf"), float("-inf"), 0.5, 1.0]),
    "tiny": (pa.float64(), [1e-300, -1e-300, 1e300, 3.0]),
    "f32": (pa.float32(), [0.1, 0.5, -7.0, 16777217.0, float("nan")]),
    "word": (pa.string(), _WORDS),
    "code": (pa.string(), ["AA", "BB", "CC", "DD"]),
    "large": (pa.large_string(), _WORDS[:6]),
    "flag": (pa.bool_(), [True, False]),
    "day": (pa.date32(), [dt.date(2020, 1, d) for d in (1, 2, 3, 9)]),
    "time": (pa.timestamp("us"), _INSTANTS),
    "nano": (pa.timestamp("ns"), _INSTANTS),
    "milli": (pa.timestamp("ms"), _INSTANTS),
    "utc": (pa.timestamp("us", tz="UTC"), [t.replace(tzinfo=dt.UTC) for t in _INSTANTS]),
    "berlin": (pa.timestamp("ns", tz=_BERLIN), [t.replace(tzinfo=dt.UTC) for t in _INSTANTS]),
    "money": (pa.decimal128(12, 2), [Decimal(x) for x in ("0.00", "1.10", "2.20", "-3.00", "99999.99")]),
    "clock": (pa.time64("us"), [dt.time(1), dt.time(2, 30), dt.time(23, 59, 59)]),
    "span": (pa.duration("us"), [dt.timedelta(seconds=s) for s in (0, 5, 86400)]),
    "bytes": (pa.binary(), [b"a", b"b", b""]),
    "list": (pa.list_(pa.int64()), [[1], [2, 3], []]),
    "struct": (pa.struct([("p", pa.int64()), ("q", pa.string())]), [{"p": 1, "q": "x"}, {"p": None, "q": "y"}]),
    "coded": (pa.dictionary(pa.int8(), pa.string()), ["lo", "mid", "hi"]),
    "void": (pa.null(), [None]),
}
_WEIGHTS = {name: 3 if name in {"i64", "f64", "word", "code", "flag"} else 1 for name in KINDS}
FORMATS: list[Any] = [
    "BOOLEAN_ONLY",
    "BASIC",
    "SUMMARY",
    "COMPLETE",
    {"result_format": "BASIC", "partial_unexpected_count": 0},
    {"result_format": "SUMMARY", "partial_unexpected_count": 3},
    {"result_format": "SUMMARY", "include_unexpected_rows": True},
    {"result_format": "COMPLETE", "include_unexpected_rows": True},
    {"result_format": "COMPLETE", "include_unexpected_rows": True, "map_expectation_unexpected_rows_as_dict": True},
    {"result_format": "COMPLETE", "return_unexpected_index_query": False},
    {"result_format": "COMPLETE", "partial_unexpected_count": 1},
]


class Case:
    """A table, questions about it, and how results are shown."""

    def __init__(
        self, table: pa.Table | pd.DataFrame, expectations: Expectations, form: Any, row_group: int, rows: int, limit: int
    ) -> None:
        self.table, self.expectations, self.form = table, expectations, form
        self.row_group, self.rows, self.limit = row_group, rows, limit


def table(chance: random.Random) -> pa.Table:
    """A few columns of random types, at most 14 rows."""
    size = chance.choice([0, 1, 2, 3, 5, 7, 9, 11, 14])
    names = chance.choices(list(KINDS), [_WEIGHTS[name] for name in KINDS], k=chance.randint(2, 6))
    columns, odd = {}, ["a b", "a", "ab", "é", "index", "1", "a.b", "not", "`x"]
    for number, name in enumerate(names):
        kind, values = KINDS[name]
        few = chance.sample(values, min(len(values), chance.randint(1, len(values))))
        holes = chance.choice([0, 0, 0.3, 1 if chance.random() < 0.3 else 0.5])
        filled = [None if chance.random() < holes else chance.choice(few) for _ in range(size)]
        title = f"{name}{number}" if chance.random() < 0.9 else chance.choice(odd)
        columns[title] = pa.array(filled, kind)
    return pa.table(columns)


def asked(chance: random.Random, rows: pa.Table, count: int) -> Expectations:
    """Questions about a table."""
    found = []
    for _ in range(count):
        kind = chance.choice(list(ASK))
        kwargs = ASK[kind](_Draw(chance, rows))
        if kind not in NO_CONDITION and chance.random() < 0.3:
            kwargs |= _condition(chance, rows)
        if kind in MAPS and chance.random() < 0.5:
            kwargs["mostly"] = chance.choice([0, 0.1, 0.5, 0.75, 0.9, 1, 1.0])
        entry = {"type": kind, "kwargs": kwargs}
        if chance.random() < 0.3:
            entry["severity"] = chance.choice(["critical", "warning", "info"])
        found.append(entry)
    return found


def case(seed: int, count: int = 12) -> Case:
    """The case of a seed."""
    chance = random.Random(seed)
    rows = table(chance)
    form = chance.choice(FORMATS)
    if isinstance(form, str) and form != "BOOLEAN_ONLY" and chance.random() < 0.4:
        names = chance.sample(rows.column_names, chance.randint(1, min(2, rows.num_columns)))
        form = {"result_format": form, "unexpected_index_column_names": names}
        if chance.random() < 0.3:
            form["exclude_unexpected_values"] = True
    stored: pa.Table | pd.DataFrame = rows
    if chance.random() < 0.25:  # as pandas writes it, with an index
        frame = rows.to_pandas()
        how = chance.randint(0, 3)
        if how == 1:
            frame.index = pd.RangeIndex(100, 100 + 2 * len(frame), 2)
        elif how == 2:
            frame.index = pd.Index([f"r{i % 5}" for i in range(len(frame))], name="key")
        elif how == 3:
            frame.index = pd.Index(range(len(frame), 0, -1))
        stored = frame
    return Case(stored, asked(chance, rows, count), form, chance.randint(1, 5), chance.choice([2, 3]), chance.choice([2, 1000]))


def _condition(chance: random.Random, rows: pa.Table) -> dict[str, Any]:
    name = chance.choice(rows.column_names)
    draw = _Draw(chance, rows)
    value = draw.value(name)
    text = f"`{name}`" if not name.isidentifier() or chance.random() < 0.2 else name
    shown = repr(value) if isinstance(value, int | float | str | bool) else repr(str(value))
    how = chance.randint(0, 9)
    parser = chance.choice(["pandas", "pandas", "great_expectations"])
    if how <= 2:
        return {"row_condition": f"{text} {chance.choice(['==', '!=', '>', '<=', '<'])} {shown}", "condition_parser": parser}
    if how == 3:
        return {"row_condition": f"{text}.{chance.choice(['isnull()', 'notnull()', 'notna()'])}", "condition_parser": "pandas"}
    if how == 4:
        other = chance.choice(rows.column_names)
        word = chance.choice(["and", "or", "&", "|"])
        return {"row_condition": f"({text} == {shown}) {word} ({other} == {other})", "condition_parser": "pandas"}
    if how == 5:
        return {"row_condition": f'col("{name}").notNull()', "condition_parser": "great_expectations"}
    if how == 6:
        return {"row_condition": f'col("{name}") {chance.choice(["==", ">", "<="])} {shown}', "condition_parser": "great_expectations"}
    column = {"name": name}
    simple = isinstance(value, int | float | str | bool | dt.datetime)
    compared = {
        "type": "comparison",
        "column": column,
        "operator": chance.choice(["==", "!=", "<", "<=", ">", ">="]),
        "parameter": value if simple and not isinstance(value, dt.datetime) else str(value),
    }
    null = {"type": "nullity", "column": {"name": chance.choice(rows.column_names)}, "is_null": chance.random() < 0.5}
    if how == 7:
        values = [v for v in (draw.value(name) for _ in range(3)) if type(v) is type(value)]
        values = values if simple and not isinstance(value, dt.datetime) else [str(v) for v in values]
        return {"row_condition": {"type": "comparison", "column": column, "operator": chance.choice(["IN", "NOT_IN"]), "parameter": values}}
    if how == 8:
        return {"row_condition": {"type": chance.choice(["and", "or"]), "conditions": [compared, null]}}
    return {"row_condition": chance.choice([compared, null])}


class _Draw:
    """Draws arguments for expectations about a table."""

    def __init__(self, chance: random.Random, rows: pa.Table) -> None:
        self.chance, self.rows = chance, rows

    def column(self) -> str:
        """A column; seldom one that is not there."""
        return "nowhere" if self.chance.random() < 0.03 else self.chance.choice(self.rows.column_names)

    def columns(self) -> list[str]:
        """Two or three columns, seldom one twice."""
        names = self.chance.choices([*self.rows.column_names], k=self.chance.choice([2, 2, 3]))
        return names if self.chance.random() < 0.1 else list(dict.fromkeys([*names, *self.rows.column_names[:2]]))

    def value(self, column: str) -> Any:
        """A value of a column, or one like it."""
        values = [v for v in self.rows.column(column).to_pylist() if v is not None] if column in self.rows.column_names else []
        return self.chance.choice(values) if values and self.chance.random() < 0.9 else self.chance.choice([0, 1, 2.5, "a", True])

    def plain(self, column: str) -> Any:
        """The same, as JSON can have it."""
        value = self.value(column)
        if isinstance(value, dt.datetime):
            return value.isoformat() if self.chance.random() < 0.8 else str(value)
        return value if isinstance(value, int | float | str | bool) else str(value)

    def values(self, column: str) -> list[Any]:
        """Some values of a column."""
        found = [self.plain(column) for _ in range(self.chance.randint(0, 5))]
        return found + ([None] if self.chance.random() < 0.08 else [])

    def range(self, column: str, *, number: bool = False) -> dict[str, Any]:
        """Bounds."""
        low, high = self.plain(column), self.plain(column)
        if number:
            low, high = (self.chance.choice([-1, 0, 0.5, 1, 2, 3, 10]) for _ in range(2))
        try:
            low, high = (low, high) if low <= high or self.chance.random() < 0.1 else (high, low)
        except TypeError:
            high = low
        found = {"min_value": low, "max_value": high}
        if self.chance.random() < 0.3:
            found.pop(self.chance.choice(["min_value", "max_value"]))
        if self.chance.random() < 0.2:
            found[self.chance.choice(["strict_min", "strict_max"])] = True
        return found

    def maybe(self, share: float = 0.5, **kwargs: Any) -> dict[str, Any]:
        """These arguments, or none."""
        return {name: self.chance.choice(value) for name, value in kwargs.items() if self.chance.random() < share}


def _one(more: Any = lambda d, c: {}) -> Any:
    def ask(draw: _Draw) -> dict[str, Any]:
        column = draw.column()
        return {"column": column, **more(draw, column)}

    return ask


def _set(draw: _Draw, column: str) -> dict[str, Any]:
    return {"value_set": draw.values(column)}


def _number(draw: _Draw, column: str) -> dict[str, Any]:
    return draw.range(column, number=True)


def _quantiles(draw: _Draw, column: str) -> dict[str, Any]:
    points = sorted(draw.chance.sample([0.0, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0], draw.chance.randint(1, 4)))
    ranges = [draw.chance.choice([[None, 3], [0, None], [-5, 5], [1, 2]]) for _ in points]
    more = draw.maybe(0.4, allow_relative_error=["linear", "lower", "higher", "midpoint", "nearest", False])
    return {"quantile_ranges": {"quantiles": points, "value_ranges": ranges}, **more}


def _kl(draw: _Draw, column: str) -> dict[str, Any]:
    values = [v for v in dict.fromkeys(draw.plain(column) for _ in range(4)) if v == v]  # NaN is not itself
    if draw.chance.random() < 0.5:
        part = {"values": values, "weights": [1 / len(values)] * len(values)} if values else {"values": ["a"], "weights": [1.0]}
    else:
        part = {"bins": [-10, 0, 1, 5], "weights": [0.5, 0.25, 0.25]}
        if draw.chance.random() < 0.3:
            part = {"bins": [0, 1, 5], "weights": [0.4, 0.4], "tail_weights": [0.1, 0.1]}
    more = draw.maybe(0.3, tail_weight_holdout=[0.01], internal_weight_holdout=[0.01], bucketize_data=[True, False])
    return {"partition_object": part, "threshold": draw.chance.choice([0.1, 0.5, None]), **more}


def _pair(more: Any = lambda d, a: {}) -> Any:
    def ask(draw: _Draw) -> dict[str, Any]:
        first, second = draw.column(), draw.column()
        ignored = draw.maybe(0.6, ignore_row_if=["both_values_are_missing", "either_value_is_missing", "neither"])
        return {"column_A": first, "column_B": second, **ignored, **more(draw, (first, second))}

    return ask


def _many(more: Any = lambda d: {}) -> Any:
    def ask(draw: _Draw) -> dict[str, Any]:
        ignored = draw.maybe(0.6, ignore_row_if=["all_values_are_missing", "any_value_is_missing", "never"])
        return {"column_list": draw.columns(), **ignored, **more(draw)}

    return ask


_TYPES = ["int", "int64", "float", "float64", "str", "object", "bool", "date", "datetime", "datetime64", "Decimal", "list", "bytes", "nope"]
_REGEX = ["^[a-z]", "[0-9]+", "", "é", "a|b", "^$", "(", "N[0-9]{3}"]
_FORMS = ["%Y-%m-%d", "%d", "%H:%M"]
_SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
_BOOL = [True, False]
ASK: dict[str, Any] = {
    "expect_column_distinct_values_to_be_in_set": _one(_set),
    "expect_column_distinct_values_to_contain_set": _one(_set),
    "expect_column_distinct_values_to_equal_set": _one(_set),
    "expect_column_kl_divergence_to_be_less_than": _one(_kl),
    "expect_column_max_to_be_between": _one(lambda d, c: d.range(c)),
    "expect_column_mean_to_be_between": _one(_number),
    "expect_column_median_to_be_between": _one(_number),
    "expect_column_min_to_be_between": _one(lambda d, c: d.range(c)),
    "expect_column_most_common_value_to_be_in_set": _one(lambda d, c: {**_set(d, c), **d.maybe(ties_okay=_BOOL)}),
    "expect_column_pair_values_a_to_be_greater_than_b": _pair(lambda d, _: d.maybe(or_equal=_BOOL)),
    "expect_column_pair_values_to_be_equal": _pair(),
    "expect_column_pair_values_to_be_in_set": _pair(
        lambda d, names: {"value_pairs_set": [[d.plain(names[0]), d.plain(names[1])] for _ in range(d.chance.randint(1, 3))]}
    ),
    "expect_column_proportion_of_non_null_values_to_be_between": _one(lambda d, _: d.maybe(min_value=[0.1, 0.5, 1], max_value=[0.5, 1])),
    "expect_column_proportion_of_unique_values_to_be_between": _one(lambda d, _: d.maybe(min_value=[0.1, 0.5, 1], max_value=[0.5, 1])),
    "expect_column_quantile_values_to_be_between": _one(_quantiles),
    "expect_column_stdev_to_be_between": _one(_number),
    "expect_column_sum_to_be_between": _one(_number),
    "expect_column_to_exist": _one(lambda d, _: d.maybe(0.3, column_index=[0, 1])),
    "expect_column_type_to_be": _one(lambda d, _: {"type_": d.chance.choice(_TYPES)}),
    "expect_column_unique_value_count_to_be_between": _one(lambda d, _: d.maybe(min_value=[0, 2], max_value=[1, 3, 9])),
    "expect_column_value_lengths_to_be_between": _one(lambda d, _: {"min_value": 1, **d.maybe(max_value=[1, 2, 9], strict_max=_BOOL)}),
    "expect_column_value_lengths_to_equal": _one(lambda d, _: {"value": d.chance.choice([0, 1, 2])}),
    "expect_column_value_z_scores_to_be_less_than": _one(
        lambda d, _: {"threshold": d.chance.choice([0.5, 1, 2]), "double_sided": d.chance.choice(_BOOL)}
    ),
    "expect_column_values_to_be_between": _one(lambda d, c: d.range(c)),
    "expect_column_values_to_be_dateutil_parseable": _one(),
    "expect_column_values_to_be_decreasing": _one(lambda d, _: d.maybe(strictly=_BOOL)),
    "expect_column_values_to_be_in_set": _one(_set),
    "expect_column_values_to_be_in_type_list": _one(lambda d, _: {"type_list": d.chance.choice([d.chance.sample(_TYPES, 3), None])}),
    "expect_column_values_to_be_increasing": _one(lambda d, _: d.maybe(strictly=_BOOL)),
    "expect_column_values_to_be_json_parseable": _one(),
    "expect_column_values_to_be_null": _one(),
    "expect_column_values_to_be_of_type": _one(lambda d, _: {"type_": d.chance.choice(_TYPES)}),
    "expect_column_values_to_be_unique": _one(),
    "expect_column_values_to_match_json_schema": _one(lambda _d, _c: {"json_schema": _SCHEMA}),
    "expect_column_values_to_match_regex": _one(lambda d, _: {"regex": d.chance.choice(_REGEX)}),
    "expect_column_values_to_match_regex_list": _one(
        lambda d, _: {"regex_list": d.chance.sample(_REGEX, 2), **d.maybe(match_on=["any", "all"])}
    ),
    "expect_column_values_to_match_strftime_format": _one(lambda d, _: {"strftime_format": d.chance.choice(_FORMS)}),
    "expect_column_values_to_not_be_in_set": _one(_set),
    "expect_column_values_to_not_be_null": _one(),
    "expect_column_values_to_not_be_outliers": _one(
        lambda d, _: {"method": d.chance.choice(["iqr", "std"]), "multiplier": d.chance.choice([0.5, 1.5])}
    ),
    "expect_column_values_to_not_match_regex": _one(lambda d, _: {"regex": d.chance.choice(_REGEX)}),
    "expect_column_values_to_not_match_regex_list": _one(lambda d, _: {"regex_list": d.chance.sample(_REGEX, 2)}),
    "expect_compound_columns_to_be_unique": _many(),
    "expect_multicolumn_sum_to_equal": _many(lambda d: {"sum_total": d.chance.choice([0, 1, 3, 4.5])}),
    "expect_multicolumn_values_to_be_equal": _many(),
    "expect_select_column_values_to_be_unique_within_record": _many(),
    "expect_table_column_count_to_be_between": lambda d: {"min_value": d.chance.randint(0, 4), "max_value": d.chance.randint(4, 6)},
    "expect_table_column_count_to_equal": lambda d: {"value": d.chance.randint(1, 6)},
    "expect_table_columns_to_match_ordered_list": lambda d: {"column_list": d.rows.column_names[: d.chance.randint(1, 6)]},
    "expect_table_columns_to_match_set": lambda d: {"column_set": d.columns(), **d.maybe(exact_match=_BOOL)},
    "expect_table_row_count_to_be_between": lambda d: {"min_value": d.chance.randint(0, 9), "max_value": d.chance.randint(3, 14)},
    "expect_table_row_count_to_equal": lambda d: {"value": d.chance.randint(0, 9)},
}
MAPS = {
    kind
    for kind in ASK
    if "values_" in kind or "value_lengths" in kind or "compound" in kind or "multicolumn" in kind or "z_scores" in kind
} - {kind for kind in ASK if "quantile" in kind or "distinct_values" in kind or "proportion" in kind}
NO_CONDITION = {"expect_column_to_exist", "expect_column_type_to_be"} | {kind for kind in ASK if kind.startswith("expect_table_column")}
