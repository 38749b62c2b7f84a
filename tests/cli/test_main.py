"""The command line itself: help, what was probably meant, output, completion, and which instance is asked."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from windtunnel.cli.commands import COMMANDS
from windtunnel.cli.instance.layout import HOME_VARIABLE, home_folder
from windtunnel.cli.instance.resolve import resolve_settings
from windtunnel.cli.main import main
from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.contract.settings import PREFIX, Settings
from windtunnel.lifecycle.record.ledger import Ledger

PORTS = {"airflow": 1, "mlflow": 2, "server": 3, "server_grpc": 4}


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """A shell that knows of no instance."""
    for name in list(os.environ):
        if name.startswith((PREFIX, "AIRFLOW_HOME", "AIRFLOW_CONFIG", "WINDTUNNEL_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def instance_in(folder, **state):
    (folder / ".windtunnel").mkdir(parents=True)
    values = {"ports": PORTS, "dags": str(folder), "database": "postgresql://a:b@127.0.0.1:1/postgres", **state}
    (folder / ".windtunnel" / "instance.json").write_text(json.dumps(values))
    return folder / ".windtunnel"


def refused(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_alone_it_prints_help(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(f"    {name}" in text and command.text in text for name, command in COMMANDS.items())


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_help_has_examples_that_the_parser_takes(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    import shlex

    from windtunnel.cli.main import _parser

    for example in COMMANDS[name].examples:
        assert f"windtunnel {example}" in text
        parsed = _parser(name)[0].parse_args(shlex.split(example, comments=True))
        assert parsed.command == name


def test_what_was_probably_meant(capsys):
    assert "did you mean 'ledger'?" in refused(["ledgre"], capsys)
    assert "did you mean 'verify'?" in refused(["ledger", "verfy"], capsys)
    assert "did you mean '--json'?" in refused(["status", "--jsn"], capsys)
    assert "did you mean '--reason'?" in refused(["rollback", "churn", "--raeson=x"], capsys)
    assert "did you mean" not in refused(["xyzzy"], capsys)


def test_json_is_a_flag_and_output_a_file_everywhere():
    from windtunnel.cli.main import _parser

    for name, command in COMMANDS.items():
        options = _parser(name)[1][name]._option_string_actions
        if "--json" in options:
            assert options["--json"].nargs == 0, name
        if command.output:
            assert options["-o"] is options["--output"], name
        assert ("--home" in options) == (command.instance or name == "serve"), name


def test_output_is_whole_or_absent(tmp_path, capsys):
    assert main(["schema", "-o", str(tmp_path / "s.json")]) == 0
    assert json.loads((tmp_path / "s.json").read_text())["title"]
    assert capsys.readouterr().out == ""
    assert main(["status", "-o", str(tmp_path / "status.txt")]) == 1
    assert not (tmp_path / "status.txt").exists()
    assert main(["schema", "-o", str(tmp_path / "none" / "s.json")]) == 1
    assert "--output" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.json"]


def test_a_reader_that_leaves_is_no_error(tmp_path):
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m windtunnel.cli.main schema | head -1"], capture_output=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr == b""


def test_a_shell_completes_commands_options_and_choices(tmp_path):
    def completed(line):
        environment = {**os.environ, "_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
        environment["_ARGCOMPLETE_STDOUT_FILENAME"] = str(tmp_path / "answer")
        subprocess.run([sys.executable, "-m", "windtunnel.cli.main"], env=environment, check=True)
        return {word.strip() for word in (tmp_path / "answer").read_text().split("\n")}

    assert completed("windtunnel led") == {"ledger"}
    assert completed("windtunnel ledger ver") == {"verify"}
    assert "--counterfactual" not in completed("windtunnel ledger --")
    assert {"--json", "--home", "--kind"} <= completed("windtunnel ledger --")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_a_shell_can_be_printed(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "windtunnel" in script
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=script.encode(), check=False, capture_output=True).returncode == 0


# Which instance ---------------------------------------------------------------------------------------------------------------------


def test_an_instance_is_looked_for_here_and_above(tmp_path, monkeypatch):
    outer = instance_in(tmp_path / "project")
    deep = tmp_path / "project" / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert home_folder() == outer
    assert resolve_settings().artifacts == str(outer / "artifacts")
    (deep / ".windtunnel").mkdir()  # a folder of that name without an instance is not one
    assert home_folder() == outer
    shutil.rmtree(deep / ".windtunnel")
    inner = instance_in(deep)
    assert home_folder() == inner
    link = outer.parent / "link"
    link.symlink_to(outer)
    assert home_folder(link) == outer.resolve(), "by another name it is the same instance"
    assert home_folder(outer) == outer
    monkeypatch.setenv(HOME_VARIABLE, str(outer))
    assert home_folder() == outer


def test_the_order_of_the_places(tmp_path, monkeypatch):
    here = instance_in(tmp_path)
    other = instance_in(tmp_path / "other")
    assert resolve_settings().warehouse == str(here / "warehouse")
    monkeypatch.setenv(HOME_VARIABLE, str(other))
    assert resolve_settings().warehouse == str(other / "warehouse")
    monkeypatch.setenv(f"{PREFIX}WORKERS", "3")  # names no place
    assert (resolve_settings().warehouse, resolve_settings().workers) == (str(other / "warehouse"), 3)
    monkeypatch.setenv(f"{PREFIX}LEDGER_URI", "sqlite:///x.db")
    assert (resolve_settings().ledger_uri, resolve_settings().warehouse) == ("sqlite:///x.db", "")
    assert resolve_settings(here).warehouse == str(here / "warehouse")


def test_airflows_configuration_file_is_read(tmp_path, monkeypatch):
    instance_in(tmp_path)
    (tmp_path / "airflow.cfg").write_text("[core]\nx = 50%\n[windtunnel]\nledger_uri = sqlite:///of_the_file.db\nwarehouse = /w\n")
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    assert resolve_settings().ledger_uri == "sqlite:///of_the_file.db"
    monkeypatch.setenv(f"{PREFIX}LEDGER_URI", "sqlite:///of_the_shell.db")
    assert (resolve_settings().ledger_uri, resolve_settings().warehouse) == ("sqlite:///of_the_shell.db", "/w")


@pytest.mark.parametrize(
    "arguments",
    [
        ["ledger"],
        ["lineage", "churn"],
        ["rollback", "churn", "--reason", "x"],
        ["diff", "a", "b"],
        ["replay", "a"],
        ["routes", "churn"],
        ["status"],
        ["env"],
        ["logs"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_without_an_instance_every_command_says_the_same(arguments, capsys, tmp_path):
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert f"no instance in {tmp_path / '.windtunnel'}" in said
    assert "windtunnel up" in said


def test_the_hint_to_set_a_variable_is_right(tmp_path, monkeypatch):
    with pytest.raises(ConfigurationError) as error:
        Settings().need("ledger_uri")
    variable = next(word for word in error.value.hint.split() if word.startswith(PREFIX)).strip(";,")
    monkeypatch.setenv(variable, f"sqlite:///{tmp_path}/ledger.db")
    Ledger(resolve_settings()).append("churn", "note", {"text": "hello"}, Run())
    assert main(["ledger", "verify"]) == 0


def test_the_hint_of_an_instance_that_is_down_is_right(tmp_path, capsys):
    instance_in(tmp_path)
    assert main(["ledger"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "windtunnel up" in said


def test_the_entry_point_can_be_completed():
    assert "PYTHON_ARGCOMPLETE_OK" in Path(sys.modules["windtunnel.cli.main"].__file__).read_text()[:1024]
