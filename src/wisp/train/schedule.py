"""Learning rate as a function of the step."""

from __future__ import annotations

import math


def warmup_cosine(step: int, total_steps: int, warmup_steps: float, peak: float) -> float:
    """Linear warm-up to `peak`, then half a cosine down to zero (Loshchilov & Hutter, 2017).

    Args:
        step: steps already taken, 0 <= step < total_steps.
        total_steps: length of the training.
        warmup_steps: length of the warm-up; at most a tenth of the training is used.
        peak: the largest value.
    """
    warmup = min(warmup_steps, total_steps / 10)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total_steps - warmup)))
