"""``windtunnel up``: start or repair the embedded instance."""

import argparse
import json
import sys
import time

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Folder, DAGs, output."""
    parser.add_argument("--dags", help="the folder of DAG files (default: the one it had before, or ./dags)")
    parser.add_argument("--json", action="store_true", help="print the status as JSON at the end")


def run(arguments: argparse.Namespace) -> int:
    """Start it and say where things are."""
    from windtunnel.cli.instance import Instance

    began = time.monotonic()
    instance = Instance(arguments.home, arguments.dags, say=lambda line: print(line, file=sys.stderr, flush=True))
    status = instance.up()
    if arguments.json:
        print(json.dumps(status, indent=2))
        return 0
    services = status["services"]
    name, password = instance.admin
    print(f"The instance in {instance.home} is up ({time.monotonic() - began:.1f} s).")
    print(f"  Airflow       {services['airflow']['url']}   user {name}, password {password}")
    print(f"  MLflow        {services['mlflow']['url']}")
    print(f"  model server  {services['server']['url']}")
    print('The plain airflow command works against it after: eval "$(windtunnel env)". Stop it with: windtunnel down')
    return 0 if all(service["healthy"] for service in services.values()) else 1
