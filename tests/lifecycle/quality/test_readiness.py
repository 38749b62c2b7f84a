"""Readiness: each fault is injected alone into a table that is well, seen then, and seen in no other table."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from windtunnel.lifecycle.quality.readiness import Readiness, Subject, assess, subject_of
from windtunnel.lifecycle.statistics.profiled import Profiled

ROWS = 4_000
Columns = dict[str, Any]


def well() -> Columns:
    """A table in which nothing is wrong."""
    random = np.random.default_rng(7)
    amount, age = random.gamma(2.0, 30.0, ROWS), random.integers(18, 80, ROWS)
    chance = 1 / (1 + np.exp(1.0 - amount / 60 - (age - 50) / 40))
    return {
        "when": [dt.date(2024, 1, 1) + dt.timedelta(days=int(day)) for day in np.sort(random.integers(0, 90, ROWS))],
        "amount": np.where(random.random(ROWS) < 0.03, np.nan, amount),
        "age": age,
        "plan": random.choice(["basic", "plus", "pro"], ROWS),
        "note": [" ".join(random.choice(["late", "paid", "call", "again", "twice", "never"], 8)) for _ in range(ROWS)],
        "churned": (random.random(ROWS) < chance).astype(np.int8),
    }


def assessed(columns: Columns, **named: Any) -> Readiness:
    found = Profiled(repeats=True)
    found.add_batch(pa.table(columns).combine_chunks().to_batches()[0])
    return assess(subject_of(found, label=named.pop("label", "churned"), **named))


def wrong(readiness: Readiness) -> set[tuple[str, str]]:
    return {(answer.question, answer.column) for answer in readiness.answers if answer.grade in {"stop", "care"}}


def few(columns: Columns) -> None:
    for name in columns:
        columns[name] = columns[name][:150]


def one_class(columns: Columns) -> None:
    columns["churned"] = np.zeros(ROWS, np.int8)


def hardly_labelled(columns: Columns) -> None:
    columns["churned"] = [int(value) if i % 100 == 0 else None for i, value in enumerate(columns["churned"])]


def rare(columns: Columns) -> None:
    columns["churned"] = (np.arange(ROWS) % 30 == 0).astype(np.int8)


def leak(columns: Columns) -> None:
    columns["score"] = columns["churned"] * 10.0 + np.random.default_rng(1).random(ROWS)


def leak_by_absence(columns: Columns) -> None:
    columns["refund"] = [None if value else 1.5 for value in columns["churned"]]


def later(columns: Columns) -> None:
    columns["closed"] = [day + dt.timedelta(days=3) for day in columns["when"]]


def with_the_label(columns: Columns) -> None:
    known = np.arange(ROWS) % 10 != 0
    columns["churned"] = [int(value) if there else None for value, there in zip(columns["churned"], known, strict=True)]
    columns["agent"] = [i % 7 * 1.5 if there else None for i, there in enumerate(known)]


def identifier(columns: Columns) -> None:
    columns["customer"] = [f"C-{i * 7919 % 100_003:06}" for i in range(ROWS)]


def counter(columns: Columns) -> None:
    columns["row"] = np.arange(ROWS)[::-1].copy()


def repeated(columns: Columns) -> None:
    for name in columns:
        columns[name] = [*list(columns[name])[: ROWS - 200], *list(columns[name])[ROWS - 400 : ROWS - 200]]


def constant(columns: Columns) -> None:
    columns["country"] = np.where(np.arange(ROWS) % 1_000 == 0, "at", "de")


def mostly_missing(columns: Columns) -> None:
    columns["coupon"] = np.where(np.random.default_rng(2).random(ROWS) < 0.7, np.nan, columns["age"] * 1.1)


def gap(columns: Columns) -> None:
    columns["amount"] = np.where(np.arange(ROWS) // 400 == 6, np.nan, columns["amount"])


def moved(columns: Columns) -> None:
    columns["amount"] = columns["amount"] * np.where(np.arange(ROWS) > ROWS // 2, 3.0, 1.0)


def small_group(columns: Columns) -> None:
    columns["plan"] = np.where(np.arange(ROWS) % 200 == 0, "trial", columns["plan"])


def mails(columns: Columns) -> None:
    columns["contact"] = [f"reach me at user{i % 900}@example.org" if i % 20 == 0 else "no contact given" for i in range(ROWS)]


FAULTS: list[tuple[Callable[[Columns], None], set[tuple[str, str]]]] = [
    (few, {("rows", "")}),
    (one_class, {("labels", "churned")}),
    (hardly_labelled, {("labels", "churned")}),
    (rare, {("label share", "churned")}),
    (leak, {("leaks", "score")}),
    (leak_by_absence, {("leaks", "refund")}),
    (later, {("known afterwards", "closed")}),
    (with_the_label, {("known afterwards", "agent")}),
    (identifier, {("identifiers", "customer")}),
    (counter, {("identifiers", "row")}),
    (repeated, {("duplicates", "")}),
    (constant, {("near-constant", "country")}),
    (mostly_missing, {("missing", "coupon")}),
    (gap, {("missing by time", "amount")}),
    (moved, {("drift inside", "amount")}),
    (small_group, {("small groups", "plan")}),
    (mails, {("personal data", "contact")}),
]


def test_a_table_that_is_well_is_ready() -> None:
    found = assessed(well())
    assert wrong(found) == set()
    assert found.verdict == "ready"


@pytest.mark.parametrize(("fault", "expected"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_each_fault_is_seen_by_its_own_question(fault: Callable[[Columns], None], expected: set[tuple[str, str]]) -> None:
    columns = well()
    fault(columns)
    found = assessed(columns)
    seen = wrong(found)
    assert expected <= seen
    allowed = {
        few: {("labels", "churned"), ("small groups", "plan")},
        hardly_labelled: {("drift inside", "churned")},
        constant: {("small groups", "country")},
        leak_by_absence: {("near-constant", "refund")},
        mails: {("small groups", "contact")},
        gap: {("drift inside", "amount")},
    }
    assert seen - expected <= allowed.get(fault, set())
    assert found.verdict != "ready"
    for answer in found.answers:
        assert answer.grade == "fine" or answer.todo or answer.question == "leaks", answer


def test_what_nobody_can_say_is_not_ready() -> None:
    columns = well()
    del columns["churned"], columns["when"]
    found = assessed(columns, label="")
    assert found.verdict == "ready with care"
    assert {answer.question for answer in found.answers if answer.grade == "unknown"} == {
        "labels",
        "leaks",
        "known afterwards",
        "missing by time",
        "drift inside",
    }


@pytest.mark.parametrize(
    ("kind", "values", "others"),
    [
        ("payment card", ["4111 1111 1111 1111", "5500-0000-0000-0004"], ["4111 1111 1111 1112", "1234567890123456"]),
        ("IBAN", ["DE89370400440532013000", "GB29 NWBK 6016 1331 9268 19"], ["DE89370400440532013001"]),
        ("telephone", ["+49 30 1234567", "(212) 555-0147", "010-1234-5678"], ["2013-01-05", "12.50", "555", "1-2-3"]),
        ("IP addresses", ["192.168.1.17"], ["1.2.3", "999.1.1.1"]),
        ("social security", ["123-45-6789"], ["000-12-3456", "123-456-789"]),
        ("Korean resident", ["800101-1234567"[:13] + str(d) for d in range(10)], ["801301-1234567"]),
    ],
)
def test_patterns_of_personal_data_are_checked(kind: str, values: list[str], others: list[str]) -> None:
    def seen(cells: list[str]) -> list[str]:
        found = Profiled()
        found.add_batch(pa.record_batch({"x": [f"{cell} {'.' * (i % 40)}" for i in range(40) for cell in cells]}))
        return [answer.text for answer in assess(Subject(found.table)).answers if answer.question == "personal data" and answer.column]

    assert any(kind in text for text in seen(values)), values
    assert not seen(others)


def test_parts_that_compared_their_rows_merge_and_others_say_nothing() -> None:
    columns = pa.table({"a": [1, 2, 3, 1], "b": ["x", "y", "z", "x"]})
    whole = Profiled(repeats=True)
    for part in (columns.slice(0, 2), columns.slice(2)):
        piece = Profiled(repeats=True)
        piece.add_batch(part.combine_chunks().to_batches()[0])
        whole.merge(Profiled.from_bytes(piece.to_bytes()))
    assert whole.repeats is not None
    assert (whole.repeats.rows, len(whole.repeats.values)) == (4, 3)
    plain = Profiled()
    plain.add_batch(columns.combine_chunks().to_batches()[0])
    whole.merge(plain)
    assert whole.repeats is None


@pytest.mark.parametrize(
    ("file", "label", "expected"),
    [
        ("telco_churn/Telco-Customer-Churn.csv", "Churn", {("identifiers", "customerID")}),
        ("bike_sharing/day.csv", "cnt", {("leaks", "registered"), ("identifiers", "instant"), ("drift inside", "cnt")}),
    ],
)
def test_real_data_has_its_known_faults(file: str, label: str, expected: set[tuple[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    import json

    from windtunnel.cli.main import main

    path = Path(__file__).parents[4] / "shared/data" / file
    if not path.exists():
        pytest.skip(f"{path} is absent")
    assert main(["profile", str(path), "--readiness", "--label", label, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["readiness"]
    seen = {(answer["question"], answer["column"]) for answer in found["answers"] if answer["grade"] in {"stop", "care"}}
    assert expected <= seen
    assert "personal data" not in {question for question, _ in seen}
    assert found["verdict"] != "ready"
    assert main(["profile", str(path), "--readiness", "--label", label]) == 0
    text = capsys.readouterr().out
    assert f"verdict: {found['verdict']}" in text
    assert max(map(len, text.splitlines())) <= 140
