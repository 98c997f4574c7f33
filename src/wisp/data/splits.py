"""Divide photos into splits: stratified by class, seeded, with near duplicates on one side."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from wisp.data.duplicates import duplicate_groups
from wisp.data.photo_table import PhotoTable
from wisp.records import TEST, TRAIN, VAL, Sample

# In the order in which a class with few groups serves them.
THREE_WAY: Mapping[str, float] = {TRAIN: 0.70, TEST: 0.15, VAL: 0.15}
TWO_WAY: Mapping[str, float] = {TRAIN: 0.85, VAL: 0.15}


def divide(
    samples: Sequence[Sample], table: PhotoTable, shares: Mapping[str, float], seed: int
) -> dict[str, tuple[Sample, ...]]:
    """Divide labelled photos into splits.

    Neither the order nor the names of the files matter, only what is in them; a photo that is added later moves
    hardly any other.

    Args:
        samples: the photos, all labelled.
        table: what `look_at` saw of them, row by row.
        shares: the part of each class that each split gets; the first split gets what is left over.
        seed: another seed gives another division.

    Returns:
        Split -> samples, in the order of `samples`.
    """
    groups = duplicate_groups(table).tolist()
    keys = [row.tobytes() for row in table.digests]
    sides = assign([sample.label or 0 for sample in samples], groups, keys, shares, seed)
    return {
        split: tuple(sample for sample, side in zip(samples, sides, strict=True) if side == split)
        for split in shares
    }


def assign(
    labels: Sequence[int],
    groups: Sequence[int],
    keys: Sequence[bytes],
    shares: Mapping[str, float],
    seed: int,
) -> list[str]:
    """The split of each of N photos.

    Within a class, groups come in the order of a hash of seed and content; each goes to the first of the smaller
    splits that still has room for all of it, else to the first split. A group of several classes counts as that of
    most of its photos. Then, while a class has as many groups as splits, none of them stays without: it takes
    the smallest group of the split with the most.

    Args:
        labels: class of each photo.
        groups: photos with the same number stay together.
        keys: the content of each photo (any digest); equal photos must be in one group.
        shares: split -> part of each class; the first split takes what is left over.
        seed: of the order.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for photo, group in enumerate(groups):
        members[group].append(photo)
    # By one member alone: the least hash of all would draw large groups to the front.
    rank = {group: _hash(seed, min(keys[photo] for photo in photos)) for group, photos in members.items()}
    groups_of_class: dict[int, list[int]] = defaultdict(list)
    for group in sorted(members, key=rank.__getitem__):
        votes = Counter(labels[photo] for photo in members[group])
        groups_of_class[min(votes, key=lambda label: (-votes[label], label))].append(group)

    side_of_group: dict[int, str] = {}
    for ordered in groups_of_class.values():
        sizes = {group: len(members[group]) for group in ordered}
        side_of_group.update(_assign_class(sizes, shares))
    return [side_of_group[group] for group in groups]


def _assign_class(sizes: Mapping[int, int], shares: Mapping[str, float]) -> dict[int, str]:
    """Group -> split, for one class; `sizes` maps its groups to photos, in the order in which they are placed."""
    rest, *smaller = shares
    total = sum(sizes.values())
    room = {split: round(shares[split] * total) for split in smaller}
    placed: dict[str, list[int]] = {split: [] for split in shares}
    for group, size in sizes.items():
        split = next((split for split in smaller if size <= room[split]), rest)
        placed[split].append(group)
        if split != rest:
            room[split] -= size
    for split in list(shares)[: len(sizes)]:
        if not placed[split]:
            donor = max(placed.values(), key=len)
            smallest = min(donor, key=sizes.__getitem__)
            donor.remove(smallest)
            placed[split].append(smallest)
    return {group: split for split, groups in placed.items() for group in groups}


def _hash(seed: int, key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=16, key=str(seed).encode()).digest()
