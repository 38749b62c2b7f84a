"""What the model server needs beside the package itself: asked for before a worker is started, which would only die of it."""

import importlib.util

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.serving.base.options import Options

__all__ = ["check_extras"]

_SERVING = ("httptools", "msgspec", "prometheus_client", "starlette", "uvloop")


def check_extras(options: Options) -> None:
    """Stop where a library that these options need is not installed.

    Raises:
        ConfigurationError: names the libraries, and the extra that brings them.
    """
    doors = [
        ("serving", "the model server", _SERVING if options.grpc_port < 0 else (*_SERVING, "grpc")),
        ("tracing", "--traces", ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http") if options.traces else ()),
    ]
    for extra, what, modules in doors:
        missing = [name for name in modules if not _is_there(name)]
        if missing:
            raise ConfigurationError(f"{what} needs {', '.join(missing)}, not installed here", hint=f"pip install 'windtunnel[{extra}]'")


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # a parent package is missing
        return False
