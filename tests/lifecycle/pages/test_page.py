import subprocess
import sys

import pytest
from markupsafe import Markup

from windtunnel.lifecycle.pages import page


def test_everything_that_is_not_markup_is_escaped():
    evil = "<script>alert(1)</script>"
    html = page.render(evil, [page.section(evil, evil, page.table([evil], [[evil]]), page.tiles([(evil, evil)]), page.badge(evil))], evil)
    assert "<script>" not in html
    assert html.count("&lt;script&gt;") == 10


def test_every_piece_escapes_what_it_is_given():
    evil = "<script>alert('1')</script>\""
    pieces = [
        *(page.section(evil, evil), page.table([evil], [[evil]]), page.tiles([(evil, evil)]), page.badge(evil, evil)),
        *(page.details(evil, evil), page.paragraph(evil, evil), page.note(evil), page.items([evil]), page.link(evil, evil)),
        *(page.bold(evil), page.named(evil, evil), page.unbroken(evil), page.code(evil), page.side_by_side([(evil, evil)])),
        *(page.form(evil, [(evil, evil, evil, evil, 1)]), page.bars([1], title=evil), page.meter(1, title=evil)),
        page.line([(0, 0)], title=evil),
    ]
    for piece in pieces:
        assert "&lt;script&gt;" in piece
        assert "<script>" not in piece
        assert "'1'" not in piece


def test_making_a_page_is_what_loads_the_templates():
    code = "import sys, windtunnel.lifecycle.pages.report; print('jinja2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_page_needs_no_network():
    html = page.render("t", [page.section("s", page.bars([1, 2], [2, 1]), page.line([(0, 0), (1, 1)], diagonal=True))])
    assert "http" not in html
    assert "src=" not in html


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "&ndash;"), (1234567, "1,234,567"), (0.123456, "0.1235"), (12345.678, "12,346"), (True, "True"), ("<", "&lt;")],
)
def test_numbers_are_written_for_readers(value, shown):
    assert page.number(value) == Markup(shown)


def test_columns_of_numbers_are_right_aligned_with_their_head():
    html = page.table(["a", "b", "c"], [[1, "x", None], [None, 2, None]])
    assert html.count("class=n") == 3  # the head and both cells of column a
    assert page.table(["a"], []) == "<table><thead><tr><th>a</th></tr></thead><tbody></tbody></table>"


def test_no_points_no_picture():
    assert page.line([]) == ""
