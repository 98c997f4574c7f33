from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wisp.errors import RecipeError
from wisp.models import named
from wisp.models.zoo.wisp import NAMED
from wisp.search.candidate import Candidate
from wisp.search.limits import Limits
from wisp.search.sampling import Sampler
from wisp.search.space import Space
from wisp.search.supernet import supernet_space

SPACE = Space(6)
SAMPLER = Sampler(SPACE)
STAGES = [axis.name for axis in SPACE.axes].index("stages")
seeds = st.integers(0, 10_000)


def random_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_axes_are_those_of_the_issue() -> None:
    names = {axis.name for axis in SPACE.axes}
    assert {"image_size", "stem", "stem_width", "activation", "head", "augmentation", "stages"} <= names
    assert {f"stage4.{name}" for name in ("width", "depth", "kernel", "expansion", "stride")} <= names
    assert len(SPACE.axes) == 7 + 4 * 6
    assert (min(SPACE.image_size), max(SPACE.image_size)) == (24, 128)
    assert SPACE.count > 10**15


@pytest.mark.parametrize("name", NAMED)
def test_named_networks_are_in_the_space_or_said_not_to_be(name: str) -> None:
    candidate = Candidate(name, named(name, 6), 48)
    widths = {stage.width for stage in NAMED[name].stages} | {NAMED[name].stem.width}
    assert widths <= set(SPACE.width) | set(SPACE.stem_width)
    genes = SPACE.encode(candidate)
    assert SPACE.decode(genes).arch == candidate.arch
    assert SPACE.decode(genes).image_size == 48


def test_what_is_not_in_the_space() -> None:
    with pytest.raises(ValueError, match="not of the wisp family"):
        SPACE.encode(Candidate("other", named("resnet8", 6), 48))
    with pytest.raises(ValueError, match="not in the space"):
        SPACE.encode(Candidate("odd", named("wisp-1m", 6), 47))
    with pytest.raises(ValueError, match="not in the space"):
        SPACE.encode(Candidate("of other classes", named("wisp-1m", 5), 48))


@pytest.mark.parametrize("values", [(), (8, 6), (6, 6)])
def test_values_of_an_ordered_axis_grow(values: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="width: needs values, growing"):
        Space(6, width=values)


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_networks_round_trip_and_have_a_name_of_their_own(seed: int) -> None:
    genes = SPACE.draw(random_of(seed))
    candidate = SPACE.decode(genes)
    assert SPACE.encode(candidate) == genes
    assert SPACE.is_sound(genes)
    assert re.fullmatch(r"wisp-\d+k-\d+px-[0-9a-f]{6}", candidate.name)
    vector = SPACE.vector(genes)
    assert vector.shape == (len(SPACE.axes),)
    assert 0 <= vector.min() <= vector.max() <= 1


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 3))
def test_mutants_are_neighbours(seed: int, changes: int) -> None:
    random = random_of(seed)
    genes = SPACE.draw(random)
    mutant = SPACE.mutate(genes, random, changes)
    assert mutant != genes
    assert SPACE.is_sound(mutant)
    assert SPACE.canonical(mutant) == mutant
    if mutant[STAGES] == genes[STAGES]:
        assert sum(a != b for a, b in zip(genes, mutant, strict=True)) <= changes


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_children_have_nothing_that_no_parent_has(seed: int) -> None:
    random = random_of(seed)
    one, other = SPACE.draw(random), SPACE.draw(random)
    child = SPACE.cross(one, other, random)
    assert SPACE.is_sound(child)
    active = SPACE.active(child)
    for index in active:
        parents = [genes[index] for genes in (one, other) if index in SPACE.active(genes)]
        assert child[index] in parents


def test_every_network_can_be_reached_by_mutation() -> None:
    random = random_of(0)
    genes = SAMPLER.haven
    seen: list[set[int]] = [set() for _ in SPACE.axes]
    for _ in range(4000):
        genes = SPACE.mutate(genes, random)
        for index in SPACE.active(genes):
            seen[index].add(genes[index])
    assert all(len(values) == len(axis.values) for values, axis in zip(seen, SPACE.axes, strict=True))


def test_a_stage_that_appears_repeats_the_last_one() -> None:
    genes = SPACE.encode(Candidate("two", named("wisp-1m", 6), 48))
    grown = SPACE.decode(SPACE.step(genes, STAGES, 1)).arch.options
    assert grown.stages[2] == grown.stages[1].model_copy(update={"stride": 1})
    assert SPACE.step(SPACE.step(genes, STAGES, 1), STAGES, -1) == genes
    assert SPACE.step(genes, STAGES, -5) == genes  # the least number of stages stays


# Limits

LOOSE = Limits(macs=1_000_000, params=30_000, size_bytes=150_000, memory_bytes=100_000)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_what_is_drawn_keeps_all_limits(seed: int) -> None:
    cost = SPACE.cost(_loose().draw(random_of(seed)))
    assert cost.macs_as_trained <= 1_000_000
    assert cost.params <= 30_000
    assert cost.size_bytes <= 150_000
    assert cost.memory_bytes <= 100_000


_LOOSE: list[Sampler] = []


def _loose() -> Sampler:
    if not _LOOSE:
        _LOOSE.append(Sampler(SPACE, LOOSE))
    return _LOOSE[0]


def test_costs_are_drawn_evenly_over_the_orders_of_magnitude() -> None:
    random = random_of(0)
    least = SPACE.cost(SAMPLER.haven).macs_as_trained
    decades = np.log10([SPACE.cost(SAMPLER.draw(random)).macs_as_trained for _ in range(200)])
    shares = np.histogram(decades, bins=4, range=(np.log10(least), np.log10(5e6)))[0] / 200
    assert shares.min() > 0.12


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_no_network_is_cheaper_in_every_way_than_all_of_the_cheapest(seed: int) -> None:
    """What `nearest feasible` rests on, against random networks."""
    random = random_of(seed)
    genes = SPACE.draw(random)
    for _ in range(int(random.integers(40))):  # towards the cheap end, where it matters
        genes = SPACE.step(genes, int(random.choice(SPACE.active(genes))), -1)
    if not SPACE.is_sound(genes):
        return
    cost = SPACE.cost(genes)
    assert any(
        least.macs_as_trained <= cost.macs_as_trained
        and least.params <= cost.params
        and least.size_bytes <= cost.size_bytes
        and least.memory_bytes <= cost.memory_bytes
        for least in _least()
    )


_LEAST: list = []


def _least() -> list:
    if not _LEAST:
        _LEAST.extend(SPACE.cost(genes) for genes in SPACE.cheapest())
    return _LEAST


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(macs=100), r"--max-macs 100 \(nearest: ([\d,]+) MACs\)"),
        (Limits(params=100), r"--max-params 100 \(nearest: ([\d,]+) parameters\)"),
        (Limits(size_bytes=100), r"--max-bytes 100 \(nearest: ([\d,]+) bytes of \.onnx\)"),
        (Limits(memory_bytes=100), r"--max-memory 100 \(nearest: ([\d,]+) bytes of activations\)"),
    ],
)
def test_an_infeasible_limit_names_the_nearest_value_and_that_one_works(limits: Limits, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        Sampler(SPACE, limits)
    assert "\n" not in str(caught.value)
    nearest = int(re.search(message, str(caught.value))[1].replace(",", ""))
    (name,) = [name for name, value in vars(limits).items() if value is not None]
    assert Sampler(SPACE, Limits(**{name: nearest})).haven
    with pytest.raises(RecipeError):
        Sampler(SPACE, Limits(**{name: nearest - 1}))


def test_limits_that_only_fail_together() -> None:
    least_macs = min(least.macs_as_trained for least in _least())
    least_params = min(least.params for least in _least())
    assert Sampler(SPACE, Limits(macs=least_macs)).haven
    assert Sampler(SPACE, Limits(params=least_params)).haven
    both = Limits(macs=least_macs, params=least_params)
    with pytest.raises(RecipeError, match="nearest"):
        Sampler(SPACE, both)


def test_measured_latency_is_asked_last_and_once() -> None:
    asked: list[str] = []

    def measure(candidate: Candidate) -> float:
        asked.append(candidate.name)
        return candidate.macs / 1e6

    sampler = Sampler(SPACE, Limits(macs=500_000, latency_ms=0.2, measure=measure))
    random = random_of(1)
    drawn = [sampler.draw(random) for _ in range(10)]
    assert all(SPACE.cost(genes).macs_as_trained <= 200_000 for genes in drawn)
    assert len(asked) == len(set(asked))
    with pytest.raises(RecipeError, match=r"--max-latency 1e-06: .*the cheapest takes [\d.]+ ms"):
        Sampler(SPACE, Limits(latency_ms=1e-6, measure=measure))


def test_fewer_macs_can_take_longer_in_another_stem() -> None:
    fewest = SPACE.decode(Sampler(SPACE).haven).arch.options
    asked: list[tuple[int, int]] = []

    def measure(candidate: Candidate) -> float:
        stem = candidate.arch.options.stem  # type: ignore[attr-defined]
        asked.append((stem.kernel, stem.stride))
        return 0.1 if (stem.kernel, stem.stride) == (8, 4) else 0.5

    assert (fewest.stem.kernel, fewest.stem.stride) != (8, 4)  # type: ignore[attr-defined]
    sampler = Sampler(SPACE, Limits(latency_ms=0.2, measure=measure))
    haven = SPACE.decode(sampler.haven).arch.options
    assert (haven.stem.kernel, haven.stem.stride) == (8, 4)  # type: ignore[attr-defined]
    assert len(asked) == len(set(asked)) <= len(SPACE.stem)
    # within the other limits: the stem that is fast enough must also be cheap enough
    macs = SPACE.cost(Sampler(SPACE).haven).macs_as_trained
    with pytest.raises(RecipeError, match=r"--max-latency 0.2: .* takes 0.5 ms"):
        Sampler(SPACE, Limits(macs=macs, latency_ms=0.2, measure=measure))


@pytest.mark.parametrize("name", ["macs", "params", "size_bytes", "memory_bytes", "latency_ms"])
def test_limits_are_above_zero(name: str) -> None:
    with pytest.raises(RecipeError, match="must be above 0"):
        Limits(**{name: 0})


def test_a_latency_needs_a_measure() -> None:
    with pytest.raises(ValueError, match="measure"):
        Limits(latency_ms=1.0)


def test_what_cannot_be_varied_is_repaired() -> None:
    sampler = _loose()
    random = random_of(3)
    dear = SPACE.encode(Candidate("dear", named("wisp-4m", 6), 128))
    assert not sampler.is_feasible(dear)
    assert sampler.is_feasible(sampler.vary(lambda: dear, random))


def test_the_strength_of_augmentation_is_a_choice_where_it_is_asked_for() -> None:
    space = Space(6, augmentation=(0.0, 0.5, 1.0, 1.5))
    drawn = {space.decode(space.draw(random_of(seed))).augmentation for seed in range(60)}
    assert drawn == {0.0, 0.5, 1.0, 1.5}
    assert {SPACE.decode(SPACE.draw(random_of(seed))).augmentation for seed in range(20)} == {None}
    genes = space.encode(Candidate("wisp-1m", named("wisp-1m", 6), 48))
    assert space.decode(genes).augmentation == 1.0
    weaker = space.step(genes, [axis.name for axis in space.axes].index("augmentation"), -1)
    one, other = space.decode(genes), space.decode(weaker)
    assert (one.arch, other.augmentation) == (other.arch, 0.5)
    assert one.name != other.name
    assert space.cost(genes) == space.cost(weaker)
    assert space.encode(other) == weaker
    assert set(supernet_space(space).augmentation) == {1.0}
