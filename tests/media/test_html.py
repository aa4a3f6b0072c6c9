"""Pages are complete HTML files, and the text in them is escaped."""

from emo.media.html import render_page, render_table


def test_a_page_is_complete_and_its_text_is_escaped():
    page = render_page("a < b", [render_table("t", [("<b>", "1")], ("n", "v"))])
    assert page.startswith("<!doctype html>") and "<title>a &lt; b</title>" in page and "<td>&lt;b&gt;</td>" in page
