import json

import pytest

from windtunnel.lifecycle.contract import references
from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.run import Run

SNAPSHOT = references.SnapshotRef("p.examples", 7, "2013-01-01", "2013-01-29", 100, 2, "abc")


def test_there_and_back_through_json():
    assert references.SnapshotRef.from_dict(json.loads(json.dumps(SNAPSHOT.to_dict()))) == SNAPSHOT


@pytest.mark.parametrize("wrong", [None, {}, {"kind": "features"}, {"kind": "snapshot", "table": "p.examples"}, "snapshot"])
def test_what_is_no_snapshot_is_refused(wrong):
    with pytest.raises(ConfigurationError, match="snapshot reference"):
        references.SnapshotRef.from_dict(wrong)


def test_kinds_are_unique():
    kinds = [getattr(references, name).kind for name in references.__all__ if name != "of_kind"]
    assert len(set(kinds)) == len(kinds)


def test_who_may_promote():
    assert Run(run_type="manual").may_promote
    assert Run(run_type="scheduled", promotion="auto").may_promote
    assert not Run(run_type="backfill", promotion="auto").may_promote
    assert not Run(run_type="manual", promotion="never").may_promote
    assert Run.from_dict(Run(dag_id="d", by="me").to_dict()) == Run(dag_id="d", by="me")
