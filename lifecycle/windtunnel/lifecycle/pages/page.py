"""Self-contained HTML pages: every report of ours looks the same, opens without a network and escapes what it shows.

Build a body from the pieces here and `render` it. Text that is not `Markup` is escaped wherever it is put. The HTML itself is in
``templates/``.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup, escape

__all__ = [
    "badge",
    "bars",
    "bold",
    "code",
    "details",
    "form",
    "items",
    "line",
    "link",
    "meter",
    "named",
    "note",
    "number",
    "paragraph",
    "render",
    "section",
    "side_by_side",
    "table",
    "tiles",
    "unbroken",
]

Piece = Markup | str


def render(title: str, body: Iterable[Piece], subtitle: str = "") -> str:
    """A whole page.

    Example:
        >>> "<title>A &amp; B</title>" in render("A & B", [section("One", "text")])
        True
    """
    page: str = _templates().get_template("page.html").render(title=title, subtitle=subtitle, body=list(body))
    return page


def section(title: str, *content: Piece) -> Markup:
    """A titled card."""
    return _piece("section", title, content)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """A table; columns of numbers are right-aligned and shortened, ``None`` is a dash."""
    shown = [list(row) for row in rows]
    numeric = [
        any(map(_is_number, column)) and all(value is None or _is_number(value) for value in column) for column in zip(*shown, strict=True)
    ]
    return _piece("table", list(zip(headers, numeric or [False] * len(headers), strict=True)), shown)


def tiles(figures: Iterable[tuple[str, object]]) -> Markup:
    """The few figures that matter: (what, value) pairs."""
    return _piece("tiles", list(figures))


def badge(text: str, tone: str = "info") -> Markup:
    """A small label; tone is good, warn, bad or info."""
    return _piece("badge", text, tone)


def details(summary: str, *content: Piece) -> Markup:
    """Content that a reader opens."""
    return _piece("details", summary, content)


def paragraph(*content: Piece) -> Markup:
    """Text, with whatever stands in it.

    Example:
        >>> paragraph("a < b ", bold("always"))
        Markup('<p>a &lt; b <b>always</b></p>')
    """
    return _piece("paragraph", content)


def note(text: str) -> Markup:
    """A line of soft text below a title."""
    return _piece("note", text)


def items(texts: Iterable[Piece]) -> Markup:
    """A list with bullets."""
    return _piece("items", list(texts))


def link(url: str, text: object) -> Markup:
    """Text that leads elsewhere."""
    return _piece("link", url, text)


def bold(text: str) -> Markup:
    """Text that stands out."""
    return _piece("bold", text)


def named(name: str, kind: str) -> Markup:
    """A column's name, its type below."""
    return _piece("named", name, kind)


def unbroken(text: str) -> Markup:
    """Text that stays on one line."""
    return _piece("unbroken", text)


def code(text: str) -> Markup:
    """Text as a program has it."""
    return _piece("code", text)


def side_by_side(charts: Iterable[tuple[str, Markup]]) -> Markup:
    """Pictures in a row: (caption, picture) pairs."""
    return _piece("side_by_side", list(charts))


def form(action: str, fields: Iterable[tuple[str, str, str, str, int]]) -> Markup:
    """Fields to ask with: (label, name, value, placeholder, size) each."""
    return _piece("form", action, list(fields))


def bars(values: Sequence[float], other: Sequence[float] | None = None, *, width: int = 160, height: int = 36, title: str = "") -> Markup:
    """A small bar chart, with a second series laid over it where given."""
    top = max([*values, *(other or []), 1e-12])
    step = width / max(len(values), 1)

    def rectangles(series: Sequence[float]) -> list[tuple[str, ...]]:
        """Left, top, width and height of each bar."""
        tall = [value / top * height for value in series]
        return [tuple(f"{figure:.1f}" for figure in (i * step, height - high, max(step - 1, 1), high)) for i, high in enumerate(tall)]

    return _piece("bars", [("bar", rectangles(values)), ("bar2", rectangles(other or []))], width, height, title)


def meter(share: float, *, width: int = 160, height: int = 12, title: str = "") -> Markup:
    """A bar across, as long as a share of the width.

    Example:
        >>> 'width="80.0"' in meter(0.5)
        True
    """
    return _piece("meter", f"{min(max(share, 0.0), 1.0) * width:.1f}", width, height, title)


def line(
    points: Sequence[tuple[float, float]],
    *,
    width: int = 260,
    height: int = 180,
    diagonal: bool = False,
    unit: bool = False,
    title: str = "",
) -> Markup:
    """A line through (x, y) points, both scaled to their ranges, or to 0 to 1 (`unit`); `diagonal` adds a guide."""
    if not points:
        return Markup("")
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    x0, x1, y0, y1 = (0.0, 1.0, 0.0, 1.0) if diagonal or unit else (min(xs), max(xs), min(ys), max(ys))
    place = " ".join(f"{(x - x0) / ((x1 - x0) or 1) * width:.1f},{height - (y - y0) / ((y1 - y0) or 1) * height:.1f}" for x, y in points)
    return _piece("line", place, diagonal, width, height, title)


def number(value: object) -> Markup:
    """A value as a reader wants it: thousands separated, four significant digits, a dash for nothing."""
    if value is None:
        return Markup("&ndash;")
    if not isinstance(value, int | float) or isinstance(value, bool):
        return escape(value)
    if isinstance(value, int):
        return escape(f"{value:,}")
    return escape(f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@functools.cache
def _templates() -> Any:
    """The templates, compiled when a page is first made: what a DAG file imports stays light."""
    import jinja2

    loader = jinja2.PackageLoader("windtunnel.lifecycle.pages")
    # A name that a template misspells must be an error, not an empty cell.
    templates = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    templates.filters["number"] = number
    return templates


def _piece(name: str, *content: object) -> Markup:
    # jinja2 gives a template's macros as attributes of its module.
    piece: Markup = getattr(_templates().get_template("pieces.html").module, name)(*content)
    return piece
