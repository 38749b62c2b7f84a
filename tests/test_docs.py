"""Every block of code of README, CONTRIBUTING and docs, run as it is written.

A block that cannot run here has a line ``<!-- not run: the reason -->`` in front of it; its language is checked all the same: Python is
compiled, shell commands of ours are parsed by the command line's own parser, YAML and JSON are read.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from windtunnel.lifecycle.contract.problem import parse

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"(?:<!-- (?P<mark>[^>]*?) -->\s*\n)?^(?P<pad> *)```(?P<kind>\w*)\n(?P<text>.*?)^(?P=pad)```", re.DOTALL | re.MULTILINE)
KINDS = {"python", "yaml", "json", "toml", "console", "sh", "bash", "mermaid", "text"}


@dataclass(frozen=True)
class Block:
    """A block of a page, with the line it begins on."""

    page: Path
    line: int
    kind: str
    text: str
    mark: str

    def __str__(self):
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"

    @property
    def not_run(self):
        return self.mark.removeprefix("not run:").strip() if self.mark.startswith("not run:") else ""


def blocks(*kinds):
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            line = text[: match.start("kind")].count("\n") + 1
            body = "\n".join(row.removeprefix(match["pad"]) for row in match["text"].splitlines()) + "\n"
            found.append(Block(page, line, match["kind"], body, match["mark"] or ""))
    return [pytest.param(block, id=str(block)) for block in found if not kinds or block.kind in kinds]


@pytest.mark.parametrize("block", blocks())
def test_every_block_says_its_language_and_a_reason_if_it_is_not_run(block):
    assert block.kind in KINDS, f"{block}: say the language after the backticks, one of {sorted(KINDS)}"
    if block.mark.startswith("not run"):
        assert len(block.not_run) > 10, f"{block}: say why it is not run"


# Python -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", blocks("python"))
def test_python_runs(block, tmp_path):
    compile(block.text, str(block), "exec")
    if block.not_run:
        pytest.skip(block.not_run)
    named = re.match(r"# (\w+\.py):", block.text)
    if "register_problems" in block.text or "check_problems" in block.text or "DAG(" in block.text or "@dag" in block.text:
        return _makes_dags(block, tmp_path, named[1] if named else "block.py")
    _play(tmp_path)
    before = "\n".join(other.text for other in _earlier(block))
    done = _python(before + "\n" + block.text, tmp_path)
    assert done.returncode == 0, f"{block}:\n{done.stderr[-3000:]}"
    return None


def _earlier(block):
    """The Python blocks of a page build on each other."""
    return [
        other.values[0]
        for other in blocks("python")
        if other.values[0].page == block.page and other.values[0].line < block.line and not other.values[0].not_run
    ]


def _makes_dags(block, folder, name):
    """In a stock DAGs folder, beside problem files, as Airflow finds them: safe mode skips what does not look like a DAG file."""
    from airflow.dag_processing.dagbag import DagBag

    shutil.copytree(ROOT / "dags" / "problems", folder / "problems")
    (folder / name).write_text(block.text, encoding="utf-8")
    if "check_problems" in block.text:
        (folder / "problems" / "broken.yaml").write_text("name: broken\n", encoding="utf-8")
    bag = DagBag(str(folder), bundle_path=folder, safe_mode=True)
    if "check_problems" in block.text:
        assert "broken.yaml" in "".join(bag.import_errors.values()), f"{block}: shows no broken file"
        return
    assert not bag.import_errors, bag.import_errors
    assert bag.dags, f"{block}: Airflow's safe mode finds no DAG: the words 'dag' and 'airflow' must be in the file"


def _play(folder):
    """Files of the names that blocks use."""
    rng = np.random.default_rng(0)
    table = pa.table(
        {"distance": rng.normal(size=200), "hour": rng.integers(0, 24, 200), "tip": rng.integers(0, 2, 200), "carrier": ["UA", "AA"] * 100}
    )
    for name in ("warehouse/trips", "flights", "data", "new", "rows"):
        (folder / name).mkdir(parents=True)
        pq.write_table(table, folder / name / "part.parquet")
    spec = {"data": ["data/*.parquet"], "output": "again", "transformer": "my_module:make", "options": {"label": "tip"}}
    (folder / "spec.json").write_text(json.dumps(spec))
    (folder / "reviewed.csv").write_text(
        "year,month,day,carrier,flight,origin,sched_dep_time,label\n2013,2,1,UA,1545,EWR,515,1\n2013,2,1,UA,1714,LGA,529,0\n"
    )
    shutil.copytree(ROOT / "dags", folder / "dags")
    (folder / "my_module.py").write_text(
        "from sklearn.compose import ColumnTransformer\nfrom sklearn.preprocessing import StandardScaler\n"
        "def make():\n    return ColumnTransformer([('n', StandardScaler(), ['distance', 'hour'])])\n"
    )


_PREFACE = "from my_module import make\nmy_column_transformer = make()\n"


def _python(text, folder):
    settings = {"CATALOG_URI": f"sqlite:///{folder}/catalog.db", "WAREHOUSE": f"{folder}/lake", "ARTIFACTS": f"{folder}/artifacts"}
    own = {f"AIRFLOW__WINDTUNNEL__{name}": value for name, value in settings.items()}
    environment = {**os.environ, **own, "PYTHONPATH": str(folder), "GX_ANALYTICS_ENABLED": "false"}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PREFACE + text], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


# Data ---------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", blocks("json", "toml"))
def test_json_and_toml_are_read(block):
    assert json.loads(block.text) if block.kind == "json" else tomllib.loads(block.text)


@pytest.mark.parametrize("block", blocks("yaml"))
def test_yaml_is_part_of_a_problem_file(block):
    """Each top-level field of a block is what a problem file takes, alone: blocks show the same field in several forms."""
    if block.not_run:
        yaml.safe_load(block.text)
        pytest.skip(block.not_run)
    for part in re.split(r"^(?=\w)", block.text, flags=re.MULTILINE):
        fields = yaml.safe_load(part) or {}
        parse(_fitting(fields))


def _fitting(fields):
    """A whole problem around some fields."""
    columns = {"at": "date", "id": "int64", "shop": "string", "a": "float64", "y": "float64"}
    whole = {
        "name": "page",
        "owner": "docs@example.org",
        "task": "binary",
        "source": {"format": "csv", "path": "rows.csv"},
        "columns": columns,
        "event_time": {"column": "at"},
        "keys": ["id"],
        "label": {"column": "y", "positive": {"above": 0}},
        "features": {"numeric": ["a"]},
    }
    baseline = fields.get("baseline")
    kind = baseline.get("kind") if isinstance(baseline, dict) else baseline
    if kind in {"mean", "median", "previous", "linear"}:
        whole |= {"task": "regression", "label": {"column": "y"}}
    return whole | fields


# Commands -----------------------------------------------------------------------------------------------------------------------------


def _commands(text):
    """The commands of ours in a block, alternatives apart, without placeholders' brackets."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words[:1] == ["windtunnel"]:
            yield words[1:]


def _indented():
    found = []
    for page in PAGES:
        if "architecture" in page.name:
            continue
        text = page.read_text(encoding="utf-8")
        outside = FENCE.sub("", text)
        texts = [match[0] for match in re.finditer(r"(?:^ {4,}.*\n)+", outside, re.MULTILINE)]
        ours = [text for text in texts if re.search(r"^\s+(windtunnel|make|airflow|python -m) ", text, re.MULTILINE)]
        found += [Block(page, 0, "sh", re.sub(r"^\s+", "", text, flags=re.MULTILINE), "not run: parsed") for text in ours]
    return [pytest.param(block, id=f"{block}{number}") for number, block in enumerate(found)]


@pytest.mark.parametrize("block", [*blocks("console", "sh", "bash"), *_indented()])
def test_commands_of_ours_are_what_the_command_line_takes(block, capsys):
    from windtunnel.cli.main import _parser

    for words in _commands(block.text):
        for alternative in _alternatives(shlex.join(words)):
            try:
                _parser(words[0])[0].parse_args(shlex.split(alternative))
            except SystemExit:
                pytest.fail(f"{block}: windtunnel {alternative}: {capsys.readouterr().err}")


def _alternatives(line):
    """``a [--b C] | --d E`` is written for people: every optional part is taken in, each alternative is tried."""
    plain = re.sub(r"[\[\]']", "", line)
    first, *others = [part.strip() for part in plain.split(" | ")]
    head = first.split(" --", maxsplit=1)[0]
    return [first, *[f"{head} {other}" for other in others]]


@pytest.mark.parametrize("block", blocks("console", "sh", "bash"))
def test_commands_run(block, tmp_path):
    if block.not_run:
        pytest.skip(block.not_run)
    _play(tmp_path)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{block}:\n{done.stdout[-1500:]}{done.stderr[-3000:]}"
