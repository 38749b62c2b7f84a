"""Colours and progress: on terminals only, and not where NO_COLOR says no."""

import io
import os
import pty
import re
import subprocess
import sys

import pytest

from windtunnel.cli.terminal import Meter, paint

MAIN = [sys.executable, "-m", "windtunnel.cli.main"]
COLOUR = re.compile(r"\x1b\[[0-9;]*[1-9][0-9;]*m")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def plain(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return monkeypatch


def in_a_terminal(*words, **environment):
    """A command's output on a terminal of its own."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*MAIN, *words], stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, **environment}, close_fds=True
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # Linux's way of saying that the other side is closed
        pass
    os.close(ours)
    process.wait(60)
    return shown.decode()


def test_a_style_needs_a_terminal_that_shows_it(plain, capsys):
    assert COLOUR.search(paint("well", "green", Terminal()))
    plain.setenv("TERM", "dumb")
    assert paint("well", "green", Terminal()) == "well"
    plain.setenv("TERM", "xterm")
    plain.setenv("NO_COLOR", "1")
    assert paint("well", "green", Terminal()) == "well"
    assert paint("well", "green") == "well", "pytest's capture is no terminal"


def test_progress_is_drawn_on_a_terminal_and_nowhere_else(plain):
    shown = Terminal()
    with Meter("reading", shown) as meter:
        meter.add(1234)
    assert "reading" in shown.getvalue()
    with Meter("reading", sys.stdout) as meter:  # no terminal: nothing is imported, nothing drawn
        meter.add(1234)


def test_a_command_in_a_terminal_in_a_pipe_and_without_colours(plain, tmp_path):
    data = tmp_path / "people.csv"
    data.write_text("age,plan\n" + "".join(f"{i},a\n" for i in range(1000)))
    shown = in_a_terminal("profile", str(data))
    assert "reading" in shown
    assert "age" in shown
    assert COLOUR.search(in_a_terminal("profile", str(tmp_path / "nowhere.csv")))
    assert not COLOUR.search(in_a_terminal("profile", str(tmp_path / "nowhere.csv"), NO_COLOR="1"))
    for words in (["profile", str(data)], ["profile", str(tmp_path / "nowhere.csv")]):
        piped = subprocess.run([*MAIN, *words], capture_output=True, text=True, check=False)
        assert "\x1b" not in piped.stdout + piped.stderr
        assert "reading" not in piped.stderr
