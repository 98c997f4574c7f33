from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wisp.data.splits import THREE_WAY, TWO_WAY, assign


def _keys(count: int, start: int = 0) -> list[bytes]:
    return [f"photo {number}".encode() for number in range(start, start + count)]


def test_shares_hold_in_every_class() -> None:
    labels = [0] * 1000 + [1] * 100 + [2] * 20
    sides = assign(labels, range(1120), _keys(1120), THREE_WAY, seed=0)
    counts = {
        label: Counter(s for s, own in zip(sides, labels, strict=True) if own == label) for label in range(3)
    }
    assert counts == {
        0: {"train": 700, "val": 150, "test": 150},
        1: {"train": 70, "val": 15, "test": 15},
        2: {"train": 14, "val": 3, "test": 3},
    }


@pytest.mark.parametrize(
    ("photos", "expected"),
    [
        (1, {"train": 1}),
        (2, {"train": 1, "test": 1}),
        (3, {"train": 1, "test": 1, "val": 1}),
        (4, {"train": 2, "test": 1, "val": 1}),
        (10, {"train": 6, "test": 2, "val": 2}),
    ],
)
def test_small_classes_serve_every_split(photos: int, expected: dict[str, int]) -> None:
    assert Counter(assign([0] * photos, range(photos), _keys(photos), THREE_WAY, seed=0)) == expected


def test_one_large_group_does_not_starve_the_other_splits() -> None:
    groups = [0] * 18 + [1, 2]
    sides = assign([0] * 20, groups, _keys(20), THREE_WAY, seed=0)
    assert set(sides[:18]) == {"train"}
    assert sorted(sides[18:]) == ["test", "val"]


def test_a_group_with_two_labels_stays_together() -> None:
    labels = [0] * 10 + [1] * 10
    groups = list(range(20))
    groups[10] = groups[11] = 0  # a shot of class 0 that also lies, twice, in class 1
    for seed in range(20):
        sides = assign(labels, groups, _keys(20), THREE_WAY, seed=seed)
        assert sides[0] == sides[10] == sides[11]


def test_another_seed_divides_otherwise_and_the_same_one_alike() -> None:
    first, again, other = (assign([0] * 50, range(50), _keys(50), TWO_WAY, seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert first != other
    assert Counter(first) == Counter(other)


def test_one_more_photo_moves_hardly_any_other() -> None:
    before = assign([0] * 200, range(200), _keys(200), THREE_WAY, seed=0)
    for extra in range(20):
        keys = [*_keys(200), f"new {extra}".encode()]
        after = assign([0] * 201, range(201), keys, THREE_WAY, seed=0)
        assert sum(a != b for a, b in zip(before, after[:200], strict=True)) <= 2


@settings(deadline=None)
@given(
    photos=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=60),
    seed=st.integers(0, 5),
    shuffle=st.randoms(use_true_random=False),
)
def test_properties(photos: list[tuple[int, int]], seed: int, shuffle: object) -> None:
    labels, groups, keys = [label for label, _ in photos], [group for _, group in photos], _keys(len(photos))
    sides = assign(labels, groups, keys, THREE_WAY, seed)

    together = defaultdict(set)
    for group, side in zip(groups, sides, strict=True):
        together[group].add(side)
    assert all(len(side) == 1 for side in together.values()), "a group lies on two sides"
    assert set(sides) <= set(THREE_WAY)
    assert "train" in sides

    order = list(range(len(photos)))
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    shuffled = assign(
        [labels[i] for i in order], [groups[i] for i in order], [keys[i] for i in order], THREE_WAY, seed
    )
    assert shuffled == [sides[i] for i in order], "the order of the files matters"


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=3, max_size=12), seed=st.integers(0, 5))
def test_three_groups_are_enough_for_every_split(sizes: list[int], seed: int) -> None:
    groups = [group for group, size in enumerate(sizes) for _ in range(size)]
    sides = assign([0] * len(groups), groups, _keys(len(groups)), THREE_WAY, seed)
    assert set(sides) == set(THREE_WAY)
