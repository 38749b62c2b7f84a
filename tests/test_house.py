"""The house itself: layers, portions of the namespace package, imports that parsing a DAG pays for, examples in docstrings."""

import ast
import doctest
import importlib
import importlib.util
import json
import pkgutil
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import pytest

import windtunnel

ROOT = Path(__file__).parents[1]
# Imports only go down this list.
LAYERS = ["plugins", "operators", "cli", "beam_jobs", "serving", "lifecycle"]
HEAVY = ["apache_beam", "great_expectations", "mlflow", "optuna", "pandas", "pyarrow", "pyiceberg", "scipy", "skops", "sklearn", "treelite"]


def sources(layer):
    return sorted((ROOT / layer / "windtunnel" / layer).rglob("*.py"))


def test_it_is_a_namespace_package_with_typed_portions():
    assert not list(ROOT.glob("*/windtunnel/__init__.py"))
    assert {Path(path).parent.name for path in windtunnel.__path__} >= set(LAYERS)
    for layer in LAYERS:
        assert (ROOT / layer / "windtunnel" / layer / "py.typed").is_file()


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_only_go_down(layer):
    upper = LAYERS[: LAYERS.index(layer)]
    wrong = []
    for path in sources(layer):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            wrong += [f"{path.name}: {name}" for name in names if any(name.startswith(f"windtunnel.{up}") for up in upper)]
            if layer in {"serving", "lifecycle"}:
                wrong += [f"{path.name}: {name}" for name in names if name.split(".")[0] in {"airflow", "apache_beam"}]
    assert not wrong


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_wings_have_no_circle_and_layers_no_arrow_up():
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_no_folder_has_more_rooms_than_one_can_overlook():
    figures = tool("figures")
    crowded = {folder: count for folder, count in figures.rooms().items() if count > figures.ROOMS}
    assert not crowded


def test_the_picture_of_the_wings_is_todays():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert text == tool("figures").drawn(text), "python tools/figures.py --wings --write"


def test_no_function_becomes_too_complex():
    figures = tool("figures")
    known = set((ROOT / "tests" / "complex.txt").read_text(encoding="utf-8").split())
    counted = [entry for layer in LAYERS for path in sources(layer) for entry in figures.complexities(path)]
    too_complex = {name.partition(":")[2] for name, complexity in counted if complexity > figures.COMPLEX}
    assert too_complex <= known, "split them; the list only shrinks"


ROOMS_OF_PRIVATE_NAMES = {
    "lifecycle/windtunnel/lifecycle/learning/scikit.py": "sklearn",
    "beam_jobs/windtunnel/beam_jobs/features/tallies/order.py": "numpy",
    "beam_jobs/windtunnel/beam_jobs/expectations/engine/datasource.py": "great_expectations",
    "beam_jobs/windtunnel/beam_jobs/expectations/engine/mends.py": "great_expectations",
    "serving/windtunnel/serving/compiler/gtil.py": "treelite",
}
"""Where the private names of a foreign package may be used."""
MERGES_ITS_LIKE = {
    "beam_jobs/windtunnel/beam_jobs/features/tallies/rows.py",
    "beam_jobs/windtunnel/beam_jobs/features/tallies/tally.py",
    "beam_jobs/windtunnel/beam_jobs/features/fitting/families/text.py",
    "lifecycle/windtunnel/lifecycle/judging/sample.py",
}
"""Where a class looks into another object of its own."""


def private_imports(tree):
    """(package, name) of every private thing of a foreign package that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            package, *rest = name.split(".")
            if package not in {"windtunnel", "__future__"} and any(part.startswith("_") and not part.startswith("__") for part in rest):
                yield package, name


def test_private_names_of_foreign_packages_have_one_room_each():
    wrong = []
    for layer in LAYERS:
        for path in sources(layer):
            place, text = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
            imported = private_imports(ast.parse(text))
            wrong += [f"{place}: {name}" for package, name in imported if ROOMS_OF_PRIVATE_NAMES.get(place) != package]
            wrong += [f"{place}: noqa" for line in text.splitlines() if "noqa" in line and "SLF001" in line]
    assert not wrong
    # What is called on objects is ruff's SLF001 to find; it is off in these rooms only.
    per_file = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]["per-file-ignores"]
    off = {pattern for pattern, rules in per_file.items() if "SLF001" in rules and not pattern.startswith("tests/")}
    off = {each for pattern in off for each in unfolded(pattern)}
    assert off <= {*ROOMS_OF_PRIVATE_NAMES, *MERGES_ITS_LIKE}
    assert all((ROOT / place).is_file() for place in {*ROOMS_OF_PRIVATE_NAMES, *MERGES_ITS_LIKE})


def unfolded(pattern):
    """The paths of a pattern with one group of names: a/{b,c}.py."""
    before, brace, rest = pattern.partition("{")
    names, _, after = rest.partition("}")
    return [f"{before}{name}{after}" for name in names.split(",")] if brace else [pattern]


def test_files_stay_readable():
    long = {
        p.relative_to(ROOT).as_posix(): n
        for layer in LAYERS
        for p in sources(layer)
        if (n := len(p.read_text().splitlines())) > 500 and "_pb2" not in p.name
    }
    assert not long


def test_parsing_the_dags_imports_nothing_heavy():
    code = (
        "import sys, json, importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('lifecycle_dags', {str(ROOT / 'dags' / 'lifecycle.py')!r})\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))\n"
        "print(json.dumps(sorted(name for name in vars(module) if name.startswith('dag_'))))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip().splitlines()
    assert json.loads(out[-2]) == []
    assert json.loads(out[-1]) == ["dag_flight_delays", "dag_flight_delays_feedback", "dag_flight_delays_monitoring"]


def modules():
    found = []
    for layer in LAYERS:
        package = importlib.import_module(f"windtunnel.{layer}")
        found += [
            m.name
            for m in pkgutil.walk_packages(package.__path__, f"windtunnel.{layer}.")
            if "__main__" not in m.name and "_pb2" not in m.name
        ]
    return found


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what third parties say when they are imported is not ours to test
        module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_every_module_says_what_it_is_for():
    silent = [
        p.relative_to(ROOT).as_posix()
        for layer in LAYERS
        for p in sources(layer)
        if "_pb2" not in p.name and not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))
    ]
    assert not silent
