"""Figures of the code, and the picture of its wings: `python tools/figures.py` prints a table, `--wings` the picture as Mermaid.

Counted are the modules of the distribution (no tests, no generated code). Complexity is McCabe's, as radon counts it.
"""

import argparse
import ast
import io
import re
import statistics
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

from grimp import build_graph
from radon.complexity import cc_visit

ROOT = Path(__file__).parents[1]
LAYERS = ["plugins", "cli", "operators", "beam_jobs", "serving", "lifecycle"]
COMPLEX = 10
"""A function above this complexity is counted as complex."""
ROOMS = 15
"""A folder holds no more modules and folders than this."""


def sources(layer: str) -> list[Path]:
    """The modules of a layer that people write."""
    return sorted(path for path in (ROOT / layer / "windtunnel" / layer).rglob("*.py") if "_pb2" not in path.name)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a module."""
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def annotated(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether all that can be annotated is."""
    named = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    named += [argument for argument in (function.args.vararg, function.args.kwarg) if argument]
    return function.returns is not None and all(argument.annotation or argument.arg in {"self", "cls"} for argument in named)


def complexities(path: Path) -> list[tuple[str, int]]:
    """Functions and methods with their complexity; a nested function counts by itself."""
    found = []
    for block in cc_visit(path.read_text(encoding="utf-8")):
        if hasattr(block, "methods"):  # a class; its methods are blocks of their own
            continue
        found.append((f"{path.relative_to(ROOT)}:{block.fullname}", block.complexity))
        found += [(f"{path.relative_to(ROOT)}:{block.fullname}.{inner.name}", inner.complexity) for inner in block.closures]
    return found


def commented(text: str) -> int:
    """Lines of a module that carry a comment."""
    return sum(token.type == tokenize.COMMENT for token in tokenize.generate_tokens(io.StringIO(text).readline))


def rooms() -> dict[str, int]:
    """Folders with the number of modules and folders in them."""
    counted = {}
    for layer in LAYERS:
        top = ROOT / layer / "windtunnel" / layer
        for folder in [top, *(path for path in top.rglob("*") if (path / "__init__.py").is_file())]:
            inside = [p for p in folder.iterdir() if (p.suffix == ".py" and p.stem != "__init__") or (p / "__init__.py").is_file()]
            counted[folder.relative_to(ROOT / layer / "windtunnel").as_posix()] = len([p for p in inside if "_pb2" not in p.name])
    return counted


def figures() -> dict[str, str]:
    """The table's figures by name."""
    paths = [path for layer in LAYERS for path in sources(layer)]
    texts = [path.read_text(encoding="utf-8") for path in paths]
    trees = [ast.parse(text) for text in texts]
    lines = [len(text.splitlines()) for text in texts]
    all_functions = [function for tree in trees for function in functions(tree)]
    lengths = sorted((function.end_lineno or 0) - function.lineno + 1 for function in all_functions)
    complexity = [value for path in paths for _, value in complexities(path)]
    over = sum(value > COMPLEX for value in complexity)
    public = [f for f in all_functions if not f.name.startswith("_")]
    code = sum(lines)
    comments = sum(map(commented, texts))
    noqa = sum(text.count("# noqa") for text in texts)
    anything = sum(isinstance(node, ast.Name) and node.id == "Any" for tree in trees for node in ast.walk(tree))
    return {
        "files": str(len(paths)),
        "lines of a file, median / most": f"{statistics.median(lines):.0f} / {max(lines)}",
        "lines of a function, 95th percentile / most": f"{lengths[int(len(lengths) * 0.95)]} / {lengths[-1]}",
        f"functions with complexity over {COMPLEX}": f"{over} of {len(complexity)}, {over / len(complexity):.1%}",
        "functions annotated": f"{sum(map(annotated, all_functions)) / len(all_functions):.1%}",
        "public functions with a docstring": f"{sum(ast.get_docstring(f) is not None for f in public) / len(public):.1%}",
        "lines with a comment": f"{comments / code:.1%}",
        "`Any` per 1,000 lines": f"{anything / code * 1000:.1f}",
        "`noqa` per 1,000 lines": f"{noqa / code * 1000:.1f}",
        "most rooms in a folder": "{1} ({0})".format(*max(rooms().items(), key=lambda item: item[1])),
    }


def wings(layer: str) -> str:
    """The wings of a layer and who imports whom, as a Mermaid diagram."""
    package = f"windtunnel.{layer}"
    graph = build_graph(package, cache_dir=None)
    names = sorted(child.rpartition(".")[2] for child in graph.find_children(package))
    packages = [name for name in names if graph.find_children(f"{package}.{name}")]
    arrows = [
        f"    {importer} --> {imported}"
        for importer in names
        for imported in names
        if importer != imported
        and graph.direct_import_exists(importer=f"{package}.{importer}", imported=f"{package}.{imported}", as_packages=True)
    ]
    boxes = [f"    {name}[{name}/]" if name in packages else f"    {name}" for name in names if not name.startswith("__")]
    return "\n".join(["```mermaid", "flowchart TD", *boxes, *(arrow for arrow in arrows if "__main__" not in arrow), "```"])


def main() -> int:
    """Print the figures, or the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wings", action="store_true", help="the picture of docs/architecture.md instead; --write puts it there")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--complex", action="store_true", help="list the functions that are too complex")
    given = parser.parse_args()
    if given.complex:
        over = sorted((v, n) for layer in LAYERS for path in sources(layer) for n, v in complexities(path) if v > COMPLEX)
        sys.stdout.write("".join(f"{value:3} {name}\n" for value, name in reversed(over)))
    elif given.wings:
        document = ROOT / "docs" / "architecture.md"
        if given.write:
            document.write_text(drawn(document.read_text(encoding="utf-8")), encoding="utf-8")
        else:
            sys.stdout.write("\n\n".join(wings(layer) for layer in LAYERS) + "\n")
    else:
        sys.stdout.write("| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in figures().items()))
    return 0


def drawn(text: str) -> str:
    """A document with each picture between ``<!-- wings: LAYER -->`` and ``<!-- end -->`` drawn anew."""
    return re.sub(
        r"(<!-- wings: (\w+) -->\n).*?(<!-- end -->)", lambda match: f"{match[1]}{wings(match[2])}\n{match[3]}", text, flags=re.DOTALL
    )


if __name__ == "__main__":
    sys.exit(main())
