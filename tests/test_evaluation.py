import csv
import io
import json
import time
import unicodedata
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from wisp.data.augment import MEAN, STD
from wisp.data.folders import load_dataset
from wisp.errors import DataError, ModelError
from wisp.evaluation import Evaluation, PartResult, evaluate, measure_parts
from wisp.export import export_onnx
from wisp.metrics import macro_f1
from wisp.records import Dataset, Measurement, ResizeRule, Sample
from wisp.runtime import Classifier
from wisp.score import TEAM_CODE_2021, Baseline, score

COLOURS = {
    "빨강": (220, 40, 40),
    "green": (40, 200, 40),
    "blue": (40, 40, 220),
    "white": (240, 240, 240),
}


def nearest_colour(labels):
    """A network that answers with the label whose colour is nearest to the photo's mean."""
    prototypes = (
        torch.tensor([COLOURS[label] for label in labels]) / 255 - torch.tensor(MEAN)
    ) / torch.tensor(STD)
    head = nn.Linear(3, len(labels))
    head.weight.data = 2 * prototypes
    head.bias.data = -prototypes.square().sum(dim=1)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


@pytest.fixture(scope="session")
def colours_model(tmp_path_factory):
    labels = ("green", "빨강", "white", "blue")  # not the order of the folders
    path = tmp_path_factory.mktemp("colours") / "model.onnx"
    export_onnx(
        nearest_colour(labels),
        labels=labels,
        resize=ResizeRule(16),
        macs_as_trained=5000,
        provenance={"seed": 3},
        check_images=np.zeros((1, 16, 16, 3), np.uint8),
        path=path,
    )
    return Classifier(path)


def paint(folder, shown, n, start=0):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(start)
    for i in range(start, start + n):
        colour = np.array(COLOURS[shown]) + rng.integers(-15, 16, 3)
        Image.new("RGB", (24, 20), tuple(int(c) for c in colour.clip(0, 255))).save(
            folder / f"{shown}{i}.png"
        )


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    for name in COLOURS:
        paint(root / "train" / name, name, 1)
    paint(root / "test" / "빨강", "빨강", 6)
    paint(root / "test" / "빨강", "blue", 2, start=6)  # two that will be taken for blue
    paint(root / "test" / "blue", "blue", 4)
    paint(root / "test" / "green", "green", 3)
    paint(root / "test" / "green", "white", 1, start=3)
    return root


def test_every_number_of_an_evaluation(colours_model, photos):
    result = evaluate(colours_model, load_dataset(photos), "test")
    assert result.split == "test"
    assert result.classes == ("green", "빨강", "white", "blue")
    assert result.confusion.tolist() == [[3, 0, 1, 0], [0, 6, 0, 2], [0, 0, 0, 0], [0, 0, 0, 4]]
    assert result.n_images == 16
    assert result.n_skipped == 0
    rows = {row.name: row for row in result.per_class}
    assert (rows["빨강"].precision, rows["빨강"].recall, rows["빨강"].support) == (1.0, 0.75, 8)
    assert rows["blue"].f1 == pytest.approx(0.8)
    assert (rows["white"].f1, rows["white"].support, rows["white"].predicted) == (0.0, 0, 1)
    # white occurs only among the answers: it counts, as with scikit-learn
    assert result.f1_macro == pytest.approx((6 / 7 + 6 / 7 + 0 + 0.8) / 4)
    assert result.accuracy == pytest.approx(13 / 16)
    low, high = result.f1_ci95
    assert 0 < low < result.f1_macro < high <= 1
    assert result.macs == colours_model.info.macs
    assert result.macs_as_trained == 5000
    assert result.params == 16
    assert result.score == pytest.approx(score(result.f1_macro, result.macs))
    assert result.preset == "leaderboard-2021"
    assert result.size_bytes == colours_model.path.stat().st_size
    assert 0 <= result.calibration_error < 1
    assert result.parts == {}


def test_the_mistakes_are_named_the_surest_first(colours_model, photos):
    result = evaluate(colours_model, load_dataset(photos), "test")
    assert {(mistake.name, mistake.true, mistake.said) for mistake in result.mistakes} == {
        ("test/green/white3.png", "green", "white"),
        ("test/빨강/blue6.png", "빨강", "blue"),
        ("test/빨강/blue7.png", "빨강", "blue"),
    }
    sure = [mistake.probability for mistake in result.mistakes]
    assert sure == sorted(sure, reverse=True)
    for mistake in result.mistakes:
        answer = colours_model.classify(mistake.path)
        assert answer.label == mistake.said
        assert answer.probabilities[mistake.said] == pytest.approx(mistake.probability, abs=1e-3)


def test_json_has_the_promised_keys_and_is_json(colours_model, photos):
    result = evaluate(colours_model, load_dataset(photos), baseline=TEAM_CODE_2021)
    value = json.loads(json.dumps(result.to_json(), allow_nan=False))
    for key in ("f1_macro", "f1_ci95", "accuracy", "macs", "params", "score", "per_class", "n_images"):
        assert key in value
    assert value["baseline"] == {"preset": "team-code-2021", "f1": 0.8342, "macs": 13863553}
    assert value["per_class"]["blue"]["support"] == 4
    assert value["confusion"][1] == [0, 6, 0, 2]
    assert value["latency_p50_ms"] is None


def test_a_baseline_of_ones_own_has_no_preset(colours_model, photos):
    result = evaluate(colours_model, load_dataset(photos), baseline=Baseline(0.5, 1000))
    assert result.preset is None
    assert result.to_json()["baseline"] == {"preset": None, "f1": 0.5, "macs": 1000}
    assert result.score == pytest.approx(score(result.f1_macro, result.macs, Baseline(0.5, 1000)))


def test_the_measurement_carries_the_summary(colours_model, photos):
    result = evaluate(colours_model, load_dataset(photos))
    summary = result.measurement()
    assert isinstance(summary, Measurement)
    assert Measurement.from_json(summary.to_json()) == summary
    for field in (
        "f1_macro",
        "f1_ci95",
        "accuracy",
        "n_images",
        "split",
        "macs",
        "macs_as_trained",
        "params",
        "score",
    ):
        assert getattr(summary, field) == getattr(result, field)


def test_the_seed_moves_the_interval_alone(colours_model, photos):
    dataset = load_dataset(photos)
    first, again, other = (evaluate(colours_model, dataset, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.f1_macro == other.f1_macro


def test_parts_are_measured_over_their_frequent_classes(colours_model, photos):
    paint(photos / "test" / "blue", "blue", 20, start=100)
    paint(photos / "test" / "green", "green", 15, start=100)
    paint(photos / "test" / "green", "blue", 5, start=115)
    rows = [("file", "source")]
    rows += [(p.relative_to(photos).as_posix(), "wild") for p in sorted(photos.glob("test/*/*1??.png"))]
    rows += [(p.relative_to(photos).as_posix(), "wild") for p in sorted(photos.glob("test/빨강/*.png"))]
    rows += [(f"test/green/green{i}.png", "rare") for i in range(3)]
    with (photos / "index.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    result = evaluate(colours_model, load_dataset(photos))
    assert set(result.parts) == {"wild"}  # "rare" has no class with 20 photos
    part = result.parts["wild"]
    assert part.classes == ("green", "blue")
    assert part.n_images == 40
    # green: 15 of 20 right; blue: 20 of 20, and five greens taken for blue. The eight reds are not counted.
    assert part.f1_macro == pytest.approx((2 * 15 / (15 + 20) + 2 * 20 / (20 + 25)) / 2)
    assert result.to_json()["parts"]["wild"]["n_images"] == 40


def test_as_many_sources_as_photos_take_no_longer():
    """`index.csv` may name a source for every photo; comparing each with each would take minutes."""
    n = 200_000
    true = np.arange(n) % 3
    part_of = [f"address {i}" for i in range(n - 60)] + ["kitchen"] * 60
    started = time.perf_counter()
    parts = measure_parts(part_of, true, true, ("a", "b", "c"))
    assert time.perf_counter() - started < 20
    assert parts == {"kitchen": PartResult(1.0, 60, ("a", "b", "c"))}


def test_a_class_the_model_does_not_know(colours_model, photos):
    paint(photos / "train" / "brown", "blue", 1)
    with pytest.raises(ModelError, match="does not know the class 'brown'; it was trained on: green, 빨강"):
        evaluate(colours_model, load_dataset(photos))


def test_class_names_match_however_unicode_composes_them(colours_model, photos):
    dataset = load_dataset(photos)
    names = tuple(unicodedata.normalize("NFD", name) for name in dataset.classes)
    assert names != dataset.classes
    decomposed = Dataset(dataset.root, names, dataset.splits)
    assert evaluate(colours_model, decomposed).n_images == 16


def test_a_split_that_is_not_there_names_those_that_are(colours_model, photos):
    paint(photos / "val" / "blue", "blue", 2)
    with pytest.raises(DataError) as error:
        evaluate(colours_model, load_dataset(photos), "tset")
    assert str(error.value) == (
        f"{photos}: no photos in the split 'tset'; choose one of these with --split: "
        "train (4), val (2), test (16)"
    )


def test_photos_without_labels_cannot_be_measured(colours_model, photos):
    paint(photos / "test" / "NoLabel", "blue", 2)
    with pytest.raises(DataError, match=r"the split 'unlabelled' has no labels; choose .*test \(16\)"):
        evaluate(colours_model, load_dataset(photos), "unlabelled")
    alone = Dataset(photos, ("blue",), {"unlabelled": (Sample(photos / "x.png", "x.png", None),)})
    with pytest.raises(DataError, match="none has labels"):
        evaluate(colours_model, alone)


def test_unreadable_photos_stop_or_are_counted(colours_model, photos):
    (photos / "test" / "blue" / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    dataset = load_dataset(photos)
    with pytest.raises(DataError, match=r"broken\.jpg"):
        evaluate(colours_model, dataset)
    result = evaluate(colours_model, dataset, skip_unreadable=True)
    assert (result.n_images, result.n_skipped) == (16, 1)


def test_more_photos_than_one_batch(colours_model, tmp_path):
    paint(tmp_path / "test" / "blue", "blue", 300)
    paint(tmp_path / "test" / "green", "green", 7)
    result = evaluate(colours_model, load_dataset(tmp_path, needs=()))
    assert (result.n_images, result.accuracy) == (307, 1.0)


def test_the_taco_part_of_waste9_is_506_photos_of_six_classes(shared_data):
    """The rule for parts on the data set it was written for; it needs the index alone."""
    archive = shared_data / "waste9" / "waste9.zip"
    if not archive.is_file():
        pytest.skip(f"{archive} is missing")
    with zipfile.ZipFile(archive) as files:
        index = next(name for name in files.namelist() if name.endswith("index.csv"))
        rows = list(csv.DictReader(io.StringIO(files.read(index).decode("utf-8"))))
    test = [row for row in rows if row["split"] == "test"]
    labels = sorted({row["class"] for row in rows})
    true = np.array([labels.index(row["class"]) for row in test])
    parts = measure_parts([row["source"] for row in test], true, true, labels)
    six = ("Glass", "Metal", "Paper", "Plastic", "Plasticbag", "Styrofoam")
    assert parts["taco416"] == PartResult(1.0, 506, six)


def test_an_evaluation_is_consistent_with_its_confusion_matrix(colours_model, photos):
    result = evaluate(colours_model, load_dataset(photos))
    assert isinstance(result, Evaluation)
    assert result.f1_macro == macro_f1(result.confusion)
    assert result.confusion.sum() == result.n_images == sum(row.support for row in result.per_class)
