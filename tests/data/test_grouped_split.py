"""Splits of groups: whole, seeded, near their fractions."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from wisp.data.grouped_split import split_groups

FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}
groups = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=4),
    st.dictionaries(st.sampled_from("XYZ"), st.integers(1, 9), min_size=1),
    max_size=30,
)


@given(groups=groups, seed=st.integers(0, 99))
def test_every_group_gets_one_split_whatever_the_order(groups: dict[str, dict[str, int]], seed: int) -> None:
    dealt = split_groups(groups, FRACTIONS, seed)
    assert dealt.keys() == groups.keys()
    assert set(dealt.values()) <= set(FRACTIONS)
    assert split_groups(dict(reversed(groups.items())), FRACTIONS, seed) == dealt


def test_classes_come_near_their_fractions() -> None:
    groups = {f"photo{n}": {"common": 1 + n % 5, **({"rare": 1} if n % 17 == 0 else {})} for n in range(340)}
    dealt = split_groups(groups, FRACTIONS, 0)
    of_class: dict[str, Counter[str]] = {"common": Counter(), "rare": Counter()}
    for name, counts in groups.items():
        for label, count in counts.items():
            of_class[label][dealt[name]] += count
    for label, counts in of_class.items():
        for split, fraction in FRACTIONS.items():
            assert abs(counts[split] - fraction * counts.total()) <= 1, (label, split)


def test_the_seed_decides() -> None:
    groups = {f"photo{n}": {"one": 1} for n in range(50)}
    assert split_groups(groups, FRACTIONS, 0) != split_groups(groups, FRACTIONS, 1)


def test_a_fraction_of_zero_leaves_a_split_empty() -> None:
    groups = {f"photo{n}": {"one": 1} for n in range(50)}
    assert Counter(split_groups(groups, {"train": 0.5, "val": 0.5, "test": 0.0}, 0).values()) == {
        "train": 25,
        "val": 25,
    }
