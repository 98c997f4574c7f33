from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wisp.cli.main import run
from wisp.errors import ModelError
from wisp.macs import count_macs, count_onnx
from wisp.models import build, named
from wisp.runtime import Classifier
from wisp.train.recipe import Recipe
from wisp.zoo import DEFAULT, ModelCard, ShippedModel, find_model, shipped_models

MODELS = shipped_models()


def test_there_are_models_and_the_default_is_one_of_them() -> None:
    assert DEFAULT in {model.name for model in MODELS}


@pytest.fixture(params=range(len(MODELS)), ids=[model.name for model in MODELS])
def model(request: pytest.FixtureRequest) -> ShippedModel:
    return MODELS[int(request.param)]


def test_the_file_is_small_and_opens(model: ShippedModel) -> None:
    assert model.path.stat().st_size == model.card.network["size_bytes"] <= 300_000
    classifier = Classifier(model.path)
    assert classifier.labels == model.card.classes
    assert classifier.info.resize.size == model.card.network["image_size"]
    noise = np.random.default_rng(0).integers(0, 256, (90, 60, 3), dtype=np.uint8)
    assert classifier.classify(noise).label in model.card.classes


def test_the_card_is_true_of_the_file(model: ShippedModel) -> None:
    card, info = model.card, Classifier(model.path).info
    graph = count_onnx(model.path)
    assert graph.complete
    assert card.macs["graph"] == graph.total
    assert card.macs["official_deployed"] == info.macs
    assert card.network["params"] == info.params
    network = named(card.network["name"], len(card.classes))
    assert card.macs["official_as_trained"] == network.macs(card.network["image_size"])
    assert count_macs(build(network), card.network["image_size"]).total == info.macs_as_trained
    assert info.provenance["recipe"] == card.training["recipe"]
    assert not info.provenance["synthetic_data"]


def test_the_card_is_whole(model: ShippedModel) -> None:
    card = model.card
    assert len(card.f1_each) == len(card.training["seeds"]) >= 3
    assert np.mean(card.f1_each) == pytest.approx(card.f1_mean, abs=1e-4)
    assert np.std(card.f1_each, ddof=1) == pytest.approx(card.f1_sd, abs=1e-4)
    assert card.f1 == card.f1_each[card.training["seeds"].index(card.training["seed"])]
    low, high = card.f1_ci95
    assert 0 < low < card.f1 < high < 1
    if card.training["recipe"]["train_on_val"]:  # there was nothing to choose the seed by
        assert card.training["seed"] == card.training["seeds"][0]
        assert "train_on_val=true " in card.made_by
    assert Recipe.from_mapping(card.training["recipe"], where="card").epochs == card.training["epochs"]
    assert f"epochs={card.training['epochs']} " in card.made_by  # the recipe's default may change
    assert f"{card.network['name']}:{card.network['image_size']} " in card.made_by
    assert ("--init pretrained" in card.made_by) == card.training["pretrained"]
    assert ("--teacher " in card.made_by) == ("taught_by" in card.training)
    assert card.limits
    assert card.data["sources"]
    assert min(card.data["photos"].values()) > 0


def test_every_source_of_photos_has_a_licence_or_says_that_none_is_known(model: ShippedModel) -> None:
    for source in model.card.data["sources"]:
        known = ("MIT licence", "CC BY 4.0", "CC0", "research use", "licence not stated with the cop")
        assert sum(words in source for words in known) == 1, source


def test_the_page_is_the_card(model: ShippedModel) -> None:
    page = model.path.with_suffix(".md").read_text(encoding="utf-8")
    assert page == model.card.markdown()
    recipe = tomllib.loads(page.partition("```toml\n")[2].partition("```")[0])
    assert recipe == model.card.training["recipe"]


def test_a_name_a_path_and_nothing_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = MODELS[0]
    assert find_model(shipped.name) == shipped.path
    assert find_model(None).stem == DEFAULT
    assert find_model(Path("absent.onnx")) == Path(
        "absent.onnx"
    )  # a path: whoever opens it says what is wrong
    assert find_model("runs/one") == Path("runs/one")
    with pytest.raises(ModelError, match=rf"trashnet-9m: no such file, .*{shipped.name}"):
        find_model("trashnet-9m")
    (tmp_path / shipped.name).mkdir()
    assert find_model(shipped.name) == Path(shipped.name)  # what lies here wins


def test_a_photo_is_classified_right_after_installing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (50, 40), (200, 30, 30)).save(tmp_path / "photo.jpg")
    assert run(["classify", str(tmp_path / "photo.jpg"), "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["label"] in Classifier(find_model(None)).labels
    assert run(["classify", str(tmp_path / "photo.jpg"), "--model", MODELS[0].name]) == 0
    assert run(["classify", str(tmp_path / "photo.jpg"), "--model", "no-such"]) == 2
    assert "no-such: no such file" in capsys.readouterr().err


def test_the_verb_lists_them_and_shows_cards(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["zoo"]) == 0
    out = capsys.readouterr().out
    assert f"* {DEFAULT}" in out
    for model in MODELS:
        line = next(line for line in out.splitlines() if f" {model.name} " in line)
        assert f"{model.card.macs['official_deployed']:,}" in line
        assert (" pretrained " in line, " scratch " in line) == (
            model.card.training["pretrained"],
            not model.card.training["pretrained"],
        )
    assert run(["zoo", DEFAULT]) == 0
    assert "## Limits" in capsys.readouterr().out
    assert run(["zoo", "--json"]) == 0
    assert [card["name"] for card in json.loads(capsys.readouterr().out)] == [model.name for model in MODELS]
    assert run(["zoo", "no-such"]) == 2
    assert "no-such: no model of this name" in capsys.readouterr().err


def test_a_damaged_card_is_one_line(tmp_path: Path) -> None:
    for text in ("{", "{}", "[]", '{"name": 3}'):
        (tmp_path / "card.json").write_text(text)
        with pytest.raises(
            ModelError, match=r"card\.json: no model card \(.*\); install wisp again"
        ) as caught:
            ModelCard.load(tmp_path / "card.json")
        assert "\n" not in str(caught.value)


def test_cards_survive_json(model: ShippedModel, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(json.dumps(model.card.to_json()))
    assert ModelCard.load(tmp_path / "card.json") == model.card


def test_the_zoo_needs_no_torch() -> None:
    code = "import sys, wisp.zoo; wisp.zoo.shipped_models(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
