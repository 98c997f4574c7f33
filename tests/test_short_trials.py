"""A trial of a search, really trained, on a few painted photos."""

from __future__ import annotations

import dataclasses
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny_training import EASY, paint_photos
from wisp import short_trials
from wisp.data.folders import load_dataset
from wisp.errors import ModelError, TrainingError
from wisp.models import build
from wisp.models.starts import unpack_weights
from wisp.search.space import Space
from wisp.search.strategy import Proposal, Result
from wisp.search.study import Assignment
from wisp.search.supernet import largest, smallest, supernet_space
from wisp.short_trials import ShortTraining
from wisp.train import elastic, loop
from wisp.train.run import describe_data, open_run, remove_run

SPACE = Space(
    3,
    image_size=(16, 24),
    stem=((3, 2),),
    stem_width=(6, 8),
    activation=("relu",),
    head=(12, 16),
    stages=(1, 2),
    width=(8, 12),
    depth=(1, 2),
    kernel=(3,),
    expansion=(2.0, 3.0),
    squeeze_excite=(False,),
)
SMALL = (0,) * len(SPACE.axes)


@pytest.fixture
def training(tmp_path: Path) -> ShortTraining:
    photos = paint_photos(tmp_path / "photos")
    return ShortTraining(
        data=photos,
        recipe=EASY.replace(epochs=0),
        space=SPACE,
        folder=tmp_path / "trials",
        seed=1,
        skip_unreadable=False,
        deadline=None,
        described=describe_data(load_dataset(photos), progress=False),
    )


def test_trained_passed_on_and_measured(training: ShortTraining) -> None:
    training = pickle.loads(pickle.dumps(training))  # noqa: S301  (as a worker process gets it)
    first = training(Assignment(0, Proposal(SMALL, 16), None))
    assert first.weights is not None
    assert first.result.f1 > 0.6
    assert first.result.macs == SPACE.cost(SMALL).macs
    assert first.result.seconds > 0
    assert list(training.folder.iterdir()) == []  # its weights travel, nothing else is kept
    again = training(Assignment(0, Proposal(SMALL, 16), None))
    assert (again.result.f1, again.weights) == (first.result.f1, first.weights)
    other_seed = dataclasses.replace(training, seed=2)(Assignment(0, Proposal(SMALL, 16), None))
    assert other_seed.weights != first.weights

    # A larger network that begins with these weights is as good at once; a random one is not.
    larger = SPACE.step(SPACE.step(SMALL, 6 + 1, 1), 4, 1)  # deeper, a wider head
    inherited = training(Assignment(1, Proposal(larger, 0, start=0), first.weights))
    assert inherited.result.f1 > first.result.f1 - 0.15
    blank = training(Assignment(1, Proposal(larger, 0), None))
    assert blank.result.f1 < inherited.result.f1
    assert inherited.weights is None  # nothing begins with what was only measured
    tuned = training(Assignment(1, Proposal(larger, 1, start=0), first.weights))
    assert tuned.weights is not None
    state, arch, is_super = unpack_weights(tuned.weights)
    assert not is_super
    assert arch == SPACE.decode(larger).arch
    build(arch).load_state_dict(state)
    assert 0 < inherited.result.setup_seconds < inherited.result.seconds


def test_a_trial_that_killed_its_workers_is_a_result(training: ShortTraining) -> None:
    assignment = Assignment(7, Proposal(SMALL, 4), None)
    checkpoint = training.folder_of(assignment) / "checkpoint.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    outcome = training.failed(assignment, "out of memory")
    assert outcome.result == Result(0.0, SPACE.cost(SMALL).macs, 0.0, "out of memory")
    assert outcome.weights is None
    assert list(training.folder.iterdir()) == []


SUPER = Space(
    3,
    image_size=(16, 24),
    stem=((4, 4),),
    stem_width=(6, 8),
    activation=("relu",),
    head=(32, 48),
    stages=(2,),
    width=(8, 12),
    depth=(1, 2),
    kernel=(3, 5),
    expansion=(1.5, 2.0),
    stride=(2,),
    squeeze_excite=(False,),
    least_map=1,
)


@pytest.fixture
def supernet(training: ShortTraining) -> ShortTraining:
    return dataclasses.replace(training, space=SUPER)


def test_sub_networks_of_a_supernet_work_without_training(supernet: ShortTraining) -> None:
    whole = largest(SUPER)
    assert supernet_space(SUPER) == SUPER
    outcome = supernet(Assignment(0, Proposal(whole, 30, elastic=True), None))
    assert not outcome.result.error
    assert outcome.weights is not None
    assert unpack_weights(outcome.weights)[2]
    assert outcome.result.f1 > 0.6
    assert list(supernet.folder.iterdir()) == []
    for genes in (
        smallest(SUPER),
        SUPER.step(whole, [axis.name for axis in SUPER.axes].index("stage1.width"), -1),
    ):
        sub = supernet(Assignment(1, Proposal(genes, 0, start=0), outcome.weights))
        assert sub.result.f1 > 0.6


def test_a_supernet_goes_on_from_its_checkpoint(
    supernet: ShortTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    assignment = Assignment(0, Proposal(largest(SUPER), 4, elastic=True), None)
    expected = supernet(assignment).weights
    train_elastic = short_trials.train_elastic
    save = elastic.save_checkpoint
    epochs: list[int] = []

    def interrupt(path: Path, **state: Any) -> None:
        save(path, **state)
        epochs.append(state["progress"].epoch)
        if len(epochs) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(elastic, "save_checkpoint", interrupt)
    monkeypatch.setattr(
        short_trials,
        "train_elastic",
        lambda *args, **options: train_elastic(*args, **options, checkpoint_seconds=0.0),
    )
    with pytest.raises(KeyboardInterrupt):
        supernet(assignment)
    assert supernet(assignment).weights == expected
    assert epochs == [1, 2, 3, 4]


def test_a_supernet_ends_at_its_own_deadline(
    supernet: ShortTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of an epoch, with a step at least, and it is a supernet like any other."""
    update, steps = elastic.update_average, []

    def counted(*args: Any, **options: Any) -> None:
        update(*args, **options)
        steps.append(options["step"])

    monkeypatch.setattr(elastic, "update_average", counted)
    proposal = Proposal(largest(SUPER), 4, elastic=True)
    supernet(Assignment(0, proposal, None))
    whole = len(steps)
    assert whole >= 4
    steps.clear()
    late = dataclasses.replace(supernet, supernet_deadline=time.time() - 1)
    outcome = late(Assignment(1, proposal, None))
    assert steps == [0]
    assert outcome.weights is not None
    assert not outcome.result.error
    assert list(supernet.folder.iterdir()) == []


def test_a_training_that_diverges_is_a_result(
    training: ShortTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "weighted_cross_entropy", lambda logits, *_: logits.sum() * torch.nan)
    outcome = training(Assignment(3, Proposal(SMALL, 2), None))
    assert "not a number" in outcome.result.error
    assert outcome.result.f1 == 0
    assert outcome.weights is None


def test_a_killed_training_goes_on_from_its_checkpoint(
    training: ShortTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = training(Assignment(5, Proposal(SMALL, 4), None))
    steps = 0

    def interrupt(*args: object, **options: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 5:
            raise TrainingError("as if the machine went away")

    real = loop.update_average

    def step(*args: object, **options: object) -> None:
        interrupt()
        real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "update_average", step)
    assert training(Assignment(5, Proposal(SMALL, 4), None)).result.error  # a failure leaves its folder
    monkeypatch.setattr(loop, "update_average", real)
    again = training(Assignment(5, Proposal(SMALL, 4), None))
    assert again.result.f1 == whole.result.f1
    assert again.weights == whole.weights


def test_an_epoch_takes_as_long_in_a_training_that_time_cut(training: ShortTraining) -> None:
    """The finals are planned by it."""
    for deadline, epochs in ((None, 4), (time.time(), 1)):
        result = dataclasses.replace(training, deadline=deadline)(
            Assignment(6, Proposal(SMALL, 4), None)
        ).result
        taken = result.seconds - result.setup_seconds
        if epochs == 1:
            assert result.epoch_seconds == pytest.approx(taken)
        else:  # the first one is left out
            assert 0 < result.epoch_seconds * (epochs - 1) <= taken
    assert training(Assignment(6, Proposal(SMALL, 0), None)).result.epoch_seconds == 0  # only measured


def test_what_another_search_left_under_the_number_is_not_in_the_way(training: ShortTraining) -> None:
    """A machine of a cluster keeps what it was doing when it was cut off."""
    assignment = Assignment(6, Proposal(SMALL, 2), None)
    other = dataclasses.replace(training, seed=2)
    recipe = other.trial_recipe(6, assignment.proposal)
    arch = SPACE.decode(SMALL).arch
    left = open_run(other.folder_of(assignment), recipe, arch, dict(training.described))
    again = open_run(training.folder_of(assignment), training.trial_recipe(6, assignment.proposal), arch, {})
    remove_run(again.folder)
    assert not training(assignment).result.error
    assert list(training.folder.iterdir()) == [left.folder]


def test_a_network_without_a_parent_begins_with_the_init(training: ShortTraining) -> None:
    proposal = Proposal(SMALL, 1)
    fresh = training(Assignment(7, proposal, None))
    pretrained = dataclasses.replace(training, init="pretrained")(Assignment(7, proposal, None))
    assert fresh.weights != pretrained.weights
    with pytest.raises(ModelError, match="--init nowhere: no such run"):
        dataclasses.replace(training, init="nowhere")(Assignment(7, proposal, None))


def test_a_trial_has_the_augmentation_of_its_genes(training: ShortTraining) -> None:
    space = dataclasses.replace(SPACE, augmentation=(0.0, 1.0))
    genes = space.encode(dataclasses.replace(SPACE.decode(SMALL), augmentation=0.0))
    weak = dataclasses.replace(training, space=space).trial_recipe(0, Proposal(genes, 2))
    assert weak.color_jitter == 0.0
    assert training.trial_recipe(0, Proposal(SMALL, 2)).color_jitter == training.recipe.color_jitter > 0
