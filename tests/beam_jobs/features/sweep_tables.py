"""Random tables of awkward columns; each is made by its seed."""

import datetime as dt
import decimal
import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WORDS = [
    "free",
    "cash",
    "now",
    "안녕",
    "세상",
    "über",
    "café",
    "cafe\u0301",
    "Straße",
    "the",
    "and",
    "x1",
    "👍🏽",
    "win",
    "ÀÉ",
    "नमस्ते",
    "a",
]
NAMES = [
    "a",
    "b",
    "ä",
    "東京",
    "",
    " ",
    "b ",
    "NULL",
    "nan",
    "None",
    "Ω",
    "e\u0301",
    "é",
    "0",
    "1.0",
    "-",
    "long " * 9,
    "👩‍👩‍👧",
    "\u200b",
    "A",
]


class Tables:
    """Two tables of a case: what is fitted on and what was never seen."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.rows = int(self.pick([1, 2, 3, 7, 30, 90, 211, 400], [0.04, 0.03, 0.03, 0.1, 0.2, 0.3, 0.2, 0.1]))
        self.nasty = self.chance(0.3)
        self.kinds = {}
        self.single = False
        self.table = self.make_table(self.rows)
        self.unseen = self.make_table(int(self.pick([1, 5, 40])), unseen=True)

    def chance(self, share):
        return bool(self.random.random() < share)

    def pick(self, values, p=None):
        return values[int(self.random.choice(len(values), p=p))]

    def some(self, values, least=1, most=4):
        most = min(most, len(values))
        if most < least:
            return list(values)
        return [values[i] for i in self.random.permutation(len(values))[: self.random.integers(least, most + 1)]]

    def make_table(self, rows, *, unseen=False):
        makers = {
            "n": self.number,
            "m": self.number,
            "p": self.positive,
            "i": self.whole,
            "c": self.category,
            "d": self.category,
            "t": self.text,
            "u": self.text,
            "z": self.odd,
        }
        arrays = {}
        for name, make in makers.items():
            many = 2 if name in "nc" else 1
            for k in range(many):
                key = f"{name}{k or ''}"
                kind = self.kinds.get(key)
                array, kind = make(rows, kind, unseen)
                self.kinds[key] = kind
                arrays[key] = array
        arrays["y"] = pa.array(self.random.integers(0, 2, rows))
        arrays["g"] = pa.array(self.random.normal(size=rows))
        arrays["k"] = pa.array([["no", "yes", "ja"][i] for i in self.random.integers(0, 3, rows)])
        arrays["w"] = pa.array(self.random.integers(0, 4, rows).astype(float) + 0.25)
        return pa.table(arrays)

    def number(self, rows, kind, unseen):
        kinds = ["normal", "gaps", "skewed", "few", "large", "f32", "f32gaps", "tiny", "repeats"]
        nasty = ["constant", "zeros", "null", "inf", "negzero", "onegap", "bool", "huge"]
        kind = kind or self.pick(kinds + (nasty if self.nasty else []))
        self.single |= kind.startswith("f32")
        r = self.random
        x = r.normal(3, 2, rows)
        made = {
            "gaps": lambda: np.where(r.random(rows) < 0.3, np.nan, x),
            "skewed": lambda: r.lognormal(1, 1.5, rows),
            "few": lambda: r.choice([0.0, 1.0, 2.5], rows),
            "repeats": lambda: np.round(x, 1),
            "large": lambda: 1e5 + r.normal(size=rows),
            "f32": lambda: x.astype(np.float32),
            "f32gaps": lambda: np.where(r.random(rows) < 0.2, np.nan, x).astype(np.float32),
            "tiny": lambda: x * 1e-12,
            "huge": lambda: x * 1e150,
            "constant": lambda: np.full(rows, 7.1 if not unseen else 3.0),
            "zeros": lambda: np.zeros(rows),
            "null": lambda: np.full(rows, np.nan),
            "inf": lambda: np.where(r.random(rows) < 0.2, np.inf, x),
            "negzero": lambda: r.choice([0.0, -0.0, 1.0], rows),
            "onegap": lambda: np.where(np.arange(rows) == 0, np.nan, x),
            "bool": lambda: x > 3,
        }.get(kind, lambda: x)()
        if unseen and self.chance(0.3) and made.dtype.kind == "f" and rows:
            made[r.integers(rows)] = self.pick([0.0, np.nan, np.inf, -1e6])
        mask = np.isnan(made) if made.dtype.kind == "f" and self.chance(0.7) else None
        return pa.array(made, mask=mask), kind

    def positive(self, rows, kind, unseen):
        x = (
            self.random.lognormal(0, 1, rows)
            if kind == "l" or (kind is None and self.chance(0.5))
            else self.random.integers(1, 9, rows) * 1.0
        )
        return pa.array(x), kind or ("l" if len(np.unique(x)) > 9 else "i")

    def whole(self, rows, kind, unseen):
        kind = kind or self.pick(["int64", "int8", "uint8", "int32", "gaps", "uint64"] + (["big", "one"] if self.nasty else []))
        low, high = (0, 100) if kind.startswith("u") else (-5, 30)
        values = self.random.integers(low, high, rows)
        if kind == "big":
            return pa.array(values + 2**40), kind
        if kind == "one":
            return pa.array(np.full(rows, 4 + unseen)), kind
        if kind == "gaps":
            return pa.array(values, mask=self.random.random(rows) < 0.3), kind
        return pa.array(values.astype(kind)), kind

    def category(self, rows, kind, unseen):
        kinds = ["plain", "gaps", "unicode", "late", "dictionary", "rare", "largestr"]
        nasty = ["null", "constant", "gapdict", "empty", "many", "boolgaps"]
        kind = kind or self.pick(kinds + (nasty if self.nasty else []))
        r = self.random
        names = NAMES if kind in {"unicode", "empty"} else NAMES[:4]
        values = np.array([names[i] for i in np.minimum(r.geometric(0.35, rows) - 1, len(names) - 1)], dtype=object)
        if unseen and rows and kind != "boolgaps":
            values[r.integers(rows)] = "never seen"
        gap = r.random(rows) < 0.25
        if kind in {"gaps", "gapdict"} or (unseen and self.chance(0.2)):
            values[gap] = None
        if kind == "late":
            values[-max(1, rows // 9) :] = "late 遅"
        if kind == "null":
            return pa.array([None] * rows, pa.string()), kind
        if kind == "constant":
            values[:] = "only" if not unseen else "other"
        if kind == "many":
            values = np.array([f"id {i}" for i in range(rows)], dtype=object)
        if kind == "boolgaps":
            return pa.array([None if g else bool(v) for g, v in zip(gap, r.integers(0, 2, rows), strict=True)], pa.bool_()), kind
        array = pa.array(values.tolist(), pa.large_string() if kind == "largestr" else pa.string())
        return (array.dictionary_encode() if kind in {"dictionary", "gapdict"} else array), kind

    def text(self, rows, kind, unseen):
        kind = kind or self.pick(["plain", "plain", "short"] + (["gaps", "blank"] if self.nasty else []))
        words = [*WORDS, "unheard"] if unseen else WORDS
        values = [
            " ".join(words[i] for i in self.random.integers(0, len(words), self.random.integers(0 if kind != "plain" else 1, 6)))
            for _ in range(rows)
        ]
        if kind == "gaps":
            values = [None if self.chance(0.2) else value for value in values]
        if kind == "blank":
            values = ["" for _ in values]
        return pa.array(values, pa.string()), kind

    def odd(self, rows, kind, unseen):
        day, zoned = dt.datetime(2024, 1, 1, 3), dt.datetime(2024, 1, 1, 3, tzinfo=dt.UTC)  # noqa: DTZ001 - times without a zone, too
        makers = {
            "date": (lambda i: dt.date(2024, 1, 1 + i), pa.date32()),
            "decimal": (lambda i: decimal.Decimal(i) / 4, pa.decimal128(9, 2)),
            "timestamp": (lambda i: day + dt.timedelta(i), pa.timestamp("us")),
            "fine": (lambda i: day + dt.timedelta(i), pa.timestamp("ns")),
            "tz": (lambda i: zoned + dt.timedelta(i), pa.timestamp("us", "UTC")),
            "duration": (lambda i: dt.timedelta(hours=i), pa.duration("us")),
            "bool": (lambda i: i > 2, pa.bool_()),
            "binary": (lambda i: b"ab"[: i % 3], pa.binary()),
            "time": (dt.time, pa.time64("us")),
            "f16": (np.float16, pa.float16()),
            "none": (lambda _: None, pa.null()),
        }
        kind = kind or self.pick([(name, gaps) for name in makers for gaps in (False, True) if name != "f16" or not gaps])
        make, made = makers[kind[0]]
        gaps = self.random.random(rows) < (0.2 if kind[1] else 0)
        return pa.array([None if gap else make(int(i)) for i, gap in zip(self.random.integers(0, 6, rows), gaps, strict=True)], made), kind

    def write(self, table, folder):
        """Cut at random places into files and row groups."""
        cuts = sorted({0, table.num_rows, *self.random.integers(0, table.num_rows + 1, self.random.integers(0, 4)).tolist()})
        for i, (start, end) in enumerate(itertools.pairwise(cuts)):
            part = table.slice(start, end - start)
            pq.write_table(
                part,
                Path(folder, f"part-{i}.parquet"),
                row_group_size=max(1, int(self.random.integers(1, end - start + 1)), (end - start) // 5),
            )
        return str(folder)
