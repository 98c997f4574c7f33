"""Photos in the page: the mistakes as thumbnails, written into the file itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

from PIL import Image

from wisp.errors import DataError
from wisp.evaluation import Evaluation, Mistake
from wisp.images import preprocess
from wisp.records import ResizeRule
from wisp.report.markup import Markup, element, name

_SIDE = 96  # pixels; shown smaller, so that a phone's dense screen has enough of them
_QUALITY = 72  # JPEG: about 2.5 kB a thumbnail
_EACH_PAIR, _HARDEST = 4, 18  # four fit side by side on a phone


def pair_strip(evaluation: Evaluation, true: str, said: str) -> Markup:
    """Some photos of one class that were taken for another, the surest answers first; empty where there are none."""
    chosen = [mistake for mistake in evaluation.mistakes if (mistake.true, mistake.said) == (true, said)]
    return _strip(chosen, _EACH_PAIR, with_caption=False)


def hardest_strip(evaluation: Evaluation) -> Markup:
    """The photos that the model is surest about, and wrong; empty where there are none."""
    return _strip(evaluation.mistakes, _HARDEST, with_caption=True)


def _strip(mistakes: Iterable[Mistake], at_most: int, *, with_caption: bool) -> Markup:
    figures: list[Markup] = []
    for mistake in mistakes:
        if len(figures) == at_most:
            break
        picture = _thumbnail(mistake)
        if picture is None:
            continue
        caption = element(
            "figcaption",
            name(mistake.true),
            " taken for ",
            name(mistake.said),
            f", {mistake.probability:.0%} sure",
        )
        figures.append(element("figure", picture, *([caption] if with_caption else [])))
    return element("div", *figures, class_="photos") if figures else Markup()


def _thumbnail(mistake: Mistake) -> Markup | None:
    """The photo as an `img` that needs no other file; None where it is not there any more."""
    try:
        pixels = preprocess(mistake.path, ResizeRule(_SIDE, "pad"))
    except DataError:
        return None
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=_QUALITY, optimize=True)
    told = f"{mistake.name}: {mistake.true}, taken for {mistake.said} ({mistake.probability:.0%} sure)"
    return element(
        "img",
        src=f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}",
        alt=told,
        title=told,
        width=_SIDE,
        height=_SIDE,
        loading="lazy",
    )
