# PYTHON_ARGCOMPLETE_OK
"""``windtunnel COMMAND``: one module a command, imported only when it is called.

A command's module has ``add_arguments(parser)`` and ``run(arguments) -> int``; its row is in `windtunnel.cli.commands`. In all of them
``--json`` prints one JSON value instead of text, and ``-o FILE`` puts into a file what would be printed.
"""

import argparse
import contextlib
import importlib
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NoReturn

from windtunnel.cli.commands import COMMANDS, Command
from windtunnel.cli.terminal import paint
from windtunnel.lifecycle.contract.errors import ConfigurationError, WindtunnelError
from windtunnel.lifecycle.contract.naming import did_you_mean

__all__ = ["COMMANDS", "main"]


class _Parser(argparse.ArgumentParser):
    """An argparse parser that says what was probably meant."""

    def error(self, message: str) -> NoReturn:
        wrong = re.match(r"argument (?P<where>.+): invalid choice: '(?P<word>.*?)' \(choose from (?P<known>.*)\)", message)
        if wrong:
            known = [word.strip(" '") for word in wrong["known"].split(",")]
            message = f"argument {wrong['where']}: no {wrong['word']!r}{_meant(wrong['word'], known)}; one of {', '.join(known)}"
        super().error(message)

    def check_options(self, words: Sequence[str]) -> None:
        """Stop at an option that does not exist, before argparse complains about something else."""
        known = self._option_string_actions
        for word in words:
            if word == "--":
                return
            name = word.partition("=")[0]
            if name.startswith("--") and not any(option.startswith(name) for option in known):
                self.error(f"no option {name}{_meant(name, list(known))}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors of ours are one clear message and exit status 1, not a traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    completing = "_ARGCOMPLETE" in os.environ
    name = _command_of(os.environ.get("COMP_LINE", "").split()[1:] if completing else words)
    parser, subparsers = _parser(name)
    if completing:
        import argcomplete

        argcomplete.autocomplete(parser)
    if not words:
        parser.print_help()
        return 0
    if name is not None and name not in COMMANDS:
        parser.error(f"no command {name!r}{_meant(name, list(COMMANDS))}; `windtunnel --help` lists them")
    if name is not None:
        subparsers[name].check_options(words[words.index(name) + 1 :])
    parsed = parser.parse_args(words)
    return _run(parsed)


def _run(parsed: argparse.Namespace) -> int:
    command = COMMANDS[parsed.command]
    try:
        with _output(command, parsed):
            status = int(importlib.import_module(command.module).run(parsed))
            sys.stdout.flush()  # a reader that has left is noticed here and not when the interpreter ends
            return status
    except WindtunnelError as error:
        print(f"{paint(f'windtunnel {parsed.command}:', 'bold red', sys.stderr)} {error}", file=sys.stderr)
        return 1
    # whoever reads has seen enough, as `head` does: no failure of the command
    except BrokenPipeError:
        with contextlib.suppress(OSError):  # what is still buffered has no reader either; the interpreter flushes it at its end
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        return 0
    except KeyboardInterrupt:
        # 128 and the number of SIGINT, as shells have it
        return 130


def _command_of(words: Sequence[str]) -> str | None:
    return next((word for word in words if not word.startswith("-")), None)


def _parser(name: str | None) -> tuple[_Parser, dict[str, _Parser]]:
    """The parser of all commands; only the named one gets its arguments, so that nothing else is imported."""
    lines = ["commands:"]
    for group in dict.fromkeys(command.group for command in COMMANDS.values()):
        lines += ["", f"  {group}", *(f"    {key:<12} {row.text}" for key, row in COMMANDS.items() if row.group == group)]
    lines += ["", "`windtunnel COMMAND --help` has the options and examples of each."]
    parser = _Parser(
        prog="windtunnel",
        description="The whole life of a model, as ordinary Airflow DAGs.",
        epilog="\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=metadata.version("windtunnel"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", help="one of those below", parser_class=_Parser)
    made: dict[str, _Parser] = {}
    for key, command in COMMANDS.items():
        text = "examples:\n" + "\n".join(f"  windtunnel {example}" for example in command.examples)
        made[key] = commands.add_parser(
            key, description=f"{command.text}.", epilog=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if key == name:
            _add_arguments(made[key], command)
    return parser, made


def _add_arguments(parser: _Parser, command: Command) -> None:
    importlib.import_module(command.module).add_arguments(parser)
    if command.instance:
        from windtunnel.cli.instance.resolve import add_home

        add_home(parser)
    if command.output:
        parser.add_argument("-o", "--output", dest="output_file", metavar="FILE", help="put there what would be printed")


@contextlib.contextmanager
def _output(command: Command, parsed: argparse.Namespace) -> Iterator[None]:
    """Put what is printed into the file that ``-o`` names: whole, or not at all."""
    file = getattr(parsed, "output_file", None) if command.output else None
    if not file:
        yield
        return
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        yield
    path = Path(file)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(printed.getvalue(), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ConfigurationError(f"--output {file}: cannot be written: {error.strerror}", hint="give another file") from error


def _meant(word: str, known: list[str]) -> str:
    guess = did_you_mean(word, known)
    return f"; {guess}" if guess else ""


if __name__ == "__main__":
    sys.exit(main())
