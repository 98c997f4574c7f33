"""Embedded data: a seeded procedural renderer of nine classes of waste, always labelled as synthetic.

From the bottom: `noise` < `paint`, `surface` < `solids` < `objects`, `placing`, `backgrounds` < `clutter`, `camera` <
`scene`, `plan` < `photos` < `dataset`. Only numpy and Pillow draw.
"""

from wisp.data.synthetic.dataset import SyntheticDataset, is_synthetic, render_dataset
from wisp.data.synthetic.objects import CLASSES
from wisp.data.synthetic.photos import render_photo, render_scene_photo

__all__ = [
    "CLASSES",
    "SyntheticDataset",
    "is_synthetic",
    "render_dataset",
    "render_photo",
    "render_scene_photo",
]
