"""The confusion matrix as a picture."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font

from wisp.files import replacing

_DEFAULT_FONT = "DejaVu Sans"  # comes with matplotlib, so it is always there
_LONGEST_NAME = 24
_NUMBERED_CELLS = 30  # beyond so many classes, numbers in the cells are too small to read


def draw_confusion(
    confusion: npt.NDArray[np.int64], names: Sequence[str], path: Path, *, title: str = ""
) -> None:
    """Write the confusion matrix as a PNG: counts as numbers, each row's shares as colours.

    Class names may be in any script: an installed font that has the characters is used; where none has them, the
    class is shown by its number, counted from 0 in the order of `names`.

    Args:
        confusion: counts of shape (n, n), rows true classes, columns answers.
        names: the n class names.
        path: the PNG to write.
        title: a line above the picture.
    """
    n = len(names)
    families, shown = _drawable(names)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = min(3 + 0.55 * n, 24)
    figure = Figure(figsize=(side + 0.8, side), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    title_families, title = _drawable_text(title)
    axes.set_title(title, family=title_families, parse_math=False)
    size = 9 if n <= _NUMBERED_CELLS else max(3.0, 9 * _NUMBERED_CELLS / n)
    # Names are text: a "$" in one does not start a formula.
    style: dict[str, Any] = {"family": families, "size": size, "parse_math": False}
    axes.set_xticks(range(n), shown, rotation=45, ha="right", rotation_mode="anchor", **style)
    axes.set_yticks(range(n), shown, **style)
    if n <= _NUMBERED_CELLS:
        for (row, column), count in np.ndenumerate(confusion):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", size=size, color=colour)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _drawable(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Font families that together draw the names, and the names as they can be drawn."""
    composed = [unicodedata.normalize("NFC", name) for name in names]
    families, drawable = _fonts_for("".join(composed))
    shown = [
        _shortened(name) if all(ord(char) in drawable for char in name) else f"class {index}"
        for index, name in enumerate(composed)
    ]
    return families, shown


def _drawable_text(text: str) -> tuple[list[str], str]:
    """Font families for one text, and the text with a question mark where none of them has the character."""
    composed = unicodedata.normalize("NFC", text)
    families, drawable = _fonts_for(composed)
    return families, "".join(char if ord(char) in drawable else "?" for char in composed)


def _fonts_for(text: str) -> tuple[list[str], set[int]]:
    """Matplotlib's own font and, where that lacks characters, one more; and the characters that the two have."""
    wanted = {ord(char) for char in text if char.isprintable()}
    drawable = wanted & _characters(font_manager.findfont(_DEFAULT_FONT))
    families = [_DEFAULT_FONT]
    if wanted - drawable:
        family, found = _best_font(wanted - drawable)
        if found:
            families.append(family)
            drawable |= found
    return families, drawable


def _best_font(wanted: Collection[int]) -> tuple[str, set[int]]:
    """The installed font that has most of the wanted characters, and those it has."""
    best: tuple[str, set[int]] = ("", set())
    for entry in sorted(font_manager.fontManager.ttflist, key=lambda entry: (entry.name, entry.fname)):
        # "Last Resort" has a placeholder box for every character: worse than a number.
        if entry.style != "normal" or entry.name.startswith("Last Resort"):
            continue
        found = _characters(entry.fname) & set(wanted)
        if len(found) > len(best[1]):
            best = (entry.name, found)
            if len(found) == len(wanted):
                break
    return best


def _characters(font: str) -> set[int]:
    try:
        return set(FT2Font(font).get_charmap())
    except (
        OSError,
        RuntimeError,
    ):  # removed meanwhile, or a format (bitmaps only) that matplotlib cannot draw
        return set()


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
