import datetime as dt
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.lifecycle.contract.fingerprint import canonical, fingerprint, fingerprint_file
from windtunnel.lifecycle.contract.references import SnapshotRef

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60)
@given(st.dictionaries(st.text(), plain, max_size=6))
def test_the_order_of_keys_does_not_matter(values):
    assert fingerprint(values) == fingerprint(dict(reversed(list(values.items()))))


@settings(max_examples=60)
@given(plain, plain)
def test_different_values_differ(one, other):
    assert (canonical(one) == canonical(other)) == (fingerprint(one) == fingerprint(other))


def test_kinds_of_values():
    reference = SnapshotRef("p.examples", 1, "2013-01-01", "2013-01-02", 3, 0, "f")
    assert canonical([dt.date(2013, 1, 2), np.float64(1.5), math.nan, b"\x01", {2, 1}, reference.to_dict()["rows"]]) == (
        '["2013-01-02",1.5,{"float":"nan"},{"bytes":"01"},[1,2],3]'
    )
    with pytest.raises(TypeError, match="no canonical form"):
        canonical(object())


def test_a_file_by_its_content(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").write_bytes(b"x")
    (tmp_path / "c").write_bytes(b"y")
    assert fingerprint_file(tmp_path / "a") == fingerprint_file(tmp_path / "b") != fingerprint_file(tmp_path / "c")
