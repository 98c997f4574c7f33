"""The frame of every page: one self-contained HTML file with a title, sections and the style sheet inside."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources

from wisp.report.markup import Markup, element, joined, name


def document(label: str, summary: str, sections: Iterable[Markup], version: str) -> str:
    """A whole page.

    Args:
        label: its heading; also stands in the title.
        summary: one sentence below it.
        sections: made by `section`, in order.
        version: of wisp, for the footer.
    """
    head = (
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">')
        + Markup('<meta name="color-scheme" content="light dark">')
        + element("title", f"wisp: {label}")
        + element("style", Markup(_style_sheet()))
    )
    body = joined(
        (
            element("header", element("h1", name(label)), element("p", summary)),
            element("main", *sections),
            element("footer", element("p", f"wisp {version}")),
        )
    )
    return (
        "<!doctype html>\n"
        + element("html", element("head", Markup(head)), element("body", body), lang="en")
        + "\n"
    )


def section(id_: str, title: str, *content: str, class_: str | None = None) -> Markup:
    """A part of a page under a heading of its own."""
    return element("section", element("h2", title), *content, id=id_, class_=class_)


def _style_sheet() -> str:
    return resources.files("wisp.report").joinpath("report.css").read_text(encoding="utf-8")
