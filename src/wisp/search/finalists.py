"""Whom of a search to train for longer, once the time for short trainings is over."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from wisp.score import F1_FLOOR, LEADERBOARD_2021
from wisp.search.front import Point, preference

_FLOOR_REACH = 0.1  # F1 that a finalist may still be expected to gain
_TARGET_REACH = 0.03  # the same, where the user named an F1
_NEARLY_EQUAL = 0.1  # of log MACs: of networks that cost nearly the same only the best is trained


def choose_finalists(points: Sequence[Point], count: int, *, target_f1: float | None = None) -> list[int]:
    """Indices of up to `count` networks, the most interesting first: three of four by score, one from the whole front.

    Those far below the score's floor are left out: longer training would not lift them over it. It lifts all others,
    and as long as F1 is below the baseline, more of it is worth as much everywhere; so the order is that of the score
    without floor and bonus. The one from the whole front is above the floor already, where others are: the smallest
    networks, which lie there, hardly gain by longer training.

    Args:
        points: (macs, f1) of short trainings.
        count: how many are wanted.
        target_f1: macro F1 that the user wants; the two cheapest that are nearly there then come first.
    """
    by_f1 = sorted(range(len(points)), key=lambda index: -points[index][1])
    promising = [index for index, (_, f1) in enumerate(points) if f1 >= F1_FLOOR - _FLOOR_REACH] or by_f1[
        :count
    ]
    above = [index for index in promising if points[index][1] >= F1_FLOOR] or promising
    spread = [above[at] for at in preference([points[index] for index in above])]
    by_score = sorted(promising, key=lambda index: (_worth(points[index]), index))
    order: list[int] = []
    if target_f1 is not None:
        near = [index for index in promising if points[index][1] >= target_f1 - _TARGET_REACH]
        order += sorted(near, key=lambda index: points[index])[:2]
    while len(order) < min(count, len(promising)):
        fresh = [index for index in by_score if index not in order]
        apart = [index for index in fresh if not _is_near(points[index], [points[other] for other in order])]
        of_front = [index for index in spread if index not in order]
        by_turn = apart if apart and len(order) % 4 != 3 else of_front
        order.append((by_turn or apart or fresh)[0])
    return order[:count]


def _worth(point: Point) -> float:
    """The score without its floor and its bonus, but for a constant; lower is better."""
    macs, f1 = point
    return macs / LEADERBOARD_2021.macs - f1 / LEADERBOARD_2021.f1


def _is_near(point: Point, others: Iterable[Point]) -> bool:
    return any(abs(math.log(point[0] / macs)) < _NEARLY_EQUAL for macs, _ in others)
