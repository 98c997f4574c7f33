"""Photos in the page: the mistakes as thumbnails, written into the file itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

from PIL import Image

from wisp.errors import DataError
from wisp.evaluation import Evaluation, Mistake
from wisp.images import open_photo
from wisp.records import ResizeRule
from wisp.report.markup import Markup, element, name

# Pixels, about twice as many as are shown: a phone's dense screen has them, and paper too.
_SIDE_OF_PAIR, _SIDE_OF_HARDEST = 128, 208
_QUALITY = 72  # JPEG: about 4 and 8 kB a thumbnail
_EACH_PAIR, _HARDEST = 4, 18  # four fit side by side on a phone


def pair_strip(evaluation: Evaluation, true: str, said: str) -> Markup:
    """Some photos of one class that were taken for another, the surest answers first; empty where there are none."""
    chosen = [mistake for mistake in evaluation.mistakes if (mistake.true, mistake.said) == (true, said)]
    return _strip(chosen, _EACH_PAIR, _SIDE_OF_PAIR, with_caption=False)


def hardest_strip(evaluation: Evaluation) -> Markup:
    """The photos that the model is surest about, and wrong; empty where there are none."""
    return _strip(evaluation.mistakes, _HARDEST, _SIDE_OF_HARDEST, with_caption=True)


def _strip(mistakes: Iterable[Mistake], at_most: int, side: int, *, with_caption: bool) -> Markup:
    figures: list[Markup] = []
    for mistake in mistakes:
        if len(figures) == at_most:
            break
        picture = _thumbnail(mistake, side)
        if picture is None:
            continue
        caption = element(
            "figcaption",
            element("strong", name(mistake.true)),
            " taken for ",
            element("strong", name(mistake.said)),
            f", {mistake.probability:.0%} sure",
        )
        figures.append(element("figure", picture, *([caption] if with_caption else [])))
    return element("div", *figures, class_="photos") if figures else Markup()


def _thumbnail(mistake: Mistake, side: int) -> Markup | None:
    """The photo as an `img` that needs no other file; None where it is not there any more."""
    try:
        photo = open_photo(mistake.path, ResizeRule(side, "pad"))
    except DataError:
        return None
    encoded = io.BytesIO()
    photo.thumbnail((side, side), Image.Resampling.LANCZOS)  # its shape stays as it is
    photo.save(encoded, "JPEG", quality=_QUALITY, optimize=True)
    told = f"{mistake.name}: {mistake.true}, taken for {mistake.said} ({mistake.probability:.0%} sure)"
    return element(
        "img",
        src=f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}",
        alt=told,
        title=told,
        width=photo.width,
        height=photo.height,
    )
