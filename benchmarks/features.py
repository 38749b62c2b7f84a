"""Fitting and applying preprocessing: ours against scikit-learn in memory, each in a child process of its own.

python benchmarks/features.py 10            # ours and scikit-learn on 3.37 million flights
python benchmarks/features.py 100 fit       # ours alone, fit only, on 33.7 million
python benchmarks/features.py 10 all polars duckdb   # these only
"""

import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from flights import flights

NUMERIC = ["dep_delay", "distance", "sched_dep_time", "air_time"]
CATEGORICAL = ["carrier", "origin", "dest"]


def transformer():
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, OrdinalEncoder, StandardScaler

    return ColumnTransformer(
        [
            ("numeric", Pipeline([("impute", SimpleImputer(strategy="median")), ("scale", StandardScaler())]), NUMERIC),
            ("bins", KBinsDiscretizer(10, subsample=None, strategy="quantile", encode="ordinal"), ["distance"]),
            (
                "one_hot",
                Pipeline([("impute", SimpleImputer(strategy="constant", fill_value="")), ("encode", OneHotEncoder(min_frequency=0.001))]),
                CATEGORICAL,
            ),
            ("tail", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2), ["tailnum"]),
        ],
        sparse_threshold=0,
    )


def ours(path, what):
    from windtunnel.beam_jobs.features import fit, load_shards, transform

    marks = [("import", time.process_time())]
    fitted = fit(transformer(), path)
    marks.append(("fit", time.process_time()))
    if what != "fit":
        with tempfile.TemporaryDirectory() as folder:
            transform(fitted, path, f"{folder}/out")
            marks.append(("transform", time.process_time()))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            x, _ = load_shards(f"{folder}/out")
            marks.append(("load", time.process_time()))
            x.sum(axis=0)
            marks.append(("read", time.process_time()))
            return marks, peak
    return marks, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def sklearn(path, what):
    import pandas as pd
    import pyarrow as pa
    import pyarrow.ipc
    import sklearn.compose
    import sklearn.preprocessing  # noqa: F401

    marks = [("import", time.process_time())]
    frame = pd.read_parquet(path, columns=[*NUMERIC, *CATEGORICAL, "tailnum"])
    fitted = transformer().fit(frame)
    marks.append(("fit", time.process_time()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if what != "fit":
        x = fitted.transform(frame).astype("float32")
        column = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), x.shape[1])
        with tempfile.TemporaryDirectory() as folder, pyarrow.ipc.new_file(f"{folder}/x.arrow", pa.schema([("x", column.type)])) as writer:
            writer.write_batch(pa.RecordBatch.from_arrays([column], ["x"]))
        marks.append(("transform", time.process_time()))
    return marks, peak


def peer(who):
    def run(path, _what):
        import features_peers

        with tempfile.TemporaryDirectory() as folder:
            marks = getattr(features_peers, who)(path, f"{folder}/x.arrow")
        return marks, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    return run


def child(who, times, what):
    marks, peak = {"ours": ours, "sklearn": sklearn, "polars": peer("polars"), "duckdb": peer("duckdb")}[who](str(flights(times)), what)
    spans = {name: round(end - start, 3) for (_, start), (name, end) in itertools.pairwise(marks)}
    print(json.dumps({**spans, "import": round(marks[0][1], 3), "peak_mb": round(peak / 1024)}))


def main():
    times, what = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "all"
    flights(times)
    asked = sys.argv[3:] or (["ours", "sklearn"] if times <= 10 else ["ours"])
    for who, runs in ((who, 1 if who == "sklearn" or times > 10 else 3) for who in asked):
        found = []
        for _ in range(runs):
            command = [sys.executable, "-W", "ignore", __file__, "--child", who, str(times), what]
            text = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}).stdout
            found.append(json.loads(text.splitlines()[-1]))
        print(who, f"x{times}", {name: statistics.median(entry[name] for entry in found) for name in found[0]})


if __name__ == "__main__":
    if sys.argv[1] == "--child":
        child(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        main()
