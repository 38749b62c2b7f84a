"""Ports of 127.0.0.1: chosen once, remembered, and changed only where somebody else took one."""

import contextlib
import socket
from collections.abc import Collection

__all__ = ["free_port", "is_free"]

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        # as servers do: connections of a server that has ended (TIME_WAIT) do not make its port a taken one
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(preferred: int, taken: Collection[int] = ()) -> int:
    """The preferred port or, where it is in use, one that the system gives out."""
    if preferred not in taken and is_free(preferred):
        return preferred
    while True:
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        # chosen for another service, which does not listen yet: the system may give it out again
        if port not in taken:
            return port
