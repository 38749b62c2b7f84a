import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.cli.main import main

PROBLEM = """
name: churn
owner: somebody
task: binary
source: {format: csv, path: churn.csv}
columns: {customer: string, tenure: int32, churned: string}
keys: [customer]
label: {column: churned, positive: {equals: "Yes"}}
features: {numeric: [tenure]}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__WINDTUNNEL__CATALOG_URI", f"sqlite:///{tmp_path}/catalog.db")
    monkeypatch.setenv("AIRFLOW__WINDTUNNEL__WAREHOUSE", str(tmp_path / "warehouse"))
    monkeypatch.setenv("AIRFLOW__WINDTUNNEL__ARTIFACTS", str(tmp_path / "artifacts"))
    (tmp_path / "churn.yaml").write_text(PROBLEM)
    return tmp_path


def test_labels_are_added_once(folder, capsys):
    (folder / "labels.csv").write_text("customer,label\na,1\nb,0\n")
    for expected in ("2 labels were added to churn.labels", "0 labels were added"):
        assert main(["label", str(folder / "churn.yaml"), str(folder / "labels.csv"), "--by", "ada"]) == 0
        assert expected in capsys.readouterr().out


def test_a_wrong_file_is_refused_whole(folder, capsys):
    (folder / "labels.csv").write_text("customer,label\na,1\nb,perhaps\n")
    assert main(["label", str(folder / "churn.yaml"), str(folder / "labels.csv"), "--by", "ada"]) == 1
    assert "perhaps" in capsys.readouterr().err


def test_a_key_of_no_row_is_kept_apart_and_said(folder, capsys):
    import datetime as dt

    from windtunnel.beam_jobs.ingest import ingest
    from windtunnel.beam_jobs.job import Progress
    from windtunnel.lifecycle.contract.problem import load
    from windtunnel.lifecycle.contract.settings import Settings
    from windtunnel.lifecycle.contract.window import Window

    (folder / "churn.csv").write_text("customer,tenure,churned\na,1,Yes\nb,2,No\n")
    problem = load(folder / "churn.yaml")
    problem = problem.model_copy(update={"source": problem.source.model_copy(update={"path": str(folder / "churn.csv")})})
    ingest(problem, Window(dt.date(2024, 1, 1), dt.date(2024, 1, 2)), Settings.from_environment(), Progress())

    def label(text):
        (folder / "labels.csv").write_text(text)
        status = main(["label", str(folder / "churn.yaml"), str(folder / "labels.csv"), "--by", "ada", "--json"])
        said = capsys.readouterr()
        return status, json.loads(said.out), said.err

    status, told, err = label("customer,label\na,1\nnobody,0\n")
    assert (status, told["added"], told["apart"]) == (0, 1, 1)
    assert "1 labels name no row of churn, such as" in err
    assert "nobody" in err
    status, told, err = label("customer,label\nno one,1\n")
    assert (status, told["added"], told["apart"]) == (1, 0, 1)
    assert "labels_apart" in err


def test_a_damaged_page_of_labels_is_refused(folder, capsys):
    table = pa.table({"customer": [f"c{i:05}" for i in range(2000)], "label": ["1", "0"] * 1000})
    sink = io.BytesIO()
    pq.write_table(table, sink, write_page_checksum=True, compression="none", use_dictionary=False)
    data = bytearray(sink.getvalue())
    data[3000] ^= 0x01
    (folder / "labels.parquet").write_bytes(data)
    assert main(["label", str(folder / "churn.yaml"), str(folder / "labels.parquet"), "--by", "ada"]) == 1
    assert "labels.parquet: cannot be read as labels" in capsys.readouterr().err
