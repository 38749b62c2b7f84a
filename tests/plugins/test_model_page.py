"""The model's page says when the champion is stale, and why."""

import json

import pytest

from windtunnel.lifecycle.contract.fingerprint import code_version
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.record import freshness
from windtunnel.lifecycle.record.ledger import Ledger


@pytest.fixture
def place(tmp_path, monkeypatch):
    settings = Settings(artifacts=str(tmp_path / "art"), ledger_uri=f"sqlite:///{tmp_path}/ledger.db")
    from windtunnel.plugins import pages

    monkeypatch.setattr(pages, "airflow_settings", lambda **_: settings)
    return settings, pages


def made_of(**changes):
    known = {"content": "c1", "end": "2024-03-01", "declaration": "d1", "transformer": "t1"}
    return {**known, "code": code_version(), "libraries": freshness.libraries(), **changes}


def test_the_page_of_a_stale_champion(place, tmp_path):
    settings, pages = place
    bundle, features = tmp_path / "bundle", tmp_path / "art" / "taxi" / "preprocess" / "f1"
    bundle.mkdir()
    features.mkdir(parents=True)
    (bundle / "model.json").write_text(json.dumps({"lineage": {"features": "f1"}}))
    (features / "manifest.json").write_text(json.dumps({"made_of": made_of()}))
    known = {"version": "3", "semantic": "1.0.2", "cutoff": "2024-03-01", "uri": str(bundle), "digest": "0", "metric": "auc", "value": 0.9}
    Ledger(settings).append("taxi", "promotion", {**known, "fingerprint": "c1", "run_id": "r1", "approved_by": "", "reason": "better"})
    freshness.note(settings, "taxi", made_of())
    assert "Stale" not in pages.model("taxi").body.decode()
    freshness.note(settings, "taxi", made_of(transformer="t2", content="c2", end="2024-04-01"))
    shown = pages.model("taxi").body.decode()
    assert "Stale" in shown
    assert "a step of the features changed" in shown
    assert "rows until 2024-04-01, and it learnt from rows until 2024-03-01" in shown
    freshness.note(settings, "taxi", made_of(end="2024-02-01"))  # a backfill of an older window is no news
    assert "a step of the features changed" in pages.model("taxi").body.decode()
