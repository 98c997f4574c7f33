from __future__ import annotations

import ast
import dataclasses
import inspect
from itertools import pairwise
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from wisp.errors import RecipeError
from wisp.records import ResizeRule
from wisp.train import recipe as recipe_module
from wisp.train.recipe import Recipe

FIELDS = {field.name: field.default for field in dataclasses.fields(Recipe)}
PAGE = Path(__file__).parents[2] / "docs" / "train.md"


def _docstrings() -> dict[str, str]:
    """The string that stands under each field in the source."""
    (body,) = (
        node.body
        for node in ast.parse(inspect.getsource(recipe_module)).body
        if isinstance(node, ast.ClassDef) and node.name == "Recipe"
    )
    return {
        field.target.id: text.value.value
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _table() -> dict[str, list[str]]:
    """Rows of the page's recipe table: field -> [default, unit, meaning]."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines()]
    return {row[0].strip("`"): row[1:] for row in rows if len(row) == 4 and row[0].strip("`") in FIELDS}


def test_every_field_says_what_it_is() -> None:
    assert len(FIELDS) > 20
    assert _docstrings().keys() == FIELDS.keys()


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_stands_in_the_page_with_default_and_unit(name: str) -> None:
    default, unit, meaning = _table()[name]
    if FIELDS[name] is None:
        assert default == "none"
        assert "Left out:" in meaning
    else:
        assert default.strip("`") == tomli_w.dumps({"x": FIELDS[name]}).removeprefix("x = ").strip().strip(
            '"'
        )
    assert unit.strip()
    assert len(meaning) > 20


def test_toml_round_trip(tmp_path: Path) -> None:
    recipe = Recipe(image_size=48, geometry="pad", mixing="cutmix", learning_rate=1e-3).resolved(1000)
    recipe.save(tmp_path / "recipe.toml")
    assert Recipe.load(tmp_path / "recipe.toml") == recipe
    assert all(f"{name} = " in (tmp_path / "recipe.toml").read_text() for name in FIELDS)


@settings(deadline=None, max_examples=50)
@given(
    image_size=st.integers(8, 1024),
    learning_rate=st.floats(1e-12, 1e6),
    geometry=st.sampled_from(["stretch", "pad", "crop"]),
    erasing=st.floats(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_value_in_range_survives_toml(
    tmp_path_factory: pytest.TempPathFactory, **values: int | float | str
) -> None:
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    recipe = Recipe.from_mapping(values, where="test")
    recipe.save(path)
    assert Recipe.load(path) == recipe
    assert hash(Recipe.load(path)) == hash(recipe)


def test_fields_left_out_keep_their_defaults(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("epochs = 7\nlearning_rate = 1")
    assert Recipe.load(tmp_path / "recipe.toml") == Recipe(epochs=7, learning_rate=1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "unknown field 'epoch'; did you mean 'epochs'?"),
        ("epochs = 'many'", "field 'epochs' = 'many': "),
        ("epochs = 1.5", "field 'epochs' = 1.5: "),
        ("epochs = -1", "field 'epochs' = -1: Input should be greater than or equal to 0"),
        ("image_size = 4", "field 'image_size' = 4: "),
        ("batch_size = 1", "field 'batch_size' = 1: "),
        ("seed = 2147483648", "field 'seed' = 2147483648: "),
        ("learning_rate = nan", "field 'learning_rate' = nan: "),
        ("learning_rate = inf", "field 'learning_rate' = inf: "),
        ("learning_rate = 0", "field 'learning_rate' = 0: "),
        ("ema_decay = 1.0", "field 'ema_decay' = 1.0: "),
        ("label_smoothing = 1.01", "field 'label_smoothing' = 1.01: "),
        ("vertical_flip = 'perhaps'", "field 'vertical_flip' = 'perhaps': "),
        ("mixing = 'blend'", "field 'mixing' = 'blend': "),
        ("geometry = 'fit'", "field 'geometry' = 'fit': "),
        ("[mixing]\nalpha = 1", "field 'mixing' = {'alpha': 1}: "),
        ("epochs = ", "not a TOML file"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        Recipe.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot read the recipe \\(No such file"):
        Recipe.load(tmp_path / "none.toml")
    with pytest.raises(RecipeError, match="cannot read the recipe \\(Is a directory"):
        Recipe.load(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(RecipeError, match="not a TOML file"):
        Recipe.load(tmp_path / "photo.jpg")


def test_replace_checks_like_a_new_recipe() -> None:
    recipe = Recipe(epochs=5)
    assert recipe.replace(seed=4) == Recipe(epochs=5, seed=4)
    assert recipe.seed == 0
    with pytest.raises(RecipeError, match="recipe: field 'seed' = -1"):
        recipe.replace(seed=-1)
    with pytest.raises(RecipeError, match="recipe: unknown field 'self'"):
        recipe.replace(self=1)


@pytest.mark.parametrize(("n_photos", "epochs"), [(64, 40_000), (1768, 1482), (10, 40_000), (64 * 50_000, 1)])
def test_epochs_left_open_make_forty_thousand_steps(n_photos: int, epochs: int) -> None:
    assert Recipe().resolved(n_photos).epochs == epochs
    assert Recipe(epochs=9).resolved(n_photos).epochs == 9


@pytest.mark.parametrize(("epochs", "rotation", "flip"), [(249, 20.0, False), (250, 180.0, True)])
def test_photos_seen_often_are_turned_any_way(epochs: int, rotation: float, flip: bool) -> None:
    open_recipe = Recipe(epochs=epochs)
    resolved = open_recipe.resolved(100)
    assert not open_recipe.is_resolved
    assert resolved.is_resolved
    assert (resolved.rotation_degrees, resolved.vertical_flip) == (rotation, flip)
    assert resolved.resolved(5) == resolved
    many = open_recipe.resolved(5_000)  # too many to be learned by heart
    assert (many.rotation_degrees, many.vertical_flip) == (20.0, False)
    given = Recipe(epochs=epochs, rotation_degrees=0.0, vertical_flip=not flip).resolved(100)
    assert (given.rotation_degrees, given.vertical_flip) == (0.0, not flip)


def test_what_is_not_decided_survives_toml(tmp_path: Path) -> None:
    Recipe().save(tmp_path / "recipe.toml")
    assert Recipe.load(tmp_path / "recipe.toml") == Recipe()


def test_training_photos_are_decoded_larger() -> None:
    recipe = Recipe(image_size=32, cache_scale=1.5, geometry="crop")
    assert recipe.resize == ResizeRule(32, "crop")
    assert recipe.train_resize == ResizeRule(48, "crop")


def test_the_strength_of_augmentation_scales_all_of_it() -> None:
    recipe = Recipe(rotation_degrees=20.0, min_crop_area=0.5, color_jitter=0.3)
    assert recipe.with_augmentation(None) == recipe.with_augmentation(1.0) == recipe
    none = recipe.with_augmentation(0.0)
    assert (none.rotation_degrees, none.min_crop_area, none.color_jitter, none.erasing) == (
        0.0,
        1.0,
        0.0,
        0.0,
    )
    half = recipe.with_augmentation(0.5)
    assert (half.rotation_degrees, half.min_crop_area, half.color_jitter) == (10.0, 0.75, 0.15)
    most = recipe.with_augmentation(2.0)
    assert (most.rotation_degrees, most.min_crop_area, most.color_jitter, most.erasing) == (
        40.0,
        0.1,
        0.6,
        0.25,
    )
    assert Recipe(rotation_degrees=180.0).with_augmentation(2.0).rotation_degrees == 180.0
    assert Recipe().with_augmentation(0.5).rotation_degrees is None  # not decided yet
