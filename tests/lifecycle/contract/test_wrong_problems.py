import copy
import datetime as dt
import re

import pytest
import yaml
from wrong_problems import BASE, Wrong, all_wrong

from windtunnel.lifecycle.contract.errors import ProblemError
from windtunnel.lifecycle.contract.problem import load, parse

WRONG = all_wrong()


@pytest.fixture
def write(tmp_path):
    def written(values, name="tiny"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.dump(values, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)), encoding="utf-8")
        return path

    return written


def test_the_file_that_they_all_start_from_is_right(write):
    problem = load(write(BASE))
    assert problem.windows.history_end == dt.date(2024, 12, 31)


def test_there_are_enough():
    assert len(WRONG) >= 300
    assert len({wrong.what for wrong in WRONG}) == len(WRONG)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.what)
def test_it_names_file_field_and_what_is_allowed(write, wrong: Wrong):
    path = write(wrong.values)
    with pytest.raises(ProblemError) as caught:
        load(path)
    text = str(caught.value)
    assert str(path) in text
    named = caught.value.details["fields"]
    assert any(field == wrong.field or field.startswith(f"{wrong.field}.") for field in named), text
    assert re.search(wrong.says, text), text
    assert "\n" not in text.strip()


def test_a_key_that_is_written_twice_is_not_taken_silently(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(BASE) + "owner: somebody else\n", encoding="utf-8")
    with pytest.raises(ProblemError, match="'owner' is there twice"):
        load(path)


def test_what_was_stored_before_stays_readable():
    """Jobs, replay and lineage read problems of earlier states, which took what makes no sense."""
    stored = copy.deepcopy(BASE) | {"gates": [{"metric": "accuracyy", "at_least": 1}]}
    assert parse(stored).gates[0].metric == "accuracyy"
