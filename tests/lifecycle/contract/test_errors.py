import pickle

import pytest

from windtunnel.lifecycle.contract import errors


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_survives_pickling_with_its_details(name):
    error = getattr(errors, name)("column 'age' is missing", hint="add it", column="age", share=0.5)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (again.message, again.hint, again.details) == (error.message, "add it", {"column": "age", "share": 0.5})
    assert str(again) == "column 'age' is missing\nHint: add it"


def test_only_what_a_retry_can_help_is_retryable():
    retryable = {name for name in errors.__all__ if getattr(errors, name).retryable}
    assert retryable == {"ConflictError", "UnavailableError", "JobError"}


def test_the_tree_is_drawn_completely():
    assert errors.__doc__ is not None
    for name in errors.__all__:
        assert name in errors.__doc__
