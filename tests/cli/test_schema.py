import json
from pathlib import Path

from windtunnel.cli.main import COMMANDS, main
from windtunnel.cli.schema import reference

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_is_up_to_date():
    assert (DOCS / "problem.md").read_text(encoding="utf-8") == reference() + "\n", "run: windtunnel schema --markdown > docs/problem.md"


def test_every_field_says_what_it_means():
    for line in reference().splitlines():
        if line.startswith("| `"):
            name, meaning = line.split("|")[1], line.split("|")[4]
            bounds = {"above", "at_least", "at_most", "equals", "not_equals", "above_baseline_by", "above_champion_by"}
            costs = {"false_positive", "false_negative", "true_positive", "true_negative"}
            assert meaning.strip() or name.strip(" `") in bounds | costs | {"format"}, line


def test_the_schema_is_json(capsys):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Problem"


def test_every_command_exists_and_says_what_it_does(capsys):
    import importlib

    for name, (module, text) in COMMANDS.items():
        found = importlib.import_module(module)
        assert callable(found.run), name
        assert callable(found.add_arguments), name
        assert text


def test_a_clear_message_instead_of_a_traceback(capsys, tmp_path):
    assert main(["status", "--home", str(tmp_path / "none")]) == 1
    assert "windtunnel status: no instance" in capsys.readouterr().err
