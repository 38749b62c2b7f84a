"""``windtunnel serve``: the model server, in the foreground; ``windtunnel up`` starts one in the background."""

import argparse

from windtunnel.serving.front import server

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of ``python -m windtunnel.serving``."""
    server.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    import logging
    import sys

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    return server.Supervisor(server.options_of(arguments)).run()
