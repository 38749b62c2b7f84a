"""Making a table that somebody else makes at the same moment."""

import pyarrow as pa
import pytest
from pyiceberg.exceptions import NoSuchTableError

from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.catalog import catalog
from windtunnel.lifecycle.data.tables import open_table

SCHEMA = pa.schema([("event_date", pa.date32()), ("x", pa.int64())])


@pytest.mark.parametrize("question", ["namespace_exists", "load_table"])
def test_whoever_loses_the_race_takes_what_the_winner_made(tmp_path, monkeypatch, question):
    settings = Settings(catalog_uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=str(tmp_path / "warehouse"))
    place = catalog(settings)
    asked = getattr(type(place), question)
    answers = []

    def answer_as_it_was_before(self, identifier):
        if not answers:
            answers.append(identifier)
            _made_by_another(settings)
            if question == "load_table":
                raise NoSuchTableError(identifier)
            return False
        return asked(self, identifier)

    monkeypatch.setattr(type(place), question, answer_as_it_was_before)
    table = open_table(settings, "p.examples", SCHEMA)
    assert answers
    assert table.schema().column_names == ["event_date", "x"]


def _made_by_another(settings):
    other = Settings(**{**settings.to_dict(), "warehouse": settings.warehouse + "/"})
    open_table(other, "p.examples", SCHEMA)
