from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.report.markup import Markup, element, escape, joined, name


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.text, self.attributes, self.tags = "", {}, []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.update(attrs)

    def handle_data(self, data):
        self.text += data


def read(markup):
    reader = Reader()
    reader.feed(markup)
    reader.close()
    return reader


def test_text_is_escaped_and_markup_is_not():
    assert element("p", "a < b & ", element("b", '"c"')) == "<p>a &lt; b &amp; <b>&quot;c&quot;</b></p>"
    assert escape(escape("<")) == "&lt;"
    assert isinstance(joined(["<", Markup("<i></i>")], " & "), Markup)
    assert joined(["<", Markup("<i></i>")], " & ") == "&lt; &amp; <i></i>"


def test_attributes_are_named_as_in_html_and_left_out_when_none():
    assert (
        element("td", class_="a", aria_label='say "x"', tabindex=0, title=None)
        == '<td class="a" aria-label="say &quot;x&quot;" tabindex="0"></td>'
    )


def test_a_name_keeps_its_own_direction():
    assert name("مرحبا <1>") == "<bdi>مرحبا &lt;1&gt;</bdi>"


@pytest.mark.parametrize("bad", ["\x00", "\x1b", "\x7f", "\x85", "\udcff", "\ufffe"])
def test_what_html_forbids_is_replaced_and_can_be_written_as_utf8(bad):
    assert escape(f"a{bad}b") == "a\ufffdb"
    escape(bad).encode("utf-8")


@given(st.text())
def test_any_text_comes_back_from_an_html_parser(text):
    reader = read(element("p", text, title=text))
    expected = str(escape(text))
    for entity, character in (
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", '"'),
        ("&#x27;", "'"),
        ("&amp;", "&"),
    ):
        expected = expected.replace(entity, character)
    assert reader.tags == ["p"]
    assert reader.text == expected
    assert reader.attributes["title"] == expected
