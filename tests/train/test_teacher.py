from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tiny_training import BUSY, EASY, open_in, same_bits, train_in
from wisp.data.folders import load_dataset
from wisp.errors import ModelError
from wisp.models.source import SourceArch
from wisp.train.loop import train
from wisp.train.run import describe_data, open_run, read_run
from wisp.train.speed import seconds_per_step
from wisp.train.teacher import load_teacher

CLASSES = ("glass", "metal", "종이")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def second(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "second"
    train_in(folder, photos, BUSY.replace(seed=8, image_size=24, epochs=1))
    return folder


def test_one_teacher_gives_its_log_probabilities(reference: Path) -> None:
    images = torch.randn(4, 3, 16, 16)
    teacher = load_teacher([reference], CLASSES, CPU)
    with torch.no_grad():
        expected = F.log_softmax(read_run(reference).load_model()(images), dim=1)
        torch.testing.assert_close(teacher(images), expected)


def test_a_teacher_with_a_source_of_its_own_is_asked_as_it_is(photos: Path, tmp_path: Path) -> None:
    """It may look at its BatchNorm, or decide by what it sees."""
    source = """
import torch.nn.functional as F
from torch import nn

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv, self.bn, self.last = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, classes)

    def forward(self, x):
        x = F.batch_norm(self.conv(x), self.bn.running_mean, self.bn.running_var, training=self.training)
        return self.last((x * 2 if x.std() > 0.5 else x).mean((2, 3)))

def build(num_classes):
    return Net(num_classes)
"""
    arch = SourceArch(source, 3)
    run = open_run(
        tmp_path / "own", EASY.replace(epochs=1), arch, describe_data(load_dataset(photos), progress=False)
    )
    train(run, load_dataset(photos), progress=False)
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        expected = F.log_softmax(run.load_model()(images), dim=1)
        torch.testing.assert_close(load_teacher([run.folder], CLASSES, CPU)(images), expected)


def test_several_teachers_vote_at_their_own_size(reference: Path, second: Path) -> None:
    images = torch.randn(4, 3, 16, 16)
    teacher = load_teacher([reference, second], CLASSES, CPU)
    larger = F.interpolate(images, size=(24, 24), mode="bilinear", align_corners=False)
    with torch.no_grad():
        one = read_run(reference).load_model()(images).softmax(1)
        other = read_run(second).load_model()(larger).softmax(1)
        torch.testing.assert_close(teacher(images).softmax(1), (one + other) / 2)


def test_a_student_follows_its_teacher(photos: Path, reference: Path, second: Path, tmp_path: Path) -> None:
    recipe = EASY.replace(epochs=2)
    one, two = (load_teacher(folders, CLASSES, CPU) for folders in ([reference], [reference, second]))
    train_in(tmp_path / "alone", photos, recipe)
    train_in(tmp_path / "one", photos, recipe, teacher=one)
    train_in(tmp_path / "two", photos, recipe, teacher=two)
    assert not same_bits(tmp_path / "alone", tmp_path / "one")
    assert not same_bits(tmp_path / "one", tmp_path / "two")
    train_in(tmp_path / "deaf", photos, recipe.replace(distillation_weight=0.0), teacher=one)
    assert same_bits(tmp_path / "alone", tmp_path / "deaf")


def test_the_loss_is_that_to_the_teacher(photos: Path, tmp_path: Path) -> None:
    """A teacher without an opinion, followed alone: KL from the even distribution, which shrinks to zero."""
    recipe = EASY.replace(epochs=6, distillation_weight=1.0)
    train_in(tmp_path / "run", photos, recipe, teacher=lambda images: torch.zeros(len(images), 3))
    losses = [row["loss"] for row in read_run(tmp_path / "run").metrics()]
    assert losses[-1] < losses[0] / 3
    assert 0 <= losses[-1] < 0.05


def test_an_interrupted_student_goes_on(photos: Path, reference: Path, tmp_path: Path) -> None:
    teacher, calls = load_teacher([reference], CLASSES, CPU), 0

    def stopped(images: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 5:  # in the second epoch
            signal.raise_signal(signal.SIGINT)
        return teacher(images)

    recipe = BUSY.replace(epochs=5)
    train_in(tmp_path / "whole", photos, recipe, teacher=teacher)
    with pytest.raises(KeyboardInterrupt):
        train_in(tmp_path / "halves", photos, recipe, teacher=stopped)
    assert not read_run(tmp_path / "halves").is_complete
    train_in(tmp_path / "halves", photos, recipe, teacher=teacher)
    assert same_bits(tmp_path / "whole", tmp_path / "halves")


def test_teachers_that_cannot_teach(photos: Path, reference: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a run folder"):
        load_teacher([tmp_path], CLASSES, CPU)
    unfinished = open_in(tmp_path / "unfinished", photos).folder
    with pytest.raises(ModelError, match="unfinished: the training is not complete"):
        load_teacher([unfinished], CLASSES, CPU)
    shutil.copytree(reference, tmp_path / "run")
    data = json.loads((tmp_path / "run" / "data.json").read_text(encoding="utf-8"))
    (tmp_path / "run" / "data.json").write_text(json.dumps({**data, "classes": ["a", "b", "c"]}))
    with pytest.raises(ModelError, match=r"the teacher knows other classes \(a, b, c\) than the data set"):
        load_teacher([tmp_path / "run"], CLASSES, CPU)


def test_the_time_of_a_step(reference: Path) -> None:
    arch = read_run(reference).arch
    small, large = (
        seconds_per_step(arch, EASY.replace(batch_size=4, image_size=size), steps=3) for size in (16, 128)
    )
    assert 0 < small < large
