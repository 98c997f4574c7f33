"""Everything that decides a training run, as one frozen record that is TOML on disk."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated_dataclass

from wisp.errors import RecipeError
from wisp.files import write_text
from wisp.records import Geometry, ResizeRule

# Tiny networks learn slowly, and long: on 1,768 photos, 1,500 epochs instead of 600 give 0.035 of test F1.
# docs/records/2026-11-26-longer.md
_DEFAULT_STEPS = 40_000
# Few photos, seen this often, are learned by heart, and turning them any way helps (TrashNet, +0.02 F1). A network that
# has no time for all of them, or many photos, is only held up by it (waste9, -0.03 F1 in 60 epochs, -0.02 in 288).
# docs/records/2026-11-25-waste9-recipe.md, docs/records/2026-11-26-taco.md
_EPOCHS_FOR_ANY_WAY_UP, _PHOTOS_FOR_ANY_WAY_UP = 250, 5_000

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]


@validated_dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Recipe:
    """The settings of one training, each with its unit; the defaults measured best on small waste sets."""

    image_size: Annotated[int, Field(ge=8, le=1024)] = 64
    """Side of the square network input, pixels."""
    geometry: Geometry = "stretch"
    """How a photo becomes a square: stretch, pad or crop."""
    epochs: Annotated[int, Field(ge=0)] = 0
    """Passes over the training photos; 0: as many as make 40,000 steps, whatever the number of photos."""
    stop_after_epochs: Annotated[int, Field(ge=0)] = 0
    """End after this many epochs of a schedule made for `epochs` (a time budget ran out); 0: at the end."""
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Photos a step, over all processes together."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the weights, the order, the augmentation and the dropout."""

    learning_rate: Positive = 4e-3
    """Peak step size of AdamW (Loshchilov & Hutter, 2019)."""
    weight_decay: NotNegative = 0.02
    """Decoupled weight decay of matrices and kernels; biases and norms have none."""
    warmup_epochs: NotNegative = 5.0
    """Epochs of linear warm-up before the cosine; cut to a tenth of the training where that is shorter."""
    gradient_clip: NotNegative = 0.0
    """Largest gradient norm; 0 switches clipping off."""
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    """Decay a step of the moving average of weights that is evaluated and exported; 0 switches it off."""

    label_smoothing: Share = 0.1
    """Share of the target spread evenly over the classes (Szegedy et al., 2016)."""
    class_balance: Share = 0.0
    """Exponent of inverse class frequency in the loss weights: 0 none, 1 every class counts the same."""
    balanced_sampling: Share = 0.0
    """The same exponent for drawing the photos: 0 each photo once, 1 all classes equally often."""

    mixing: Literal["none", "mixup", "cutmix", "both"] = "none"
    """Blend pairs of photos: mixup (Zhang et al., 2018), cutmix (Yun et al., 2019), or either at random."""
    mixing_share: Share = 0.5
    """Share of the steps that mix."""
    mixing_alpha: Positive = 0.4
    """Both parameters of the Beta distribution that the blend is drawn from."""

    rotation_degrees: Annotated[float, Field(ge=0.0, le=180.0)] | None = None
    """Largest random turn to either side, degrees; None: 180 in a training of 250 epochs or more, else 20."""
    vertical_flip: bool | None = None
    """Mirror half of the photos upside down (left to right they always are); None: in 250 epochs or more."""
    min_crop_area: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Smallest share of the photo's area that a random crop keeps."""
    color_jitter: Share = 0.3
    """Largest relative change of brightness, contrast and saturation; a quarter of it tints each channel."""
    erasing: Share = 0.0
    """Share of the photos with one random rectangle greyed out (random erasing, Zhong et al., 2020)."""
    cache_scale: Annotated[float, Field(ge=1.0, le=4.0)] = 1.25
    """Side of the decoded training photos, in image sizes: above 1, random crops keep their sharpness."""

    distillation_weight: Share = 0.7
    """Share of the loss that follows the teacher, where there is one (Hinton et al., 2015)."""
    distillation_temperature: Positive = 2.0
    """Softening of both distributions in that part."""

    train_on_val: bool = False
    """Also train on the validation split: only for a final network whose choices are all made."""

    @property
    def resize(self) -> ResizeRule:
        """How photos are resized for validation, export and the robot."""
        return ResizeRule(self.image_size, self.geometry)

    @property
    def train_resize(self) -> ResizeRule:
        """How training photos are decoded: `cache_scale` larger, to crop from."""
        return ResizeRule(round(self.image_size * self.cache_scale), self.geometry)

    def resolved(self, n_photos: int) -> Recipe:
        """The same recipe with everything decided that depends on the number of training photos."""
        steps_per_epoch = max(1, n_photos // self.batch_size)
        epochs = self.epochs or math.ceil(_DEFAULT_STEPS / steps_per_epoch)
        any_way_up = epochs >= _EPOCHS_FOR_ANY_WAY_UP and n_photos < _PHOTOS_FOR_ANY_WAY_UP
        rotation, flip = self.rotation_degrees, self.vertical_flip
        return self.replace(
            epochs=epochs,
            rotation_degrees=(180.0 if any_way_up else 20.0) if rotation is None else rotation,
            vertical_flip=any_way_up if flip is None else flip,
        )

    def with_augmentation(self, strength: float | None) -> Recipe:
        """The same recipe with its changes to training photos made weaker or stronger by one number.

        One magnitude for all changes is as good as one for each, and much less to search (Cubuk et al., 2020,
        "RandAugment").

        Args:
            strength: 0 leaves mirroring alone, 1 is the recipe as it stands, 2 is the most; above 1 photos are also
                erased in part. None: as it stands.
        """
        if strength is None or strength == 1:
            return self
        more = max(0.0, strength - 1)
        return self.replace(
            min_crop_area=max(1 - (1 - self.min_crop_area) * strength, 0.1),
            color_jitter=min(self.color_jitter * strength, 1.0),
            rotation_degrees=None
            if self.rotation_degrees is None
            else min(self.rotation_degrees * strength, 180.0),
            erasing=min(self.erasing + 0.25 * more, 1.0),
        )

    @property
    def is_resolved(self) -> bool:
        """Whether everything is decided, as a training needs it."""
        return bool(self.epochs) and self.rotation_degrees is not None and self.vertical_flip is not None

    def replace(self, /, **changes: Any) -> Recipe:
        """A copy with some fields changed, validated like a new recipe."""
        return Recipe.from_mapping({**dataclasses.asdict(self), **changes}, where="recipe")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, where: str) -> Recipe:
        """A recipe from plain values; fields left out keep their defaults.

        Raises:
            RecipeError: an unknown field or a value out of range; the message names `where` and the field.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                close = get_close_matches(str(name), known, n=1)
                hint = (
                    f"did you mean '{close[0]}'?" if close else f"the fields are: {', '.join(sorted(known))}"
                )
                raise RecipeError(f"{where}: unknown field '{name}'; {hint}")
        try:
            return _ADAPTER.validate_python(dict(values), strict=False)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise RecipeError(f"{where}: field '{name}' = {first['input']!r}: {first['msg']}") from error

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a TOML recipe.

        Raises:
            RecipeError: the file is missing, not TOML, or has a field that makes no sense.
        """
        try:
            with path.open("rb") as file:
                values = tomllib.load(file)
        except OSError as error:
            raise RecipeError(f"{path}: cannot read the recipe ({error.strerror})") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: not a TOML file ({error})") from error
        return cls.from_mapping(values, where=str(path))

    def save(self, path: Path) -> None:
        """Write every field as TOML; one that is not decided (None) is left out, as TOML has no such value."""
        fields = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        write_text(path, tomli_w.dumps(fields))


_ADAPTER: TypeAdapter[Recipe] = TypeAdapter(Recipe)
