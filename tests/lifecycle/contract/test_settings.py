import pytest

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.settings import Settings


def test_from_the_environment_that_airflow_reads_too():
    environment = {"AIRFLOW__WINDTUNNEL__WAREHOUSE": "/data/w", "AIRFLOW__WINDTUNNEL__PRELOAD": "not ours", "AIRFLOW__CORE__X": "1"}
    assert Settings.from_environment(environment) == Settings(warehouse="/data/w")


def test_a_missing_one_says_how_to_give_it():
    with pytest.raises(ConfigurationError, match="AIRFLOW__WINDTUNNEL__TRACKING_URI"):
        Settings().need("tracking_uri")


def test_unknown_and_malformed_ones_are_refused():
    with pytest.raises(ConfigurationError, match="warehouse"):
        Settings.from_mapping({"warehous": "x"})
    with pytest.raises(ConfigurationError, match="whole number"):
        Settings.from_mapping({"workers": "two"})


@pytest.mark.parametrize(("root", "expected"), [("s3://bucket/a/", "s3://bucket/a/p/x"), ("/data/a", "/data/a/p/x")])
def test_places_of_artefacts(root, expected):
    assert Settings(artifacts=root).artifact_path("p", "x") == expected
