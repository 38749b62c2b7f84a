"""``windtunnel completion SHELL``: what makes a shell complete commands, options and files."""

import argparse

__all__ = ["add_arguments", "run"]

_SHELLS = ("bash", "zsh", "fish", "powershell", "tcsh")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The shell."""
    parser.add_argument("shell", choices=_SHELLS, help="which")


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    from argcomplete.shell_integration import shellcode

    shell = "bash" if arguments.shell == "zsh" else arguments.shell
    print(shellcode(["windtunnel"], shell=shell))
    return 0
