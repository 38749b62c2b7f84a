"""Killed, or out of disk: nothing half-written is left where anybody would read it, and the next run gives every row once."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from windtunnel.beam_jobs.features import fit_transform, load_shards

ROWS = 20_000
CHILD = """
import resource, signal, sys
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler
from windtunnel.beam_jobs.features import data, fit_transform
from windtunnel.lifecycle.contract.errors import WindtunnelError
data.BIN_ROWS, data.CHUNK_ROWS = 4_000, 500
limit, sparse, output = int(sys.argv[1]), sys.argv[2] == "sparse", sys.argv[3]
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit fails as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
parts = [(StandardScaler(), ["a", "b"]), (OneHotEncoder(), ["c"])]
parts += [(TfidfVectorizer(), "t")] if sparse else [(KBinsDiscretizer(5, subsample=None, encode="ordinal"), ["a"])]
print("ready", flush=True)
try:
    chosen = make_column_transformer(*parts, sparse_threshold=float(sparse))
    fit_transform(chosen, "rows.parquet", output, {"label": "y", "work": "."})
except WindtunnelError as error:
    print(type(error).__name__, error)
    sys.exit(1)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("broken")
    random = np.random.default_rng(4)
    frame = pd.DataFrame({"a": random.normal(size=ROWS), "b": random.normal(size=ROWS), "c": random.choice(list("xyz"), ROWS)})
    frame.assign(t=[f"word{i % 300} more{i % 7}" for i in range(ROWS)], y=range(ROWS)).to_parquet(
        made / "rows.parquet", row_group_size=1000
    )
    return made


def _child(folder, output, *, limit=0, layout="dense"):
    command = [sys.executable, "-W", "ignore", "-c", CHILD, str(limit), layout, output]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("layout", ["dense", "sparse"])
def test_killed_and_run_again(folder, layout):
    output = f"out-{layout}"
    for delay in (0.2, 0.9):
        process = _child(folder, output, layout=layout)
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        if (folder / output).exists():  # whole, or not there
            assert len(load_shards(str(folder / output))[1]) == ROWS
    process = _child(folder, output, layout=layout)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-2000:]
    x, y = load_shards(str(folder / output))
    np.testing.assert_array_equal(y, np.arange(ROWS))
    assert x.shape[0] == ROWS
    assert sorted(p.name for p in (folder / output).iterdir()) == ["features.html", "manifest.json", "part-00000.arrow", "pipeline.skops"]


@pytest.mark.parametrize(("layout", "limit"), [("dense", 3_000), ("dense", 300_000), ("sparse", 100_000)])
def test_a_full_disk_is_told_and_leaves_nothing(folder, layout, limit):
    left = set(folder.iterdir())  # a process that was killed could not clear its work away
    process = _child(folder, f"full-{layout}-{limit}", limit=limit, layout=layout)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1, err[-2000:]
    assert "UnavailableError" in out
    assert "is the disk full" in out
    assert "Traceback" not in err
    assert set(folder.iterdir()) == left


def test_a_split_is_one_mapped_array(folder, tmp_path):
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.preprocessing import StandardScaler

    fit_transform(StandardScaler(), str(folder / "rows.parquet"), tmp_path / "dense", {"columns": ["a", "b"], "label": "c"})
    x, y = load_shards(str(tmp_path / "dense"))
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    assert not x.flags.owndata
    assert not x.flags.writeable
    np.testing.assert_array_equal(y, pd.read_parquet(folder / "rows.parquet")["c"].to_numpy())
    words = CountVectorizer()
    from sklearn.compose import ColumnTransformer

    fit_transform(ColumnTransformer([("t", words, "t")]), str(folder / "rows.parquet"), tmp_path / "sparse", {"columns": ["t"]})
    x, _ = load_shards(str(tmp_path / "sparse"))
    assert not x.data.flags.owndata
    assert x.nnz == 2 * ROWS
