"""Airflow's scheduler with the heavy libraries imported before it starts: ``python -m windtunnel.cli.instance.scheduler``.

LocalExecutor forks its workers from the scheduler, and a worker forks every task. What the scheduler has imported, a task finds in
``sys.modules`` without paying for it: a stage that needs MLflow, Great Expectations, Beam and scikit-learn starts seconds earlier, and
all tasks share the memory of those libraries. Only libraries are imported, none of our own modules and no DAG: a changed stage still
takes effect with the next task.

The setting ``[windtunnel] preload`` (``AIRFLOW__WINDTUNNEL__PRELOAD``) lists the modules, separated by commas; ``none`` switches it off.
"""

import gc
import importlib
import logging
import os
import sys
import time

from windtunnel.lifecycle.contract.settings import PREFIX

__all__ = ["PRELOADED", "main", "modules", "preload"]

# In this order: skops walks through all loaded modules when it is imported, which is costly and noisy once Airflow is among them.
PRELOADED = (
    "numpy",
    "pandas",
    "pyarrow.parquet",
    "pyarrow.dataset",
    "pyarrow.compute",
    "scipy.sparse",
    "scipy.stats",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "skops.io",
    "mlflow",
    "great_expectations",
    "apache_beam",
    "apache_beam.runners.portability.fn_api_runner.fn_runner",
    "pyiceberg.catalog.sql",
    "optuna",
    "treelite",
    "datasketches",
    "fsspec",
    "psycopg2",
)


def modules() -> tuple[str, ...]:
    """The modules to import, as the setting says."""
    given = os.environ.get(f"{PREFIX}PRELOAD", "").strip()
    if not given:
        return () if sys.platform == "darwin" else PRELOADED  # tasks start in new interpreters there
    return () if given.lower() == "none" else tuple(name.strip() for name in given.split(",") if name.strip())


def preload(names: tuple[str, ...]) -> dict[str, float]:
    """Import the modules; one that cannot be imported is named and left to the task that needs it.

    Returns:
        Seconds for each module.
    """
    # It logs hundreds of lines while it is imported.
    logging.getLogger("great_expectations._docs_decorators").setLevel(logging.WARNING)
    taken = {}
    for name in names:
        began = time.perf_counter()
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001  # whatever a library raises, the scheduler must start
            print(f"preload: {name} cannot be imported: {error}", file=sys.stderr)
        taken[name] = time.perf_counter() - began
    return taken


def main() -> None:
    """Preload, then become ``airflow scheduler``."""
    names = modules()
    taken = preload(names)
    print(f"preload: {len(names)} modules in {sum(taken.values()):.1f} s", flush=True)
    # Forks that collect garbage would otherwise copy every page of it.
    gc.collect()
    gc.freeze()
    # after the libraries, not at the top: skops would walk through Airflow's modules too
    from airflow.__main__ import main as airflow

    # served logs would need a port of their own; the API server reads them from the disk
    sys.argv = ["airflow", "scheduler", "--skip-serve-logs", *sys.argv[1:]]
    airflow()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
