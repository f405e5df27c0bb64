"""Texts of others in Markdown: what is shown is the text, and nothing in it is markup."""

from html import unescape

import pytest

from foundation.markdown import block, code, plain


@pytest.mark.parametrize(
    "text",
    [
        "vae_digits", "*bold*", "**a**b", "_a_ b_c_d", "`rm -rf`", "[a](http://b)", "![a](http://b)", "<script>", "# a",
        "## a", "- a", "1. a", "2) a", "---", "[a]: http://b", "\\*a*", "FID* of a", "C:\\a", "it's 1 + 1",
    ],
)  # fmt: skip
def test_a_text_is_shown_as_it_is(text: str):
    markdown = pytest.importorskip("markdown")
    assert unescape(markdown.markdown(plain(text))) == f"<p>{text}</p>"


def test_a_cell_does_not_end_in_a_text():
    assert plain("a|b\nc") == r"a\|b c" and code("a|b") == r"`a\|b`"


def test_a_fence_is_longer_than_what_it_holds():
    assert block("a", "bash") == ["```bash", "a", "```"]
    assert block("a ```` b ```", "")[0] == "`````"


def test_code_ends_where_its_text_does():
    assert code("a`b\n<") == "`ab &lt;`"
