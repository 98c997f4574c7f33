from __future__ import annotations

import re

import pytest

from wisp.errors import RecipeError
from wisp.macs import count_macs
from wisp.models import build, names
from wisp.search.ladder import RUNGS, known_good, ladder
from wisp.search.limits import Limits
from wisp.search.sampling import Sampler
from wisp.search.space import Space


def test_names_are_unique_and_valid_folder_names() -> None:
    every = [candidate.name for candidate in ladder(9)]
    assert len(every) == len(set(every)) == len(RUNGS) > 1
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in every)


def test_every_rung_is_a_named_network() -> None:
    assert {name for name, _ in RUNGS} <= set(names())


@pytest.mark.parametrize("index", range(len(RUNGS)))
def test_costs_in_closed_form_are_those_of_the_counter(index: int) -> None:
    candidate = ladder(6)[index]
    assert candidate.macs == count_macs(build(candidate.arch), candidate.image_size).total


def test_the_ladder_spans_a_decade_of_costs() -> None:
    costs = [candidate.macs for candidate in ladder(9)]
    assert max(costs) > 10 * min(costs)


def test_candidates_have_the_classes_of_the_data() -> None:
    assert {candidate.arch.num_classes for candidate in ladder(4)} == {4}


def test_max_macs_keeps_the_order_and_the_cheap_ones() -> None:
    every = ladder(9)
    limit = sorted(candidate.macs for candidate in every)[3]
    assert ladder(9, max_macs=limit) == [candidate for candidate in every if candidate.macs <= limit]
    assert len(ladder(9, max_macs=limit)) >= 4  # exactly the limit is allowed


def test_a_limit_below_all_names_the_cheapest() -> None:
    cheapest = min(ladder(9), key=lambda candidate: candidate.macs)
    with pytest.raises(RecipeError, match=rf"--max-macs 100: .*{cheapest.name}, has {cheapest.macs:,} MACs"):
        ladder(9, max_macs=100)


def test_what_a_search_begins_with() -> None:
    space = Space(6)
    known = known_good(Sampler(space))
    assert [space.decode(genes).arch for genes in known] == [rung.arch for rung in ladder(6)]
    assert [space.decode(genes).image_size for genes in known] == [size for _, size in RUNGS]
    # only what keeps the limits, and only sizes that the space has
    cheap = known_good(Sampler(Space(6, image_size=(24, 32)), Limits(macs=200_000)))
    assert [space.decode(genes).image_size for genes in cheap] == [32] * len(cheap)
    assert len(cheap) == 1
    assert known_good(Sampler(Space(6, stem_width=(4,)))) == []
