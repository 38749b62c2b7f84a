"""YAML as people write it: whatever an editor leaves, and whatever YAML makes of an innocent word."""

import datetime as dt
import os

import pytest
import yaml
from wrong_problems import BASE

from windtunnel.lifecycle.contract.errors import ProblemError
from windtunnel.lifecycle.contract.problem import load
from windtunnel.lifecycle.contract.yaml_text import YamlTextError, read_yaml

TEXT = yaml.safe_dump(BASE)


def without(*fields):
    return yaml.safe_dump({name: value for name, value in BASE.items() if name not in fields})


@pytest.fixture
def file(tmp_path):
    def written(data):
        path = tmp_path / "tiny.yaml"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return written


def test_what_editors_leave_changes_nothing(file):
    expected = load(file(TEXT))
    for data in (f"\ufeff{TEXT}", TEXT.replace("\n", "\r\n"), f"---\n{TEXT}...\n", f"# a comment\n\n{TEXT}\n\n"):
        assert load(file(data)) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e3", 1000.0),
        ("1e-3", 0.001),
        ("-.5", -0.5),
        ("+7", 7),
        ("1_000", 1000),
        ("0x1f", 31),
        ("0123", "0123"),
        ("0", 0),
        ("00", "00"),
        ("1:30", "1:30"),
        ("1:30.5", "1:30.5"),
        (".inf", float("inf")),
        ("1.2.3", "1.2.3"),
        ("2024-02-01", dt.date(2024, 2, 1)),
        ("true", True),
        ("yes", True),
        ("", None),
    ],
)
def test_numbers_are_those_that_people_mean(text, value):
    found = read_yaml(text)
    assert (found, type(found)) == (value, type(value))


def test_spans_are_hours_and_minutes_and_not_numbers_of_base_sixty(file):
    spans = {"02:00:00": 2, "48:00:00": 48, "1:30:00": 1.5, "01:30": 1.5}
    for text, hours in spans.items():
        problem = load(file(f"{without('dag')}dag: {{execution_timeout: {text}}}\n"))
        assert problem.dag.execution_timeout == dt.timedelta(hours=hours), text
    with pytest.raises(ProblemError, match=r"dag\.execution_timeout"):  # ninety seconds, or ninety minutes? YAML 1.1 says seconds
        load(file(f"{without('dag')}dag: {{execution_timeout: 1:30}}\n"))


def test_anchors_and_merge_keys_are_yaml(file):
    text = without("budget", "gates") + "gates: [&g {metric: auc, at_least: 0.5}, {<<: *g, slices: true}]\nbudget: {trials: 1e1}\n"
    problem = load(file(text))
    assert [gate.at_least for gate in problem.gates] == [0.5, 0.5]
    assert problem.budget.trials == 10


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"# nothing yet\n", "is empty"),
        (b"- a\n", "must be a mapping of fields but is a list"),
        (TEXT.encode("utf-16"), "is not UTF-8: line 1"),
        (TEXT.replace("A tiny problem", "Caf\xe9").encode("latin-1"), r"is not UTF-8: line \d+"),
        (TEXT.replace("  ", "\t").encode(), r"line \d+, column 1: .*indent with spaces"),
        (f"{TEXT}---\n{TEXT}".encode(), "another document"),
        (f"{without('schedule')}schedule: @daily\n".encode(), "in quotes"),
        (f"{TEXT}? [a, b]\n: c\n".encode(), "a key must be a text"),
        (f"{TEXT}? {{a: b}}\n: c\n".encode(), "a key must be a text"),
        (f"{without('title')}title: !!python/object/apply:os.system [ls]\n".encode(), r"line \d+, column 8: .*os\.system"),
        (f"{without('model')}model: &m {{parameters: {{a: *m}}}}\n".encode(), "stands inside of what it names"),
        (f"{without('model')}model: {{parameters: {{a: {'[' * 2000}{']' * 2000}}}}}\n".encode(), "levels deep"),
        (f"{without('start_date')}start_date: 2024-02-30\n".encode(), "'2024-02-30': day is out of range"),
        (f"{without('budget')}budget: {{trials: {'9' * 5000}}}\n".encode(), r"'9{40}\.\.\.'"),
        (f"{without('title')}title: yes\n".encode(), "title: .*got True; put it in quotes"),
        (
            f"{without('tags')}tags: [2024-01-01, 1.0]\n".encode(),
            r"tags\.0: .*2024-01-01; put it in quotes.*tags\.1: .*1\.0; put",
        ),
        (b"name: a\x00b\n", "control characters"),
        (b"#" * (1 << 20) + b"\n", "1,048,577 bytes"),
    ],
)
def test_what_is_wrong_is_one_line_that_says_where(file, data, says):
    path = file(data)
    with pytest.raises(ProblemError, match=says) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_aliases_that_multiply_are_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(YamlTextError, match="aliases"):
        read_yaml("\n".join(lines))


def test_what_is_no_file_is_not_opened(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    for name, says in (("folder", "is a folder"), ("pipe", "no ordinary file"), ("loop", "cannot be read"), ("absent", "cannot be read")):
        with pytest.raises(ProblemError, match=says):
            load(tmp_path / f"{name}.yaml")
