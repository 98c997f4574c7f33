"""From objects to a photograph: a crop around one object, or a whole scene with several."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from wisp.data.synthetic.backgrounds import ground
from wisp.data.synthetic.camera import photograph
from wisp.data.synthetic.clutter import scatter
from wisp.data.synthetic.noise import Array, fbm
from wisp.data.synthetic.objects import CLASSES, sketch
from wisp.data.synthetic.paint import Colour, Pose
from wisp.data.synthetic.placing import place
from wisp.data.synthetic.surface import near

# Long side of the crops: log-normal like the crops of TACO, wider above since phones have become better.
_LONG_SIDE_MEDIAN, _LONG_SIDE_SIGMA = 84.0, 0.62
LONG_SIDE_MIN, LONG_SIDE_MAX = 12, 400

_FINEST = (
    80  # smaller crops are drawn at this long side and then reduced, as a camera averages over its pixels
)
_CROWD = 3.2  # smallest long side of a scene, in longest objects


@dataclass(frozen=True)
class Placed:
    """An object in a scene: its class and its visible pixels (bool, H x W)."""

    name: str
    mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


@dataclass(frozen=True)
class Scene:
    """A picture and what is on it."""

    image: Image.Image
    objects: tuple[Placed, ...]


def _soil(rng: np.random.Generator, canvas: Colour, covered: Array, strength: float) -> None:
    """Dirt on the object: brown patches and specks."""
    patches = np.clip(fbm(rng, covered.shape, 5, 4) - 0.35, 0, 1) * np.float32(strength) * covered
    canvas += (near(rng, 0.08, 0.4, 0.3) - canvas) * np.clip(patches, 0, 0.85)[..., None]


def render_crop(rng: np.random.Generator, name: str) -> Image.Image:
    """A crop around one object of the class `name`, as an annotated box would cut it out of a photo.

    Long side log-normal, 12 to 400 pixels; the aspect ratio follows from the object's shape and pose.
    """
    thing = sketch(rng, name)
    pose = Pose.random(rng, thing.softness)
    long_side = float(
        np.clip(np.exp(rng.normal(np.log(_LONG_SIDE_MEDIAN), _LONG_SIDE_SIGMA)), LONG_SIDE_MIN, LONG_SIDE_MAX)
    )
    reach = pose.reach(thing.half)
    margins = rng.uniform(-0.05, 0.14, 2)
    half_x, half_y = reach[0] * (1 + margins[0]), reach[1] * (1 + margins[1])
    drawn = max(long_side, _FINEST)
    scale = drawn / (2 * max(half_x, half_y))
    shape = (max(round(2 * half_y * scale), 4), max(round(2 * half_x * scale), 4))
    size = tuple(max(round(side * long_side / drawn), 4) for side in (shape[1], shape[0]))

    light = float(rng.uniform(0.1, 0.9) * np.pi)
    canvas = ground(rng, shape, scale / 50 * float(np.exp(rng.normal(0.1, 0.4))))
    middle = (shape[1] / 2, shape[0] / 2)
    if rng.random() < 0.15:
        _neighbour(rng, canvas, scale, light)
    around = (*middle, 1.2 * drawn / 2)
    if rng.random() < 0.3:
        scatter(rng, canvas, int(rng.integers(1, 5)), scale, light, around)
    jitter = rng.normal(0, 0.04, 2) * scale
    centre = (middle[0] + float(jitter[0]), middle[1] + float(jitter[1]))
    shadow = float(rng.uniform(0.1, 0.65))
    covered = place(rng, canvas, thing, centre=centre, scale=scale, pose=pose, light=light, shadow=shadow)
    if rng.random() < 0.3:
        _soil(rng, canvas, covered, float(rng.uniform(0.2, 1.0)))
    if rng.random() < 0.3:
        scatter(rng, canvas, int(rng.integers(1, 4)), scale, light, (*middle, 0.8 * drawn / 2))
    return photograph(rng, canvas, (size[0], size[1]))


def _neighbour(rng: np.random.Generator, canvas: Colour, scale: float, light: float) -> None:
    """Another object at the border of the crop: crops out of litter are seldom lonely."""
    thing = sketch(rng, str(rng.choice(CLASSES)))
    angle = rng.uniform(0, 2 * np.pi)
    half_y, half_x = canvas.shape[0] / 2, canvas.shape[1] / 2
    centre = (half_x * (1 + 1.05 * np.cos(angle)), half_y * (1 + 1.05 * np.sin(angle)))
    pose = Pose.random(rng, thing.softness)
    place(
        rng, canvas, thing, centre=centre, scale=scale * float(rng.uniform(0.4, 0.8)), pose=pose, light=light
    )


def render_scene(rng: np.random.Generator, names: tuple[str, ...]) -> Scene:
    """A whole photo (about 640 x 480) with one object of each of `names`, without overlap beyond their corners.

    Objects that found no room, or that clutter covered almost entirely, are left out.
    """
    shape = (480, 640) if rng.random() < 0.7 else (640, 480)
    canvas = ground(rng, shape, float(rng.uniform(0.6, 1.4)))
    light = float(rng.uniform(0.1, 0.9) * np.pi)
    taken: list[tuple[float, float, float]] = []
    covers: list[tuple[str, Array]] = []
    for name in names:
        thing = sketch(rng, name)
        pose = Pose.random(rng, thing.softness)
        scale = float(np.clip(np.exp(rng.normal(np.log(38), 0.5)), 9, max(shape) / _CROWD / 2))
        radius = max(pose.reach(thing.half)) * scale
        centre = _room(rng, shape, radius, taken)
        if centre is None:
            continue
        taken.append((*centre, radius))
        cover = place(rng, canvas, thing, centre=centre, scale=scale, pose=pose, light=light)
        if rng.random() < 0.4:
            _soil(rng, canvas, cover, float(rng.uniform(0.2, 1.2)))
        covers.append((name, cover))
    hidden = np.zeros(shape, np.float32)
    for _ in range(3):
        x, y = rng.uniform(0, shape[1]), rng.uniform(0, shape[0])
        hidden = np.maximum(hidden, scatter(rng, canvas, int(rng.integers(1, 4)), 45.0, light, (x, y, 60.0)))
    masks = [(name, (cover > 0.5) & (hidden < 0.5)) for name, cover in covers]
    image = photograph(rng, canvas, (shape[1], shape[0]))
    return Scene(image, tuple(Placed(name, mask) for name, mask in masks if mask.sum() >= 16))


def _room(
    rng: np.random.Generator, shape: tuple[int, int], radius: float, taken: list[tuple[float, float, float]]
) -> tuple[float, float] | None:
    """A free place for a disc of `radius` among those taken, or None after 40 throws."""
    for _ in range(40):
        x, y = (
            rng.uniform(0.6 * radius, shape[1] - 0.6 * radius),
            rng.uniform(0.6 * radius, shape[0] - 0.6 * radius),
        )
        if all((x - ox) ** 2 + (y - oy) ** 2 > (radius + other) ** 2 * 0.7 for ox, oy, other in taken):
            return float(x), float(y)
    return None
