import pytest
from markupsafe import Markup

from windtunnel.lifecycle.pages import page


def test_everything_that_is_not_markup_is_escaped():
    evil = "<script>alert(1)</script>"
    html = page.render(evil, [page.section(evil, evil, page.table([evil], [[evil]]), page.tiles([(evil, evil)]), page.badge(evil))], evil)
    assert "<script>" not in html
    assert html.count("&lt;script&gt;") == 10


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
