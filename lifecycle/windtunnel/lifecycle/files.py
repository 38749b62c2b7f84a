"""Small files that are never seen half-written."""

import os
import tempfile
from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace a file's text so that a reader, or a crash, sees the old or the new one and nothing between; only its owner can read it.

    Args:
        path: the file.
        text: its new content.
        durable: whether the text has reached the disk when this returns.
    """
    # in the same folder: a rename is atomic within one file system only
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(name).replace(path)
    # also when interrupted: nobody else would remove the temporary file
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
