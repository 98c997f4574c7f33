"""Stratified splits of groups that hold several classes at once: the crops of one photo stay together."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping


def split_groups(
    groups: Mapping[str, Mapping[str, int]], fractions: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Deal groups out to splits so that every class comes near its fractions.

    Iterative stratification (Sechidis, Tsoumakas & Vlahavas, 2011): the rarest class first, each of its groups to
    the split that lacks it most. Here groups hold counts, so that the largest are dealt first.

    Args:
        groups: for each group how many samples it holds of each class.
        fractions: for each split its part of the whole; zero leaves a split empty.
        seed: decides between equals.

    Returns:
        For each group its split; the same for the same arguments, whatever their order.
    """
    generator = random.Random(seed)  # noqa: S311  (reproducible, not secret)
    left = {name: dict(groups[name]) for name in sorted(groups)}
    tie = {name: generator.random() for name in left}
    remaining: Counter[str] = Counter()
    holders: dict[str, set[str]] = defaultdict(set)
    for name, counts in left.items():
        for label, count in counts.items():
            remaining[label] += count
            holders[label].add(name)
    splits = [split for split, fraction in fractions.items() if fraction > 0]
    lacking = {
        split: {label: fractions[split] * total for label, total in remaining.items()} for split in splits
    }
    lacking_total = {split: sum(lacking[split].values()) for split in splits}

    dealt: dict[str, str] = {}
    while holders:
        rarest = min(holders, key=lambda label: (remaining[label], label))
        for name in sorted(holders.pop(rarest), key=lambda name: (-left[name][rarest], tie[name])):
            split = max(splits, key=lambda split: (lacking[split][rarest], lacking_total[split]))
            dealt[name] = split
            for label, count in left[name].items():
                lacking[split][label] -= count
                lacking_total[split] -= count
                remaining[label] -= count
                if label in holders:
                    holders[label].discard(name)
        holders = {label: names for label, names in holders.items() if names}
    return dealt
