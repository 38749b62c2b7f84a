"""Questions about rows and labels: are there enough, are there both kinds, and does a column give the label away."""

from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.quality.readiness.answer import Answer
from windtunnel.lifecycle.quality.readiness.subject import Subject
from windtunnel.lifecycle.statistics.association import association
from windtunnel.lifecycle.statistics.column import family_of
from windtunnel.lifecycle.statistics.counting.values import flat

__all__ = ["afterwards", "balance", "enough_labels", "enough_rows", "leaks"]

_FEW_ROWS, _ROWS = 200, 1_000
_FEW_LABELS, _LABELS = 20, 100  # of the rarest class
_A_FEATURE = 10  # rows of the rarest class for each feature: the rule of thumb for logistic regression
_RARE = 0.05
_UNLABELLED = 0.5
_LEAK, _STRONG = 0.95, 0.85
_LEAST = 20  # rows without a label, below which nothing is said of what is missing with it
_TOGETHER, _APART = 0.9, 0.02
_LATER = 0.5


def enough_rows(subject: Subject) -> Iterator[Answer]:
    """Whether there are enough rows to learn from and to judge by."""
    rows = subject.table.rows
    if rows < _FEW_ROWS:
        yield Answer("rows", "stop", f"{rows:,}, fewer than {_FEW_ROWS}", "gather more rows: a test split of these decides nothing")
    elif rows < _ROWS:
        yield Answer("rows", "care", f"{rows:,}, fewer than {_ROWS:,}", "expect wide intervals; prefer a simple model")
    else:
        yield Answer("rows", "fine", f"{rows:,}")


def enough_labels(subject: Subject) -> Iterator[Answer]:
    """Whether enough rows have a label, and enough of them the rarest."""
    column = subject.table.columns.get(subject.label)
    if column is None:
        if subject.task == "anomaly":
            yield Answer("labels", "fine", "none is named: anomalies are learned without")
        else:
            yield Answer("labels", "unknown", "no label is named", "name it: --label COLUMN, or a problem file")
        return
    classes = subject.classes()
    labelled = subject.labelled if subject.labelled is not None else sum(classes.values()) if classes else column.measured().count
    if not labelled:
        yield Answer("labels", "stop", "no row has one", "wait for the truth, or have rows labelled", subject.label)
    elif len(classes) == 1:
        yield Answer("labels", "stop", f"one value only: {next(iter(classes))}", "look for rows of other classes", subject.label)
    else:
        yield _enough(subject, classes, labelled)


def _enough(subject: Subject, classes: Mapping[str, int], labelled: int) -> Answer:
    rows, features, name = subject.table.rows, len(subject.seen), subject.label
    rarest = min(classes, key=lambda key: classes[key]) if classes else ""
    least = classes[rarest] if classes else labelled
    what = f"{labelled:,} of {rows:,} rows have one" + (f"; the rarest class, {rarest}, has {least:,}" if classes else "")
    wanted = max(_LABELS, _A_FEATURE * features) if classes else _ROWS
    if least < _FEW_LABELS:
        return Answer("labels", "stop", what, f"have more rows labelled: {wanted:,} of each class are wanted", name)
    if least < wanted:
        return Answer("labels", "care", f"{what}; {wanted:,} are wanted for {features} features", "fewer features, or more labels", name)
    if labelled < (1 - _UNLABELLED) * rows:
        return Answer("labels", "care", what, "are the labelled rows like the others? see label.delay_days if they come late", name)
    return Answer("labels", "fine", what, column=name)


def balance(subject: Subject) -> Iterator[Answer]:
    """How rare the rarest class is."""
    classes = subject.classes()
    total = sum(classes.values())
    if len(classes) < 2:
        return
    shown = sorted(classes.items(), key=lambda entry: -entry[1])
    told = ", ".join(f"{name} {count / total:.1%}" for name, count in shown[:5]) + (f" and {len(shown) - 5} more" if shown[5:] else "")
    if shown[-1][1] < _RARE * total:
        todo = "judge by average precision or cost, not accuracy; model.class_balance: weights, or ask"
        yield Answer("label share", "care", told, todo, subject.label)
    else:
        yield Answer("label share", "fine", told, column=subject.label)


def leaks(subject: Subject) -> Iterator[Answer]:
    """Columns that alone tell the label, by their values or by being missing."""
    label = subject.sampled_labels()
    if label is None:
        yield Answer("leaks", "unknown", "no label is named")
        return
    sample, clean = subject.sample, True
    for name in subject.seen:
        if name == subject.label or name not in sample.schema.names:
            continue
        column = flat(sample.column(name))
        strength = association(column, label) or 0.0
        absence = _absence(column, label)
        if max(strength, absence) < _STRONG:
            continue
        clean = False
        how = "whether it is missing tells" if absence > strength else "it tells"
        text = f"{how} the label almost alone (association {max(strength, absence):.2f} in {len(label):,} rows)"
        sure = max(strength, absence) >= _LEAK
        todo = "take it out of the features, unless it is known when the model must answer"
        yield Answer("leaks", "stop" if sure else "care", text, todo, name)
    if clean:
        yield Answer("leaks", "fine", f"no column alone tells the label (association below {_STRONG} in {len(label):,} rows)")


def _absence(column: pa.Array, label: pa.Array) -> float:
    """How strongly a column's being missing tells the label."""
    gone = column.filter(label.is_valid()).null_count
    if not _LEAST <= gone <= len(column) - _LEAST:
        return 0.0
    return association(pc.cast(column.is_null(nan_is_null=True), pa.int8()), label) or 0.0


def afterwards(subject: Subject) -> Iterator[Answer]:
    """Columns that are known only after the moment that a row is about, or only once its label is."""
    label, moments = subject.sampled_labels(), subject.moments()
    if label is None and moments is None:
        yield Answer("known afterwards", "unknown", "neither a label nor a time is named", "name them: --label, --time, or a problem file")
        return
    clean = True
    for name in subject.seen:
        if name in {subject.label, subject.time} or name not in subject.sample.schema.names:
            continue
        reason = _known_late(flat(subject.sample.column(name)), moments, label)
        if reason:
            clean = False
            todo = "take it out of the features, unless it is known when the model must answer"
            yield Answer("known afterwards", "care", reason, todo, name)
    if clean:
        yield Answer("known afterwards", "fine", "no column is filled with the label only, or lies after the row's time")


def _known_late(column: pa.Array, moments: pa.Array | None, label: pa.Array | None) -> str:
    """Why a column is known only afterwards; empty if nothing says so."""
    later = _later(column, moments) if moments is not None else ""
    return later or (_with_label(column, label) if label is not None else "")


def _later(column: pa.Array, moments: pa.Array) -> str:
    if not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
        return ""
    later = pc.greater(pc.cast(pc.cast(column, pa.timestamp("us")), pa.int64()), moments)
    known = len(later) - later.null_count
    share = (pc.sum(later).as_py() or 0) / known if known else 0.0
    return f"after the row's own time in {share:.0%} of rows" if known >= _LEAST and share >= _LATER else ""


def _with_label(column: pa.Array, label: pa.Array) -> str:
    """Whether a column is missing where the label is, and there only."""
    without, gone = label.is_null(), column.is_null(nan_is_null=True)
    unlabelled = pc.sum(without).as_py() or 0
    if unlabelled < _LEAST or len(label) - unlabelled < _LEAST or family_of(column.type) == "other":
        return ""
    there = pc.sum(pc.and_(without, gone)).as_py() / unlabelled
    elsewhere = pc.sum(pc.and_(pc.invert(without), gone)).as_py() / (len(label) - unlabelled)
    if there < _TOGETHER or elsewhere > _APART:
        return ""
    return f"missing in {there:.0%} of rows without a label, and in {elsewhere:.1%} of the others: it comes with the label"
