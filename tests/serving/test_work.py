"""Large requests are worked on beside the event loop, within a budget; others are answered meanwhile."""

import asyncio
import json
import threading
import time

import pytest

from windtunnel.lifecycle.contract.errors import UnavailableError
from windtunnel.serving.base.log import PredictionLog
from windtunnel.serving.base.metrics import Metrics
from windtunnel.serving.routing.models import Models
from windtunnel.serving.routing.service import Service
from windtunnel.serving.routing.store import Store
from windtunnel.serving.routing.work import Budget, GivenUpError, Work


def test_the_loop_goes_on_while_work_is_done():
    async def main():
        work, going = Work(), threading.Event()

        def long():
            going.wait(10.0)  # until the loop has gone on
            return threading.current_thread().name

        task = asyncio.create_task(work.run(long))
        await asyncio.sleep(0.01)
        assert not task.done()
        assert work.age > 0
        going.set()
        assert (await task).startswith("windtunnel-work")
        assert work.age == 0
        work.stop()

    asyncio.run(main())


def test_work_that_nobody_waits_for_ends_at_its_next_slice():
    async def main():
        work, began, ended = Work(), threading.Event(), threading.Event()

        def long(budget):
            try:
                for _ in budget.slices(1_000_000, 40_000):
                    began.set()
                    time.sleep(0.002)
            except GivenUpError:
                ended.set()
                raise

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await work.within(long)
        assert await asyncio.to_thread(ended.wait, 10.0)
        assert began.is_set()
        # What waits behind it has its turn.
        assert await work.run(lambda: 5) == 5
        work.stop()

    asyncio.run(main())
    with pytest.raises(GivenUpError):
        list(Budget(0.0).slices(10, 1))


def test_more_is_refused_while_the_oldest_waits_too_long():
    async def main():
        work, going = Work(max_age=0.05), threading.Event()
        task = asyncio.create_task(work.run(going.wait, 10.0))
        await asyncio.sleep(0.1)
        with pytest.raises(UnavailableError, match="large requests wait"):
            await work.run(lambda: 5)
        going.set()
        await task
        assert await work.run(lambda: 5) == 5
        work.stop()

    asyncio.run(main())


def test_one_late_turn_is_no_overload(tmp_path):
    service = Service(Models(Store(tmp_path / "home", 8), 0), PredictionLog(tmp_path / "log", 0), Metrics(tmp_path / "metrics", 0))
    for lags, wanted in (([9.0], False), ([9.0, 9.0], False), ([9.0, 9.0, 9.0], True), ([9.0, 9.0, 9.0, 0.1], False)):
        service.lag = 0.0
        service.lag = 0.0
        service.lag = 0.0
        for seconds in lags:
            service.lag = seconds
        assert service.shed() is wanted
    service.work.stop()


@pytest.mark.slow
def test_single_rows_are_answered_and_the_worker_stays_ready_beside_large_requests(serve, bundles, rows):
    server = serve("--max-age", "0.5")
    server.load(bundles["one"], "1", ["champion"])
    many = [rows[number % len(rows)] for number in range(10_000)]
    wanted = server.predict(rows)["predictions"]
    done, failed = [], []

    def batches():
        for kind in range(4):
            if kind % 2:  # as bad as a request can be: 3,000 rows of columns that nobody knows
                body = {"rows": [{f"dep_delai{number}": 1.0 for number in range(60)}] * 3000}
                status, answer = server.call("/v1/models/flight_delays/predict", body)
                done.append(status == 422 and len(answer["problems"]) <= 20)
            else:
                done.append([row["score"] for row in server.predict(many)["predictions"][: len(rows)]] == [row["score"] for row in wanted])

    thread = threading.Thread(target=batches)
    thread.start()
    answered = 0
    while thread.is_alive():
        answered += 1
        status, answer = server.call("/v1/models/flight_delays/predict", {"rows": rows[:1]})
        if status != 200 or answer["predictions"] != wanted[:1]:
            failed.append((status, answer))
        if server.call("/v2/health/ready", token="")[0] != 200:
            failed.append("not ready")
    thread.join()
    assert done == [True] * 4
    assert not failed
    assert answered > 4
    server.stop()
    # All of it is in the log, by the row.
    import pyarrow.dataset as ds

    table = ds.dataset([str(path) for path in (server.home / "predictions").rglob("*.parquet")]).to_table()
    assert table.num_rows == 20_000 + answered + len(rows)
    assert json.loads(table["inputs"][0].as_py()).keys() == rows[0].keys()


@pytest.mark.slow
def test_absent_columns_and_guesses_over_http(serve, bundles, rows):
    server = serve()
    server.load(bundles["one"], "1", ["champion"])
    status, body = server.call("/v1/models/flight_delays/predict", {"rows": [{}]})
    assert status == 422
    assert {problem["field"] for problem in body["problems"]} == set(rows[0])
    tensors = [{"name": name, "shape": [1], "datatype": "FP64", "data": [1.0]} for name in ("dep_delay", "distance")]
    status, body = server.call("/v2/models/flight_delays/infer", {"inputs": tensors})
    assert status == 422
    found = server.predict([{**rows[0], "carrier": "zz"}, rows[0]])
    assert found["guesses"] == {"absent": [], "unseen": {"carrier": 1}}
    assert "guesses" not in server.predict(rows[:1])
    text = server.call("/metrics")[1].decode()
    line = next(line for line in text.splitlines() if line.startswith("windtunnel_guessed_rows_total"))
    assert 'column="carrier"' in line
    assert line.endswith(" 1.0")
