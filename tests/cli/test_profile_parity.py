"""`windtunnel profile --json` says what pandas says, of other people's tables: paths, globs, text in several languages."""

import json
import math

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from windtunnel.cli.main import main

NULLS = ["", "NA", "N/A", "n/a", "NULL", "null", "NaN", "nan", "#N/A", "None"]
FILES = {
    "adult": "adult/adult_train.parquet",
    "bikes": "bike_sharing/hour.csv",
    "housing": "california_housing/housing.csv",
    "credit": "german_credit/german.csv",
    "kdd": "nsl_kdd/kdd_train20.parquet",
    "churn": "telco_churn/Telco-Customer-Churn.csv",
    "reviews": "nsmc/nsmc_dev.parquet",
    "chats": "korean_chatbot/ChatbotData.csv",
    "taxi": "chicago_taxi/train_data.csv",
}


HEADERLESS = {"credit"}


@pytest.mark.parametrize("name", FILES)
def test_against_pandas(name, shared_data, tmp_path):
    (path,) = shared_data.glob(FILES[name])
    pattern = str(path.parent / f"{path.stem[:-1]}?{path.suffix}") if name == "bikes" else str(path)
    more = ["--no-header"] if name in HEADERLESS else []
    assert main(["profile", pattern, *more, "--json", "-o", str(tmp_path / "s.json")]) == 0
    told = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    if path.suffix == ".parquet":
        frame = pq.read_table(path).to_pandas()
    else:
        frame = pd.read_csv(path, na_values=NULLS, keep_default_na=False, low_memory=False, header=None if more else 0)
    assert told["rows"] == len(frame)
    assert len(told["columns"]) == len(frame.columns)
    if not more:
        assert list(told["columns"]) == list(frame.columns)
    for found, column in zip(told["columns"].values(), frame.columns, strict=True):
        check(found, frame[column])


def check(found, series):
    assert found["count"] == series.count()
    assert found["nulls"] == series.isna().sum()
    exact = "approximate" not in found
    distinct = series.nunique()
    assert found["distinct"] == distinct if exact else abs(found["distinct"] / distinct - 1) < 0.03
    counts = series.value_counts()
    if exact:
        assert [count for _, count in found["top"]] == counts.iloc[:20].tolist()
        if not pd.api.types.is_datetime64_any_dtype(series.dtype):
            plain = {str(value): count for value, count in counts.items()}
            # A CSV column that pandas reads as text may be dates, times or booleans here.
            if found["dtype"] in {"string", "int64", "double"} and str(series.dtype) in {"int64", "float64", "str", "object"}:
                top = [(str(value if found["dtype"] == "string" else series.dtype.type(value)), count) for value, count in found["top"]]
                assert all(plain[value] == count for value, count in top if len(value) < 200)
    if pd.api.types.is_bool_dtype(series.dtype) or not pd.api.types.is_numeric_dtype(series.dtype):
        return
    numbers = series.dropna().astype(float)
    finite = numbers[np.isfinite(numbers)]
    for figure in ("min", "max", "mean", "std"):
        expected = getattr(finite, figure)()
        assert found[figure] == pytest.approx(expected, rel=1e-9, abs=1e-12) or (found[figure] is None and math.isnan(expected)), figure
    for q, value in found["quantiles"].items():
        if exact:
            assert value == pytest.approx(finite.quantile(float(q)), rel=1e-12, abs=1e-12)
        else:
            assert abs((finite <= value).mean() - float(q)) < 0.02
