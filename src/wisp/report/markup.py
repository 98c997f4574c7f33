"""HTML and SVG built from Python calls: text is always escaped, tags are always closed."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Final

# No browser shows them, and HTML forbids them: control characters, half a surrogate pair (a file name that is not
# UTF-8), and noncharacters.
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_VOID: Final = frozenset({"img"})  # elements without content have no end tag


class Markup(str):
    """Finished HTML. Any other string is text, and is escaped when it becomes part of some."""

    __slots__ = ()


def escape(text: str) -> Markup:
    """The text as HTML that shows it, in elements and in attributes; finished HTML stays as it is."""
    return text if isinstance(text, Markup) else Markup(html.escape(_FORBIDDEN.sub("\ufffd", text)))


def joined(parts: Iterable[str], separator: str = "") -> Markup:
    """The parts one after the other, those that are text escaped."""
    return Markup(escape(separator).join(escape(part) for part in parts))


def element(tag: str, *children: str, **attributes: str | float | None) -> Markup:
    """One element, such as `element("td", name, class_="name")`.

    Args:
        tag: its name.
        children: what is in it, in order; text is escaped.
        attributes: an underscore at the end is dropped (`class_`), others become hyphens (`aria_label`); None leaves
            the attribute out.
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{joined(children)}</{tag}>")


def name(text: str, **attributes: str | None) -> Markup:
    """A name that others chose: of a class, a file, a source. Its writing direction stays its own."""
    return element("bdi", text, **attributes)
