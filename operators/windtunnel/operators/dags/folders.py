"""Folders of problem files: each file becomes its DAGs, and no file touches another problem's.

What the check accepts is what Airflow accepts: a file counts only once its DAGs were built and their timetables validated, and
`check_problems` serialises them too, as Airflow's DAG processor will.
"""

import inspect
import logging
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, get_parsing_context

from windtunnel.lifecycle.contract.errors import ProblemError
from windtunnel.lifecycle.contract.problem import LARGEST, Problem, load
from windtunnel.lifecycle.contract.problem.sense import RESERVED
from windtunnel.operators.dags.factory import lifecycle_dags
from windtunnel.operators.dags.options import check_defaults, with_options

__all__ = ["check_problems", "problems_of", "register_problems"]

log = logging.getLogger("windtunnel.problems")

_ENDS = ("", *RESERVED)


def register_problems(folder: str | Path, namespace: MutableMapping[str, object], **defaults: Any) -> None:
    """Turn every problem file of a folder into its DAGs, in a DAG file's globals.

    A file that is wrong is left out here, whatever is wrong with it, so that the other problems' DAGs stay; `check_problems`, called in a
    DAG file of its own, shows it as an import error. Of two files of one name, in this folder or another one beside the DAG file, the
    first by path counts. When a task runs, only the problem that it belongs to is read.

    Args:
        folder: the folder; relative to the calling DAG file.
        namespace: ``globals()`` of the DAG file.
        **defaults: ``timezone`` and fields of a problem file's section ``dag``, such as ``pool`` or ``execution_timeout``, for the problems
            whose files do not say them.

    Raises:
        ConfigurationError: a default is wrong.
        ProblemError: there is no such folder, or (when a task runs) its own file is wrong.
    """
    check_defaults(defaults)
    root = _root(namespace)
    wanted = get_parsing_context().dag_id
    for path in _files(root / folder):
        if wanted is not None and wanted not in {path.stem + end for end in _ENDS}:
            continue
        try:
            dags = _dags(path, root, defaults)
        except Exception as error:
            # the running task's own file: left out, it would only say that its DAG is not known
            if wanted is not None:
                raise
            log.warning("%s: left out: %s", path, error)
            continue
        for dag in dags:
            namespace[f"dag_{dag.dag_id}"] = dag


def check_problems(*folders: str | Path) -> None:
    """Raise one error that names every broken problem file of some folders, its fields and what is allowed.

    Called in a DAG file of its own it becomes an import error of that file. (Raised where the other DAGs are made, Airflow would take
    all DAGs of that file away.)

    Args:
        folders: relative to the calling DAG file.

    Raises:
        ProblemError: there is a broken file, or no such folder.
    """
    root = _root(inspect.stack()[1].frame.f_globals)
    wrong = [fault for folder in folders for path in _files(root / folder) if (fault := _fault(path, root))]
    if wrong:
        raise ProblemError("\n".join(wrong))


def problems_of(folder: str | Path, namespace: MutableMapping[str, Any]) -> Iterator[Problem]:
    """The problems of a folder, which is relative to the DAG file whose globals these are; a file that is wrong is left out."""
    root = _root(namespace)
    for path in _files(root / folder):
        try:
            yield _load(path, root)
        except ProblemError as error:  # shown by `check_problems`
            log.warning("%s: left out: %s", path, error)


def _fault(path: Path, root: Path) -> str:
    """What is wrong with a file; empty if nothing is."""
    try:
        for dag in _dags(path, root, {}):
            _serialise(dag)
    except ProblemError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - whatever Airflow refuses
        return f"{path}: Airflow does not take its DAGs: {type(error).__name__}: {error}"
    return ""


def _serialise(dag: DAG) -> None:
    """As the DAG processor does it, which nothing else in a DAG file needs to import."""
    from airflow.serialization.serialized_objects import DagSerialization

    DagSerialization.to_dict(dag)


def _dags(path: Path, root: Path, defaults: Mapping[str, Any]) -> list[DAG]:
    """The DAGs of a file, as Airflow will take them.

    Raises:
        ProblemError: the file is wrong, or another one that counts has its name.
        Exception: whatever Airflow raises when a DAG is built or its timetable validated.
    """
    problem = _load(path, root)
    dags = lifecycle_dags(with_options(problem, defaults), auto_register=False)  # only those that register_problems puts into globals count
    for dag in dags:
        # Airflow looks at a cron text only when it bags the DAG, and then takes all DAGs of the file away
        dag.timetable.validate()
    return dags


def _rivals(path: Path, root: Path) -> Iterator[Path]:
    """Other problem files of the same name, in any folder beside the DAG file."""
    for end in (".yaml", ".yml"):
        for other in root.rglob(f"{path.stem}{end}"):
            hidden = any(part.startswith(".") for part in other.relative_to(root).parts)
            if not hidden and _is_problem(other) and not other.samefile(path):
                yield other


def _is_problem(path: Path) -> bool:
    """Whether a file looks like a problem's; a folder of that name, a link to nowhere and what nobody may read is none."""
    try:
        return path.is_file() and path.stat().st_size <= LARGEST and b"task:" in path.read_bytes()
    except OSError:
        return False


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise ProblemError(f"{folder}: is not a folder", hint="put problem files (YAML) there, or name another folder")
    yield from sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])


def _load(path: Path, root: Path) -> Problem:
    """The problem of a file.

    Raises:
        ProblemError: the file is wrong, or another one that counts has its name.
    """
    problem = load(path)
    if problem.name != path.stem:
        raise ProblemError(
            f"{path}: name: is {problem.name!r} but must be the file's own name, {path.stem!r}", path=str(path), fields=["name"]
        )
    rival = next((other for other in _rivals(path, root) if other < path), None)
    if rival is not None:
        raise ProblemError(
            f"{path}: name: {problem.name!r} is the name of {rival} too, and names are unique across folders: rename one of the files",
            path=str(path),
            fields=["name"],
        )
    return problem


def _root(caller: MutableMapping[str, Any]) -> Path:
    return Path(caller.get("__file__", ".")).parent
