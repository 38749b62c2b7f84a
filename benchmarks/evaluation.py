"""Evaluation of the flights table x10 (3.37 million rows): our job beside `predict` alone, beside scikit-learn in memory, and beside TFMA.

python benchmarks/evaluation.py                        # ours, predict, scikit-learn
python benchmarks/evaluation.py --tfma PYTHON          # and TFMA, by the Python of an environment that has it

Each runs in its own child process; CPU seconds are user + system of it and its children, memory its peak.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from flights import DATA, flights

PROBLEM = {
    "name": "flight_delays",
    "owner": "bench@example.org",
    "task": "binary",
    "source": {"format": "parquet", "path": "x"},
    "columns": {
        **dict.fromkeys(["dep_delay", "arr_delay", "distance"], "float64"),
        **dict.fromkeys(["hour", "minute", "sched_arr_time", "flight", "month", "day"], "int64"),
        **dict.fromkeys(["carrier", "origin", "dest"], "string"),
    },
    "keys": ["month", "day", "carrier", "flight"],
    "label": {"column": "arr_delay", "positive": {"above": 15}},
    "features": {"numeric": ["dep_delay", "hour", "minute", "sched_arr_time", "distance"], "categorical": ["carrier", "origin", "dest"]},
    "slices": ["origin", "carrier", ["origin", "carrier"]],
}

TRAIN = """
import sys, pyarrow.parquet as pq, numpy as np
from pathlib import Path
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder
from windtunnel.lifecycle.model import bundle
columns = ["dep_delay", "hour", "minute", "sched_arr_time", "distance", "carrier", "origin", "dest"]
frame = pq.read_table(sys.argv[1]).to_pandas()
frame = frame[frame["arr_delay"].notna() & (frame["month"] <= 3)]
numbers, words = columns[:5], columns[5:]
steps = [("n", SimpleImputer(strategy="median"), numbers), ("c", OneHotEncoder(handle_unknown="ignore", sparse_output=False), words)]
model = HistGradientBoostingClassifier(max_iter=60, early_stopping=False, random_state=0)
frame = frame.astype({name: "float64" for name in numbers} | {name: "str" for name in words})
pipeline = Pipeline([("features", ColumnTransformer(steps)), ("model", model)]).fit(frame[columns], (frame["arr_delay"] > 15).astype(int))
folder = Path(sys.argv[2]); folder.mkdir(parents=True)
inputs = [bundle.Input(n, "float64", "float64") for n in numbers] + [bundle.Input(n, "string", "str") for n in words]
made = bundle.Bundle("flight_delays", "binary", ["0", "1"], 0.5, inputs, "arr_delay", "2013-04-01")
bundle.write(folder, made, pipeline, {"inputs": [], "outputs": []})
"""

COMPILE = """
import sys
from pathlib import Path
from windtunnel.serving.compiler.gate import compile_bundle
print(compile_bundle(Path(sys.argv[1])))
"""

PREDICT = """
import json, sys
from windtunnel.beam_jobs.job import Progress
from windtunnel.beam_jobs.predict import run
spec = json.loads(sys.argv[1])
run({"bundle": spec["model"], "data": spec["data"], "output": spec["output"] + "/predictions"}, Progress())
"""

EVALUATE = """
import json, sys
from windtunnel.beam_jobs.job import Progress
from windtunnel.beam_jobs.evaluate import run
print(json.dumps(run(json.loads(sys.argv[1]), Progress())))
"""

SKLEARN = """
import json, sys, numpy as np, pyarrow.parquet as pq
from pathlib import Path
from sklearn import metrics
from windtunnel.lifecycle.model import bundle
spec = json.loads(sys.argv[1])
folder = Path(spec["model"])
made, pipeline = bundle.read(folder), bundle.read_pipeline(folder)
frame = pq.read_table(spec["data"], columns=[*made.dtypes, "arr_delay"]).to_pandas()
frame = frame[frame["arr_delay"].notna()].astype(made.dtypes)
truth = (frame["arr_delay"] > 15).to_numpy().astype(int)
score = pipeline.predict_proba(frame[list(made.dtypes)])[:, 1]
def figures(rows):
    t, s = truth[rows], score[rows]
    said = s >= 0.5
    if t.min() == t.max():
        return {}
    return {"auc": metrics.roc_auc_score(t, s), "pr_auc": metrics.average_precision_score(t, s), "log_loss": metrics.log_loss(t, s),
            "brier": metrics.brier_score_loss(t, s), "precision": metrics.precision_score(t, said, zero_division=0),
            "recall": metrics.recall_score(t, said), "f1": metrics.f1_score(t, said)}
found = {"all": figures(np.arange(len(truth)))}
for columns in (["origin"], ["carrier"], ["origin", "carrier"]):
    for value, rows in frame.reset_index(drop=True).groupby(columns).indices.items():
        found[str(value)] = figures(rows)
print(json.dumps(found["all"]))
"""

TFMA = """
import json, sys, time
import pandas as pd, pyarrow.parquet as pq
import tensorflow_model_analysis as tfma
from google.protobuf import text_format
from tensorflow_model_analysis.proto.config_pb2 import EvalConfig
spec = json.loads(sys.argv[1])
frame = pq.read_table(spec["scored"]).to_pandas()
config = text_format.Parse('''
model_specs { label_key: "label" prediction_key: "score" }
slicing_specs { } slicing_specs { feature_keys: "origin" } slicing_specs { feature_keys: "carrier" }
slicing_specs { feature_keys: ["origin", "carrier"] }
metrics_specs { metrics { class_name: "AUC" } metrics { class_name: "Precision" } metrics { class_name: "Recall" }
  metrics { class_name: "BinaryCrossentropy" } metrics { class_name: "MeanSquaredError" } metrics { class_name: "ExampleCount" } }
''', EvalConfig())
result = tfma.analyze_raw_data(frame, config)
print(json.dumps(str(result.get_metrics_for_all_slices())[:300]))
"""

SCORED = """
import json, sys, pyarrow as pa, pyarrow.parquet as pq
from pathlib import Path
from windtunnel.lifecycle.model import bundle
spec = json.loads(sys.argv[1])
folder = Path(spec["model"])
made, pipeline = bundle.read(folder), bundle.read_pipeline(folder)
frame = pq.read_table(spec["data"], columns=[*made.dtypes, "arr_delay"]).to_pandas()
frame = frame[frame["arr_delay"].notna()].astype(made.dtypes)
score = pipeline.predict_proba(frame[list(made.dtypes)])[:, 1]
label = (frame["arr_delay"] > 15).astype("float32").to_numpy()
table = {"label": label, "score": score.astype("float32"), "origin": frame["origin"].to_numpy(), "carrier": frame["carrier"].to_numpy()}
pq.write_table(pa.table(table), spec["scored"])
"""


def child(python: str, code: str, *arguments: str) -> tuple[float, float, float, str]:
    """CPU seconds, peak MB, wall seconds, and the last line of what it printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            [python, "-c", textwrap.dedent(code), *arguments], stdout=out, stderr=subprocess.DEVNULL, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        out.seek(0)
        said = out.read().strip().splitlines()
    if status:
        raise SystemExit(f"a child ended with {status}: {code[:80]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, time.monotonic() - began, said[-1] if said else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", type=int, default=0, help="the first so many rows of the table")
    parser.add_argument("--tfma", help="a Python that has tensorflow_model_analysis")
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    folder = Path(tempfile.mkdtemp(prefix="bench-evaluate-"))
    model, data = folder / "model", flights(given.times)
    child(sys.executable, TRAIN, str(flights(1)), str(model))
    compiled = folder / "compiled"
    shutil.copytree(model, compiled)
    child(sys.executable, COMPILE, str(compiled))
    rows = []
    spec = {"problem": PROBLEM, "model": str(model), "data": str(data), "output": str(folder), "rows": "all", "end": "2014-01-01"}
    bare = {**spec, "problem": {**PROBLEM, "slices": []}}
    fitted = {**spec, "problem": {**PROBLEM, "baseline": "single_feature"}, "rows": "test"}
    everything = (
        ("predict alone, compiled", sys.executable, PREDICT, {**spec, "model": str(compiled)}),
        ("evaluate", sys.executable, EVALUATE, spec),
        ("evaluate, candidate and champion", sys.executable, EVALUATE, {**spec, "champion": str(model)}),
        ("evaluate, the test split (a fifth) beside a fitted baseline", sys.executable, EVALUATE, fitted),
        ("predict alone, by scikit-learn", sys.executable, PREDICT, spec),
        ("scikit-learn in memory, metrics and declared slices only", sys.executable, SKLEARN, bare),
    )
    for name, python, code, what in everything[: given.only or None]:
        found = [child(python, code, json.dumps({**what, "output": f"{folder}/{i}-{len(rows)}"})) for i in range(given.runs)]
        rows.append((name, *(statistics.median(run[i] for run in found) for i in range(3))))
        print(rows[-1], flush=True)
    if given.tfma:
        scored = str(DATA / f"scored_x{given.times}.parquet")
        child(sys.executable, SCORED, json.dumps({**spec, "scored": scored}))
        rows.append(("TFMA on given predictions, 4 slicings", *child(given.tfma, TFMA, json.dumps({"scored": scored}))[:3]))
    print("| what | CPU s | peak MB | wall s |\n|---|---|---|---|")
    for name, cpu, memory, wall in rows:
        print(f"| {name} | {cpu:.1f} | {memory:,.0f} | {wall:.1f} |")


if __name__ == "__main__":
    main()
