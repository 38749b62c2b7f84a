import datetime as dt

import pytest

from windtunnel.beam_jobs.feedback import feedback
from windtunnel.beam_jobs.job import Progress

EVENING = dt.datetime(2013, 1, 3, 20, tzinfo=dt.UTC)


@pytest.fixture
def january(world):
    world.ingest("2013-01-01", "2013-01-08")
    return world


def join(world, start="2013-01-01", end="2013-01-08"):
    return feedback(world.problem, world.window(start, end), world.settings, Progress("feedback"))


def test_every_prediction_meets_its_flight(january):
    flights = january.examples("2013-01-03")
    january.ask(flights, EVENING)
    found = join(january)
    assert found.joined == flights.num_rows - flights["arr_delay"].null_count == 900
    assert (found.waiting, found.figures["waiting.no_label"]) == (14, 14)
    assert found.figures["auc"] == 1.0
    assert january.contents("feedback")["correct"].to_pylist() == [True] * 900
