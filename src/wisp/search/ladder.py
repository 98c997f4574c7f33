"""The fixed ladder: a handful of wisp networks at several input sizes, one candidate a rung.

It is all that a short `optimize` tries, and what a search begins with.
"""

from __future__ import annotations

from collections.abc import Sequence

from wisp.errors import RecipeError
from wisp.models import named
from wisp.search.candidate import Candidate
from wisp.search.sampling import Sampler
from wisp.search.space import Genes

LADDER = "ladder"  # its name among the strategies

# In order of interest: what a short budget should try first comes first. The middle of the ladder scores best on
# small waste sets; the ends show what more or less computation would change.
RUNGS: tuple[tuple[str, int], ...] = (
    ("wisp-1m", 48),
    ("wisp-2m", 48),
    ("wisp-500k", 32),
    ("wisp-2m", 64),
    ("wisp-1m", 64),
    ("wisp-2m", 32),
    ("wisp-500k", 48),
    ("wisp-4m", 64),
)


def ladder(
    num_classes: int, *, max_macs: int | None = None, rungs: Sequence[tuple[str, int]] = RUNGS
) -> list[Candidate]:
    """The candidates of the ladder, in order of interest.

    Args:
        num_classes: classes to tell apart.
        max_macs: leave out what costs more (the competition's count of the network as trained).
        rungs: (name of a network, image size in pixels).

    Raises:
        RecipeError: nothing is that cheap; the message names the cheapest there is.
    """
    every = [Candidate(f"{name}-{size}px", named(name, num_classes), size) for name, size in rungs]
    if max_macs is None:
        return every
    cheap = [candidate for candidate in every if candidate.macs <= max_macs]
    if not cheap:
        least = min(every, key=lambda candidate: candidate.macs)
        raise RecipeError(
            f"--max-macs {max_macs:,}: no network of the ladder is that cheap; the cheapest, {least.name}, has "
            f"{least.macs:,} MACs"
        )
    return cheap


def known_good(sampler: Sampler) -> list[Genes]:
    """The rungs that are in the sampler's space and keep its limits, in order of interest."""
    found = []
    for candidate in ladder(sampler.space.num_classes):
        try:
            genes = sampler.space.encode(candidate)
        except ValueError:  # an input size that was not decoded, or a smaller space
            continue
        if sampler.is_feasible(genes):
            found.append(genes)
    return found
