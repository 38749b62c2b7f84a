"""Starts a command as a daemon; run as a script: ``python -I -S detach.py LOG USER COMMAND...`` prints the daemon's process id.

USER is ``-`` for the same user.

The daemon leads a session without being anybody's child, so that it outlives the terminal and leaves no zombie behind.
"""

import os
import pwd
import sys


def main(log: str, user: str, command: list[str]) -> None:
    """Fork, tell the child's process id, and become the command in the child."""
    read_end, write_end = os.pipe()
    if os.fork():
        os.close(write_end)
        sys.stdout.write(os.read(read_end, 32).decode())
        return
    os.setsid()
    os.close(read_end)
    os.write(write_end, str(os.getpid()).encode())
    os.close(write_end)
    null = os.open(os.devnull, os.O_RDONLY)
    # before the user changes: the log belongs to us, and that user could not open it
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    if user != "-":
        entry = pwd.getpwnam(user)
        # the user last: without root the groups could not be given up any more
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    os.execv(command[0], command)  # noqa: S606  # the list of arguments is ours


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
