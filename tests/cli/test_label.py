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
