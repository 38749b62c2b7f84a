"""Write requirements.txt for the model server's image: what it needs of constraints.txt, with its hashes, and nothing else.

python docker/server/lock.py            # run in an environment that was installed from constraints.txt
python docker/server/lock.py --check    # status 1 if the file is not what it would write
"""

import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
TARGET = Path(__file__).parent / "requirements.txt"
ROOTS = [
    *("fsspec", "grpcio", "httptools", "msgspec", "numpy", "pandas", "prometheus-client", "protobuf", "pyarrow", "pydantic", "pyyaml"),
    *("scikit-learn", "skops", "starlette", "treelite", "uvloop"),
]
"""What `windtunnel.serving` and the rooms of `windtunnel.lifecycle` below it import."""


def locked() -> dict[str, str]:
    """Name -> its lines of constraints.txt, without the comments."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "constraints.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)
    blocks = re.findall(r"^(\S[^=\s]*)==((?:.*\\\n)*.*)\n", text, flags=re.MULTILINE)
    found: dict[str, str] = {}
    for name, rest in blocks:  # one name may be there several times, for several versions of Python
        key = canonicalize_name(name.partition("[")[0])
        found[key] = found.get(key, "") + f"{name}=={rest}\n"
    return found


def needed() -> set[str]:
    """The names of all that the roots need, by the metadata of what is installed."""
    found: set[str] = set()
    waiting = list(ROOTS)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found.add(name)
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


def main() -> int:
    """Write the file, or check it."""
    known = locked()
    text = "# Written by docker/server/lock.py from constraints.txt.\n" + "".join(known[name] for name in sorted(needed()))
    if "--check" in sys.argv:
        return int(not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text)
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
