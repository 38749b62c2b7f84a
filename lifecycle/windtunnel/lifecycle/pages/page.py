"""Self-contained HTML pages: every report of ours looks the same, opens without a network and escapes what it shows.

Build a body from `Markup` pieces and `render` it. Text that is not `Markup` is escaped wherever it is put.
"""

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

__all__ = ["badge", "bars", "details", "line", "meter", "render", "section", "table", "tiles"]

_CSS = """
:root{--ink:#1c2430;--soft:#5c6675;--line:#e3e7ed;--paper:#fff;--ground:#f6f7f9;
--blue:#2563eb;--red:#c62828;--amber:#b45309;--green:#1b7f3b}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#9aa4b2;--line:#2c3440;--paper:#171c24;
--ground:#10141a;--blue:#6ea0ff;
--red:#ff8a80;--amber:#f0b45a;--green:#6fd08c}}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1180px;margin:0 auto;padding:24px}h1{font-size:24px;margin:0 0 4px}h2{font-size:17px;margin:0 0 12px}
.sub{color:var(--soft);margin:0 0 20px}section{background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:18px 20px;
margin:0 0 18px;overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th{color:var(--soft);font-weight:600;font-size:13px;text-align:left}th,td{padding:6px 12px 6px 0;border-bottom:1px solid var(--line);
vertical-align:middle}
.w{white-space:nowrap}td.n,th.n{text-align:right;white-space:nowrap}tr:last-child td{border-bottom:0}
.tiles{display:flex;flex-wrap:wrap;gap:12px}
.tile{border:1px solid var(--line);border-radius:8px;padding:10px 16px;min-width:130px}.tile b{display:block;font-size:20px}
.tile span{color:var(--soft);font-size:13px}
.badge{display:inline-block;white-space:nowrap;border-radius:99px;padding:1px 9px;font-size:12px;
font-weight:600;
border:1px solid currentColor;
margin-right:4px}.good{color:var(--green)}.warn{color:var(--amber)}.bad{color:var(--red)}.info{color:var(--blue)}
svg{display:block}svg .bar{fill:var(--blue)}svg .bar2{fill:var(--amber);opacity:.65}svg .stroke{stroke:var(--blue);fill:none;
stroke-width:1.5}
svg .axis{stroke:var(--line)}svg text{fill:var(--soft);font-size:10px}code{font-size:13px}
summary{cursor:pointer;color:var(--soft);white-space:nowrap}
"""


def render(title: str, body: Iterable[Markup | str], subtitle: str = "") -> str:
    """A whole page.

    Example:
        >>> "<title>A &amp; B</title>" in render("A & B", [section("One", "text")])
        True
    """
    content = Markup("").join(body)
    return str(
        Markup(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
            "<title>{title}</title><style>{css}</style></head><body><main><h1>{title}</h1><p class=sub>{subtitle}</p>{content}</main>"
            "</body></html>"
        ).format(title=title, css=Markup(_CSS), subtitle=subtitle, content=content)  # noqa: S704 - a constant
    )


def section(title: str, *content: Markup | str) -> Markup:
    """A titled card."""
    return Markup("<section><h2>{}</h2>{}</section>").format(title, Markup("").join(content))


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """A table; columns of numbers are right-aligned and shortened, ``None`` is a dash."""
    lines = [list(row) for row in rows]
    numeric = [_is_numeric(column) for column in zip(*lines, strict=True)] or [False] * len(headers)
    side = [Markup(" class=n") if right else Markup("") for right in numeric]
    head = _cells("th", side, headers)
    body = Markup("").join(Markup("<tr>{}</tr>").format(_cells("td", side, [number(value) for value in line])) for line in lines)
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(head, body)


def _is_numeric(column: Sequence[object]) -> bool:
    return any(map(_is_number, column)) and all(value is None or _is_number(value) for value in column)


def _cells(tag: str, side: Sequence[Markup], values: Sequence[object]) -> Markup:
    cell = Markup(f"<{tag}{{}}>{{}}</{tag}>")  # noqa: S704 - the tag is ours
    return Markup("").join(cell.format(kind, value) for kind, value in zip(side, values, strict=True))


def tiles(figures: Iterable[tuple[str, object]]) -> Markup:
    """The few figures that matter: (what, value) pairs."""
    return Markup("<div class=tiles>{}</div>").format(
        Markup("").join(Markup("<div class=tile><b>{}</b><span>{}</span></div>").format(number(value), what) for what, value in figures)
    )


def badge(text: str, tone: str = "info") -> Markup:
    """A small label; tone is good, warn, bad or info."""
    return Markup('<span class="badge {}">{}</span>').format(tone, text)


def details(summary: str, *content: Markup | str) -> Markup:
    """Content that a reader opens."""
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, Markup("").join(content))


def bars(values: Sequence[float], other: Sequence[float] | None = None, *, width: int = 160, height: int = 36, title: str = "") -> Markup:
    """A small bar chart, with a second series laid over it where given."""
    top = max([*values, *(other or []), 1e-12])
    step = width / max(len(values), 1)

    def draw(series: Sequence[float], kind: str) -> Markup:
        return Markup("").join(
            Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                kind, i * step, height - value / top * height, max(step - 1, 1), value / top * height
            )
            for i, value in enumerate(series)
        )

    return Markup('<svg width="{}" height="{}" role="img"><title>{}</title>{}{}</svg>').format(
        width, height, title, draw(values, "bar"), draw(other or [], "bar2")
    )


def meter(share: float, *, width: int = 160, height: int = 12, title: str = "") -> Markup:
    """A bar across, as long as a share of the width.

    Example:
        >>> 'width="80.0"' in meter(0.5)
        True
    """
    return Markup(
        '<svg width="{0}" height="{1}" role="img"><title>{2}</title><rect class="bar" x="0" y="0" width="{3:.1f}" height="{1}"/></svg>'
    ).format(width, height, title, min(max(share, 0.0), 1.0) * width)


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
    guide = Markup('<line class="axis" x1="0" y1="{}" x2="{}" y2="0"/>').format(height, width) if diagonal else ""
    return Markup(
        '<svg width="{0}" height="{1}" role="img"><title>{2}</title><path class="axis" d="M0 0V{1}H{0}" fill="none"/>{3}'
        '<polyline class="stroke" points="{4}"/></svg>'
    ).format(width, height, title, guide, place)


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
