"""The page that shows what a table is like: warnings first, then a row a column with its small picture; or two tables side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from windtunnel.lifecycle.pages import page
from windtunnel.lifecycle.payload import JsonMapping
from windtunnel.lifecycle.statistics import TableStatistics
from windtunnel.lifecycle.statistics.stratification import Balance, unbalanced
from windtunnel.lifecycle.statistics.summary import bin_shares, summarize

__all__ = ["comparison_page", "profile_page", "split_warnings", "warnings_of"]

_LEAK = 0.95
_PROXY = 0.5
_MOSTLY_NULL = 0.5
_SKEWED = 3.0
_MANY = 0.9
_ENOUGH = 100
_BARS = 20
_CELL = 24


def warnings_of(
    summary: JsonMapping, association: Mapping[str, float], proxies: Mapping[str, Mapping[str, float]], drifted: Sequence[str] = ()
) -> list[dict[str, str]]:
    """What a person should look at, the gravest first: ``{"column", "what", "tone", "text"}``.

    Args:
        summary: what `summarize` gave.
        association: of each column with the label.
        proxies: of each column with each sensitive column.
        drifted: columns that moved from the reference.
    """
    found = [
        _warning(name, "leaks the label", "bad", f"tells the label almost alone (association {strength:.3f}): is it known in time?")
        for name, strength in association.items()
        if strength >= _LEAK
    ]
    for sensitive, others in proxies.items():
        found += [
            _warning(name, "proxy", "bad", f"stands in for the sensitive column {sensitive} (association {strength:.2f})")
            for name, strength in others.items()
            if strength >= _PROXY
        ]
    found += [_warning(name, "drifted", "warn", "is no longer distributed as in the reference") for name in drifted]
    for name, column in summary["columns"].items():
        found += _column_warnings(name, column)
    return found


def split_warnings(label: str, balances: Sequence[Balance]) -> list[dict[str, str]]:
    """What is not stratified, for the top of the list."""
    return [_warning(entry.group.partition("=")[0] or label, "split unbalanced", "bad", str(entry)) for entry in unbalanced(balances)]


def _warning(column: str, what: str, tone: str, text: str) -> dict[str, str]:
    return {"column": column, "what": what, "tone": tone, "text": text}


def _column_warnings(name: str, column: JsonMapping) -> list[dict[str, str]]:
    """What a person should know of a column before using it."""
    distinct, count = column["distinct"], column["count"]
    nulls = _null_warning(name, column["null_share"])
    remarks = [nulls] if nulls else []
    if distinct == 1:
        remarks.append(_warning(name, "constant", "warn", "has one value only"))
    if column.get("lengths") is not None and count >= _ENOUGH and distinct >= _MANY * count:
        remarks.append(_warning(name, "high cardinality", "info", f"{distinct:,} different values in {count:,} rows"))
    if abs(column.get("skewness") or 0.0) >= _SKEWED:
        remarks.append(_warning(name, "skewed", "info", f"skewness {column['skewness']:.1f}"))
    if column.get("nan") or column.get("infinite"):
        text = f"{column.get('nan', 0):,} NaN and {column.get('infinite', 0):,} infinite values"
        remarks.append(_warning(name, "not finite", "warn", text))
    return remarks


def _null_warning(name: str, share: float) -> dict[str, str] | None:
    if share == 1:
        return _warning(name, "empty", "warn", "has no value at all")
    return _warning(name, "mostly null", "warn", f"{share:.1%} of its rows are null") if share >= _MOSTLY_NULL else None


def profile_page(title: str, subtitle: str, profile: JsonMapping) -> str:
    """The report of one table, from what `profile` says (see docs/data.md)."""
    summary = profile
    warnings = profile.get("warnings", [])
    flagged: dict[str, list[Markup]] = {}
    for warning in warnings:
        flagged.setdefault(warning["column"], []).append(page.badge(warning["what"], warning["tone"]))
    columns = summary["columns"]
    body: list[Markup] = [
        page.section(
            "Overview",
            page.tiles(
                [
                    ("rows", summary["rows"]),
                    ("columns", len(columns)),
                    ("cells that are null", _share(columns)),
                    ("warnings", len(warnings)),
                    ("columns past the exact limit", sum("approximate" in column for column in columns.values())),
                ]
            ),
        )
    ]
    body.append(_warnings(warnings))
    if profile.get("readiness"):
        body.append(_readiness(profile["readiness"]))
    if profile.get("labels"):
        body.append(_labels(profile["labels"], profile.get("label_shift"), profile.get("stratification", [])))
    strength = profile.get("association", {})
    rows = [
        [
            page.named(name, column["dtype"]),
            _picture(column),
            Markup("").join(flagged.get(name, [])),
            f"{column['null_share']:.1%}",
            column["distinct"],
            _shown(column, column["min"]),
            _shown(column, column["mean"]),
            _shown(column, column["quantiles"].get("0.5")),
            _shown(column, column["max"]),
            _spread(column),
            None if strength.get(name) is None else round(strength[name], 3),
            _more(column),
        ]
        for name, column in columns.items()
    ]
    heads = ["column", "", "", "null", "distinct", "min", "mean", "median", "max", "std", "label", ""]
    body.append(page.section("Columns", page.table(heads, rows)))
    if profile.get("slices"):
        body.append(_slices(profile["slices"]))
    if profile.get("drift"):
        body.append(_drift(profile["drift"]))
    return page.render(title, body, subtitle)


def comparison_page(title: str, subtitle: str, drift: JsonMapping, reference: TableStatistics, current: TableStatistics) -> str:
    """The report of two tables side by side."""
    before, after = summarize(reference), summarize(current)
    order = sorted(drift["columns"].items(), key=lambda entry: (not entry[1]["drifted"], -(entry[1]["psi"] or 0)))
    rows = []
    for name, entry in order:
        left, right = before["columns"][name], after["columns"][name]
        rows.append(_compared(name, entry, left, right, _pair(name, reference, current, left, right)))
    heads = ["column", "before, after", "", "PSI", "KS or L∞", "distance (sd)", "q", "null", "mean", "new and lost"]
    tiles = page.tiles([("rows before", drift["rows"][0]), ("rows now", drift["rows"][1]), ("columns that drifted", len(drift["drifted"]))])
    warnings = [_warning(name, "drifted", "bad", "; ".join(entry["reasons"])) for name, entry in order if entry["drifted"]]
    body = [page.section("Overview", tiles, _comparison_notes(drift)), _warnings(warnings)]
    body.append(page.section("Columns", page.table(heads, rows)))
    return page.render(title, body, subtitle)


def _compared(name: str, entry: JsonMapping, left: JsonMapping, right: JsonMapping, picture: Markup) -> list[object]:
    return [
        page.named(name, left["dtype"]),
        picture,
        page.badge("drifted", "bad") if entry["drifted"] else Markup(""),
        entry["psi"],
        entry["ks"] if entry["ks"] is not None else entry["l_infinity"],
        entry["wasserstein"],
        entry["q_value"],
        _missing(entry["missing"]),
        _change(left, right, "mean"),
        _news(entry),
    ]


def _comparison_notes(drift: JsonMapping) -> Markup:
    """Columns that came and went, and whether the label's classes changed their shares."""
    gone = [*(f"new: {name}" for name in drift["new_columns"]), *(f"lost: {name}" for name in drift["lost_columns"])]
    notes = page.paragraph("; ".join(gone)) if gone else Markup("")
    shift = drift.get("label_shift")
    if shift:
        verdict = page.badge("label shift", "bad") if shift["shifted"] else page.badge("label steady", "good")
        notes += page.paragraph(verdict, f" {shift['column']}: largest change of a class's share {shift['change']:.1%}")
    return notes


def _shown(column: JsonMapping, value: object) -> Any:
    """A value in a narrow cell: texts cut, times without what nobody reads."""
    if not isinstance(value, str):
        return value
    if column["dtype"].startswith("timestamp"):
        value = value.replace("T", " ").partition(".")[0].removesuffix(" 00:00:00")
    return value if len(value) <= _CELL else f"{value[:_CELL]}…"


def _spread(column: JsonMapping) -> Any:
    """The standard deviation; of times, which are counted in seconds, in days where those are the better measure."""
    if column["std"] is None or not column["dtype"].startswith(("timestamp", "date")):
        return column["std"]
    days = column["std"] / (86_400 if column["dtype"].startswith("timestamp") else 1)
    return f"{days:,.1f} days" if days >= 1 else f"{column['std']:,.0f} s"


def _share(columns: Mapping[str, Any]) -> str:
    cells = sum(column["count"] + column["nulls"] for column in columns.values())
    return f"{sum(column['nulls'] for column in columns.values()) / cells:.1%}" if cells else "0%"


def _warnings(warnings: Sequence[Mapping[str, str]]) -> Markup:
    if not warnings:
        return page.section("Warnings", page.paragraph("None."))
    rows = [[page.badge(entry["what"], entry["tone"]), page.bold(entry["column"]), entry["text"]] for entry in warnings]
    return page.section("Warnings", page.table(["", "column", ""], rows))


def _readiness(readiness: JsonMapping) -> Markup:
    """Is the data ready to be learned from, why not, and what to do."""
    tones = {"stop": "bad", "care": "warn", "unknown": "info", "fine": "good"}
    words = {"stop": "mend it first", "care": "look at it", "unknown": "nobody can say", "fine": "fine"}
    rows = [
        [
            page.badge(words[entry["grade"]], tones[entry["grade"]]),
            entry["question"],
            page.bold(entry["column"]),
            entry["text"],
            entry["todo"],
        ]
        for entry in readiness["answers"]
    ]
    tone = {"ready": "good", "ready with care": "warn"}.get(readiness["verdict"], "bad")
    head = page.paragraph(page.badge(readiness["verdict"], tone))
    return page.section("Ready to be learned from?", head, page.table(["", "question", "column", "what was seen", "what to do"], rows))


def _labels(labels: Mapping[str, Mapping[str, int]], shift: JsonMapping | None, balances: Sequence[JsonMapping]) -> Markup:
    classes = sorted({name for counts in labels.values() for name in counts})
    rows = [_class_shares(split, counts, classes) for split, counts in labels.items()]
    notes = Markup("")
    if shift and shift.get("shares"):
        tone = "bad" if shift["shifted"] else "good"
        text = f"largest change against the reference: {shift['change']:.1%}"
        notes = page.paragraph(page.badge("label shift" if shift["shifted"] else "label steady", tone), " ", text)
    if balances:
        notes += _balance_notes(balances)
    return page.section("Label", page.table(["split", "rows", *(f"class {name}" for name in classes)], rows), notes)


def _class_shares(split: str, counts: Mapping[str, int], classes: Sequence[str]) -> list[object]:
    total = sum(counts.values())
    return [split, total, *(f"{counts.get(name, 0) / total:.2%}" if total else "" for name in classes)]


def _balance_notes(balances: Sequence[JsonMapping]) -> Markup:
    """Whether training and test rows are alike, and every share that was compared."""
    worst = [entry for entry in balances if not entry["balanced"]]
    tone, text = ("bad", f"{len(worst)} of {len(balances)} shares differ too much") if worst else ("good", "stratified")
    verdict = page.paragraph(page.badge(text, tone), " training and test rows compared, as a whole and by sensitive group")
    heads = ["share of", "among", "training", "test", "rows", "q", ""]
    return verdict + page.details("splits compared", page.table(heads, [_balance(entry) for entry in balances]))


def _balance(entry: JsonMapping) -> list[object]:
    return [
        f"class {entry['name']}" if entry["of"] == "labels" else "rows",
        entry["group"] or "all rows",
        f"{entry['train']:.2%}",
        f"{entry['test']:.2%}",
        f"{entry['rows'][0]:,} / {entry['rows'][1]:,}",
        entry["q_value"],
        Markup("") if entry["balanced"] else page.badge("unbalanced", "bad"),
    ]


def _slices(slices: Mapping[str, JsonMapping]) -> Markup:
    columns = list(dict.fromkeys(name for entry in slices.values() for name in entry["columns"]))[:8]
    rows = [[name, entry["rows"], *(entry["columns"].get(column, {}).get("mean") for column in columns)] for name, entry in slices.items()]
    return page.section("Slices", page.details("means by slice", page.table(["slice", "rows", *columns], rows)))


def _drift(drift: JsonMapping) -> Markup:
    order = sorted(drift["columns"].items(), key=lambda entry: -(entry[1]["psi"] or 0))
    rows = [
        [
            name,
            page.badge("drifted", "bad") if entry["drifted"] else "",
            entry["psi"],
            entry["ks"],
            entry["l_infinity"],
            entry["wasserstein"],
            entry["q_value"],
            _missing(entry["missing"]),
            "; ".join(entry["reasons"]) or _news(entry),
        ]
        for name, entry in order
    ]
    return page.section(
        "Drift against the reference", page.table(["column", "", "PSI", "KS", "L∞", "distance (sd)", "q", "null", "why"], rows)
    )


def _missing(missing: Mapping[str, float]) -> Markup:
    before, after = f"{missing['before']:.1%}", f"{missing['after']:.1%}"
    return page.unbroken(before if before == after else f"{before} → {after}")


def _news(entry: JsonMapping) -> str:
    told = {what: ", ".join(f"{value} ({share:.1%})" for value, share in entry[what][:3]) for what in ("new", "lost")}
    return "; ".join(f"{what}: {text}" for what, text in told.items() if text)


def _picture(column: JsonMapping) -> Markup:
    histogram = column.get("histogram")
    if histogram and len(histogram["counts"]) > 1:
        return page.bars(histogram["counts"], title=f"{histogram['edges'][0]} to {histogram['edges'][-1]}")
    if column["top"]:
        return page.bars([count for _, count in column["top"]], title=", ".join(str(value) for value, _ in column["top"][:5]))
    return Markup("")


def _pair(name: str, reference: TableStatistics, current: TableStatistics, left: JsonMapping, right: JsonMapping) -> Markup:
    """Both distributions over the same bins or categories."""
    before, after = reference.columns[name], current.columns[name]
    if left.get("histogram") and right.get("histogram"):
        one, two = before.measured(), after.measured()
        low, high = min(one.low, two.low), max(one.high, two.high)
        if high > low:
            edges = np.linspace(low, high, _BARS + 1)
            return page.bars(bin_shares(before, edges).tolist(), bin_shares(after, edges).tolist(), title=f"{low:.4g} to {high:.4g}")
    names = list(dict.fromkeys([value for value, _ in left["top"]] + [value for value, _ in right["top"]]))[:_BARS]
    shares = [[dict(map(_hashable, side["top"])).get(str(value), 0) / max(side["count"], 1) for value in names] for side in (left, right)]
    return page.bars(shares[0], shares[1], title=", ".join(str(value) for value in names[:5])) if names else Markup("")


def _hashable(entry: Sequence[Any]) -> tuple[str, int]:
    return str(entry[0]), int(entry[1])


def _change(left: Mapping[str, object], right: JsonMapping, figure: str) -> str | None:
    if left[figure] is None or right[figure] is None:
        return None
    return f"{page.number(left[figure])} → {page.number(right[figure])}"


def _more(column: JsonMapping) -> Markup:
    """What a reader opens: frequent values, quantiles, how exact the figures are."""
    pieces = []
    if column["top"]:
        pieces.append(page.table(["value", "rows"], column["top"][:10]))
    tokens = column.get("tokens")
    if tokens and tokens["total"]:
        per_text, mean = tokens["per_text"], page.number(tokens["per_text"]["mean"])
        told = f"{per_text['min']} to {per_text['max']} tokens a text, {mean} on average; {tokens['distinct']:,} different"
        pieces.append(page.paragraph(told))
        if per_text["max"] > 1:
            pieces.append(page.table(["token", "times"], tokens["top"][:10]))
        if "approximate" in tokens:
            pieces.append(page.paragraph(_errors(tokens["approximate"])))
    if column["quantiles"]:
        pieces.append(page.table(["quantile", "value"], column["quantiles"].items()))
    if "approximate" in column:
        pieces.append(page.paragraph(_errors(column["approximate"])))
    return page.details("more", *pieces) if pieces else Markup("")


def _errors(approximate: Mapping[str, Mapping[str, object]]) -> str:
    told = [f"{what}: {', '.join(f'{key} {value}' for key, value in error.items())}" for what, error in approximate.items()]
    return "Approximate: " + "; ".join(told)
