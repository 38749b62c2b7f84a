import multiprocessing
import os
import signal

import fsspec
import pytest

from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.artifacts import Stage, local_copy, read_text


@pytest.fixture
def stage(tmp_path):
    return Stage(Settings(artifacts=str(tmp_path)), "churn", "profile", "0f3a")


def write(stage, text, result, kill=False):
    with stage.writing() as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "report.html").write_text(text)
        if kill:
            os.kill(os.getpid(), signal.SIGKILL)
        stage.finish(folder, result)


def test_what_was_written_is_read(stage):
    write(stage, "<p>", {"rows": 3})
    assert stage.result() == {"rows": 3}
    assert read_text(stage.path("deep/report.html")) == "<p>"
    with local_copy(stage.uri) as folder:
        assert (folder / "deep" / "report.html").read_text() == "<p>"


def test_an_error_leaves_nothing(stage, tmp_path):
    def broken():
        with stage.writing() as folder:
            (folder / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert stage.result() is None
    assert not list((tmp_path / "churn" / "profile").iterdir())


def test_a_killed_process_leaves_nothing_that_counts_and_the_next_one_succeeds(stage):
    process = multiprocessing.get_context("fork").Process(target=write, args=(stage, "half", {"rows": 1}, True))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert stage.result() is None
    write(stage, "whole", {"rows": 2})
    assert stage.result() == {"rows": 2}


def test_of_two_writers_the_first_stays(stage):
    with stage.writing() as slow:
        (slow / "who").write_text("slow")
        write(stage, "fast", {"who": "fast"})
        stage.finish(slow, {"who": "slow"})
    assert stage.result() == {"who": "fast"}
    assert read_text(stage.path("deep/report.html")) == "fast"


def test_a_folder_without_a_result_is_replaced(stage, tmp_path):
    (tmp_path / "churn" / "profile" / "0f3a").mkdir(parents=True)
    (tmp_path / "churn" / "profile" / "0f3a" / "left").write_text("over")
    write(stage, "new", {"ok": True})
    assert stage.result() == {"ok": True}
    with pytest.raises(FileNotFoundError):
        read_text(stage.path("left"))


def test_an_object_store_gets_the_result_last():
    filesystem = fsspec.filesystem("memory")
    stage = Stage(Settings(artifacts="memory://artefacts"), "churn", "profile", "1")
    order = []
    original = type(filesystem).put_file

    class Watching(type(filesystem)):
        def put_file(self, lpath, rpath, **options):
            order.append(rpath.rsplit("/", 1)[-1])
            return original(self, lpath, rpath, **options)

    fsspec.register_implementation("memory", Watching, clobber=True)
    try:
        write(stage, "<p>", {"rows": 1})
        assert order == ["report.html", "result.json"]
        assert stage.result() == {"rows": 1}
        with local_copy(stage.uri) as folder:
            assert (folder / "deep" / "report.html").read_text() == "<p>"
    finally:
        fsspec.register_implementation("memory", type(filesystem), clobber=True)


def test_a_full_disk_keeps_its_class(tmp_path):
    """/dev/full is a disk without room: writing to it ends with a real ENOSPC."""
    import pickle

    import pyarrow as pa
    import pyarrow.parquet as pq

    from windtunnel.lifecycle.contract.errors import UnavailableError

    def text(path):
        path.write_text("x" * 100_000)

    def parquet(path):
        pq.write_table(pa.table({"a": list(range(100_000))}), path)

    for number, write in enumerate((text, parquet)):
        stage = Stage(Settings(artifacts=str(tmp_path)), "churn", "profile", str(number))

        def fill(stage=stage, write=write):
            with stage.writing() as folder:
                (folder / "file").symlink_to("/dev/full")
                write(folder / "file")

        with pytest.raises(UnavailableError, match="No space left on device") as error:
            fill()
        assert error.value.retryable
        assert "room" in error.value.hint
        assert pickle.loads(pickle.dumps(error.value)).details == error.value.details
        assert stage.result() is None
        assert not list((tmp_path / "churn" / "profile").iterdir())


def test_other_errors_of_files_stay_what_they_are(tmp_path):
    stage = Stage(Settings(artifacts=str(tmp_path)), "churn", "profile", "0")
    with pytest.raises(FileNotFoundError), stage.writing():
        (tmp_path / "none").read_text()
