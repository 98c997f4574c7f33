"""The frame of every page: one self-contained HTML file with a title, sections and the style sheet inside."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources

from wisp.report.markup import Markup, element, joined, name


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading of its own, which the contents at the top lead to."""

    id_: str
    title: str
    content: Markup
    class_: str | None = None


def document(label: str, summary: str, sections: Iterable[Section | Markup], version: str) -> str:
    """A whole page.

    Args:
        label: its heading; also stands in the title.
        summary: one sentence below it.
        sections: made by `section`, in order; finished HTML among them has no heading.
        version: of wisp, for the footer.
    """
    parts = list(sections)
    head = (
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">')
        + Markup('<meta name="color-scheme" content="light dark">')
        + element("title", f"wisp: {label}")
        + element("style", Markup(_style_sheet()))
    )
    body = joined(
        (
            element("header", element("h1", name(label)), element("p", summary)),
            _contents([part for part in parts if isinstance(part, Section)]),
            element("main", *(_written(part) if isinstance(part, Section) else part for part in parts)),
            element("footer", element("p", f"wisp {version}")),
        )
    )
    return (
        "<!doctype html>\n"
        + element("html", element("head", Markup(head)), element("body", body), lang="en")
        + "\n"
    )


def section(id_: str, title: str, *content: str, class_: str | None = None) -> Section:
    """A part of a page.

    Args:
        id_: unique on the page.
        title: its heading.
        content: below it; text is escaped.
        class_: in the style sheet.
    """
    return Section(id_, title, joined(content), class_)


def _contents(sections: Iterable[Section]) -> Markup:
    items = (element("li", element("a", part.title, href=f"#{part.id_}")) for part in sections)
    return element("nav", element("ul", *items), aria_label="Contents")


def _written(part: Section) -> Markup:
    return element("section", element("h2", part.title), part.content, id=part.id_, class_=part.class_)


def _style_sheet() -> str:
    return resources.files("wisp.report").joinpath("report.css").read_text(encoding="utf-8")
